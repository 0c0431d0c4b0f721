"""Keep the figures of an experiment, so that a run that was stopped continues."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

Figures = dict[str, Any]


class NotMeasured(Exception):
    """A figure is wanted that no run has measured yet."""


@dataclass
class Bench:
    """The folder of the experiments, and the commands that the present one has run.

    Attributes:
        folder: where runs and figures are kept; a figure that is there is not measured again.
        data: the published sets.
        models: real models: ``smollm2-135m-instruct`` and ``all-minilm-l6-v2``.
        archive: rated sentences, which `scored_sets` describes; without it, these are left out.
        measures: whether missing figures are measured.
        commands: what a user types for the present experiment.
        seconds: how long its figures took to measure.
    """

    folder: Path
    data: Path
    models: Path
    archive: Path | None = None
    measures: bool = True
    commands: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def run(self, name: str, *words: str | Path | float) -> Figures:
        """Return the summary of a command by name; run it if no earlier run has, or with other words."""
        measure = self.command(*words)
        return self.once(name, measure, key=self.commands[-1])

    def once(self, name: str, measure: Callable[[], Figures], key: str = "") -> Figures:
        """Return figures by name; measure them if no earlier run has.

        Args:
            name: the figures' name, a path below ``figures``.
            measure: what measures them.
            key: what they depend on. With another one, they are measured again.

        Raises:
            NotMeasured: they are missing, and this run does not measure.
        """
        path = self.folder / "figures" / f"{name}.json"
        if path.is_file():
            known: Figures = orjson.loads(path.read_bytes())
            if known.get("key") == key:
                self.seconds += known["wall_seconds"]
                return known
        if not self.measures:
            raise NotMeasured(name)
        print(f"{time.strftime('%H:%M:%S')} {name} …", flush=True)
        begin = time.perf_counter()
        found = measure()
        found |= {"wall_seconds": round(time.perf_counter() - begin, 1), "key": key}
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".partial")
        unfinished.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
        unfinished.replace(path)
        self.seconds += found["wall_seconds"]
        return found

    def command(self, *words: str | Path | float) -> Callable[[], Figures]:
        """Show a command on the page; return what runs it in the folder, and returns its summary."""
        text = [str(word) for word in words]
        shown = shlex.join(["dataprep", *text])
        self.commands.append(shown.replace(str(self.data), "data").replace(str(self.models), "models"))

        def run() -> Figures:
            done = subprocess.run(
                [sys.executable, "-m", "dataprep", *text, "--json", "-q"],
                cwd=self.folder,
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            if done.returncode:
                sys.exit(f"failed with {done.returncode}: {shown}\n{done.stderr}")
            # Commands whose result is rows print it on standard error, where warnings may come before it.
            printed = done.stdout or done.stderr
            summary: Figures = json.loads(printed[printed.index("{\n") :])
            return summary

        return run


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table, whose first column is text."""
    lines = [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def share(figure: Figures) -> str:
    """Return a share with its interval, in per cent."""
    return f"{figure['value']:.1%} ({figure['low']:.1%} to {figure['high']:.1%})"


def likelihoods(model: str, found: Mapping[str, Figures]) -> str:
    """Return a table of what `evaluate --by likelihood` measured, a row for each summary."""
    figures = {name: summary["results"][0]["figures"] for name, summary in found.items()}
    header = [model, *next(iter(figures.values()))]
    return table(header, [[name, *map(share, each.values())] for name, each in figures.items()])
