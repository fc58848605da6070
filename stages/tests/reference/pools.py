"""Pooling, with ties: `python pools.py` writes ops/pools.json. Inputs are multiples of 1/2, so that windows have ties."""

import numpy as np
from torch.nn import functional as F

from cases import Cases

cases = Cases("pools")
halves = lambda name, x: np.floor(x * 2) / np.float32(2)  # noqa: E731
for size, side in [((2, 3, 4, 4), 2), ((1, 2, 5, 7), 2), ((1, 2, 6, 6), 3)]:
    cases.add("max_pool2d", lambda x: F.max_pool2d(x, side), {"x": size}, options={"side": side}, prepare=halves)
    cases.add("avg_pool2d", lambda x: F.avg_pool2d(x, side), {"x": size}, options={"side": side})
cases.add("global_avg_pool", lambda x: F.adaptive_avg_pool2d(x, 1), {"x": (2, 3, 5, 4)})
cases.write()
