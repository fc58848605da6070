"""Pointwise functions and sums: `python activations.py` writes ops/activations.json. Inputs are in [-8, 8), and some are 0."""

import numpy as np
import torch
from torch.nn import functional as F

from cases import Cases

cases = Cases("activations")
FUNCTIONS = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


def wide(name, x):
    x = x * np.float32(8)
    x[0, ::7] = 0
    return x


for op, function in FUNCTIONS.items():
    cases.add(op, lambda x: function(x), {"x": (4, 14)}, prepare=wide)
cases.add("add", lambda a, b: a + b, {"a": (4, 9), "b": (4, 9)})
cases.write()
