"""What `repro` has recorded, in Python.

`Project` asks the command about a pipeline: its instances, metrics, claims, runs and figures.
`Tensors` reads and writes safetensors files, `DataSet` the data sets among them. NumPy, pandas,
polars and PyTorch are imported where they are asked for; nothing else is needed.
"""

from .dataset import DataSet
from .program import ReproError, program
from .project import Claim, Instance, Project
from .table import Table
from .tensors import Tensors, write_tensors

__all__ = [
    "Claim",
    "DataSet",
    "Instance",
    "Project",
    "ReproError",
    "Table",
    "Tensors",
    "program",
    "write_tensors",
]
