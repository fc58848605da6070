"""How far PyTorch's f32 is from f64 at the sizes of the studies: the other column of examples/accuracy.rs.

Inputs are drawn by the formula of drawn.py: data and activations in [0, 1), weights in [-1, 1)/sqrt(fan_in), gradients of
outputs in [-1, 1). Errors are given in units of eps = 2^-23 times the root mean square of the f64 result. On one thread.
"""

import numpy as np
import torch
from torch.nn import functional as F

from drawn import unit

torch.set_num_threads(1)


def drawn(name, shape, kind):
    values = unit(name, shape)
    if kind == "activation":
        values = np.abs(values)
    if kind == "weight":
        values = values * np.float32(np.sqrt(1.0 / np.prod(shape[1:])))
    return values


def show(op, part, single, double):
    single, double = (v.detach().double().numpy() for v in (single, double))
    unit_error = 2.0**-23 * np.sqrt(np.mean(double**2))
    error = np.abs(single - double) / unit_error
    print(f"{op:<34}{part:<6}{np.sqrt(np.mean(error**2)):>9.3f}{error.max():>9.2f}", flush=True)


def compare(op, function, inputs, layout=torch.contiguous_format):
    """inputs: name -> (shape, kind)."""
    results = {}
    for dtype in (torch.float64, torch.float32):
        tensors = {}
        for name, (shape, kind) in inputs.items():
            tensor = torch.from_numpy(drawn(f"{op}/{name}", shape, kind)).to(dtype)
            tensors[name] = tensor.to(memory_format=layout) if len(shape) == 4 else tensor
            tensors[name].requires_grad_()
        y = function(**tensors)
        dy = torch.from_numpy(drawn(f"{op}/dy", tuple(y.shape), "gradient")).to(dtype)
        (y * dy).sum().backward()
        results[dtype] = {"y": y} | {f"d{k}": t.grad for k, t in tensors.items()}
    for part in results[torch.float32]:
        show(op, part, results[torch.float32][part], results[torch.float64][part])


print(f"{'PyTorch ' + torch.__version__:<40}{'rms':>9}{'max':>9}")
for n, i, o in [(128, 784, 512), (128, 3072, 100)]:
    compare(
        f"dense {i}-{o}, batch {n}",
        lambda x, w, b: F.linear(x, w, b),
        {"x": ((n, i), "activation"), "w": ((o, i), "weight"), "b": ((o,), "gradient")},
    )
for n, side, i, o in [(64, 32, 3, 32), (64, 16, 64, 64), (64, 4, 512, 512)]:
    for layout in (torch.contiguous_format, torch.channels_last):
        if layout == torch.channels_last:
            print("channels_last:")
        compare(
            f"conv 3x3 {i}-{o} at {side}x{side}, batch {n}",
            lambda x, w, b: F.conv2d(x, w, b, padding=1),
            {"x": ((n, i, side, side), "activation"), "w": ((o, i, 3, 3), "weight"), "b": ((o,), "gradient")},
            layout,
        )
compare(
    "batch norm 32 at 32x32, batch 128",
    lambda x, gain, shift: F.batch_norm(x, None, None, gain, shift, training=True),
    {"x": ((128, 32, 32, 32), "activation"), "gain": ((32,), "activation"), "shift": ((32,), "gradient")},
)
compare(
    "layer norm 512, batch 128",
    lambda x, gain, shift: F.layer_norm(x, (512,), gain, shift),
    {"x": ((128, 512), "activation"), "gain": ((512,), "activation"), "shift": ((512,), "gradient")},
)
compare(
    "group norm 64/8 at 16x16, batch 64",
    lambda x, gain, shift: F.group_norm(x, 8, gain, shift),
    {"x": ((64, 64, 16, 16), "activation"), "gain": ((64,), "activation"), "shift": ((64,), "gradient")},
)
compare("global average 512 at 4x4", lambda x: F.adaptive_avg_pool2d(x, 1), {"x": ((64, 512, 4, 4), "activation")})
for op, function in {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
}.items():
    compare(f"{op} on [-4, 4)", lambda x: function(4 * x), {"x": ((1000, 100), "gradient")})
op = "cross-entropy 10, batch 128"
results = {}
for dtype in (torch.float64, torch.float32):
    x = torch.from_numpy(4 * drawn(f"{op}/x", (128, 10), "gradient")).to(dtype).requires_grad_()
    loss = F.cross_entropy(x, torch.arange(128) % 10)
    loss.backward()
    results[dtype] = {"y": loss, "dx": x.grad}
for part in ("y", "dx"):
    show(op, part, results[torch.float32][part], results[torch.float64][part])
