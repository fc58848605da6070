"""Batch, layer and group norm: `python norms.py` writes ops/norms.json.

Variances are drawn in [-1, 1) like everything and made positive by adding 2.
"""

import numpy as np
import torch
from torch.nn import functional as F

from cases import Cases

cases = Cases("norms")
BATCHES = [(3, 2, 3, 4), (6, 2, 1, 1), (35, 2, 2, 1)]
positive = lambda name, x: x + np.float32(2) if name == "variance" else x  # noqa: E731


def running(x, mean, variance):
    """The running statistics after one batch, with PyTorch's momentum of 0.1."""
    mean, variance = mean.detach().clone(), variance.detach().clone()
    F.batch_norm(x, mean, variance, training=True)
    return torch.cat([mean, variance])


for size in BATCHES:
    channels = (size[1],)
    cases.add(
        "batch_norm_train",
        lambda x, gain, shift: F.batch_norm(x, None, None, gain, shift, training=True),
        {"x": size, "gain": channels, "shift": channels},
    )
    cases.add(
        "batch_norm_eval",
        lambda x, gain, shift, mean, variance: F.batch_norm(x, mean.detach(), variance.detach(), gain, shift),
        {"x": size, "gain": channels, "shift": channels, "mean": channels, "variance": channels},
        prepare=positive,
    )
    cases.add(
        "batch_norm_running",
        running,
        {"x": size, "mean": channels, "variance": channels},
        output="running",
        prepare=positive,
    )
for rows, features in [(3, 8), (2, 37)]:
    cases.add(
        "layer_norm",
        lambda x, gain, shift: F.layer_norm(x, (features,), gain, shift),
        {"x": (rows, features), "gain": (features,), "shift": (features,)},
    )
for size, groups in [((2, 6, 2, 3), 3), ((2, 4, 3, 3), 1), ((2, 3, 2, 3), 3)]:
    cases.add(
        "group_norm",
        lambda x, gain, shift: F.group_norm(x, groups, gain, shift),
        {"x": size, "gain": (size[1],), "shift": (size[1],)},
        options={"groups": groups},
    )
cases.write()
