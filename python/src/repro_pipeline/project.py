"""A project: what its command says of instances, metrics, claims, runs and figures."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .dataset import DataSet
from .program import ReproError, ask, ask_json
from .table import Row, Table
from .tensors import PathLike, Tensors

# Of the rows of a table of metrics. `group` is what the table itself calls `stage`, `metric` the name
# that claims use.
_PLACE = ["run", "group", "seed", "epoch", "step", "split", "name", "metric", "value"]
_FIRST = ["instance", "stage"]


@dataclass(frozen=True)
class Claim:
    """The verdict on a claim; all but the name and `n` are None where it is not decided yet."""

    name: str
    verdict: Optional[str]
    estimate: Optional[float]
    low: Optional[float]
    high: Optional[float]
    confidence: Optional[float]
    n: Optional[int]
    expect: Optional[str]


@dataclass(frozen=True)
class Instance:
    """A stage instance and what is recorded for it."""

    name: str
    stage: str
    axes: Dict[str, Any]
    kind: str
    state: str
    key: Optional[str]
    outputs: Dict[str, str]
    """Digests by output; empty where there is no result."""
    shown: Dict[str, str]
    """Paths by output, from the project's directory, where `artifacts/` shows this very result."""
    root: Path = field(repr=False)

    def path(self, output: str) -> Path:
        """Where the file or directory of an output lies under `artifacts/`. An error where there is
        none, or where it shows a result made with other parameters."""
        if output in self.shown:
            return self.root / self.shown[output]
        if output in self.outputs:
            raise ReproError(
                f"artifacts/ does not show this result of {self.name}; "
                f"`repro run '{self.name}'` shows it"
            )
        if not self.outputs:
            raise ReproError(f"{self.name} has no result (it is {self.state})")
        raise ReproError(
            f"{self.name} has no output {output!r}; it has {', '.join(sorted(self.outputs))}"
        )

    def tensors(self, output: str = "model") -> Tensors:
        """Weights, masks, and whatever else is a safetensors file."""
        return Tensors(self.path(output))

    def data_set(self, output: str = "data") -> DataSet:
        """An output that is a part of a data set."""
        return DataSet(self.path(output))


