"""Reads event files with TensorBoard's own reader, and compares them with `repro metrics --all`.

    events.py DIRECTORY METRICS.json

Run and tag of each value are what docs/trackers.md promises.
"""

import json
import pathlib
import re
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

found = {}
for file in pathlib.Path(sys.argv[1]).rglob("*tfevents*"):
    run = file.parent.relative_to(sys.argv[1])
    events = EventAccumulator(str(file.parent), size_guidance={"scalars": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            assert event.wall_time > 1.7e9, event
            found[str(run), tag, event.step] = event.value

with open(sys.argv[2], encoding="utf-8") as file:
    rows = json.load(file)
expected = {}
for row in rows:
    stage, axes = re.fullmatch(r"([^[]*)(?:\[(.*)\])?", row["instance"]).groups()
    run = f"{stage}/{axes}" if axes else stage
    tag = f"{row['split']}/{row['name']}" if row["split"] else row["name"]
    step = row["epoch"] if row["epoch"] is not None else row["step"] or 0
    expected[run, tag, step] = struct.unpack("f", struct.pack("f", row["value"]))[0]
assert found == expected and len(found) > 40, (len(found), len(expected), found, expected)
