"""Write manifests beside outputs, and read them: ``docs/manifests.md`` describes the format."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import partial
from io import BufferedWriter
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from dataprep import __version__
from dataprep.core.errors import InputError, UsageError
from dataprep.core.io import format_of, printable, read_document, replacing
from dataprep.core.parallel.pool import available_cores
from dataprep.core.provenance import SUFFIX, Job, Recorder, Source, Written, is_manifest
from dataprep.core.records import describe

FORMAT = 1
OUTSIDE = "sha256:"
"""How the path of a file outside of the workspace begins: ``sha256:DIGEST/NAME``."""
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
_PIECE = 1 << 20
# A file that was changed this shortly before it was hashed can be changed again without a new time.
_SETTLED_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a manifest.

    Attributes:
        path: relative to the manifest's root; ``sha256:DIGEST/NAME`` outside of it, ``-`` for standard input.
        sha256: of its bytes; of a folder, that of ``files``; "" if nobody could know it.
        bytes: its size.
        rows: if they were counted.
        grows: it is a journal: later runs append to these bytes.
        files: of a folder, the SHA-256 of each file that counts, by its path in the folder.
    """

    path: str
    sha256: str = ""
    bytes: int = 0
    rows: int | None = None
    grows: bool = False
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_outside(self) -> bool:
        """True if it is known by its digest alone, or is standard input."""
        return self.path == "-" or self.path.startswith(OUTSIDE)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as it stands in a manifest."""
        entry: dict[str, Any] = {"path": self.path}
        if self.sha256:
            entry |= {"sha256": self.sha256, "bytes": self.bytes}
        entry["rows"] = self.rows
        return entry | ({"grows": True} if self.grows else {}) | ({"files": self.files} if self.files else {})


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a file: the command that wrote it, its inputs and outputs.

    Attributes:
        place: the manifest's own path.
        arguments: the command line as given, behind the command's name.
        options: the values of all flags, by their spelling, and of all arguments, by their names.
        root: the folder that paths are relative to.
    """

    place: Path
    command: str
    arguments: tuple[str, ...]
    options: Mapping[str, Any]
    root: Path
    inputs: tuple[Entry, ...]
    outputs: tuple[Entry, ...]
    versions: Mapping[str, str]
    ledger: Sequence[Mapping[str, Any]]
    time: Mapping[str, Any]

    def where(self, entry: Entry) -> Path:
        """Return where a file of the manifest is."""
        return self.root / entry.path

    def output(self, path: Path) -> Entry | None:
        """Return the entry of an output."""
        real = os.path.realpath(path)
        return next((each for each in self.outputs if os.path.realpath(self.where(each)) == real), None)


def beside(path: str | Path) -> Path:
    """Return the path of an output's manifest."""
    return Path(os.path.normpath(path) + SUFFIX)


def read_manifest(path: str | Path) -> Manifest | None:
    """Return the manifest of an output; ``None`` if there is none beside it.

    Raises:
        InputError: the file is not a manifest of dataprep, or names a path outside of its workspace.
    """
    place = beside(path)
    if not place.is_file():
        return None
    found = read_document(str(place))
    if not isinstance(found, dict) or found.get("manifest") != FORMAT:
        raise InputError(place, f'is not a manifest of this version: expected "manifest": {FORMAT}')
    shape = {"command": str, "arguments": list, "options": dict, "root": str, "inputs": list, "outputs": list}
    for name, kind in shape.items():
        if not isinstance(found.get(name), kind):
            raise InputError(place, f"{name}: found {describe(found.get(name))}; the manifest is damaged")
    arguments = tuple(found["arguments"])
    if not all(isinstance(word, str) and "\0" not in word for word in arguments):
        raise InputError(place, "arguments: expected words of a command line; the manifest is damaged")
    # Only upwards: a manifest must not lead to another folder.
    if not re.fullmatch(r"\.|\.\.(/\.\.)*", found["root"]):
        raise InputError(place, f"root: found {describe(found['root'])}, expected . or ../..")
    return Manifest(
        place=place,
        command=found["command"],
        arguments=arguments,
        options=found["options"],
        root=Path(os.path.normpath(place.absolute().parent / found["root"])),
        inputs=tuple(_entries(place, found["inputs"])),
        outputs=tuple(_entries(place, found["outputs"])),
        versions=_texts(found.get("versions")),
        ledger=[each for each in found.get("ledger") or () if isinstance(each, dict)],
        time=found["time"] if isinstance(found.get("time"), dict) else {},
    )


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, dict) else {}


