"""How an op's case is recorded: inputs by name and shape (see drawn.py), outputs in f64, PyTorch's own f32 error.

A case is a function of tensors; its gradients are those of sum(output * weight), where the weight is an input of its own
called d<output>. tests/pytorch_ops.rs reads what `Cases.write` writes. Images are NCHW, weights as PyTorch has them.
"""

import json
import pathlib

import numpy as np
import torch

from drawn import unit

HERE = pathlib.Path(__file__).resolve().parent


def listed(values):
    """Ten digits, three more than f32 has."""
    return [float(f"{v:.10g}") for v in np.asarray(values, np.float64).ravel()]


class Cases:
    def __init__(self, subject):
        self.subject = subject
        self.cases = []

    def add(self, op, function, inputs, output="y", options=None, prepare=lambda name, x: x):
        """Evaluates function(**tensors) -> tensor in both precisions, with the gradients of all inputs.

        `prepare` changes drawn numbers, exactly.
        """
        case = f"{self.subject}/{len(self.cases)}"
        drawn = {name: prepare(name, unit(f"{case}/{name}", shape)) for name, shape in inputs.items()}
        results = {}
        for dtype in (torch.float64, torch.float32):
            tensors = {k: torch.from_numpy(v.copy()).to(dtype).requires_grad_() for k, v in drawn.items()}
            y = function(**tensors)
            if y.requires_grad:
                weight = torch.from_numpy(unit(f"{case}/d{output}", tuple(y.shape))).to(dtype)
                (y * weight).sum().backward()
            of_run = {output: y} | {f"d{name}": t.grad for name, t in tensors.items() if t.grad is not None}
            results[dtype] = {k: v.detach().double().numpy() for k, v in of_run.items()}
        self.record(case, op, options or {}, inputs, results[torch.float64], results[torch.float32])

    def record(self, case, op, options, inputs, double, single):
        outputs = {
            name: {
                "shape": list(np.shape(value)),
                "f64": listed(value),
                "f32_error": float(f"{np.max(np.abs(single[name] - value)):.3g}"),
            }
            for name, value in double.items()
        }
        entry = {"case": case, "op": op, "options": options}
        self.cases.append(entry | {"inputs": {k: list(v) for k, v in inputs.items()}, "outputs": outputs})

    def write(self):
        head = {"script": f"stages/tests/reference/{self.subject}.py", "torch": torch.__version__.split("+")[0]}
        lines = ",\n".join(json.dumps(case) for case in self.cases)
        text = json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}\n"
        (HERE / f"ops/{self.subject}.json").write_text(text)
        print(f"{self.subject}: {len(self.cases)} cases, {len(text)} bytes")
