"""Training curves of PyTorch: `python curves.py [--steps 200] [NAME..]` writes curves/NAME.json, which tests/pytorch_curves.rs reads.

Every network starts from weights that both sides compute (see `first_weights`) and sees the published images in file order,
`batch` per step. Recorded per step: the loss in f64, and how far PyTorch's own f32 runs are from it at most, over runs that are
the same mathematics in another order of sums: as it is, and the images of every batch in reverse order, with convolutions also
channels_last (without, a third one: every batch rotated by half). On one thread. Reads ../shared/data beside the project, or
REPRO_MIRROR. Needs torch, on a CPU. In f64 the convolutional networks take minutes each, the
widest residual network an hour on one core.
"""

import argparse
import gzip
import json
import lzma
import os
import pathlib
import sys
import tarfile

import numpy as np
import torch
from torch.nn import functional as F

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "benches"))
from drawn import unit  # noqa: E402
from pytorch import build, optimizer  # noqa: E402

DATA = pathlib.Path(os.environ.get("REPRO_MIRROR", HERE.parent.parent.parent.parent / "shared/data"))
STEPS = 200


def mlp(*hidden):
    return {"mlp": {"hidden": list(hidden)}}


def conv(widths, dense, norm=False):
    layers = []
    for width in widths:
        if width == "M":
            layers.append({"pool": {"max": 2}})
            continue
        layers.append({"conv": {"channels": width}})
        if norm:
            layers.append({"batch_norm": {}})
        layers.append({"activation": "relu"})
    for width in dense:
        layers += [{"dense": width}, {"activation": "relu"}]
    return {"conv": {"layers": layers}}


def resnet(*widths):
    return {"resnet": {"widths": list(widths)}}


FOUR = [32, 32, "M", 64, 64, "M"]
SIX = [64, 64, "M", 128, 128, "M", 256, 256, "M"]
# Steps so small that no curve is chaotic. Where the sum before a ReLU is nearly 0, another order of its terms turns the unit on
# or off for an image, a kick of about 1e-5 to the gradient that no precision bounds; at ten times the rate, at the edge of
# stability, such kicks grew to differences of 0.01 between PyTorch's own runs, and would hide any mistake smaller than that.
SGD = {"sgd": {"lr": 0.001, "momentum": 0.9}}
# A fresh residual network with batch norm parts sooner: at SGD's rate by 0.004 within 15 steps.
GENTLE = {"sgd": {"lr": 0.0001, "momentum": 0.9}}
# With the usual eps of 1e-8 Adam divides gradients that are nothing but rounding by their own size.
ADAM = {"adam": {"lr": 0.0001, "eps": 1e-4}}
CURVES = {
    "lenet-300-100": ("mnist", mlp(300, 100), 60, SGD),
    "mlp-784-512-256": ("mnist", mlp(512, 256), 128, SGD),
    "mlp-784-512-256-adam": ("mnist", mlp(512, 256), 128, ADAM),
    "mlp-3072-100-100": ("cifar-10", mlp(100, 100), 128, SGD),
    "conv4": ("cifar-10", conv(FOUR, [512]), 128, SGD),
    "conv4-bn": ("cifar-10", conv(FOUR, [512], True), 128, SGD),
    "conv-2": ("cifar-10", conv(SIX[:3], [256, 256]), 60, SGD),
    "conv-4": ("cifar-10", conv(SIX[:6], [256, 256]), 60, SGD),
    "conv-6": ("cifar-10", conv(SIX, [256, 256]), 60, SGD),
    "resnet18-16": ("cifar-10", resnet(16, 32, 64, 128), 64, GENTLE),
    "resnet18-64": ("cifar-10", resnet(64, 128, 256, 512), 64, GENTLE),
}
MEAN_STD = {
    "mnist": ([0.1307], [0.3081]),
    "cifar-10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


def images(dataset, count):
    """The first training images as bytes, NCHW, and their labels."""
    if dataset == "mnist":
        pixels = gzip.open(DATA / "mnist/train-images-idx3-ubyte.gz").read(16 + count * 784)[16:]
        labels = gzip.open(DATA / "mnist/train-labels-idx1-ubyte.gz").read(8 + count)[8:]
        return np.frombuffer(pixels, np.uint8).reshape(count, 1, 28, 28), np.frombuffer(labels, np.uint8)
    records = []
    with lzma.open(DATA / "cifar-10/cifar-10-batches-bin.tar.xz") as packed:
        with tarfile.open(fileobj=packed) as archive:
            for batch in range(1, 6):
                member = archive.extractfile(f"cifar-10-batches-bin/data_batch_{batch}.bin")
                records.append(np.frombuffer(member.read(), np.uint8).reshape(-1, 3073))
                if sum(map(len, records)) >= count:
                    break
    records = np.concatenate(records)[:count]
    return records[:, 1:].reshape(count, 3, 32, 32), records[:, 0]


def normalised(pixels, dataset):
    """Three rounded f32 operations per pixel, as the data sets define it."""
    mean, std = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in MEAN_STD[dataset])
    return (pixels.astype(np.float32) / np.float32(255) - mean) / std


