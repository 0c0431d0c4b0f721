"""Record which files a command reads and writes: what ``core.io`` and a few others report.

``recording`` belongs to the process, as ``core.ledger.listening`` does, so that no function between the
command line and a file has a parameter for it. Without a recorder nothing is kept. ``core.manifests`` writes
what was recorded beside the outputs.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataprep.core.urls import is_url, without_credentials

SUFFIX = ".manifest.json"
_UNFINISHED = re.compile(r"[/\\]\.[^/\\]*\.partial([/\\]|$)")
_SETTINGS = "dataprep.toml"  # what a command took from it is an option of its own: see `settled`


@dataclass
class Source:
    """A file that was read, with its status before; ``None`` for a pipe, standard input or an object."""

    path: str
    status: os.stat_result | None
    # Its SHA-256, if it is known: see `digested` and `replaces`.
    sha256: str | None = None
    seen: tuple[int, str] | None = None  # size and etag of an object in a store


@dataclass
class Written:
    """A file or folder that was written.

    Attributes:
        path: where it is.
        status: of a file, when it was finished.
        grows: it is a journal, to which later runs append.
        names: of a folder, patterns of the files that count; the others hold times.
        seen: size and etag of an object in a store.
        sha256: of an object, if it was computed while it was written.
    """

    path: str
    status: os.stat_result | None = None
    grows: bool = False
    names: Sequence[str] = ("*",)
    seen: tuple[int, str] | None = None
    sha256: str = ""


@dataclass
class Job:
    """A part of a command with outputs of its own, such as one split of ``convert``."""

    reads: dict[str, Source] = field(default_factory=dict)
    writes: dict[str, Written] = field(default_factory=dict)
    ledgers: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)  # by path


@dataclass
class Recorder:
    """The files that a command has read and written, and the options that it settled by itself."""

    jobs: list[Job] = field(default_factory=lambda: [Job()])
    settled: dict[str, str] = field(default_factory=dict)

    @property
    def job(self) -> Job:
        """The present part."""
        return self.jobs[-1]

    def writes(self, real: str) -> bool:
        """Return whether a path, or a folder above it, is an output of the command."""
        places = [place for job in self.jobs for place in job.writes]
        return any(real == place or real.startswith(place.rstrip("/") + os.sep) for place in places)


_recorders: list[Recorder] = []
_MOST_LINKS = 40  # as Linux has it


def place_of(path: str | Path) -> Path:
    """Return the absolute path of a file itself, if a path is a link to it; folders may still be links."""
    place = os.path.normpath(Path(path).absolute())
    for _ in range(_MOST_LINKS):
        if not os.path.islink(place):  # noqa: PTH114 - a path of text, for the same in the next line
            break
        place = os.path.normpath(Path(place).parent / os.readlink(place))  # noqa: PTH115
    return Path(place)


def key_of(path: str | Path) -> str:
    """Return what a recorder knows a file by: its real path, or its URL without credentials."""
    if is_url(path):
        return without_credentials(str(path))
    return "-" if str(path) == "-" else os.path.realpath(path)


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record inside, and yield what was recorded."""
    recorder = Recorder()
    _recorders.append(recorder)
    try:
        yield recorder
    finally:
        _recorders.remove(recorder)


def read(path: str, seen: tuple[int, str] | None = None) -> None:
    """Say that a file, or a folder as a whole, is read; called before its first byte is.

    Of an object in a store, ``seen`` has size and etag.
    """
    if not _recorders:
        return
    recorder = _recorders[-1]
    if path == "-":
        recorder.job.reads.setdefault("-", Source("-", None))
        return
    real = key_of(path)
    if _is_private(real) or recorder.writes(real):
        return
    if is_url(path):
        # The parts of a folder that is read as a whole are no inputs of their own.
        if not any(place.endswith("/") and real.startswith(place) for place in recorder.job.reads):
            _start_job(recorder)
            recorder.job.reads.setdefault(real, Source(real, None, seen=seen))
        return
    with suppress(OSError):
        status = Path(path).stat()  # of a pipe, such as /dev/fd/63, there is no real path
        _start_job(recorder)
        regular = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        recorder.job.reads.setdefault(real, Source(path, status if regular else None))


