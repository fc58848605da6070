"""Data sets as networks see them.

Knows the file of a data set (docs/data.md of the project): images as bytes or floats, labels or
targets, and the constants that are taken off.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, List

from .tensors import PathLike, Tensors

if TYPE_CHECKING:
    import numpy
    import torch

FORMAT = "repro.dataset.1"


class DataSet:
    """A part of a data set."""

    def __init__(self, path: PathLike) -> None:
        self.tensors = Tensors(path)
        said = self.tensors.metadata
        if said.get("format") != FORMAT:
            raise ValueError(f"{self.tensors.path} is no data set of repro")
        self.name: str = said.get("name", "")
        self.classes: List[str] = json.loads(said.get("classes", "[]"))
        self.columns: List[str] = json.loads(said.get("columns", "[]"))
        self.targets: List[str] = json.loads(said.get("targets", "[]"))
        self._mean = _numbers(said.get("mean", ""))
        self._std = _numbers(said.get("std", ""))

    def __len__(self) -> int:
        shape = self.tensors.shape
        return shape("images" if "images" in self.tensors else "features")[0]

    def __repr__(self) -> str:
        return f"<DataSet {self.name} of {len(self)} examples>"

    def examples(self) -> "numpy.ndarray[Any, Any]":
        """The examples as the file has them: images [n, height, width, channels], or rows of a
        table [n, columns]."""
        return self.tensors["images" if "images" in self.tensors else "features"]

    def answers(self) -> "numpy.ndarray[Any, Any]":
        """The labels [n], or the targets [n, targets]."""
        if "targets" in self.tensors:
            return self.tensors["targets"]
        labels = self.tensors["labels"]
        return labels.astype("int64")

    def inputs(self) -> "numpy.ndarray[Any, Any]":
        """What a network is shown: float32, bytes divided by 255, mean and standard deviation
        taken off; images as [n, channels, height, width], as PyTorch has them."""
        import numpy as np

        values = self.examples()
        given = values.astype("float32")
        if values.dtype == np.uint8:
            given = given / np.float32(255)
        if self._mean:
            given = given - np.array(self._mean, "float32")
        if self._std:
            given = given / np.array(self._std, "float32")
        if given.ndim == 4:
            given = np.ascontiguousarray(given.transpose(0, 3, 1, 2))
        return given

    def torch(self) -> "torch.utils.data.TensorDataset":
        """Inputs and answers for a DataLoader."""
        import torch

        inputs, answers = torch.from_numpy(self.inputs()), torch.from_numpy(self.answers())
        return torch.utils.data.TensorDataset(inputs, answers)


def _numbers(text: str) -> List[float]:
    return [float(part) for part in text.split(",") if part.strip()]
