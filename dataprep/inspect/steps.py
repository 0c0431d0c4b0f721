"""Read the manifests beside files: which commands made the files, of which inputs.

``OUT.manifest.json`` is beside ``OUT``. Of it, this module reads::

    {"command": "merge", "words": ["merge", "a.jsonl", "-o", "train.jsonl"], "options": {"seed": 42, …},
     "inputs": [{"path": "a.jsonl", "sha256": "…", "rows": 12}], "outputs": [{"path": "train.jsonl", …}],
     "time": "2026-11-29T10:00:00Z"}

``words`` is the command line without the program, and ``options`` has the values of its flags and arguments,
by the names of its parameters. Paths are relative to one folder, which the path of the output tells.
"""

from __future__ import annotations

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

    path: str  # where it is now; as the manifest has it, if it is not found
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
    options, words = found.get("options"), found.get("words")
    outputs = [*_entries(found, "outputs")]
    folders = [*_folders(Path(path), [str(entry["path"]) for entry in outputs])]
    return Step(
        command=found["command"],
        words=tuple(map(str, words)) if isinstance(words, list) else (found["command"],),
        options=options if isinstance(options, Mapping) else {},
        inputs=tuple(_file(entry, folders) for entry in _entries(found, "inputs")),
        outputs=tuple(_file(entry, folders) for entry in outputs),
        manifest=str(beside),
        time=str(found.get("time") or ""),
    )


def _entries(manifest: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    entries = manifest.get(name)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("path"), str):
            yield entry


def _folders(path: Path, outputs: Sequence[str]) -> Iterator[Path]:
    """Yield the folders that the paths of a manifest can be relative to, the likeliest first."""
    parts = path.absolute().parts
    for output in outputs:
        own = Path(output).parts
        if own and parts[-len(own) :] == own:
            yield Path(*parts[: -len(own)])
    yield from path.absolute().parents


def _file(entry: Mapping[str, Any], folders: Sequence[Path]) -> StepFile:
    given, rows = str(entry["path"]), entry.get("rows")
    there = next((each / given for each in folders if (each / given).exists()), None)
    here = Path.cwd()
    # As a person would write it.
    if there is not None and there.is_relative_to(here):
        there = there.relative_to(here)
    return StepFile(
        given if there is None else str(there),
        str(entry.get("sha256") or ""),
        rows if type(rows) is int else None,
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
