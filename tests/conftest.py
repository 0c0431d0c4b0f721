"""Shared fixtures: a workspace with the samples in it, and the command in a process of its own."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

from dataprep import init_workspace

# A busy machine is no failure of a property.
settings.register_profile("dataprep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dataprep")


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

    def run_command(*arguments, program=("-m", "dataprep"), **options):
        command = [sys.executable, *program, *map(str, arguments)]
        defaults = {"cwd": tmp_path, "timeout": 60, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if "input" not in options:
            defaults["stdin"] = subprocess.DEVNULL
        done = subprocess.run(command, check=False, **(defaults | options))
        return Ran(done.returncode, done.stdout or b"", (done.stderr or b"").decode())

    return run_command
