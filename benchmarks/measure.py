"""Run commands in turn, and record their wall time and the memory of their largest process."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Contender:
    """One command of a comparison.

    Attributes:
        name: its name in the table.
        command: the command and its arguments.
        outputs: files and folders that are removed before each run, so that no run pays for freeing
            the one before it.
        seconds: wall time of each run.
        processor: processor time of each run, in all of its processes; other work disturbs it less.
        peak: memory of the largest process of any run, in MB (10**6 bytes).
    """

    name: str
    command: Sequence[str]
    outputs: Sequence[Path] = ()
    environment: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    peak: float = 0.0

    @property
    def median(self) -> float:
        """Return the median wall time in seconds."""
        return statistics.median(self.seconds)

    def run(self) -> None:
        """Run once. A failing command ends the benchmark with its output."""
        for output in self.outputs:
            shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
        begin = time.perf_counter()
        process = subprocess.Popen(
            self.command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_installed() | self.environment,
        )
        assert process.stderr is not None
        with process.stderr:
            printed = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds.append(time.perf_counter() - begin)
        self.processor.append(usage.ru_utime + usage.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{self.name} failed:\n{printed.decode(errors='replace')}")
        # Linux counts in KiB; the figure covers the process and the children it waited for.
        self.peak = max(self.peak, usage.ru_maxrss * 1024 / 1e6)


def _installed() -> dict[str, str]:
    """Return the environment, with Python's compiled files kept as for an installed package."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def repeat(source: Path, target: Path, times: int) -> None:
    """Write a file's bytes to another file several times.

    It writes in small pieces, because a process starts with the peak memory of its parent.
    """
    with target.open("wb") as out:
        for _ in range(times):
            with source.open("rb") as file:
                shutil.copyfileobj(file, out)


def race(contenders: Sequence[Contender], rounds: int) -> None:
    """Run all contenders in turn, ``rounds`` times, so that a slow minute affects all of them."""
    for number in range(rounds):
        for contender in contenders:
            print(f"  round {number + 1}/{rounds}: {contender.name} …", end="", flush=True, file=sys.stderr)
            contender.run()
            print(f" {contender.seconds[-1]:.2f} s", file=sys.stderr)


def table(title: str, contenders: Sequence[Contender], reference: str) -> None:
    """Print medians, and each contender's time as a multiple of the reference's."""
    base = next(each for each in contenders if each.name == reference)
    print(f"\n{title}\n")
    print(f"| {'':<44} | seconds | × {reference} | processor s | peak MB |")
    print(f"| {'-' * 44} | ------: | {'-' * (len(reference) + 1)}: | ----------: | ------: |")
    for each in contenders:
        ratio = each.median / base.median
        print(
            f"| {each.name:<44} | {each.median:7.2f} | {ratio:{len(reference) + 2}.2f} "
            f"| {statistics.median(each.processor):11.2f} | {each.peak:7.0f} |"
        )


def claim(text: str, value: float, limit: float, *, at_least: bool) -> bool:
    """Print a target with the measured value, and return whether it was met."""
    met = value >= limit if at_least else value <= limit
    word = "at least" if at_least else "at most"
    print(f"- {'met  ' if met else 'SHORT'} {text}: {value:.2f}, {word} {limit:g} wanted")
    return met
