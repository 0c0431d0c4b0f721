"""Bad rows: the first one ends a command, or all of them go into a file of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from dataprep.errors import InputError
from dataprep.files.writing import Output, open_output


class Rejects:
    """Takes bad rows; ``open_rejects`` makes it."""

    def __init__(self, output: Output | None) -> None:
        self._output = output

    def add(self, path: str, unit: str, number: int, message: str, row: bytes) -> None:
        """Set a bad row aside.

        Raises:
            InputError: there is no rejects file: the bad row ends the command.
        """
        if self._output is None:
            hint = "correct the row, or set bad rows aside with --rejects FILE"
            raise InputError(place(path, unit, number), f"{message}; {hint}")
        rejected = {
            "path": printable(path),
            unit: number,
            "reason": message,
            "text": row.decode("utf-8", "backslashreplace"),
        }
        self._output.write(orjson.dumps(rejected, option=orjson.OPT_APPEND_NEWLINE))


@contextmanager
def open_rejects(path: str | Path | Rejects | None) -> Iterator[Rejects]:
    """A place for bad rows: JSON Lines ``{path, line or row, reason, text}``, or none.

    One that is open already is used as it is, so that several steps can share it.

    Raises:
        FileError: the file cannot be written.
    """
    if isinstance(path, Rejects):
        yield path
        return
    if path is None:
        yield Rejects(None)
        return
    with open_output(str(path)) as output:
        yield Rejects(output)


def printable(path: str) -> str:
    """A path as text that JSON can hold; file names need not be valid Unicode."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def place(path: str, unit: str, number: int) -> str:
    """Where a row stands: ``path:line`` in JSON Lines, ``path: row n`` in documents and tables."""
    name = "standard input" if path == "-" else path
    return f"{name}:{number}" if unit == "line" else f"{name}: {unit} {number}"
