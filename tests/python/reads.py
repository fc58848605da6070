"""The package reads what the command says: called in a project whose stages have results.

`metrics.json` and `all.json` are what `repro metrics --json` wrote, with and without `--all`;
`figures.txt` is what `repro plot --list` wrote. What needs a package that is not installed is
named on a line that begins with `skipped: `.
"""

import importlib.util
import json
import math
import sys

from repro_pipeline import Project, ReproError, Tensors, write_tensors

PLACE = ["run", "seed", "epoch", "step", "split", "name", "output", "instance"]


def has(package):
    if importlib.util.find_spec(package) is None:
        print(f"skipped: {package} is not installed")
        return False
    return True


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def rows_are_those_of_the_command(project):
    for path, every in (("metrics.json", False), ("all.json", True)):
        expected, found = read(path), project.metrics(all=every)
        assert len(found) == len(expected) > 0, path
        for want, got in zip(expected, found):
            assert [want[name] for name in PLACE] == [got[name] for name in PLACE], (want, got)
            assert want["value"] == got["value"], (want, got)
            assert want["stage"] == got["group"], (want, got)
    names = {"learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy"}
    assert set(found.column("metric")) == names
    assert found.column("lr")[0] == 0.01, found[0]
    assert {row["stage"] for row in found} == {"train"}


def data_frames_have_these_values(project):
    table = project.metrics(all=True)
    values = [row["value"] for row in read("all.json")]
    if has("numpy"):
        assert table.numpy("value").tolist() == values
        assert table.numpy("epoch").dtype.kind == "i"
    if has("pandas"):
        frame = table.pandas()
        assert list(frame.columns) == table.columns
        assert frame["value"].tolist() == values
        assert frame["split"].iloc[0] == "train"
        mean = frame.query("name == 'accuracy' and split == 'test'").groupby("lr")["value"].mean()
        assert len(mean) == 2, mean
        gap = project.metrics("train[lr=0.01,seed=0]").pandas()["run"]
        assert gap.isna().all()
    if has("polars"):
        frame = table.polars()
        assert frame["value"].to_list() == values
        assert frame["lr"].dtype.is_float(), frame.schema
        import polars

        path = project.write_parquet("all.parquet")
        assert polars.read_parquet(path)["value"].to_list() == values


def a_table_has_a_row_for_each_instance(project):
    table = project.table()
    assert [row["instance"] for row in table] == [i.name for i in project.instances("train")]
    last = {(m["instance"], m["split"], m["name"]): m["value"] for m in read("metrics.json")}
    for row in table:
        assert row["test_accuracy"] == last[row["instance"], "test", "accuracy"]
        assert row["learning_rate"] == row["lr"] == last[row["instance"], None, "learning_rate"]
    assert table.columns[:4] == ["instance", "stage", "lr", "seed"], table.columns


def claims_figures_and_runs_are_told(project):
    (claim,) = project.claims()
    assert (claim.name, claim.n) == ("faster", 2) and claim.low < claim.estimate < claim.high
    (claim,) = Project(".", set={"epochs": 4}).claims()
    assert claim.verdict is None and claim.estimate is None, claim
    with open("figures.txt", encoding="utf-8") as file:
        listed = sorted(line.split()[0] for line in file)
    figures = project.figures()
    assert sorted(figures) == listed
    curve = figures["curve-test-accuracy"]
    assert curve.columns == ["series", "epoch", "mean", "low", "high", "n"]
    assert curve.column("epoch")[:3] == [1, 2, 3] and isinstance(curve[0]["mean"], float)
    assert list(project.figures("last-test-loss")) == ["last-test-loss"]
    assert project.runs()[0]["summary"]["failed"] == 0
    assert project.recorded("data")["preimage"]["kind"]["name"] == "download"


def paths_are_those_of_the_result_that_was_asked_for(project):
    instance = project.instance("train[lr=0.1,seed=1]")
    assert instance.axes == {"lr": 0.1, "seed": 1} and instance.state == "cached"
    assert instance.path("model").name == "model.safetensors"
    for wrong in ("nothing", "train"):
        try:
            project.instance(wrong)
        except ReproError as error:
            assert wrong in str(error), error
        else:
            raise AssertionError(wrong)
    other = Project(".", set={"epochs": 4}).instance("train[lr=0.1,seed=1]")
    assert other.state == "stale" and not other.shown
    try:
        other.path("model")
    except ReproError as error:
        assert "has no result (it is stale)" in str(error), error
    else:
        raise AssertionError("a result of other parameters was taken for it")
    # Whoever has changed the file gets no result, but a word.
    path = instance.path("metrics")
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(before + b"x")
    try:
        project.instance(instance.name).path("metrics")
    except ReproError as error:
        assert "artifacts/ does not show this result" in str(error), error
    else:
        raise AssertionError("a changed file was taken for the result")
    path.write_bytes(before)


def tensors_are_those_of_the_library(project):
    if not has("numpy"):
        return
    import numpy

    tensors = project.instance("train[lr=0.1,seed=1]").tensors()
    assert list(tensors) == ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"]
    assert tensors.shape("fc1.weight") == (16, 256) and "repro.model" in tensors.metadata
    made = {
        "halves": numpy.arange(6, dtype="float16").reshape(2, 3),
        "number": numpy.array(7, dtype="int64"),
        "turned": numpy.arange(6, dtype="float32").reshape(2, 3).T,
        "big": numpy.arange(3, dtype=">f8"),
        "none": numpy.zeros((0, 2), dtype="uint8"),
        "flags": numpy.array([True, False]),
    }
    write_tensors("made.safetensors", made, {"format": "pt"})
    again = Tensors("made.safetensors")
    assert again.metadata == {"format": "pt"} and sorted(again) == sorted(made)
    for name, array in made.items():
        assert again[name].shape == array.shape and (again[name] == array).all(), name
    with open("made.safetensors", "rb") as file:
        short = file.read()[:-1]
    with open("short.safetensors", "wb") as file:
        file.write(short)
    try:
        Tensors("short.safetensors").numpy()
    except ValueError as error:
        assert "ends in the middle of" in str(error), error
    else:
        raise AssertionError("half a file was read")
    if has("safetensors"):
        from safetensors.numpy import load_file

        theirs = load_file("made.safetensors")
        assert all((theirs[name] == array).all() for name, array in made.items())
        theirs = load_file(str(tensors.path))
        assert all((theirs[name] == array).all() for name, array in tensors.items())


def values_that_are_no_numbers_are_nan():
    found = Project("diverged").metrics()
    assert [math.isnan(row["value"]) for row in found] == [False, True], list(found)
    assert found.column("axis_name") == ["a", "a"], found.columns
    assert found.column("which") == [1, 1]


project = Project(".")
rows_are_those_of_the_command(project)
data_frames_have_these_values(project)
a_table_has_a_row_for_each_instance(project)
claims_figures_and_runs_are_told(project)
paths_are_those_of_the_result_that_was_asked_for(project)
tensors_are_those_of_the_library(project)
values_that_are_no_numbers_are_nan()
assert "numpy" in sys.modules or importlib.util.find_spec("numpy") is None
