"""Check the paths of commands that clean rows, cut inputs into blocks, and name places of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import Location, UsageError
from dataprep.core.urls import is_url


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
    if path == files.STDIO:
        return True
    return not is_url(path) and not Path(path).is_file() and files.files_of(path) == [path]


def bytes_of(paths: Iterable[str]) -> int:
    """Return the bytes of inputs together; those of pipes are not known, and not counted."""
    total = 0
    for path in paths:
        for part in () if read_once(path) else files.files_of(path):
            if is_url(part):
                from dataprep.core.io.stores import store_of  # only a URL needs the libraries of stores

                total += store_of(part).stat(part).size
            else:
                total += Path(part).stat().st_size
    return total


def place_fields(where: Location) -> dict[str, Any]:
    """Return the fields that name the place of a row in the lines about dropped or different rows."""
    # Not "row" for a row of a table, because that is the row itself.
    number = "line" if where.unit == "line" else "row_number"
    return {"path": files.printable(where.path), number: where.number}
