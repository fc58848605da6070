"""Where the command is, and asking it.

Knows nothing of what the answers mean.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Sequence


class ReproError(Exception):
    """What the command said when it could not do what it was asked for."""


def program() -> str:
    """The command: `REPRO_PROGRAM`, the one that was installed with this package, or the first in
    `PATH`."""
    named = os.environ.get("REPRO_PROGRAM")
    if named:
        return named
    # Of the environment, and of `pip install --user`.
    for scripts in (
        sysconfig.get_path("scripts"),
        sysconfig.get_path("scripts", f"{os.name}_user"),
    ):
        installed = Path(scripts) / "repro"
        if installed.is_file():
            return str(installed)
    found = shutil.which("repro")
    if found is None:
        raise ReproError(
            "the command `repro` is not installed; put it into PATH, or name it in REPRO_PROGRAM"
        )
    return found


def ask(args: Sequence[str], command: str | None = None) -> str:
    """Runs the command to its end and gives what it wrote."""
    said = subprocess.run(
        [command or program(), *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    if said.returncode != 0:
        raise ReproError(said.stderr.strip() or f"`repro` ended with code {said.returncode}")
    return said.stdout


def ask_json(args: Sequence[str], command: str | None = None) -> Any:
    """The answer of a command with `--json`."""
    return json.loads(ask([*args, "--json"], command))
