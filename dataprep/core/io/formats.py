"""Map a path's suffix to the format of its rows and its compression, and check it by the first bytes."""

from __future__ import annotations

import gzip
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import IO, Any, Literal, cast

import orjson

from dataprep.core.errors import FileError, InputError, MissingDependencyError, UsageError
from dataprep.core.provenance import SUFFIX
from dataprep.core.urls import is_url, name_of

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
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"

HEAD_BYTES = 1 << 12
"""Number of bytes that show what a file is: ``check_head`` takes so many."""
_UNPACK, _AGAIN, _EXPORT = "unpack it", "fetch it again", "export its rows as .jsonl, .csv or .parquet"
# The beginnings of files: what they are, and what to do; {name} is the file's name.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (_GZIP, "gzip data", "name it {name}.gz, or unpack it"),
    (_ZSTD, "zstd data", "name it {name}.zst, or unpack it"),
    (b"PK\x03\x04", "a zip archive, such as an .xlsx workbook", "unpack it, or export its sheet as .csv"),
    (b"\xfd7zXZ\x00", "xz data", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a", "a rar archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "lz4 data", _UNPACK),
    (_PARQUET, "a Parquet file", "name it with the suffix .parquet"),
    (b"ARROW1\x00\x00", "an Arrow file", _EXPORT),
    (b"\xff\xff\xff\xff", "an Arrow stream", _EXPORT),
    (b"ORC\x00", "an ORC file", _EXPORT),
    (b"Obj\x01", "an Avro file", _EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", _EXPORT),
    (b"\x93NUMPY", "a numpy file", _EXPORT),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"\xd0\xcf\x11\xe0", "an old Office file, such as an .xls workbook", "export its sheet as .csv"),
    (b"%PDF-", "a PDF document", "give a file of rows"),
    (b"\x7fELF", "a program", "give a file of rows"),
    (b"\x89PNG", "an image", "give a file of rows"),
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer in place of the file",
        "run `git lfs pull`",
    ),
    (b"/annex/objects/", "a git-annex pointer in place of the file", "run `git annex get`"),
)
# Compiled when they are used, because `dataprep --help` needs none.
_PATTERNS: tuple[tuple[bytes, str, str], ...] = (
    (rb"BZh[1-9]1AY&SY", "bzip2 data", _UNPACK),
    (rb"\x80[\x02-\x05][\x95}\]c(]", "a Python pickle", _EXPORT),
    (rb"(?i)\s*<(?:!doctype html|html|head|body|!--)", "an HTML page", _AGAIN),
    (rb"(?i)\s*<(?:\?xml|error)", "an XML document", _AGAIN),
)
_ENCODINGS = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16"}
_ENCODINGS |= {b"\xfe\xff": "UTF-16"}
_PLAIN_ROWS = rb"(?:\xef\xbb\xbf)?\s*[\[{]\s*[{\"]|[ -~]+[,\t][ -~]+\r?\n"
_ROWS_IN_LIST = rb"\[\s*[{\"]"
_JSON_IN_TABLE = rb"\s*(?:\[\s*)?[\[{]\s*(?:[\"\[{}]|$)"


@dataclass(frozen=True, slots=True)
class Format:
    """A row format and its compression (``""``, ``"gzip"`` or ``"zstd"``)."""

    kind: Kind
    compression: str

    @property
    def is_plain_lines(self) -> bool:
        """Return whether byte ranges of the file can be read as lines."""
        return self.kind == "jsonl" and not self.compression


def is_lines(name: str) -> bool:
    """Return whether no suffix of a name says that it is a table, a document or compressed."""
    suffix = PurePath(name).suffix.lower()
    return suffix not in _COMPRESSIONS and _KINDS.get(suffix, "jsonl") == "jsonl"


def format_of(path: str | PurePath) -> Format:
    """Return the format that a path's suffix names; ``-``, pipes and devices are JSON Lines."""
    # A path that ends with a separator is a folder of parts.
    if str(path) == STDIO or str(path).endswith(("/", os.sep)):
        return Format("jsonl", "")
    suffixes = [suffix.lower() for suffix in PurePath(name_of(path)).suffixes]
    compression = _COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    if compression:
        suffixes.pop()
    kind = _KINDS.get(suffixes[-1]) if suffixes else None
    # /dev/stdin, a named pipe or <(command) have no suffix. A folder fails later, when it is opened.
    if kind is None and not is_url(path) and Path(path).exists() and not Path(path).is_file():
        return Format("jsonl", "")
    if kind is None:
        known = " ".join(_KINDS)
        raise UsageError(f"{path}: unknown suffix; expected one of {known}, each also .gz or .zst")
    return Format(kind, compression)


