"""Check the paths of commands that clean rows, cut inputs into blocks, and name places of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import Location, UsageError


def checked_inputs(
    inputs: str | Path | Sequence[str | Path],
    outputs: Iterable[str | Path],
    rejects: str | Path | files.Rejects | None,
    verb: str,
) -> list[str]:
    """Return the paths of the inputs, which can be opened, and which no output or file of rejects replaces.

    ``verb`` names the work in the message about no inputs.
    """
    paths = [str(inputs)] if isinstance(inputs, str | Path) else [str(path) for path in inputs]
    if not paths:
        raise UsageError(f"there is nothing to {verb}: give at least one file")
    targets = list(outputs)
    files.check_apart(targets, paths)
    if not isinstance(rejects, files.Rejects):
        files.check_distinct(rejects, targets, paths)
    for path in paths:
        files.check_input(path)
    return paths


def blocks_of(paths: Iterable[str]) -> Iterator[files.Block]:
    """Yield the blocks of one file after the other."""
    for path in paths:
        yield from files.read_row_blocks(path)


def read_once(path: str) -> bool:
    """Return whether an input can be read once only: standard input, a pipe, or a device."""
    return path == files.STDIO or (not files.is_file(path) and files.files_of(path) == [path])


def bytes_of(paths: Iterable[str]) -> int:
    """Return the bytes of inputs together; those of pipes are not known, and not counted."""
    return sum(files.size_of(part) for path in paths if not read_once(path) for part in files.files_of(path))


def place_fields(where: Location) -> dict[str, Any]:
    """Return the fields that name the place of a row in the lines about dropped or different rows."""
    # Not "row" for a row of a table, because that is the row itself.
    number = "line" if where.unit == "line" else "row_number"
    return {"path": files.printable(where.path), number: where.number}
