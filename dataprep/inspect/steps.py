"""Read the manifests beside files: which commands made the files, of which inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import InputError
from dataprep.core.records import describe

SUFFIX = ".manifest.json"
_OF_TEACHERS = ("convert", "collect", "generate")


@dataclass(frozen=True, slots=True)
class StepFile:
    """A file that a command read or wrote."""

    path: str  # where it is now; its name alone, if it is not in the workspace
    is_known: bool = True  # whether the manifest says where it is
    sha256: str = ""
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A command that made a file, from its manifest."""

    command: str
    words: tuple[str, ...]  # the command line, without the program
    options: Mapping[str, Any]  # the values of its flags and arguments, by their names: `seed`, `price_in`
    inputs: tuple[StepFile, ...] = ()
    outputs: tuple[StepFile, ...] = ()
    manifest: str = ""  # where the manifest is
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


def step_of(path: str) -> Step | None:
    """Return the command that made a file; ``None`` if no manifest is beside it.

    Raises:
        InputError: the manifest is not one of dataprep.
    """
    beside = Path(f"{path.rstrip('/')}{SUFFIX}")
    if not beside.is_file():
        return None
    found = files.read_document(str(beside))
    if not isinstance(found, Mapping) or not isinstance(found.get("command"), str):
        raise InputError(
            beside, f"is not a manifest: expected an object with a command, found {describe(found)}"
        )
    options, words = found.get("options"), found.get("arguments")
    root = beside.parent / str(found.get("root") or ".")
    time = found.get("time")
    return Step(
        command=found["command"],
        words=(found["command"], *map(str, words if isinstance(words, list) else ())),
        options={_name(flag): value for flag, value in options.items()}
        if isinstance(options, Mapping)
        else {},
        inputs=tuple(_files(found, "inputs", root)),
        outputs=tuple(_files(found, "outputs", root)),
        manifest=str(beside),
        time=str(time.get("started") or "") if isinstance(time, Mapping) else "",
    )


def _name(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _files(manifest: Mapping[str, Any], name: str, root: Path) -> Iterator[StepFile]:
    entries = manifest.get(name)
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
            continue
        path, rows = entry["path"], entry.get("rows")
        # Standard input, and files outside of the workspace, of which the manifest has no path.
        is_known = path != files.STDIO and not path.startswith("sha256:")
        yield StepFile(
            path=os.path.relpath(root / path) if is_known else path.rpartition("/")[2],
            is_known=is_known,
            sha256=str(entry.get("sha256") or ""),
            rows=rows if type(rows) is int else None,
        )


def chain_of(paths: Sequence[str]) -> tuple[list[Step], list[str]]:
    """Return the commands that made files, in the order to run them, and those of the files without any."""
    steps: dict[tuple[str, ...], Step] = {}
    missing = []
    for path in paths:
        if (step := step_of(path)) is None:
            missing.append(path)
        else:
            _add(step, steps, set())
    return [*steps.values()], missing


def _add(step: Step, steps: dict[tuple[str, ...], Step], above: set[str]) -> None:
    # A merge can replace one of its inputs, and a manifest can say anything.
    if step.words in steps or step.manifest in above:
        return
    for file in step.inputs:
        if (before := step_of(file.path)) is not None:
            _add(before, steps, above | {step.manifest})
    # A command that wrote several files has a manifest beside each of them.
    steps.setdefault(step.words, step)