def check_head(path: str, head: bytes, form: Format, *, arrays: bool = False) -> None:
    """Raise ``InputError`` if the first bytes of a file show that it is of another kind than its name says.

    Without this check, each of its lines would be a bad row, which ``--rejects`` sets aside.

    Args:
        path: the file; ``-`` is standard input.
        head: the first ``HEAD_BYTES`` bytes, decompressed; fewer if the file has no more.
        form: its format by its name.
        arrays: a JSON array may stand in place of JSON Lines.
    """
    found = _kind_of(head)
    if found is None or (form.kind == "parquet" and head.startswith(_PARQUET)):
        found = _document_in(head) if form.kind == "jsonl" and not arrays else None
        if form.kind in ("csv", "tsv") and re.match(_JSON_IN_TABLE, head):
            found = "JSON", "name it with the suffix .json or .jsonl"
    if found is None:
        if form.kind != "parquet" or head.startswith(_PARQUET) or not head:
            return
        found = "another file", "give a Parquet file, or name it after its format"
    _refuse(path, found, _EXPECTED[form.kind])


def check_compressed(path: str, head: bytes, compression: str) -> None:
    """Raise ``InputError`` if the first bytes of a file are not those of its compression."""
    if not head or head.startswith(_GZIP if compression == "gzip" else _ZSTD):
        return
    found = _kind_of(head)
    if found is None:
        if not re.match(_PLAIN_ROWS, head):
            return  # damaged, which decompression will say
        found = "text that is not compressed", "name it without the suffix, or compress it"
    _refuse(path, found, f"{compression} data")


_EXPECTED = {
    "jsonl": "JSON Lines, one row per line",
    "json": "JSON",
    "csv": "a table separated by commas",
    "tsv": "a table separated by tabs",
    "parquet": "a Parquet file",
}


def _refuse(path: str, found: tuple[str, str], expected: str) -> None:
    what, hint = found
    name = name_of(path)
    if path == STDIO and "name it" in hint:
        kind = ", a .json file" if "JSON" in what else ""
        hint = "unpack it first" if "unpack" in hint else f"give its path{kind}, or one row per line"
    raise InputError(path, f"found {what}; expected {expected}; {hint.format(name=name)}")


def _kind_of(head: bytes) -> tuple[str, str] | None:
    """Return what a file of another kind is and what to do; ``None`` if it may be text in UTF-8."""
    for begin, what, hint in _MAGIC:
        if head.startswith(begin):
            return what, hint
    for pattern, what, hint in _PATTERNS:
        if re.match(pattern, head):
            return what, hint
    encoding = next((name for mark, name in _ENCODINGS.items() if head.startswith(mark)), None)
    # Text in UTF-16 without a mark: every other byte of English is 0.
    odd, even = set(head[1:16:2]), set(head[:16:2])
    if encoding is None and (odd == {0}) != (even == {0}):
        encoding = "UTF-16"
    if encoding is not None:
        return f"text in {encoding}", f"save it as UTF-8, for example with `iconv -f {encoding} -t UTF-8`"
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    return None


def _document_in(head: bytes) -> tuple[str, str] | None:
    """Return what JSON that is not JSON Lines is and what to do, or another text that has no rows."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if text.startswith(b"\x1e"):
        return "a JSON text sequence", "delete its record separators with `tr -d '\\036'`"
    first, newline, rest = text.partition(b"\n")
    first, rest = first.strip(), rest.lstrip(b" \t\r\n")
    if not newline and b"}\r{" in first.replace(b"\r\r", b"\r"):
        return "lines that end with a carriage return alone", "replace them with `tr '\\r' '\\n'`"
    hint = "name it with the suffix .json, or write one row per line with `jq -c"
    if first.startswith(b"["):
        cut = not newline and len(head) == HEAD_BYTES
        # A list on a line of its own is a bad row if more lines follow, or if it can hold no rows.
        if cut or not _is_json(first) or (not rest and re.match(_ROWS_IN_LIST, first)):
            return "a JSON array", f"{hint} '.[]'`"
    elif first.startswith(b"{"):
        # A row that is cut short ends in the middle too, but the next line then begins a row.
        ends = first.endswith((b"{", b"[")) or (first.endswith(b",") and not rest.startswith(b"{"))
        if newline and ends and not _is_json(first):
            return "a JSON document of several lines", f"{hint} .`"
    else:
        return _table_in(first, rest.partition(b"\n")[0])
    return None


def _table_in(first: bytes, second: bytes) -> tuple[str, str] | None:
    # Otherwise it is JSON Lines with a bad row at the beginning.
    if not second.startswith((b"{", b"[")) and not _is_json(first) and not _is_json(second):
        for delimiter, suffix in ((b"\t", ".tsv"), (b",", ".csv")):
            if 0 < first.count(delimiter) <= second.count(delimiter):
                return "a table", f"name it with the suffix {suffix}"
    return None


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def matching_files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the files of rows in a folder whose names match a pattern, in any case; sorted."""
    patterns = tuple(patterns)
    try:
        names = sorted(path for path in folder.iterdir() if _holds_rows(path))
    except OSError as error:
        raise FileError(folder, f"cannot be read: {error.strerror}") from None
    return [path for path in names if any(fnmatch(path.name.lower(), pattern) for pattern in patterns)]


def _holds_rows(path: Path) -> bool:
    # Manifests are JSON documents too, but of no rows.
    if path.name.startswith(".") or path.name.endswith(SUFFIX) or not path.is_file():
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
