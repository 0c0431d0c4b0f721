"""Find rows in files: by their number, by their bytes, and by the order of a merge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, RowError
from dataprep.core.jsonl import parse_row
from dataprep.core.parallel import Operator, run_operator
from dataprep.core.records import whole_of
from dataprep.core.sampling import shuffled_order

MAX_PLACES = 100
"""Places of equal rows that are listed; a file of millions of equal rows has no more to say."""
_CHECKED = 64


@dataclass(frozen=True, slots=True)
class Row:
    """A row and its place."""

    where: Location
    line: bytes  # the row as one line of JSON, as it stands there in JSON Lines

    @property
    def value(self) -> Any:
        """The row, parsed."""
        return orjson.loads(self.line)


def lines_of(path: str, blocks: Iterable[files.Block] | None = None) -> Iterator[Row]:
    """Yield the rows of a file of any format, as lines of JSON, with the places that messages name."""
    number = 0
    for block in files.read_row_blocks(path) if blocks is None else blocks:
        number = 0 if block.first else number
        for line in block.read().removesuffix(b"\n").split(b"\n"):
            number += 1
            if line.strip():
                yield Row(Location(path, number, block.unit), line)


def row_at(path: str, number: int) -> Row:
    """Return the row at a line of a file of lines, or with a number in a document or table.

    Raises:
        InputError: no row is there.
    """
    last = 0
    for row in lines_of(path):
        if row.where.number == number:
            return row
        last = row.where.number
        if last > number:
            raise InputError(path, f"line {number} is blank; give the number of a line with a row")
    raise InputError(path, f"has no row {number:,}; its last one is {last:,}")


def rank_of(row: Row) -> int:
    """Return how many rows precede a row in its file."""
    if row.where.unit == "row":
        return row.where.number - 1
    return sum(1 for _ in _until(row))


def _until(row: Row) -> Iterator[Row]:
    for each in lines_of(row.where.path):
        if each.where.number >= row.where.number:
            return
        yield each


def is_same(first: bytes, second: bytes) -> bool:
    """Return whether two lines are the same row, also where one of them went through a table."""
    if first == second:
        return True
    try:
        return bool(orjson.loads(first) == orjson.loads(second))
    except orjson.JSONDecodeError:
        return False


def equal_rows(wanted: bytes, paths: Iterable[str]) -> list[Row]:
    """Return the rows of files that have the bytes of a row, at most ``MAX_PLACES``.

    If no row has, those that are the same once parsed: a table has no spaces between values.
    """
    given = [*paths]
    found = list(islice((row for path in given for row in lines_of(path) if row.line == wanted), MAX_PLACES))
    if found:
        return found
    try:
        value = orjson.loads(wanted)
    except orjson.JSONDecodeError:
        return []
    same = (row for path in given for row in lines_of(path) if _parsed(row.line) == value)
    return list(islice(same, MAX_PLACES))


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def shown_rows(place: Mapping[str, Any], path: str) -> list[Row]:
    """Return the rows of a file that a place with a ``row`` shows: the one at its line, or equal ones."""
    wanted = orjson.dumps(place.get("row"))
    if (line := whole_of(place.get("line"))) is None:
        return equal_rows(wanted, [path])
    return [row for row in [row_at(path, line)] if is_same(row.line, wanted)]


def kept_row(row: Row, paths: Sequence[str]) -> list[Row]:
    """Return the rows of the inputs that a row can be, for a command that keeps bytes and order.

    Where all equal rows came through, their order tells which one it is.
    """
    found = equal_rows(row.line, paths)
    if 1 < len(found) < MAX_PLACES:
        own = [each.where for each in equal_rows(row.line, [row.where.path])]
        if len(own) == len(found) and row.where in own:
            return [found[own.index(row.where)]]
    return found


def merged_row(row: Row, paths: Sequence[str], seed: int | None, *, check: bool = False) -> Row | None:
    """Return the row of the inputs that a merge wrote to a place; ``None`` if its order is another one.

    The order is computed from the seed (``None`` for a merge that did not shuffle). Some other rows of
    the output are compared too, so that an equal row at another place is not taken for it. ``check`` leaves
    out lines that are not rows, which the merge set aside.
    """

    def rows() -> Iterator[Row]:
        return (each for path in paths for each in lines_of(path) if not check or _is_row(each.line))

    total, rank = sum(1 for _ in rows()), rank_of(row)
    if rank >= total:
        return None
    order = range(total) if seed is None else shuffled_order(total, seed)
    step = max(1, total // _CHECKED)
    wanted = {place: int(order[place]) for place in {rank, *range(0, total, step)}}
    numbers = {*wanted.values()}
    inputs = _numbered(rows(), numbers)
    outputs = _numbered(lines_of(row.where.path), wanted.keys())
    if outputs.keys() != wanted.keys():
        return None
    if not all(is_same(inputs[number].line, outputs[place].line) for place, number in wanted.items()):
        return None
    return inputs[wanted[rank]]


def _is_row(line: bytes) -> bool:
    try:
        parse_row(line)
    except RowError:
        return False
    return True


def _numbered(rows: Iterable[Row], numbers: Iterable[int]) -> dict[int, Row]:
    wanted = {*numbers}
    return {number: row for number, row in enumerate(rows) if number in wanted}


@dataclass(frozen=True, slots=True)
class Made:
    """An input row and the row that an operator makes of it."""

    source: Row
    line: bytes


def row_made(operator: Operator, blocks: Iterable[files.Block], number: int) -> Made | None:
    """Return the input row of which an operator makes its output row ``number``, counted from 0.

    The operator is run again over blocks. In the block with the row, it is run over one line after the other.
    """
    before, lines = 0, 0
    for block, outcome in run_operator(operator, blocks, numbered=True):
        lines = 0 if block.first else lines
        if number < before + outcome.rows_out:
            return _made_in(operator, block, number - before, lines)
        before += outcome.rows_out
        lines += outcome.lines
    return None


def _made_in(operator: Operator, block: files.Block, number: int, lines: int) -> Made | None:
    rows = 0
    for position, line in enumerate(block.read().split(b"\n")):
        if not line.strip():
            continue
        alone = files.Block(block.path, data=line, unit=block.unit, first=False, rows_before=rows)
        rows += 1
        made = operator(alone)
        if number < made.rows_out:
            data = (made.data or b"").split(b"\n")[number]
            return Made(Row(Location(block.path, lines + position + 1, block.unit), line), data)
        number -= made.rows_out
    return None
