"""The commands that made files, as the manifests beside the files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StepFile:
    """A file that a command read or wrote."""

    path: str  # where it is now, as far as the manifest tells
    sha256: str = ""
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A command that made a file, from its manifest."""

    command: str
    words: tuple[str, ...]  # the command line, without the program
    options: Mapping[str, Any]  # the values of its flags and arguments, by the names of its parameters
    inputs: tuple[StepFile, ...] = ()
    outputs: tuple[StepFile, ...] = ()
    manifest: str = ""  # where the manifest is
    ledger: Mapping[str, Any] = field(default_factory=dict)
    time: str = ""

    @property
    def paths(self) -> list[str]:
        """The paths of its inputs."""
        return [file.path for file in self.inputs]

    @property
    def dataset(self) -> str | None:
        """The dataset that it converted, if it did."""
        name = self.options.get("dataset")
        return name if self.command == "convert" and isinstance(name, str) else None

    @property
    def teacher(self) -> str | None:
        """The teacher that it asked, or whose rationales it made rows of."""
        name = self.options.get("teacher") or self.options.get("model")
        return name if self.command in _OF_TEACHERS and isinstance(name, str) else None


_OF_TEACHERS = ("convert", "collect", "generate")


def step_of(path: str) -> Step | None:
    """Return the command that made a file; ``None`` if no manifest is beside it."""
    return None


def chain_of(paths: Sequence[str]) -> tuple[list[Step], list[str]]:
    """Return the commands that made files, in the order to run them, and those of the files without any."""
    steps: dict[str, Step] = {}
    missing = []
    for path in paths:
        if (step := step_of(path)) is None:
            missing.append(path)
        else:
            _add(step, steps, set())
    return [*steps.values()], missing


def _add(step: Step, steps: dict[str, Step], above: set[str]) -> None:
    # A merge can replace one of its inputs, and a manifest can say anything.
    if step.manifest in steps or step.manifest in above:
        return
    for file in step.inputs:
        if (before := step_of(file.path)) is not None:
            _add(before, steps, above | {step.manifest})
    steps[step.manifest] = step
