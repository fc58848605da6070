"""The numbers of `stages/tests/knobs.rs`: three steps of small networks with what `train` can be told of a step, in f64.

Every parameter is filled by one rule, so that no weights need to be stored. Run with PyTorch 2.15:
    python -P knobs.py
"""
import torch
from torch import nn
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
LABELS = torch.tensor([0, 2, 1, 2])


def fill(count, seed, scale):
    i = torch.arange(count, dtype=torch.int64)
    # 0..1023, exact in f32
    k = (i * 7919 + seed * 104729 + 1) * 31 % 1021
    return ((k.double() - 510) / 512 * scale).float().double()


def network():
    model = nn.Sequential(nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    for seed, p in enumerate(model.parameters()):
        p.data = fill(p.numel(), seed, 0.5).reshape(p.shape)
    return model


X = fill(4 * 12, 99, 2.0).reshape(4, 12)


def told(name, model):
    # of each parameter: the sum weighted by `fill`, which sees every element and its place
    sums = [(p.detach().flatten() * fill(p.numel(), 7, 1.0)).sum().item() for p in model.parameters()]
    print(f"const {name}: [f64; 6] = [" + ", ".join("%.9g" % s for s in sums) + "];")


def train(name, loss_of, groups=None, clip=None):
    model = network()
    parameters = groups(model) if groups else model.parameters()
    rule = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        rule.zero_grad()
        loss_of(model).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        rule.step()
    told(name, model)


def paced(model):
    first, second, third = model[0], model[2], model[4]
    first.requires_grad_(False)
    return [
        {"params": second.parameters(), "lr": 0.01},
        {"params": [third.weight], "lr": 0.1},
        {"params": [third.bias], "lr": 0.2},
    ]


def plain(model):
    return F.cross_entropy(model(X), LABELS)


def confident(model):
    # Pereyra et al. 2017, equation 3
    logits = model(X)
    p = F.softmax(logits, 1)
    entropy = -(p * p.log()).sum(1).mean()
    return F.cross_entropy(logits, LABELS) - 0.3 * entropy


def adversarial(model):
    # Goodfellow et al. 2015, section 6
    x = X.clone().requires_grad_()
    slope, = torch.autograd.grad(F.cross_entropy(model(x), LABELS), x)
    moved = X + 0.1 * slope.sign()
    return F.cross_entropy(model(X), LABELS) + 0.5 * F.cross_entropy(model(moved), LABELS)


def mixed(model):
    # Zhang et al. 2018, with the next image of the batch as the other one
    share = 0.3
    other = LABELS.roll(-1)
    x = share * X + (1 - share) * X.roll(-1, 0)
    logits = model(x)
    return share * F.cross_entropy(logits, LABELS) + (1 - share) * F.cross_entropy(logits, other)


train("PACED", plain, paced, clip=0.5)
train("CONFIDENT", confident)
train("ADVERSARIAL", adversarial)
train("MIXED", mixed)
