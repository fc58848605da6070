"""Records second derivatives of a small network by PyTorch's double backward in f64, and the scales of
GradInit's Adam on given slopes, for ../second_order.rs.

    pip install torch
    python3 second_order.py > second_order.json

A perceptron 6-7-5-3 with tanh on 8 inputs with the classes i % 3. The norm n(g) of the gradient g of the
mean cross-entropy is differentiated: for `sgd` Euclidean, for `adam` the sum of magnitudes.
"""

import json
import math

import torch

from drawn import unit

WIDTHS = [6, 7, 5, 3]
torch.set_default_dtype(torch.float64)


def drawn(name, shape):
    values = torch.tensor(unit(f"second_order/{name}", math.prod(shape)))
    return values.reshape(shape).to(torch.float64)


x = drawn("inputs", (8, WIDTHS[0]))
labels = torch.arange(8) % 3
parameters = []
for i, (inputs, outputs) in enumerate(zip(WIDTHS, WIDTHS[1:]), 1):
    for name, shape in [(f"fc{i}.weight", (outputs, inputs)), (f"fc{i}.bias", (outputs,))]:
        parameters.append((name, drawn(name, shape).requires_grad_()))


def loss():
    h, tensors = x, [p for _, p in parameters]
    for weight, bias in zip(tensors[0::2], tensors[1::2]):
        if h is not x:
            h = torch.tanh(h)
        h = h @ weight.T + bias
    return torch.nn.functional.cross_entropy(h, labels)


def record(norm):
    tensors = [p for _, p in parameters]
    value = loss()
    gradient = torch.autograd.grad(value, tensors, create_graph=True)
    size = norm(gradient)
    second = torch.autograd.grad(size, tensors)
    return {
        "loss": value.item(),
        "norm": size.item(),
        "gradient": {n: g.detach().ravel().tolist() for (n, _), g in zip(parameters, gradient)},
        "of_norm": {n: s.ravel().tolist() for (n, _), s in zip(parameters, second)},
    }


def adam(steps, lr=0.01, min_scale=0.97, betas=(0.9, 0.999), eps=1e-8):
    """`RescaleAdam` of the authors' gradinit_optimizers.py, of one tensor."""
    alpha, first, count, second, found = 1.0, {True: 0.0, False: 0.0}, {True: 0, False: 0}, 0.0, []
    for is_constraint, slope in steps:
        slope = max(min(slope, 1), -1)
        count[is_constraint] += 1
        first[is_constraint] = first[is_constraint] * betas[0] + slope * (1 - betas[0])
        second = second * betas[1] + slope * slope * (1 - betas[1])
        denom = math.sqrt(second / (1 - betas[1] ** sum(count.values()))) + eps
        step = lr / (1 - betas[0] ** count[is_constraint])
        alpha = max(alpha - step * first[is_constraint] / denom, min_scale)
        found.append(alpha)
    return found


STEPS = [(True, 0.5), (True, 3.0), (False, -0.25), (True, 0.125), (False, -2.0), (False, 0.75), (True, 1.5)]
print(
    json.dumps(
        {
            "torch": torch.__version__,
            "sgd": record(lambda g: sum(t.square().sum() for t in g).sqrt()),
            "adam": record(lambda g: sum(t.abs().sum() for t in g)),
            "steps": STEPS,
            "alphas": adam(STEPS),
        },
        indent=1,
    )
)
