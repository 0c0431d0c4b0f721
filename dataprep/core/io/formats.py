"""Map a path's suffix to the format of its rows and its compression."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import IO, Any, Literal, cast

from dataprep.core.errors import FileError, MissingDependencyError, UsageError

STDIO = "-"

Kind = Literal["jsonl", "json", "csv", "tsv", "parquet"]

_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True, slots=True)
class Format:
    """A row format and its compression (``""``, ``"gzip"`` or ``"zstd"``)."""

    kind: Kind
    compression: str

    @property
    def is_plain_lines(self) -> bool:
        """Return whether byte ranges of the file can be read as lines."""
        return self.kind == "jsonl" and not self.compression


def format_of(path: str | PurePath) -> Format:
    """Return the format that a path's suffix names; ``-``, pipes and devices are JSON Lines."""
    path = PurePath(path)
    if str(path) == STDIO:
        return Format("jsonl", "")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = _COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    if compression:
        suffixes.pop()
    kind = _KINDS.get(suffixes[-1]) if suffixes else None
    # /dev/stdin, a named pipe or <(command) have no suffix. A folder fails later, when it is opened.
    if kind is None and Path(path).exists() and not Path(path).is_file():
        return Format("jsonl", "")
    if kind is None:
        known = " ".join(_KINDS)
        raise UsageError(f"{path}: unknown suffix; expected one of {known}, each also .gz or .zst")
    return Format(kind, compression)


def matching_files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the files of rows in a folder whose names match a pattern, in any case; sorted."""
    patterns = tuple(patterns)
    try:
        names = sorted(path for path in folder.iterdir() if _holds_rows(path))
    except OSError as error:
        raise FileError(folder, f"cannot be read: {error.strerror}") from None
    return [path for path in names if any(fnmatch(path.name.lower(), pattern) for pattern in patterns)]


def _holds_rows(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    try:
        format_of(path)
    except UsageError:
        return False
    return True


def decompressing(stream: IO[bytes], compression: str) -> IO[bytes]:
    """Return a stream of the decompressed bytes of ``stream``."""
    if compression == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream, mode="rb"))
    if compression == "zstd":
        return cast(IO[bytes], _zstd("reading a .zst file").ZstdFile(stream, "rb"))
    return stream


def compressing(stream: IO[bytes], compression: str) -> IO[bytes]:
    """Return a stream that compresses into ``stream``; the same input gives the same bytes.

    Closing it ends the compressed data and leaves ``stream`` open.
    """
    if compression == "gzip":
        # No name and no time in the header: with them, every run would write different bytes.
        return cast(IO[bytes], gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0))
    if compression == "zstd":
        return cast(IO[bytes], _zstd("writing a .zst file").ZstdFile(stream, "wb"))
    return stream


def decompression_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that decompressors raise on data that is cut short or damaged."""
    import zlib

    errors: list[type[Exception]] = [EOFError, gzip.BadGzipFile, zlib.error]
    with suppress(MissingDependencyError):
        errors.append(_zstd("reading").ZstdError)
    return tuple(errors)


def _zstd(purpose: str) -> Any:
    # Python has zstd of its own from 3.14 on; the backport has the same interface.
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise MissingDependencyError("backports.zstd", "zstd", purpose) from None
    return zstd
