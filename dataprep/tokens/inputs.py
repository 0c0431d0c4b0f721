"""The files that shards are made of, known by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.tokens.shards.manifest import sha256_of


class Inputs:
    """The files to tokenize, with their SHA-256.

    Raises:
        UsageError: standard input, or a pipe, is among them twice.
        FileError: a file cannot be read.

    Attributes:
        paths: the files.
        known: their content is known before they are read, as that of standard input is not.
        rows: how many rows each of them has, once they were read.
    """

    def __init__(self, paths: list[str]) -> None:
        streams = [path for path in paths if not Path(path).is_file()]
        for path in streams:
            if streams.count(path) > 1:
                raise UsageError(f"{path}: is given twice, and what comes through a pipe can be read once")
        self.paths = paths
        self.rows: list[int] = []
        self.known = all(Path(path).is_file() for path in paths)
        self._stamps = [_stamp(path) for path in paths]
        self._hashes = {number: sha256_of(path) for number, path in enumerate(paths) if Path(path).is_file()}

    def blocks(self) -> Iterator[files.Block]:
        """The rows of all files."""
        for number, path in enumerate(self.paths):
            found = files.read_row_blocks(path)
            yield from found if number in self._hashes else self._hashed(number, found)

    def _hashed(self, number: int, found: Iterable[files.Block]) -> Iterator[files.Block]:
        digest = hashlib.sha256()
        for block in found:
            digest.update(block.read())
            yield block
        self._hashes[number] = digest.hexdigest()

    def contents(self) -> list[tuple[str, str]]:
        """Format and SHA-256 of each."""
        return [
            (files.format_of(path).kind, digest)
            for path, (_, digest) in zip(self.paths, sorted(self._hashes.items()), strict=True)
        ]

    def facts(self) -> list[dict[str, Any]]:
        """What the manifest says about each: name, format, SHA-256, and how many rows it has."""
        return [
            {"name": files.printable(Path(path).name), "kind": kind, "sha256": digest, "rows": rows}
            for path, (kind, digest), rows in zip(self.paths, self.contents(), self.rows, strict=True)
        ]

    def check_unchanged(self) -> None:
        """Raise ``InputError`` where a file is no longer the one whose content was hashed."""
        for path, stamp in zip(self.paths, self._stamps, strict=True):
            if _stamp(path) != stamp:
                raise InputError(path, "the file was changed while it was read; run the command again")


def _stamp(path: str) -> tuple[int, int] | None:
    if not Path(path).is_file():
        return None
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns
