"""Digest files and folders, and say what a manifest says of an input or output."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import orjson

from dataprep.core.errors import DataprepError, InputError, UsageError
from dataprep.core.io import format_of, printable
from dataprep.core.io.stores import ObjectReader
from dataprep.core.manifests.format import Entry, read_manifest
from dataprep.core.provenance import Source, Written

PIECE = 1 << 20
# A file that was changed this shortly before it was hashed can be changed again without a new time.
_SETTLED_NS = 50_000_000


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
        while piece := file.read(PIECE if size is None else min(PIECE, size - done)):
            digest.update(piece)
            done += len(piece)
            if lines:
                whole, newline, tail = (rest + piece).rpartition(b"\n")
                rows += _rows_of(whole) if newline else 0
                rest = tail
    return digest.hexdigest(), done, rows + bool(rest.strip()) if lines else None


def digest_of_object(url: str) -> tuple[str, int]:
    """Return the SHA-256 of an object, and its size."""
    digest = hashlib.sha256()
    with ObjectReader(url) as reader:
        while piece := reader.read(PIECE):
            digest.update(piece)
        return digest.hexdigest(), reader.tell()


def _rows_of(text: bytes) -> int:
    """Return the number of lines in a text that are not blank."""
    # Blank lines are rare, and looking at each line takes ten times as long.
    if b"\n\n" not in text and b"\n " not in text and b"\n\r" not in text and b"\n\t" not in text:
        return text.count(b"\n") + bool(text.split(b"\n", 1)[0].strip())
    return sum(bool(line.strip()) for line in text.split(b"\n"))


def folder_digest(
    folder: Path, names: Iterable[str] = ("*",), known: Mapping[str, str] | None = None
) -> tuple[str, int, dict[str, str]]:
    """Return the SHA-256 of a folder, the bytes in it, and the SHA-256 of each file whose name matches.

    Files whose SHA-256 is in ``known``, by their paths, are not read.
    """
    files: dict[str, str] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden and any(fnmatch(inside.as_posix(), name) for name in names):
            sha256 = (known or {}).get(str(path))
            sha256, size, _ = digest_of(path) if sha256 is None else (sha256, path.stat().st_size, None)
            files[printable(inside.as_posix())] = sha256
            total += size
    return digest_of_files(files), total, files


def digest_of_files(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of a folder from those of its files."""
    return hashlib.sha256(orjson.dumps(files, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _is_lines(path: str) -> bool:
    try:
        return format_of(path).is_plain_lines
    except UsageError:
        return False


def output_entry(real: str, written: Written, rows: int | None) -> Entry:
    """Return the entry of an output, whose rows are counted if they are lines and ``rows`` is ``None``."""
    if written.seen is not None:
        size, etag = written.seen
        return Entry(real, written.sha256, size, rows, etag=etag)
    if Path(real).is_dir():
        digest, size, inside = folder_digest(Path(real), written.names)
        return Entry(real, digest, size, rows, files=inside)
    digest, size, lines = digest_of(Path(real), lines=rows is None and _is_lines(real))
    return Entry(real, digest, size, lines if rows is None else rows, grows=written.grows)


def folder_entry(folder: str, given: str, known: Mapping[str, str]) -> Entry:
    """Return the entry of an input that is a folder with a manifest, such as token shards.

    ``given`` is the folder's path with links in it, by which its manifest is read. ``known`` has the SHA-256
    of files, by their paths, that need not be read again.
    """
    # As the step that wrote it says which of its files count.
    manifest = read_manifest(given)
    entry = None if manifest is None else manifest.output(Path(given))
    if entry is None:
        return Entry(folder)
    digest, size, inside = folder_digest(Path(folder), entry.files, known)
    return Entry(folder, digest, size, entry.rows, files=inside)


def input_entry(real: str, source: Source, rows: int | None) -> Entry:
    """Return the entry of an input; its digest is the one in its own manifest if it was not touched since."""
    if source.seen is not None:
        return _object_entry(real, source.seen, rows)
    if source.status is None or not Path(real).exists():
        return Entry(real, rows=rows)
    size = source.status.st_size
    if source.sha256 is not None:
        return Entry(real, source.sha256, size, rows)
    if Path(real).is_dir():
        digest, size, inside = folder_digest(Path(real))
        return Entry(real, digest, size, files=inside)
    if (known := _known(source.path)) is not None:
        return replace(known, rows=known.rows if rows is None else rows)
    # Others may have appended to a journal since.
    digest, size, lines = digest_of(Path(real), size, lines=rows is None and _is_lines(real))
    return Entry(real, digest, size, lines if rows is None else rows)


def _object_entry(url: str, seen: tuple[int, str], rows: int | None) -> Entry:
    """Return the entry of an object that was read: its SHA-256 is known if its own manifest has it."""
    size, etag = seen
    known = None
    with suppress(DataprepError):  # the folder of a bucket can be closed to this command
        manifest = read_manifest(url)
        known = None if manifest is None else manifest.output(url)
    if known is None or known.etag != etag:
        return Entry(url, "", size, rows, etag=etag)
    return replace(known, path=url, rows=known.rows if rows is None else rows)


def _known(path: str) -> Entry | None:
    """Return the entry of an input in the manifest beside it, if the file was not touched since."""
    try:
        manifest = read_manifest(path)
    except InputError:
        return None
    entry = None if manifest is None else manifest.output(Path(path))
    if manifest is None or entry is None or entry.grows:
        return None
    states = manifest.time.get("files")
    state = states.get(entry.path) if isinstance(states, dict) else None
    return entry if state and state == state_of(path) else None


def state_of(real: str) -> list[int]:
    """Return size, time and inode of a file, by which its digest is known again; nothing of a new one."""
    status = Path(real).stat()
    is_old = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
    return [status.st_size, status.st_mtime_ns, status.st_ino] if is_old and Path(real).is_file() else []
