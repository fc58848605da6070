"""Makes the files `torch.*` of this directory: state dicts as PyTorch writes them, images, and what the networks say of these.

    pip install torch safetensors numpy
    python3 torch_weights.py
    python3 torch_weights.py full DIR     # the same at the sizes of the studies, into another directory

Losses and accuracies are those of the weights as they lie in the file, computed in f64. `stages/tests/foreign.rs` reads all of it.
"""

import copy
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file, save_model
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benches"))
from pytorch import ResNet  # noqa: E402

FULL = sys.argv[1:2] == ["full"]
DIR = sys.argv[2] if FULL else "."
torch.manual_seed(7)


class Lenet(nn.Module):
    def __init__(self, inputs, hidden, classes):
        super().__init__()
        widths = [inputs, *hidden]
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            setattr(self, f"fc{i + 1}", nn.Linear(a, b))
        self.out, self.depth = nn.Linear(widths[-1], classes), len(hidden)

    def forward(self, x):
        x = torch.flatten(x, 1)
        for i in range(self.depth):
            x = F.relu(getattr(self, f"fc{i + 1}")(x))
        return self.out(x)


class Conv(nn.Module):
    def __init__(self, channels, a, b, units, side, classes):
        super().__init__()
        block = lambda i, o: [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*block(channels, a), *block(a, b))
        flat = b * (side // 4) ** 2
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(flat, units), nn.ReLU(), nn.Linear(units, classes))

    def forward(self, x):
        return self.classifier(self.features(x))


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


SIDE, CHANNELS, CLASSES, N = (32, 3, 10, 200) if FULL else (8, 2, 4, 40)
images = torch.randint(0, 256, (N, SIDE, SIDE, CHANNELS), dtype=torch.uint8)
labels = torch.randint(0, CLASSES, (N,))
mean, std = [0.5] * CHANNELS, [0.25] * CHANNELS
metadata = {"format": "repro.dataset.1", "name": "noise", "mean": ",".join(map(str, mean)), "std": ",".join(map(str, std)),
            "classes": json.dumps([str(c) for c in range(CLASSES)])}
save_file({"images": images, "labels": labels}, f"{DIR}/torch.data.safetensors", metadata=metadata)
x = ((images.float() / 255 - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2)

hidden = [300, 100] if FULL else [6, 5]
a, b, units = (16, 32, 128) if FULL else (3, 4, 6)
widths, blocks = ([64, 128, 256, 512], [2, 2, 2, 2]) if FULL else ([3, 4], [1, 2])
relu, norm = {"activation": "relu"}, {"batch_norm": {}}
conv = lambda c: [{"conv": {"channels": c}}, norm, relu, {"pool": {"max": 2}}]
lenet = {"mlp": {"hidden": hidden}}
conv = {"conv": {"layers": [*conv(a), *conv(b), {"dense": units}, relu]}}
resnet = {"resnet": {"widths": widths, "blocks": blocks}}
cases = []


def case(name, model, net, save=save_file, dtype=torch.float32, tensors=None):
    """Statistics of batch norm are those of a few batches; the file holds `dtype`, or what `tensors` makes of the state dict."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for batch in x.split(20):
            net(batch)
    net = net.to(dtype).eval()
    file = f"torch.{name}.safetensors"
    if save is save_file:
        state = tensors(net.state_dict()) if tensors else net.state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, f"{DIR}/{file}")
    else:
        save(net, f"{DIR}/{file}")
    with torch.no_grad():
        logits = net.double()(x.double())
        loss = F.cross_entropy(logits, labels).item()
        accuracy = (logits.argmax(1) == labels).double().mean().item()
    cases.append({"file": file, "model": model, "loss": loss, "accuracy": accuracy, "first": logits[0].tolist()})


flat = SIDE * SIDE * CHANNELS
case("lenet", lenet, Lenet(flat, hidden, CLASSES))
for name, dtype in [("half", torch.float16), ("bfloat16", torch.bfloat16), ("double", torch.float64)]:
    case(f"lenet.{name}", lenet, Lenet(flat, hidden, CLASSES), dtype=dtype)
case("conv.parallel", conv, nn.DataParallel(Conv(CHANNELS, a, b, units, SIDE, CLASSES)), dtype=torch.float16)
case("conv.wrapped", conv, Wrapped(Conv(CHANNELS, a, b, units, SIDE, CLASSES)), dtype=torch.bfloat16)
case("resnet", resnet, ResNet(CHANNELS, widths, blocks, CLASSES))
case("resnet.compiled", resnet, torch.compile(ResNet(CHANNELS, widths, blocks, CLASSES), backend="eager"), dtype=torch.float16)
# Two layers with one weight: save_file refuses, save_model writes it once and says so in the metadata.
width = hidden[-1]
tied = Lenet(flat, [width, width, width], CLASSES)
tied.fc3.weight = tied.fc2.weight
case("tied", {"mlp": {"hidden": [width] * 3}}, tied, save=save_model)
json.dump(cases, open(f"{DIR}/torch.json", "w"), indent=1)
