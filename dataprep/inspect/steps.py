"""Read the manifests beside files: which commands made the files, of which inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from dataprep.core import io as files
from dataprep.core.manifests.format import Entry, Manifest, read_manifest

# The arguments of commands that name files of rows. Without one, a command took those of the workspace.
_ROWS = ("inputs", "train", "source", "requests", "responses", "rows")
_FOLDERS = ("workspace", "output")  # in which inputs are, but which name none
_SUFFIXES = tuple(
    kind + packed
    for kind in (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
    for packed in ("", ".gz", ".zst")
)
_OF_TEACHERS = ("convert", "collect", "generate")


@dataclass(frozen=True, slots=True)
class StepFile:
    """A file that a command read or wrote."""

    path: str  # where it is now; its name alone, if it is not in the workspace
    name: str = ""  # as the manifest has it: a path relative to the workspace
    is_known: bool = True  # whether the manifest says where it is
    sha256: str = ""
    size: int | None = None  # in bytes
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

    @property
    def paths(self) -> list[str]:
        """The paths of its inputs."""
        return [file.path for file in self.inputs]

    def row_files(self) -> list[StepFile]:
        """Return the inputs with the rows that it worked on, without those of its flags, in their order."""
        given = [text for name in _ROWS for text in _texts(self.options.get(name))]
        found = [file for text in given for file in self.inputs if _is_meant(text, file)]
        if not found:
            flags = self.options.keys() - {*_ROWS, *_FOLDERS}
            of_flags = [text for name in flags for text in _texts(self.options[name])]
            found = [
                file
                for file in self.inputs
                if file.name.endswith(_SUFFIXES) and not any(_is_meant(text, file) for text in of_flags)
            ]
        return list(dict.fromkeys(found))

    @property
    def dataset(self) -> str | None:
        """The dataset that it converted, if it did."""
        name = self.options.get("dataset")
        return name if self.command == "convert" and isinstance(name, str) else None

    @property
    def teacher(self) -> str | None:
        """The teacher that it asked, or whose rationales it made rows of."""
        name = self.options.get("teacher") or self.options.get("model")
        if self.command not in _OF_TEACHERS or not isinstance(name, str):
            return None
        # A model's directory outside of the workspace; other names can be of the hub, as OWNER/NAME.
        return name.rpartition("/")[2] if name.startswith("sha256:") else name


def _texts(value: Any) -> list[str]:
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _is_meant(text: str, file: StepFile) -> bool:
    """Return whether an argument names a file, or the folder that it is in."""
    # `mix` takes FILE=WEIGHT, and `card` SPLIT=FILE.
    given = {PurePath(os.path.normpath(part)) for part in (text, text.rpartition("=")[0]) if part}
    own = PurePath(file.name.removeprefix("sha256:"))
    if file.name == files.STDIO or not file.is_known:
        return any(each.name == own.name for each in given)
    return any(own == each or own.is_relative_to(each) for each in given)


def step_of(path: str) -> Step | None:
    """Return the command that made a file; ``None`` if no manifest is beside it.

    Raises:
        InputError: the manifest is not one of dataprep.
    """
    found = read_manifest(path)
    if found is None:
        return None
    return Step(
        command=found.command,
        words=(found.command, *found.arguments),
        options={flag.lstrip("-").replace("-", "_"): value for flag, value in found.options.items()},
        inputs=tuple(_file(found, entry) for entry in found.inputs),
        outputs=tuple(_file(found, entry) for entry in found.outputs),
        manifest=str(found.place),
    )


def _file(manifest: Manifest, entry: Entry) -> StepFile:
    return StepFile(
        path=_path_of(manifest, entry),
        name=entry.path,
        is_known=not entry.is_outside,
        sha256=entry.sha256,
        size=entry.bytes,
        rows=entry.rows,
    )


def _path_of(manifest: Manifest, entry: Entry) -> str:
    if entry.is_outside:  # of standard input too, the manifest has no path
        return entry.path.rpartition("/")[2]
    where = manifest.where(entry)
    return where if isinstance(where, str) else os.path.relpath(where)


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