def _entries(place: Path, values: Iterable[Any]) -> Iterator[Entry]:
    for value in values:
        path, sha256 = (value.get("path"), value.get("sha256", "")) if isinstance(value, dict) else (None, "")
        if not isinstance(path, str) or not re.fullmatch("|[0-9a-f]{64}", str(sha256)):
            raise InputError(place, f"found {describe(value)}, expected a file; the manifest is damaged")
        pure = PurePosixPath(path)
        if not path or pure.is_absolute() or ".." in pure.parts or "\0" in path:
            raise InputError(place, f"the path {path!r} leads out of the workspace; the manifest is damaged")
        size, rows = value.get("bytes", 0), value.get("rows")
        yield Entry(
            path,
            sha256,
            size if type(size) is int else 0,
            rows if type(rows) is int else None,
            value.get("grows") is True,
            _texts(value.get("files")),
        )


def is_intact(place: Path) -> bool:
    """Return whether a manifest has the bytes that dataprep wrote."""
    data = place.read_bytes()
    try:
        found = orjson.loads(data)
        checksum = found["time"].pop("checksum")
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    if checksum != _checksum(found):
        return False
    found["time"]["checksum"] = checksum
    return data == _dumped(found)


def _checksum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(_dumped(document)).hexdigest()


def _dumped(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


# --- digests ---


def digest_of(path: Path, size: int | None = None, *, lines: bool = False) -> tuple[str, int, int | None]:
    """Return the SHA-256 of a file, its size, and, with ``lines``, the number of lines that are not blank.

    Args:
        path: the file.
        size: hash only so many bytes, of a journal that has grown.
        lines: count lines too.
    """
    digest, done, rows, rest = hashlib.sha256(), 0, 0, b""
    # Without a buffer of Python's, so that the lock of the interpreter is free while bytes are hashed.
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE if size is None else min(_PIECE, size - done)):
            digest.update(piece)
            done += len(piece)
            if lines:
                whole, newline, tail = (rest + piece).rpartition(b"\n")
                rows += _rows_of(whole) if newline else 0
                rest = tail
    return digest.hexdigest(), done, rows + bool(rest.strip()) if lines else None


def _rows_of(text: bytes) -> int:
    """Return the number of lines in a text that are not blank."""
    # Blank lines are rare, and looking at each line takes ten times as long.
    if b"\n\n" not in text and b"\n " not in text and b"\n\r" not in text and b"\n\t" not in text:
        return text.count(b"\n") + bool(text.split(b"\n", 1)[0].strip())
    return sum(bool(line.strip()) for line in text.split(b"\n"))


def folder_digest(folder: Path, names: Iterable[str] = ("*",)) -> tuple[str, int, dict[str, str]]:
    """Return the SHA-256 of a folder, the bytes in it, and the SHA-256 of each file whose name matches."""
    files: dict[str, str] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden and any(fnmatch(inside.as_posix(), name) for name in names):
            files[printable(inside.as_posix())], size, _ = digest_of(path)
            total += size
    return digest_of_files(files), total, files


