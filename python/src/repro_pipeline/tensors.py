"""Files of tensors (safetensors), read and written as they are.

A small reader and writer of its own, so that reading weights needs no package but NumPy. It knows
nothing of networks: `Tensors.metadata` is text.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Tuple, Union

if TYPE_CHECKING:
    import numpy
    import torch

PathLike = Union[str, "os.PathLike[str]"]

# The format's names, and NumPy's. NumPy has no bfloat16: see `numpy`.
_TYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
# Larger heads are no heads of such files.
_HEAD_MOST = 100_000_000


class Tensors(Mapping[str, "numpy.ndarray[Any, Any]"]):
    """A file of tensors: a map from name to array, and the texts that the file says of itself."""

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        with open(self.path, "rb") as file:
            begin = file.read(8)
            length = struct.unpack("<Q", begin)[0] if len(begin) == 8 else _HEAD_MOST + 1
            if length > _HEAD_MOST:
                raise ValueError(f"{self.path} is no safetensors file")
            try:
                head = json.loads(file.read(length))
            except ValueError:
                raise ValueError(f"{self.path} is no safetensors file") from None
        self.metadata: Dict[str, str] = head.pop("__metadata__", {})
        self._entries: Dict[str, Dict[str, Any]] = dict(sorted(head.items()))
        self._start = 8 + length

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __repr__(self) -> str:
        return f"<Tensors {self.path}: {', '.join(self._entries)}>"

    def shape(self, name: str) -> Tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return tuple(self._entries[name]["shape"])

    def __getitem__(self, name: str) -> "numpy.ndarray[Any, Any]":
        """A tensor as an array of its own. A bfloat16 becomes the float32 of the same value."""
        import numpy as np

        entry = self._entries[name]
        begin, end = entry["data_offsets"]
        with open(self.path, "rb") as file:
            file.seek(self._start + begin)
            data = file.read(end - begin)
        if len(data) != end - begin:
            raise ValueError(f"{self.path} ends in the middle of {name}")
        kind = entry["dtype"]
        if kind == "BF16":
            upper = np.frombuffer(data, "<u2").astype("<u4") << np.uint32(16)
            array = upper.view("<f4")
        elif kind in _TYPES:
            array = np.frombuffer(data, _TYPES[kind]).copy()
        else:
            raise ValueError(f"{self.path}: {name} has the type {kind}, which NumPy has not")
        return array.reshape(entry["shape"])

    def numpy(self) -> "Dict[str, numpy.ndarray[Any, Any]]":
        """All tensors as arrays of NumPy."""
        return {name: self[name] for name in self}

    def torch(self) -> "Dict[str, torch.Tensor]":
        """All tensors for PyTorch: a state dict."""
        import torch

        return {name: torch.from_numpy(self[name]) for name in self}


def write_tensors(
    path: PathLike, tensors: Mapping[str, Any], metadata: "Mapping[str, str] | None" = None
) -> None:
    """Writes arrays of NumPy or tensors of PyTorch (a state dict) as safetensors. The same tensors
    give the same bytes."""
    import numpy as np

    names = {kind: name for name, kind in _TYPES.items()}
    head: Dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    parts: List[bytes] = []
    at = 0
    for name in sorted(tensors):
        value = tensors[name]
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        # `ascontiguousarray` would make a row of a number.
        array = np.asarray(value, order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        kind = names.get(array.dtype.str)
        if kind is None:
            raise ValueError(f"{name} has the type {array.dtype}, which no such file can hold")
        data = array.tobytes()
        head[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        at += len(data)
        parts.append(data)
    text = json.dumps(head, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        file.writelines(parts)
