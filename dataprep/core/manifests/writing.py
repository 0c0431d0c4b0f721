"""Write a manifest beside each output of a command, when the command has ended."""

from __future__ import annotations

import os
import platform
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import BufferedWriter
from pathlib import Path
from typing import Any

from dataprep import __version__
from dataprep.core.io import find, printable, replacing, store_of
from dataprep.core.manifests.digests import PIECE, folder_entry, input_entry, output_entry, state_of
from dataprep.core.manifests.format import FORMAT, OUTSIDE, Entry, beside, checksum_of, dumped
from dataprep.core.parallel.pool import available_cores
from dataprep.core.provenance import (
    SUFFIX,
    Job,
    Recorder,
    Written,
    begins_manifest,
    is_manifest,
    key_of,
    place_of,
)
from dataprep.core.urls import is_url

_MARKS = (
    "dataprep.toml",
    "raw",
    "pre_datasets",
    "mergedata",
)  # what a workspace has, as `Workspace` finds it
_LIBRARIES = (  # those that can decide an output's bytes
    "backports.zstd", "jinja2", "numpy", "orjson", "polars", "rensa", "safetensors", "sentencepiece",
    "splintr-rs", "tiktoken", "tokenizers", "torch", "transformers",
)  # fmt: skip


def root_of(output: Path) -> Path:
    """Return the folder that a manifest's paths are relative to.

    It is the workspace that the output is in, else the current folder, else the output's own.
    """
    folder = output.parent
    for above in (folder, *folder.parents):
        if any((above / mark).exists() for mark in _MARKS):
            return above
    here = Path.cwd()
    return here if folder.is_relative_to(here) else folder


@dataclass(frozen=True, slots=True)
class Call:
    """A command line: the command, and functions that return its arguments and options.

    Both functions take one that names a path, so that no absolute one gets into a manifest.
    """

    command: str
    words: Callable[[Callable[[str], str]], list[str]]
    options: Callable[[Callable[[str], str]], dict[str, Any]]
    seed: int | None = None


class ManifestWriter:
    """Writes the manifests of a command's outputs when it has ended."""

    def __init__(self, recorder: Recorder, call: Call) -> None:
        self._recorder = recorder
        self._call = call
        self._started, self._begin = datetime.now(UTC), time.monotonic()
        self._seconds = 0.0
        self._inputs: dict[str, Entry] = {}  # by real path
        self._outputs: dict[str, Entry] = {}

    def write(self) -> list[str]:
        """Write a manifest beside each output; return those outputs that keep a foreign file instead."""
        self._seconds = time.monotonic() - self._begin
        jobs = [job for job in self._recorder.jobs if job.writes]
        if not jobs:
            return []
        self._hash(jobs)
        return [path for job in jobs for path in self._write(job)]

    def _write(self, job: Job) -> Iterator[str]:
        for real, written in job.writes.items():
            # Replaced meanwhile, by a command that writes its own; or a part of a folder.
            if real not in self._outputs or not _is_same(real, written):
                continue
            if is_url(real):
                yield from self._put(real, job)
                continue
            root, place = _place_of(written.path)
            if place.exists() and not is_manifest(place):
                yield written.path
                continue
            document = self._document(job, root, Path(os.path.relpath(root, place.parent)).as_posix())
            with replacing(place) as file, BufferedWriter(file) as out:
                out.write(dumped(document))

    def _put(self, url: str, job: Job) -> Iterator[str]:
        """Write the manifest of an object beside it, after the object."""
        store, place = store_of(url), str(beside(url))
        if (found := find(place)) and not begins_manifest(store.read(place, 0, 32, found.etag)):
            yield url
            return
        store.put(place, dumped(self._document(job, None, ".")))

    def _document(self, job: Job, root: Path | None, root_name: str) -> dict[str, Any]:
        """Return a manifest with its checksum; without a root all local files are outside of it."""

        def named(path: str) -> str:
            return self._named(path, root)

        settled = self._recorder.settled
        inputs = {real: named(path) for real, path in self._of(job).items()}
        outputs = {real: named(written.path) for real, written in job.writes.items() if real in self._outputs}
        times: dict[str, Any] = {
            "started": self._started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "seconds": round(self._seconds, 3),
            "files": {path: state_of(real) for real, path in outputs.items() if not is_url(real)},
        }
        document = {
            "manifest": FORMAT,
            "command": self._call.command,
            "arguments": [*(word for pair in settled.items() for word in pair), *self._call.words(named)],
            "options": self._call.options(named) | settled,
            "root": root_name,
            "versions": versions(),
            "seed": self._call.seed,
            "inputs": [replace(self._inputs[real], path=path).to_json() for real, path in inputs.items()],
            "outputs": [replace(self._outputs[real], path=path).to_json() for real, path in outputs.items()],
            "ledger": [self._ledger(step, job, named) for step in job.ledgers],
            "time": times,
        }
        times["checksum"] = checksum_of(document)
        return document

    def _ledger(self, step: Mapping[str, Any], job: Job, named: Callable[[str], str]) -> dict[str, Any]:
        """Return a ledger as a manifest has it: its reasons can name files."""
        given = [each.path for each in job.reads.values()] + [each.path for each in job.writes.values()]
        paths = sorted((path for path in given if Path(path).is_absolute()), key=len, reverse=True)

        def without(value: Any) -> Any:
            if isinstance(value, dict):
                return {without(key): without(item) for key, item in value.items()}
            for path in paths if isinstance(value, str) else ():
                value = value.replace(printable(path), named(path))
            return value

        return {**without(step), **({"output": named(step["output"])} if "output" in step else {})}

    def _of(self, job: Job) -> dict[str, str]:
        """Return the inputs of a job by real path: their paths; of those in a folder with a manifest, its."""
        found: dict[str, str] = {}
        for real, source in job.reads.items():
            if is_url(real) or (folder := _folder_of(real)) is None:
                found.setdefault(real, source.path)
            else:
                found.setdefault(folder, _given_folder(source.path, real, folder))
        return {real: path for real, path in found.items() if real in self._inputs}

    def _hash(self, jobs: Sequence[Job]) -> None:
        tasks: dict[tuple[int, str], Callable[[], Entry]] = {}
        for job in jobs:
            known = {real: source.sha256 for real, source in job.reads.items() if source.sha256 is not None}
            for real, written in job.writes.items():
                inside = any(str(above) in job.writes for above in Path(real).parents)
                if is_url(real) or (not inside and Path(real).exists()):
                    tasks[1, real] = partial(output_entry, real, written, job.rows.get(real))
            for real, source in job.reads.items():
                folder = None if is_url(real) else _folder_of(real)
                if folder is not None and folder not in job.writes:
                    given = _given_folder(source.path, real, folder)
                    tasks[0, folder] = partial(folder_entry, folder, given, known)
                elif not _is_own(real, job):
                    tasks.setdefault((0, real), partial(input_entry, real, source, job.rows.get(real)))
        results: Iterable[Entry]
        places = [Path(real) for _, real in tasks if not is_url(real)]
        size = sum(place.stat().st_size for place in places if place.is_file())
        if size < 8 * PIECE:
            results = [task() for task in tasks.values()]
        else:
            # Threads only now, when no worker is forked any more.
            with ThreadPoolExecutor(available_cores()) as pool:
                results = [*pool.map(_called, tasks.values())]
        for (is_output, real), entry in zip(tasks, results, strict=True):
            (self._outputs if is_output else self._inputs)[real] = entry

    def _named(self, path: str, root: Path | None) -> str:
        """Return a path as a manifest has it."""
        real = key_of(path)
        if is_url(real):
            return printable(real)
        if path == "-" or real.startswith(("/proc/", "/dev/fd/")):  # a pipe of the shell
            return "-"
        # A link inside the workspace is named by its target if that is inside too.
        links = [] if root is None else [(str(place_of(path)), str(root)), (_absolute(path), str(root))]
        for place, folder in links and [(real, os.path.realpath(str(root))), *links]:
            if Path(place).is_relative_to(folder):
                return printable(Path(place).relative_to(folder).as_posix())
        entry = self._inputs.get(real) or self._outputs.get(real)
        return f"{OUTSIDE}{entry.sha256 if entry else ''}/{printable(Path(real).name)}"