def digest_of_files(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of a folder from those of its files."""
    return hashlib.sha256(orjson.dumps(files, option=orjson.OPT_SORT_KEYS)).hexdigest()


# --- writing ---


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
            place = Path(real + SUFFIX)
            if place.exists() and not is_manifest(place):
                yield written.path
                continue
            document = self._document(job, root_of(Path(real)), place)
            document["time"]["checksum"] = _checksum(document)
            with replacing(place) as file, BufferedWriter(file) as out:
                out.write(_dumped(document))

    def _document(self, job: Job, root: Path, place: Path) -> dict[str, Any]:
        def named(path: str) -> str:
            return self._named(path, root)

        settled = self._recorder.settled
        outputs = [real for real in job.writes if real in self._outputs]
        return {
            "manifest": FORMAT,
            "command": self._call.command,
            "arguments": [*(word for pair in settled.items() for word in pair), *self._call.words(named)],
            "options": self._call.options(named) | settled,
            "root": Path(os.path.relpath(root, place.parent)).as_posix(),
            "versions": versions(),
            "seed": self._call.seed,
            "inputs": [replace(self._inputs[real], path=named(real)).to_json() for real in self._of(job)],
            "outputs": [replace(self._outputs[real], path=named(real)).to_json() for real in outputs],
            "ledger": [
                {**step, **({"output": named(step["output"])} if "output" in step else {})}
                for step in job.ledgers
            ],
            "time": {
                "started": self._started.isoformat(timespec="seconds").replace("+00:00", "Z"),
                "seconds": round(self._seconds, 3),
                "files": {named(real): _state(real) for real in outputs},
            },
        }

    def _of(self, job: Job) -> list[str]:
        """Return the inputs of a job; of those in a folder with a manifest, the folder."""
        found = dict.fromkeys(_folder_of(real) or real for real in job.reads)
        return [real for real in found if real in self._inputs]

    def _hash(self, jobs: Sequence[Job]) -> None:
        tasks: dict[tuple[int, str], Callable[[], Entry]] = {}
        for job in jobs:
            for real, written in job.writes.items():
                if not any(str(above) in job.writes for above in Path(real).parents) and Path(real).exists():
                    tasks[1, real] = partial(_output_entry, real, written, job.rows.get(real))
            for real, source in job.reads.items():
                folder = _folder_of(real)
                if folder is not None and folder not in job.writes:
                    tasks[0, folder] = partial(_folder_entry, folder)
                elif not _is_own(real, job):
                    tasks.setdefault((0, real), partial(_input_entry, real, source, job.rows.get(real)))
        results: Iterable[Entry]
        size = sum(Path(real).stat().st_size for _, real in tasks if Path(real).is_file())
        if size < 8 * _PIECE:
            results = [task() for task in tasks.values()]
        else:
            # Threads only now, when no worker is forked any more.
            with ThreadPoolExecutor(available_cores()) as pool:
                results = [*pool.map(_called, tasks.values())]
        for (is_output, real), entry in zip(tasks, results, strict=True):
            (self._outputs if is_output else self._inputs)[real] = entry

    def _named(self, path: str, root: Path) -> str:
        """Return a path as a manifest has it."""
        if path == "-":
            return path
        real = os.path.realpath(path)
        for place, folder in ((_absolute(path), root), (real, os.path.realpath(root))):
            if Path(place).is_relative_to(folder):
                return printable(Path(place).relative_to(folder).as_posix())
        entry = self._inputs.get(real) or self._outputs.get(real)
        return f"{OUTSIDE}{entry.sha256 if entry else ''}/{printable(Path(real).name)}"


def _absolute(path: str) -> str:
    return os.path.normpath(Path(path).absolute())  # without following links


def _called(task: Callable[[], Entry]) -> Entry:
    return task()


def _is_own(real: str, job: Job) -> bool:
    """Return whether a job has read from its output: a journal, or shards that it then replaced."""
    grows = real in job.writes and job.writes[real].grows
    return grows or any(str(above) in job.writes for above in Path(real).parents)


def _folder_of(real: str) -> str | None:
    """Return the folder with a manifest that a file is in, such as shards."""
    return next((str(above) for above in Path(real).parents if is_manifest(beside(above))), None)


def _is_same(real: str, written: Written) -> bool:
    if written.status is None or not stat.S_ISREG(written.status.st_mode):
        return True
    now = Path(real).stat()
    return (now.st_ino, now.st_size, now.st_mtime_ns) == (
        written.status.st_ino,
        written.status.st_size,
        written.status.st_mtime_ns,
    )


def _is_lines(path: str) -> bool:
    try:
        return format_of(path).is_plain_lines
    except UsageError:
        return False


def _output_entry(real: str, written: Written, rows: int | None) -> Entry:
    if Path(real).is_dir():
        digest, size, inside = folder_digest(Path(real), written.names)
        return Entry(real, digest, size, rows, files=inside)
    digest, size, lines = digest_of(Path(real), lines=rows is None and _is_lines(real))
    return Entry(real, digest, size, lines if rows is None else rows, grows=written.grows)


def _folder_entry(folder: str) -> Entry:
    # As the step that wrote it says which of its files count.
    manifest = read_manifest(folder)
    entry = None if manifest is None else manifest.output(Path(folder))
    if entry is None:
        return Entry(folder)
    digest, size, inside = folder_digest(Path(folder), entry.files)
    return Entry(folder, digest, size, entry.rows, files=inside)


def _input_entry(real: str, source: Source, rows: int | None) -> Entry:
    if source.status is None or not Path(real).exists():
        return Entry(real, rows=rows)
    size = source.status.st_size
    if source.sha256 is not None:
        return Entry(real, source.sha256, size, rows)
    if Path(real).is_dir():
        digest, size, inside = folder_digest(Path(real))
        return Entry(real, digest, size, files=inside)
    if (known := _known(real)) is not None:
        return replace(known, rows=known.rows if rows is None else rows)
    # Others may have appended to a journal since.
    digest, size, lines = digest_of(Path(real), size, lines=rows is None and _is_lines(real))
    return Entry(real, digest, size, lines if rows is None else rows)


def _known(real: str) -> Entry | None:
    """Return the entry of an input in the manifest beside it, if the file was not touched since."""
    try:
        manifest = read_manifest(real)
    except InputError:
        return None
    entry = None if manifest is None else manifest.output(Path(real))
    if manifest is None or entry is None or entry.grows:
        return None
    states = manifest.time.get("files")
    state = states.get(entry.path) if isinstance(states, dict) else None
    return entry if state and state == _state(real) else None


def _state(real: str) -> list[int]:
    """Return size, time and inode of a file, by which its digest is known again; nothing of a new one."""
    status = Path(real).stat()
    is_old = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
    return [status.st_size, status.st_mtime_ns, status.st_ino] if is_old and Path(real).is_file() else []


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
