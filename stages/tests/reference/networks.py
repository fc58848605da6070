"""The numbers of `stages/src/nn/network/pytorch.rs`: one training step's logits and gradients of small networks, in f64.

Every parameter is filled by one rule, so that no weights need to be stored. Run with PyTorch 2.15:
    python networks.py
"""
import pathlib
import sys

import torch
from torch import nn
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benches"))
from pytorch import ResNet  # noqa: E402

torch.set_default_dtype(torch.float64)


def fill(count, seed, scale):
    i = torch.arange(count, dtype=torch.int64)
    # 0..1023, exact in f32
    k = (i * 7919 + seed * 104729 + 1) * 31 % 1021
    return ((k.double() - 510) / 512 * scale).float().double()


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, 1, 1, bias=False)
        self.gn1 = nn.GroupNorm(3, 6)
        self.b_conv1 = nn.Conv2d(6, 6, 3, 1, 1, groups=6)
        self.b_ln1 = nn.LayerNorm([6, 6, 5])
        self.b_conv2 = nn.Conv2d(6, 6, 1, bias=False)
        self.fc1 = nn.Linear(6 * 6 * 5, 4)
        self.ln1 = nn.LayerNorm(4)
        self.fc2 = nn.Linear(4, 3)

    def forward(self, x):
        x = F.gelu(self.gn1(self.conv1(x)))
        y = self.b_conv2(F.gelu(self.b_ln1(self.b_conv1(x)), approximate="tanh"))
        x = F.gelu(x + y)
        return self.fc2(self.ln1(self.fc1(x.flatten(1))))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(5 * 3, 7, batch_first=True)
        self.fc1 = nn.Linear(7, 3)

    def forward(self, x):
        # rows as a sequence; a row's values are (channel, column)
        rows = x.permute(0, 2, 1, 3).flatten(2)
        return self.fc1(self.rnn(rows)[0][:, -1])


class Memory(nn.Module):
    """torch.lstm; parameters by gate (input, forget, cell, output): of the row, bias, of the earlier output."""

    def __init__(self):
        super().__init__()
        shapes = [(7, 5 * 3), (7,), (7, 7)] * 4
        self.gates = nn.ParameterList([nn.Parameter(torch.zeros(s)) for s in shapes])
        self.fc1 = nn.Linear(7, 3)

    def forward(self, x):
        rows = x.permute(0, 2, 1, 3).flatten(2)
        g = list(self.gates)
        w, b, u = (torch.cat(g[i::3]) for i in range(3))
        zero = torch.zeros(1, len(x), 7)
        y, _, _ = torch.lstm(rows, (zero, zero), [w, u, b, torch.zeros_like(b)], True, 1, 0.0, False, False, True)
        return self.fc1(y[:, -1])


def numbers(name, model, height, width):
    kinds = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    gains = {id(m.weight) for m in model.modules() if isinstance(m, kinds)}
    # one bias is enough: PyTorch's second stays 0
    [p.data.zero_() for name, p in model.named_parameters() if "bias_hh" in name]
    parameters = [p for name, p in model.named_parameters() if "bias_hh" not in name]
    for seed, p in enumerate(parameters):
        values = fill(p.numel(), seed, 0.5).reshape(p.shape)
        p.data = values + 1 if id(p) in gains else values
    # pixels are filled in memory order (row, column, channel)
    x = fill(4 * height * width * 3, 99, 2.0).reshape(4, height, width, 3).permute(0, 3, 1, 2)
    logits = model.train()(x)
    F.cross_entropy(logits, torch.tensor([0, 2, 1, 2])).backward()
    row = lambda values: "[" + ", ".join("%.9g" % v for v in values) + "]"
    print(f"const {name}_LOGITS: [f64; 12] = {row(logits.flatten().tolist())};")
    # of each gradient: the sum weighted by `fill`, which sees every element and its place
    sums = [(p.grad.flatten() * fill(p.numel(), 7, 1.0)).sum().item() for p in parameters]
    print(f"const {name}_GRADIENTS: [f64; {len(sums)}] = {row(sums)};")
    print(f"const {name}_EVALUATED: [f64; 12] = {row(model.eval()(x).flatten().tolist())};")


numbers("RESNET", ResNet(3, [4, 6], [1, 2], 3), 8, 7)
numbers("MIXED", Mixed(), 6, 5)
numbers("RECURRENT", Recurrent(), 6, 5)
numbers("MEMORY", Memory(), 6, 5)
