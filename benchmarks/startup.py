"""Measure the time that ``dataprep --help`` takes."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import Contender, claim, race, table


def bench(_data: Path, _folder: Path, rounds: int) -> bool:
    """Compare with importing typer alone, which every typer app needs."""
    python = sys.executable
    contenders = [
        Contender("import typer", [python, "-c", "import typer"]),
        Contender("dataprep --help", [python, "-m", "dataprep", "--help"]),
    ]
    race(contenders, rounds * 5)
    table("Start-up", contenders, "import typer")
    print()
    alone, ours = contenders
    return claim("--help over import typer", ours.median / alone.median, 0.30 / 0.12, at_least=False)
