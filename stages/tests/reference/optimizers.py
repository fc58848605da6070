"""Optimizer steps and averages: `python optimizers.py` writes ops/optimizers.json.

A parameter of seven elements takes five steps; the gradient of step k is drawn as `<case>/g<k>`. `options` is what a pipeline
file says; w is the parameter after every step, [5, 7].
"""

import numpy as np
import torch

from cases import Cases
from drawn import unit

cases = Cases("optimizers")
STEPS, LENGTH = 5, 7


def make(options, parameters):
    ((kind, value),) = options.items()
    value = dict(value)
    decay = value.pop("weight_decay", None)
    if kind == "sgd":
        return torch.optim.SGD(parameters, **value, weight_decay=decay["l2"] if decay else 0)
    if kind == "adamw":
        return torch.optim.AdamW(parameters, **value, weight_decay=decay)
    return torch.optim.Adam(parameters, **value, weight_decay=decay["l2"] if decay else 0)


def way(case, options, dtype):
    w = torch.from_numpy(unit(f"{case}/w", (LENGTH,))).to(dtype).requires_grad_()
    rule, ways = make(options, [w]), []
    for k in range(STEPS):
        w.grad = torch.from_numpy(unit(f"{case}/g{k}", (LENGTH,))).to(dtype)
        rule.step()
        ways.append(w.detach().double().numpy().copy())
    return {"w": np.stack(ways)}


for options in [
    {"sgd": {"lr": 0.1}},
    {"sgd": {"lr": 0.1, "weight_decay": {"l2": 0.01}}},
    {"sgd": {"lr": 0.1, "momentum": 0.9}},
    {"sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": {"l2": 0.01}}},
    {"sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": {"l2": 0.01}}},
    {"adam": {}},
    {"adam": {"lr": 0.1, "betas": [0.8, 0.99], "eps": 1e-4, "weight_decay": {"l2": 0.01}}},
    {"adamw": {"lr": 0.1, "weight_decay": 0.1}},
]:
    case = f"optimizers/{len(cases.cases)}"
    results = [way(case, options, dtype) for dtype in (torch.float64, torch.float32)]
    cases.record(case, "optimizer", options, {"w": (LENGTH,)}, *results)

# torch.optim.swa_utils' moving average of five models m0 .. m4; it starts as the first.
for decay in [0.75, 0.999]:
    case = f"optimizers/{len(cases.cases)}"
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    results = []
    for dtype in (torch.float64, torch.float32):
        models = [torch.from_numpy(unit(f"{case}/m{k}", (LENGTH,))).to(dtype) for k in range(STEPS)]
        ema = [models[0].clone()]
        for model in models[1:]:
            average(ema, [model], None)
        results.append({"ema": ema[0].double().numpy()})
    cases.record(case, "ema", {"decay": decay}, {"m0": (LENGTH,)}, *results)
cases.write()
