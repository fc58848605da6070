"""Records four steps of a curve's bend by PyTorch's autograd in f64, for ../modes.rs.

    pip install torch
    python3 curve.py > curve.json

A perceptron 6-5-3 with tanh on 8 inputs with the classes i % 3, all in one batch; four steps of SGD
(0.3 at first, momentum 0.9) with the decay 0.01 of the weights on the curve, added to the loss as
half of it times their squares. T are the places that seed 3 draws.
"""

import json
import math
import sys

import torch

from drawn import unit

T = [0.5873468942558073, 0.25986317718234664, 0.3195200806038625, 0.17081119512576548]
LR, MOMENTUM, DECAY = 0.3, 0.9, 0.01
SHAPES = {"fc1.weight": (5, 6), "fc1.bias": (5,), "fc2.weight": (3, 5), "fc2.bias": (3,)}
torch.set_default_dtype(torch.float64)


def drawn(name, shape):
    return torch.tensor(unit(f"curve/{name}", math.prod(shape))).reshape(shape).to(torch.float64)


x, labels = drawn("inputs", (8, 6)), torch.arange(8) % 3
ends = [{n: drawn(f"{end}/{n}", s) for n, s in SHAPES.items()} for end in "ab"]


def loss(w):
    h = torch.tanh(x @ w["fc1.weight"].T + w["fc1.bias"])
    value = torch.nn.functional.cross_entropy(h @ w["fc2.weight"].T + w["fc2.bias"], labels)
    return value, DECAY / 2 * sum((p * p).sum() for p in w.values())


def bezier(t, a, bend, b):
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * bend + t**2 * b


def polygon(t, a, bend, b):
    if t <= 0.5:
        return 2 * (t * bend + (0.5 - t) * a)
    return 2 * ((t - 0.5) * b + (1 - t) * bend)


def rate(done):
    if done <= 0.5:
        return 1.0
    return 1.0 - (1.0 - 0.01) * (done - 0.5) / 0.4 if done <= 0.9 else 0.01


def record(curve):
    bend = {n: ((ends[0][n] + ends[1][n]) / 2).clone().requires_grad_() for n in SHAPES}
    velocity = {n: torch.zeros_like(p) for n, p in bend.items()}
    losses = []
    for step, t in enumerate(T):
        value, decay = loss({n: curve(t, ends[0][n], bend[n], ends[1][n]) for n in SHAPES})
        gradients = torch.autograd.grad(value + decay, list(bend.values()))
        for (n, p), g in zip(bend.items(), gradients):
            # torch.optim.SGD
            velocity[n] = MOMENTUM * velocity[n] + g
            bend[n] = (p - LR * rate(step / len(T)) * velocity[n]).detach().requires_grad_()
        losses.append(value.item())
    return {"losses": losses, "bend": {n: p.detach().ravel().tolist() for n, p in bend.items()}}


json.dump({"t": T, "bezier": record(bezier), "polygon": record(polygon)}, sys.stdout, indent=1)
print()