def first_weights(name, shape, fan_in):
    """U(-1, 1)/sqrt(fan_in), rounded once."""
    return unit(name, shape) * np.float32(np.sqrt(1.0 / fan_in))


def fill(net):
    """Dense and convolution weights and biases as above; batch norm starts at gain 1, shift 0."""
    with torch.no_grad():
        for prefix, module in net.named_modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                fan_in = module.weight[0].numel()
                for part, tensor in module.named_parameters():
                    value = first_weights(f"{prefix}.{part}", tuple(tensor.shape), fan_in)
                    tensor.copy_(torch.from_numpy(value))


def losses(spec, rule, x, labels, batch, steps, dtype, layout, order):
    size = (x.shape[2], x.shape[3], x.shape[1])
    net = build(spec, size, 10)
    fill(net)
    net = net.to(dtype).to(memory_format=layout).train()
    step = optimizer(rule, net.parameters())
    curve = []
    for k in range(steps):
        rows = order(np.arange(k * batch, (k + 1) * batch))
        inputs = torch.from_numpy(x[rows]).to(dtype).to(memory_format=layout)
        step.zero_grad()
        loss = F.cross_entropy(net(inputs), torch.from_numpy(labels[rows].astype(np.int64)))
        loss.backward()
        step.step()
        curve.append(loss.item())
        if dtype == torch.float64 and k % 20 == 0:
            print(f"  f64 step {k}: {curve[-1]:.6f}", flush=True)
    return np.array(curve)


def record(name, steps):
    dataset, spec, batch, rule = CURVES[name]
    pixels, labels = images(dataset, steps * batch)
    x = normalised(pixels, dataset)
    run = lambda *how: losses(spec, rule, x, labels, batch, steps, *how)  # noqa: E731
    as_it_is, reverse = lambda rows: rows, lambda rows: rows[::-1].copy()
    singles = [run(torch.float32, torch.contiguous_format, as_it_is)]
    if "mlp" in spec:
        rotated = lambda rows: np.roll(rows, batch // 2)  # noqa: E731
        singles += [run(torch.float32, torch.contiguous_format, how) for how in (reverse, rotated)]
    else:
        singles += [run(torch.float32, torch.channels_last, reverse)]
    double = run(torch.float64, torch.contiguous_format, as_it_is)
    spread = np.max([np.abs(single - double) for single in singles], axis=0)
    fixture = {
        "script": "stages/tests/reference/curves.py",
        "torch": torch.__version__.split("+")[0],
        "dataset": dataset,
        "model": spec,
        "batch": batch,
        "optimizer": rule,
        "f64": [float(f"{v:.10g}") for v in double],
        "f32_error": [float(f"{v:.2g}") for v in spread],
    }
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in fixture.items())
    text = "{\n" + lines + "\n}"
    (HERE / f"curves/{name}.json").write_text(text + "\n")
    print(f"{name}: {double[0]:.4f} -> {double[-1]:.4f}, f32 error at most {spread.max():.2g}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=STEPS)
    arguments.add_argument("names", nargs="*", default=list(CURVES))
    given = arguments.parse_args()
    for wanted in given.names:
        record(wanted, given.steps)
