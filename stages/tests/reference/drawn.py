"""Numbers that both sides of a comparison compute, so that fixtures need not hold them."""

import numpy as np


def unit(name, shape):
    """f32 in [-1, 1), multiples of 2^-23: element i (C order) is splitmix64 at fnv1a(name) + (i + 1)*golden, upper 24 bits."""
    with np.errstate(over="ignore"):
        key = np.uint64(0xCBF29CE484222325)
        for byte in name.encode():
            key = (key ^ np.uint64(byte)) * np.uint64(0x100000001B3)
        count = int(np.prod(shape))
        z = key + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    drawn = (z >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    return drawn.reshape(shape)
