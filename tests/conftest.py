"""Shared fixtures: a workspace with the samples in it, and the command in a process of its own."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

from dataprep import init_workspace


@dataclass(frozen=True)
class Ran:
    """A command that has ended: its exit code, what it wrote, what it said."""

    code: int
    out: bytes
    err: str


@pytest.fixture
def workspace(tmp_path):
    """A new workspace with the sample datasets."""
    return init_workspace(tmp_path / "workspace")


@pytest.fixture
def run(tmp_path):
    """Run ``dataprep`` with the given arguments in ``tmp_path``; keywords go to ``subprocess.run``."""

    def run_command(*arguments, **options):
        command = [sys.executable, "-m", "dataprep", *map(str, arguments)]
        settings = {"cwd": tmp_path, "timeout": 60, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if "input" not in options:
            settings["stdin"] = subprocess.DEVNULL
        done = subprocess.run(command, check=False, **(settings | options))
        return Ran(done.returncode, done.stdout or b"", (done.stderr or b"").decode())

    return run_command
