"""The numbers of pytorch.rs: one training step's logits and gradients of small networks, in f64.

Every parameter is filled by one rule, so that no weights need to be stored. Run with PyTorch 2.15:
    python pytorch.py
"""
import torch
from torch import nn
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def fill(count, seed, scale):
    i = torch.arange(count, dtype=torch.int64)
    # 0..1023, exact in f32
    k = (i * 7919 + seed * 104729 + 1) * 31 % 1021
    return ((k.double() - 510) / 512 * scale).float().double()


class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.downsample = None
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Resnet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block(4, 4, 1))
        self.layer2 = nn.Sequential(Block(4, 6, 2), Block(6, 6, 1))
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


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


def numbers(name, model, height, width):
    kinds = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    gains = {id(m.weight) for m in model.modules() if isinstance(m, kinds)}
    for seed, p in enumerate(model.parameters()):
        values = fill(p.numel(), seed, 0.5).reshape(p.shape)
        p.data = values + 1 if id(p) in gains else values
    # pixels are filled in memory order (row, column, channel)
    x = fill(4 * height * width * 3, 99, 2.0).reshape(4, height, width, 3).permute(0, 3, 1, 2)
    logits = model.train()(x)
    F.cross_entropy(logits, torch.tensor([0, 2, 1, 2])).backward()
    row = lambda values: "[" + ", ".join("%.9g" % v for v in values) + "]"
    print(f"const {name}_LOGITS: [f64; 12] = {row(logits.flatten().tolist())};")
    # of each gradient: the sum weighted by `fill`, which sees every element and its place
    sums = [(p.grad.flatten() * fill(p.numel(), 7, 1.0)).sum().item() for p in model.parameters()]
    print(f"const {name}_GRADIENTS: [f64; {len(sums)}] = {row(sums)};")
    print(f"const {name}_EVALUATED: [f64; 12] = {row(model.eval()(x).flatten().tolist())};")


numbers("RESNET", Resnet(), 8, 7)
numbers("MIXED", Mixed(), 6, 5)