def digested(path: str | Path, sha256: str) -> None:
    """Say which SHA-256 a file that is read has by the description beside it, so that it is not hashed again.

    Token shards are read by such descriptions. If the file is damaged, it is not what was meant to be read,
    and `verify` finds that.
    """
    if _recorders:
        source = _recorders[-1].job.reads.get(key_of(path))
        if source is not None and source.sha256 is None:
            source.sha256 = sha256


def _start_job(recorder: Recorder) -> None:
    # A part reads its inputs before it writes. After it has reported its rows, another one begins.
    if recorder.job.writes and recorder.job.ledgers:
        recorder.jobs.append(Job())


def _is_private(real: str) -> bool:
    """Return whether a file is no input: unfinished, of dataprep itself, or about another file."""
    name = Path(real).name
    package = str(Path(__file__).parent.parent) + os.sep
    unfinished = _UNFINISHED.search(real) is not None
    return unfinished or real.startswith(package) or name == _SETTINGS or name.endswith(SUFFIX)


def replaces(path: str | Path) -> None:
    """Say that a file is about to be replaced: of an input, the bytes that were read are hashed now."""
    if _recorders:
        source = _recorders[-1].job.reads.get(os.path.realpath(path))
        if source is not None and source.status is not None and source.sha256 is None:
            with suppress(OSError), open(path, "rb") as file:
                source.sha256 = hashlib.file_digest(file, "sha256").hexdigest()


def wrote(
    path: str | Path, *, rows: int | None = None, grows: bool = False, names: Sequence[str] = ("*",)
) -> None:
    """Say that a file or folder was written; a manifest of what was there before is removed."""
    real = os.path.realpath(path)
    if _is_private(real):
        return
    _remove_manifest(real)
    if not _recorders:
        return
    status = None
    with suppress(OSError):
        status = Path(real).stat()
    job = _recorders[-1].job
    job.writes[real] = Written(str(path), status, grows, names)
    if rows is not None:
        job.rows[real] = rows


def wrote_object(url: str, seen: tuple[int, str], *, rows: int | None = None, sha256: str = "") -> None:
    """Say that an object in a store was written, with its size and etag."""
    real = key_of(url)
    if _recorders and not _is_private(real):
        job = _recorders[-1].job
        job.writes[real] = Written(real, seen=seen, sha256=sha256)
        if rows is not None:
            job.rows[real] = rows


def _remove_manifest(real: str) -> None:
    # It would describe other bytes. A file of that name which is not a manifest is left alone.
    beside = Path(real + SUFFIX)
    if is_manifest(beside):
        with suppress(OSError):
            beside.unlink()


def is_manifest(path: Path) -> bool:
    """Return whether a file is a manifest that dataprep wrote."""
    try:
        with path.open("rb") as file:
            return begins_manifest(file.read(32))
    except OSError:
        return False


def begins_manifest(head: bytes) -> bool:
    """Return whether the first 32 bytes of a file are those of a manifest that dataprep wrote."""
    return head.startswith(b'{\n  "manifest": ')


def count(path: str | Path, rows: int) -> None:
    """Say how many rows a file has that was read or written."""
    if _recorders:
        _recorders[-1].job.rows[key_of(path)] = rows


def report(step: Mapping[str, Any]) -> None:
    """Keep the ledger of a step."""
    if _recorders:
        _recorders[-1].job.ledgers.append(dict(step))


def settled(flag: str, value: str) -> None:
    """Say that a command took the value of a flag from elsewhere, such as the workspace's date."""
    if _recorders:
        _recorders[-1].settled[flag] = value