class Project:
    """A pipeline and what is recorded for it.

    Every method asks the command, executes no stage, and knows what is recorded at that moment.
    `set` and `profile` are the options of the command: results are those of the parameters as given
    here.
    """

    def __init__(
        self,
        path: PathLike = ".",
        *,
        set: Optional[Mapping[str, Any]] = None,
        profile: Sequence[str] = (),
        offline: bool = False,
        program: Optional[str] = None,
    ) -> None:
        self.path = Path(path)
        self._program = program
        self._offline = offline
        self._options = ["--file", os.fspath(self.path)]
        profiles = [profile] if isinstance(profile, str) else profile
        for name in profiles:
            self._options += ["--profile", name]
        for key, value in (set or {}).items():
            self._options += ["--set", f"{key}={_yaml(value)}"]

    def __repr__(self) -> str:
        return f"<Project {self.path}>"

    @property
    def root(self) -> Path:
        """The directory of the pipeline."""
        return self.path if self.path.is_dir() else self.path.parent

    def instances(self, *targets: str) -> List[Instance]:
        """The instances of these stages or claims, by default all, in the order of the plan."""
        rows = self._json("status", targets)
        return [
            Instance(
                name=row["instance"],
                stage=row["stage"],
                axes=row["axes"],
                kind=row["kind"],
                state=row["state"],
                key=row["key"],
                outputs=row["outputs"],
                shown=row["shown"],
                root=self.root,
            )
            for row in rows
        ]

    def instance(self, name: str) -> Instance:
        """One instance by its name, such as `train[lr=0.1,seed=1]`."""
        found = self.instances(name)
        if len(found) != 1:
            names = ", ".join(instance.name for instance in found)
            raise ReproError(f"{name} is not one instance: {names}")
        return found[0]

    def metrics(self, *targets: str, all: bool = False) -> Table:
        """The values of tables of metrics, a row for each: the last of every metric, or all of
        them. Axes are columns, as numbers where they are numbers. A value that is no number is
        NaN."""
        options = ["--all"] if all else []
        found = self._json("metrics", targets, *options, *self._network())
        axes = {instance.name: instance for instance in self.instances(*targets)}
        names = _axis_columns(axes.values())
        rows: List[Row] = []
        for metric in found:
            instance = axes[metric["instance"]]
            row: Row = {**metric, "group": metric["stage"], "stage": instance.stage}
            split = f"{metric['split']}_" if metric["split"] is not None else ""
            row["metric"] = split + metric["name"]
            row["value"] = float("nan") if metric["value"] is None else float(metric["value"])
            # The axis says what the table says, and has it for every table.
            row.update({names[axis]: value for axis, value in instance.axes.items()})
            rows.append(row)
        others = [column for column in names.values() if column not in _PLACE]
        columns = [*_FIRST, *others, "output", *_PLACE]
        return Table(columns, rows)

    def table(self, *targets: str) -> Table:
        """A row for each instance with metrics: its axes, and the last value of each metric under
        the name that claims use (`test_accuracy`). What a table says of several runs or groups
        within it is left out; `metrics` has it."""
        last = self.metrics(*targets)
        names = [c for c in last.columns if c not in ["output", *_PLACE] or c == "seed"]
        rows: Dict[str, Row] = {}
        metrics: List[str] = []
        for value in last:
            if value["run"] is not None or value["group"] is not None:
                continue
            row = rows.setdefault(value["instance"], {name: value[name] for name in names})
            metric = value["metric"]
            if metric not in metrics:
                metrics.append(metric)
            row[metric] = value["value"]
        has_seed = any(row["seed"] is not None for row in rows.values())
        columns = [name for name in names if name != "seed" or has_seed]
        return Table([*columns, *(m for m in metrics if m not in columns)], list(rows.values()))

    def write_parquet(self, path: PathLike, *targets: str, all: bool = True) -> Path:
        """Writes the values to one Parquet file, which costs less than `metrics` where there are
        millions of them."""
        options = ["--all"] if all else []
        args = ["metrics", *targets, *self._options, *options, *self._network()]
        ask([*args, "--parquet", os.fspath(path)], self._program)
        return Path(path)

    def claims(self, *targets: str) -> List[Claim]:
        """The verdicts."""
        return [
            Claim(
                name=claim["name"],
                verdict=claim["verdict"],
                estimate=claim.get("estimate"),
                low=claim.get("low"),
                high=claim.get("high"),
                confidence=claim.get("confidence"),
                n=claim.get("n"),
                expect=claim.get("expect"),
            )
            for claim in self._json("claims", targets, *self._network())
        ]

    def figures(self, *names: str) -> Dict[str, Table]:
        """The numbers of the report's figures by name, as `repro plot` draws them; by default
        all."""
        with tempfile.TemporaryDirectory() as made:
            args = ["plot", *names, *self._options, *self._network(), "--output", made]
            ask(args, self._program)
            return {file.stem: _read_csv(file) for file in sorted(Path(made).glob("*.csv"))}

    def runs(self) -> List[Dict[str, Any]]:
        """The runs of `repro run`, the newest first, as `repro log --json` has them."""
        args = ["log", "--file", os.fspath(self.path)]
        return list(ask_json(args, self._program))

    def recorded(self, instance: str) -> Dict[str, Any]:
        """All that is recorded for an instance: what its key is made of, its results, who made them
        when, and what that took (`repro show --json`)."""
        return dict(self._json("show", [instance]))

    def _json(self, command: str, targets: Sequence[str], *options: str) -> Any:
        return ask_json([command, *targets, *self._options, *options], self._program)

    def _network(self) -> List[str]:
        return ["--offline"] if self._offline else []


def _axis_columns(instances: Any) -> Dict[str, str]:
    """The column of each axis. `seed` and `run` are the table's own columns of that meaning; an
    axis that is called like another column gets a name beside it."""
    names: Dict[str, str] = {}
    taken = {*_FIRST, "output", *_PLACE} - {"seed", "run"}
    for instance in instances:
        for axis in instance.axes:
            names[axis] = f"axis_{axis}" if axis in taken else axis
    return names


def _read_csv(path: Path) -> Table:
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    columns = lines[0] if lines else []
    rows = [dict(zip(columns, map(_value, line))) for line in lines[1:]]
    return Table(columns, rows)


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text or None


def _yaml(value: Any) -> str:
    """A value for `--set`, which is YAML; JSON is YAML, so "3" stays a text."""
    return json.dumps(value, ensure_ascii=False)
