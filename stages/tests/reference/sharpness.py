"""Records the spectrum of a small network's Hessian by PyTorch in f64, for ../sharpness.rs.

    pip install torch
    python3 sharpness.py > sharpness.json

The perceptron and the images of second_order.py: 6-7-5-3 with tanh, 8 inputs with the classes i % 3.
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
shapes, tensors = [], []
for i, (inputs, outputs) in enumerate(zip(WIDTHS, WIDTHS[1:]), 1):
    for name, shape in [(f"fc{i}.weight", (outputs, inputs)), (f"fc{i}.bias", (outputs,))]:
        shapes.append(shape)
        tensors.append(drawn(name, shape).ravel())


def loss(flat):
    parts = torch.split(flat, [math.prod(s) for s in shapes])
    parts = [p.reshape(s) for p, s in zip(parts, shapes)]
    h = x
    for i, (weight, bias) in enumerate(zip(parts[0::2], parts[1::2])):
        h = (torch.tanh(h) if i else h) @ weight.T + bias
    return torch.nn.functional.cross_entropy(h, labels)


at = torch.cat(tensors)
hessian = torch.autograd.functional.hessian(loss, at)
eigenvalues = torch.linalg.eigvalsh(hessian)
gradient = torch.autograd.functional.jacobian(loss, at)
json.dump(
    {
        "loss": loss(at).item(),
        "gradient_norm": gradient.norm().item(),
        "least_eigenvalue": eigenvalues[0].item(),
        "top_eigenvalue": eigenvalues[-1].item(),
        "trace": eigenvalues.sum().item(),
    },
    fp=__import__("sys").stdout,
    indent=1,
)
print()
