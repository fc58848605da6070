"""The other side of the training bench, and the networks that the reference scripts of the tests train.

`python pytorch.py JOB` (JSON: model, input, classes, batch, threads, optimizer, channels_last) trains on batches of noise
that are ready in memory as f32, takes one step, prints `ready`, and then serves `train SECONDS`, `eval SECONDS` (answers:
images and seconds) and `rss` (bytes) from standard input until it ends. Needs torch and nothing else.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}


class Block(nn.Module):
    """A basic block of He et al. 2016 with a 1x1 projection where the shape changes."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = nn.Sequential()
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet(nn.Module):
    """ResNet-18 for 32x32 images: a 3x3 stem without pooling; names as in torchvision."""

    def __init__(self, channels, widths, blocks, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.groups = len(widths)
        before = widths[0]
        for group, (width, count) in enumerate(zip(widths, blocks)):
            layers = []
            for block in range(count):
                layers.append(Block(before, width, 2 if group > 0 and block == 0 else 1))
                before = width
            setattr(self, f"layer{group + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for group in range(self.groups):
            x = getattr(self, f"layer{group + 1}")(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def build(model, size, classes):
    """The network of a pipeline file's `model` on images of (height, width, channels); its input is NCHW."""
    height, width, channels = size
    if "resnet" in model:
        spec = model["resnet"]
        return ResNet(channels, spec["widths"], spec.get("blocks", [2] * len(spec["widths"])), classes)
    net = nn.Sequential()
    counts = {}

    def add(sort, module):
        counts[sort] = counts.get(sort, 0) + 1
        net.add_module(f"{sort}{counts[sort]}", module)

    if "mlp" in model:
        layers = []
        for width_of_layer in model["mlp"]["hidden"]:
            layers += [{"dense": width_of_layer}, {"activation": model["mlp"].get("activation", "relu")}]
    else:
        layers = model["conv"]["layers"]
    features = None
    for layer in layers + [{"dense": classes}]:
        ((kind, value),) = layer.items()
        if kind == "conv":
            kernel, stride = value.get("kernel", 3), value.get("stride", 1)
            padding = kernel // 2
            add("conv", nn.Conv2d(channels, value["channels"], kernel, stride, padding))
            channels = value["channels"]
            height = (height + 2 * padding - kernel) // stride + 1
            width = (width + 2 * padding - kernel) // stride + 1
        elif kind == "batch_norm":
            add("bn", nn.BatchNorm2d(channels) if features is None else nn.BatchNorm1d(features))
        elif kind == "activation":
            add("activation", ACTIVATIONS[value]())
        elif kind == "pool":
            ((how, side),) = value.items()
            add("pool", {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[how](side))
            height, width = height // side, width // side
        elif kind == "dense":
            if features is None:
                add("flatten", nn.Flatten())
                features = channels * height * width
            add("fc", nn.Linear(features, value))
            features = value
        else:
            raise ValueError(f"unknown layer {kind}")
    return net


def optimizer(spec, parameters):
    """torch's optimizer for a pipeline file's `optimizer`."""
    ((kind, value),) = spec.items()
    if kind == "sgd":
        return torch.optim.SGD(parameters, **value)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind](parameters, **value)


# As many bytes as the other side's 10,000 images have as bytes, so that peak memory can be compared.
IMAGES = 2_500
TEST_IMAGES = 2_048
TEST_BATCH = 256


def peak_resident_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main(job):
    torch.set_num_threads(job["threads"])
    torch.manual_seed(1)
    layout = torch.channels_last if job["channels_last"] else torch.contiguous_format
    net = build(job["model"], job["input"], job["classes"]).to(memory_format=layout)
    rule = optimizer(job["optimizer"], net.parameters())
    height, width, channels = job["input"]

    def noise(count, size):
        return [
            (
                torch.randn(size, channels, height, width).to(memory_format=layout),
                torch.randint(0, job["classes"], (size,)),
            )
            for _ in range(count)
        ]

    batches = noise(max(1, IMAGES // job["batch"]), job["batch"])
    steps = 0

    def step():
        nonlocal steps
        x, labels = batches[steps % len(batches)]
        steps += 1
        rule.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        rule.step()

    def train(seconds):
        begun, images = time.perf_counter(), 0
        while True:
            step()
            images += job["batch"]
            spent = time.perf_counter() - begun
            if spent >= seconds:
                return images, spent

    def evaluate(seconds):
        test = noise(TEST_IMAGES // TEST_BATCH, TEST_BATCH)
        net.eval()

        def score():
            with torch.inference_mode():
                for x, labels in test:
                    logits = net(x)
                    F.cross_entropy(logits, labels).item()
                    (logits.argmax(1) == labels).sum().item()

        score()
        begun, images = time.perf_counter(), 0
        while images == 0 or time.perf_counter() - begun < seconds:
            score()
            images += TEST_IMAGES
        return images, time.perf_counter() - begun

    net.train()
    step()
    print("ready", flush=True)
    for line in sys.stdin:
        order, *rest = line.split()
        if order == "train":
            print(*train(float(rest[0])), flush=True)
        elif order == "eval":
            print(*evaluate(float(rest[0])), flush=True)
            net.train()
        else:
            print(peak_resident_bytes(), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
