"""Softmax cross-entropy and mean squared error: `python losses.py` writes ops/losses.json.

Labels of row r are (7r + 3) mod classes; soft targets give 9/16 to that class, 4/16 to the next and 3/16 to the one after.
Logits and outputs are in [-scale, scale), scale a power of two. The targets of squared errors are
drawn as they are, in [-1, 1). The gradient is that of the loss itself: dloss is 1.
"""

import numpy as np
import torch
from torch.nn import functional as F

from cases import Cases
from drawn import unit

cases = Cases("losses")


def targets(rows, classes, kind):
    labels = torch.tensor([(7 * r + 3) % classes for r in range(rows)])
    if kind == "labels":
        return labels
    soft = torch.zeros(rows, classes, dtype=torch.float64)
    for r, label in enumerate(labels.tolist()):
        for offset, share in enumerate([9, 4, 3]):
            soft[r, (label + offset) % classes] += share / 16
    return soft


for rows, classes, scale, smoothing, kind in [
    (5, 10, 1.0, 0.0, "labels"),
    (5, 10, 32.0, 0.0, "labels"),
    (9, 7, 4.0, 0.1, "labels"),
    (3, 100, 2.0, 0.25, "labels"),
    (5, 10, 4.0, 0.0, "soft"),
    (9, 7, 32.0, 0.0, "soft"),
]:
    case = f"losses/{len(cases.cases)}"
    results = {}
    for dtype in (torch.float64, torch.float32):
        logits = torch.from_numpy(unit(f"{case}/x", (rows, classes)) * np.float32(scale)).to(dtype).requires_grad_()
        target = targets(rows, classes, kind)
        target = target.to(dtype) if kind == "soft" else target
        loss = F.cross_entropy(logits, target, label_smoothing=smoothing)
        loss.backward()
        results[dtype] = {"loss": loss.detach().double().numpy(), "dx": logits.grad.double().numpy()}
    options = {"smoothing": smoothing, "scale": scale}
    op = "cross_entropy" if kind == "labels" else "soft_cross_entropy"
    inputs = {"x": (rows, classes)}
    cases.record(case, op, options, inputs, results[torch.float64], results[torch.float32])
for rows, width, scale in [(5, 1, 1.0), (70, 3, 4.0), (1, 9, 32.0)]:
    case = f"losses/{len(cases.cases)}"
    results = {}
    for dtype in (torch.float64, torch.float32):
        outputs = torch.from_numpy(unit(f"{case}/x", (rows, width)) * np.float32(scale)).to(dtype).requires_grad_()
        loss = F.mse_loss(outputs, torch.from_numpy(unit(f"{case}/t", (rows, width))).to(dtype))
        loss.backward()
        results[dtype] = {"loss": loss.detach().double().numpy(), "dx": outputs.grad.double().numpy()}
    inputs = {"x": (rows, width), "t": (rows, width)}
    cases.record(case, "squared_error", {"scale": scale}, inputs, results[torch.float64], results[torch.float32])
cases.write()