def _place_of(path: str) -> tuple[Path, Path]:
    """Return the root of an output's manifest, and the manifest's path."""
    place = place_of(path)
    root = root_of(place)
    real = Path(os.path.realpath(path))
    # Links inside the workspace have their targets' names. A folder of it can be a link to another disk.
    if real.is_relative_to(inside := os.path.realpath(root)):
        root, place = Path(inside), real
    return root, Path(f"{place}{SUFFIX}")


def _given_folder(path: str, real: str, folder: str) -> str:
    """Return a folder as the path of a file in it names it, which can have links in it."""
    absolute = Path(_absolute(path))
    given = [absolute, *absolute.parents][len(Path(real).relative_to(folder).parts)]
    return str(given) if os.path.realpath(given) == folder else folder


def _absolute(path: str) -> str:
    return os.path.normpath(Path(path).absolute())  # without following links


def _called(task: Callable[[], Entry]) -> Entry:
    return task()


def _is_own(real: str, job: Job) -> bool:
    """Return whether a job has read from its output: a journal, or shards that it then replaced."""
    grows = real in job.writes and job.writes[real].grows
    if is_url(real):
        return grows
    return grows or any(str(above) in job.writes for above in Path(real).parents)


def _folder_of(real: str) -> str | None:
    """Return the folder with a manifest that a file is in, such as shards."""
    places = [Path(real), *Path(real).parents]
    return next((str(place) for place in places if is_manifest(Path(beside(place))) and place.is_dir()), None)


def _is_same(real: str, written: Written) -> bool:
    if written.status is None or not stat.S_ISREG(written.status.st_mode):
        return True
    now = Path(real).stat()
    return (now.st_ino, now.st_size, now.st_mtime_ns) == (
        written.status.st_ino,
        written.status.st_size,
        written.status.st_mtime_ns,
    )


def versions() -> dict[str, str]:
    """Return the versions of dataprep, of Python, and of the libraries that can decide an output's bytes."""
    found = {"dataprep": __version__, "python": platform.python_version()}
    # By the names of their folders: `importlib.metadata` takes longer than a small command.
    wanted = {name.replace("-", "_").lower(): name for name in _LIBRARIES}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - the names, of which there are hundreds
        except OSError:
            continue
        for entry in names:
            library, dash, version = entry.removesuffix(".dist-info").partition("-")
            if dash and entry.endswith(".dist-info") and library.lower() in wanted:
                found.setdefault(wanted[library.lower()], version)
    return dict(sorted(found.items()))
