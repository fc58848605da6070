"""Dense layers and convolutions: `python products.py` writes ops/products.json."""

from torch.nn import functional as F

from cases import Cases

cases = Cases("products")
for n, i, o in [(3, 5, 4), (1, 1, 1), (2, 7, 18), (2, 60, 3)]:
    cases.add("dense", lambda x, w, b: F.linear(x, w, b), {"x": (n, i), "w": (o, i), "b": (o,)})

# (images, channels, height, width), outputs, kernel, stride, padding
CONVOLUTIONS = [
    ((2, 3, 4, 5), 4, 1, 1, 0),
    ((2, 3, 5, 5), 2, 1, 2, 0),
    ((2, 3, 4, 5), 3, 3, 1, 1),
    ((1, 1, 4, 5), 17, 3, 1, 0),
    ((2, 2, 5, 6), 3, 3, 2, 1),
    ((1, 2, 5, 5), 2, 3, 3, 2),
    ((1, 2, 6, 5), 2, 5, 1, 2),
    ((1, 1, 9, 7), 2, 5, 2, 0),
]
for size, outputs, kernel, stride, padding in CONVOLUTIONS:
    cases.add(
        "conv2d",
        lambda x, w, b: F.conv2d(x, w, b, stride, padding),
        {"x": size, "w": (outputs, size[1], kernel, kernel), "b": (outputs,)},
        options={"stride": stride, "padding": padding},
    )
for size, kernel, stride, padding in [((2, 3, 4, 5), 3, 1, 1), ((1, 18, 3, 3), 3, 2, 1), ((1, 2, 6, 6), 5, 2, 2)]:
    cases.add(
        "depthwise",
        lambda x, w, b: F.conv2d(x, w, b, stride, padding, groups=size[1]),
        {"x": size, "w": (size[1], 1, kernel, kernel), "b": (size[1],)},
        options={"stride": stride, "padding": padding},
    )
cases.write()
