"""Weights in and out: the same network in `repro` and in PyTorch, or without it in NumPy.

`prepare` writes weights of its own (`theirs.safetensors`) and, for two images and every class, a
data set of this image with this label. A run then measures −ln p of each, so `compare` knows the
logits of `repro` up to a number for each image, which is what a softmax knows of them.
"""

import importlib.util
import sys

import numpy

from repro_pipeline import Project, write_tensors

IMAGES, CLASSES, HIDDEN = 2, 10, 16
HAS_TORCH = importlib.util.find_spec("torch") is not None


def network(weights):
    """The network as PyTorch has it."""
    import torch

    net = torch.nn.Sequential()
    net.add_module("fc1", torch.nn.Linear(256, HIDDEN))
    net.add_module("relu", torch.nn.ReLU())
    net.add_module("fc2", torch.nn.Linear(HIDDEN, CLASSES))
    if weights is not None:
        net.load_state_dict(weights)
    return net


def logits(tensors, inputs):
    flat = inputs.reshape(len(inputs), -1)
    if HAS_TORCH:
        import torch

        with torch.no_grad():
            return network(tensors.torch())(torch.from_numpy(flat)).double().numpy()
    w = {name: tensors[name].astype("float64") for name in tensors}
    hidden = numpy.maximum(flat @ w["fc1.weight"].T + w["fc1.bias"], 0)
    return hidden @ w["fc2.weight"].T + w["fc2.bias"]


def prepare(project):
    if HAS_TORCH:
        import torch

        torch.manual_seed(1)
        write_tensors("theirs.safetensors", network(None).state_dict())
    else:
        drawn = numpy.random.default_rng(1)
        shapes = {"fc1.weight": (HIDDEN, 256), "fc2.weight": (CLASSES, HIDDEN)}
        shapes.update({"fc1.bias": (HIDDEN,), "fc2.bias": (CLASSES,)})
        made = {n: drawn.normal(0, 0.2, s).astype("float32") for n, s in shapes.items()}
        write_tensors("theirs.safetensors", made)
    test = project.instance("data").data_set("test")
    for image in range(IMAGES):
        for label in range(CLASSES):
            write_tensors(
                f"probe/{image}-{label}.safetensors",
                {
                    "images": test.examples()[image : image + 1],
                    "labels": numpy.array([label], "uint8"),
                },
                test.tensors.metadata,
            )


def compare(project):
    from repro_pipeline import Tensors

    inputs = project.instance("data").data_set("test").inputs()[:IMAGES]
    assert inputs.shape == (IMAGES, 1, 16, 16)
    ours = project.instance("train[seed=1]").tensors()
    for stage, tensors in (("ours", ours), ("theirs", Tensors("theirs.safetensors"))):
        said = logits(tensors, inputs)
        there = said - numpy.log(numpy.exp(said).sum(axis=1, keepdims=True))
        here = numpy.zeros_like(there)
        for row in project.metrics(stage):
            if row["name"] == "nll":
                here[row["image"], row["label"]] = -row["value"]
        off = numpy.abs(here - there).max()
        assert off < 1e-5, (stage, off, here, there)
        assert numpy.ptp(here) > 0.1, "all logits are the same, which compares nothing"
        print(f"{stage}: logits differ by {off:.1e} at most")
    if not HAS_TORCH:
        print("skipped: torch is not installed; NumPy computed the logits in its place")


{"prepare": prepare, "compare": compare}[sys.argv[1]](Project("."))
