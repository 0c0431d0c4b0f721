"""Define the format of manifests and read it; ``docs/manifests.md`` describes it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from dataprep.core.errors import InputError
from dataprep.core.io import exists, read_bytes, read_document
from dataprep.core.provenance import SUFFIX, key_of, place_of
from dataprep.core.records import describe
from dataprep.core.urls import is_url

FORMAT = 1
OUTSIDE = "sha256:"
"""How the path of a file outside of the workspace begins: ``sha256:DIGEST/NAME``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a manifest.

    Attributes:
        path: relative to the manifest's root; ``sha256:DIGEST/NAME`` outside of it, the URL of an object in a
            store, ``-`` for standard input.
        sha256: of its bytes; of a folder, that of ``files``; "" if nobody could know it.
        bytes: its size.
        rows: if they were counted.
        grows: it is a journal: later runs append to these bytes.
        files: of a folder, the SHA-256 of each file that counts, by its path in the folder.
        etag: of an object, by which its bytes are known again without being read.
    """

    path: str
    sha256: str = ""
    bytes: int = 0
    rows: int | None = None
    grows: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""

    @property
    def is_outside(self) -> bool:
        """True if it is known by its digest alone, or is standard input."""
        return self.path == "-" or self.path.startswith(OUTSIDE)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as it stands in a manifest."""
        entry: dict[str, Any] = {"path": self.path}
        if self.sha256:
            entry["sha256"] = self.sha256
        if self.etag:
            entry["etag"] = self.etag
        if self.sha256 or self.etag:
            entry["bytes"] = self.bytes
        entry["rows"] = self.rows
        return entry | ({"grows": True} if self.grows else {}) | ({"files": self.files} if self.files else {})


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a file: the command that wrote it, its inputs and outputs.

    Attributes:
        place: the manifest's own path or URL.
        arguments: the command line as given, behind the command's name.
        options: the values of all flags, by their spelling, and of all arguments, by their names.
        root: the folder that paths are relative to.
    """

    place: Path | str
    command: str
    arguments: tuple[str, ...]
    options: Mapping[str, Any]
    root: Path
    inputs: tuple[Entry, ...]
    outputs: tuple[Entry, ...]
    versions: Mapping[str, str]
    ledger: Sequence[Mapping[str, Any]]
    time: Mapping[str, Any]

    def where(self, entry: Entry) -> Path | str:
        """Return where a file of the manifest is: a path, or the URL of an object."""
        return entry.path if is_url(entry.path) else self.root / entry.path

    def output(self, path: str | Path) -> Entry | None:
        """Return the entry of an output."""
        real = key_of(path)
        return next((each for each in self.outputs if key_of(self.where(each)) == real), None)


def beside(path: str | Path) -> Path | str:
    """Return the path of an output's manifest; of a link, it is beside the file that the link leads to."""
    if is_url(path):
        return f"{str(path).rstrip('/')}{SUFFIX}"
    place = Path(os.path.normpath(path) + SUFFIX)
    if Path(path).is_symlink() and (own := Path(f"{place_of(path)}{SUFFIX}")).is_file():
        return own
    return place


def read_manifest(path: str | Path) -> Manifest | None:
    """Return the manifest of an output; ``None`` if there is none beside it.

    Raises:
        InputError: the file is not a manifest of dataprep, or names a path outside of its workspace.
    """
    place = beside(path)
    if not exists(place):
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
        # Beside an object everything is named by its URL, or by its digest.
        root=Path.cwd()
        if is_url(place)
        else Path(os.path.normpath(Path(place).absolute().parent / found["root"])),
        inputs=tuple(_entries(place, found["inputs"])),
        outputs=tuple(_entries(place, found["outputs"])),
        versions=_texts(found.get("versions")),
        ledger=[each for each in found.get("ledger") or () if isinstance(each, dict)],
        time=found["time"] if isinstance(found.get("time"), dict) else {},
    )


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, dict) else {}


def _entries(place: Path | str, values: Iterable[Any]) -> Iterator[Entry]:
    for value in values:
        path, sha256 = (value.get("path"), value.get("sha256", "")) if isinstance(value, dict) else (None, "")
        etag = value.get("etag", "") if isinstance(value, dict) else ""
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
            etag if isinstance(etag, str) else "",
        )


def is_intact(place: Path | str) -> bool:
    """Return whether a manifest has the bytes that dataprep wrote."""
    data = read_bytes(str(place))
    try:
        found = orjson.loads(data)
        checksum = found["time"].pop("checksum")
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    if checksum != checksum_of(found):
        return False
    found["time"]["checksum"] = checksum
    return data == dumped(found)


def checksum_of(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 that a manifest has of itself."""
    return hashlib.sha256(dumped(document)).hexdigest()


def dumped(document: Mapping[str, Any]) -> bytes:
    """Return a manifest as it is written."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
