"""Records searches for subnetworks by PyTorch in f64, for ../subnetworks.rs.

    pip install torch
    python3 subnetworks.py > subnetworks.json

A perceptron 6-7-5-3 with relu on 8 inputs with the classes i % 3 takes four steps of SGD (1.0, momentum
0.9, weight decay 0.01) on scores: edge-popup, `GetSubnet` with `scores.abs()` in the authors'
utils/conv_type.py (Ramanujan et al. 2020), where `prune_rate` is the share kept.
"""

import json
import math

import torch

from drawn import unit

WIDTHS = [6, 7, 5, 3]
torch.set_default_dtype(torch.float64)


def drawn(name, shape):
    values = torch.tensor(unit(f"subnetworks/{name}", math.prod(shape)))
    return values.reshape(shape).to(torch.float64)


x = drawn("inputs", (8, WIDTHS[0]))
labels = torch.arange(8) % 3
shapes = {f"fc{i}.weight": (outputs, inputs) for i, (inputs, outputs) in enumerate(zip(WIDTHS, WIDTHS[1:]), 1)}
weights = {name: drawn(name, shape) for name, shape in shapes.items()}
biases = {name: drawn(name.replace("weight", "bias"), shape[:1]) for name, shape in shapes.items()}


class Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, keep):
        out = scores.clone()
        _, order = scores.flatten().sort()
        away = int((1 - keep) * scores.numel())
        out.flatten()[order[:away]] = 0
        out.flatten()[order[away:]] = 1
        return out

    @staticmethod
    def backward(ctx, g):
        return g, None


def factor(rescale, mask):
    ratio = mask.numel() / max(1, mask.detach().sum().item())
    return {"none": 1.0, "root": math.sqrt(ratio), "share": ratio}[rescale]


def loss(masks, rescale):
    h = x
    for i, name in enumerate(shapes):
        if i > 0:
            h = torch.relu(h)
        h = h @ (factor(rescale, masks[name]) * weights[name] * masks[name]).T + biases[name]
    return torch.nn.functional.cross_entropy(h, labels)


def search(keep, rescale, steps):
    scores = {name: drawn(f"scores/{name}", shape).requires_grad_() for name, shape in shapes.items()}
    momentum = {name: torch.zeros(shape) for name, shape in shapes.items()}
    losses = []
    for _ in range(steps):
        value = loss({n: Largest.apply(s.abs(), keep) for n, s in scores.items()}, rescale)
        slopes = torch.autograd.grad(value, list(scores.values()))
        losses.append(value.item())
        with torch.no_grad():
            for (name, score), slope in zip(scores.items(), slopes):
                momentum[name] = 0.9 * momentum[name] + slope + 0.01 * score
                score -= 1.0 * momentum[name]
    mask = {n: Largest.apply(s.detach().abs(), keep) for n, s in scores.items()}
    flat = lambda tensors: {n: t.detach().flatten().tolist() for n, t in tensors.items()}
    return {"keep": keep, "rescale": rescale, "losses": losses, "scores": flat(scores), "mask": flat(mask)}


print(json.dumps([search(*case, 4) for case in [(0.5, "none"), (0.3, "root"), (0.7, "share")]]))
