"""One block of lines through a row operator: the row path itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from dataprep.core.errors import InputError, RowDropped, RowError
from dataprep.core.jsonl import MAX_LINE, not_json, not_object
from dataprep.core.records import describe

RowOperator = Callable[..., bytes]
"""One parsed row in, the output row as one line of bytes out; raises ``RowError`` or ``RowDropped``.

The row is a JSON object, or any JSON value for an operator with a true attribute ``any_value``. An operator
with a true attribute ``placed`` is also given the path and the number of the row in its file, counted from 1;
one with a ``Counter`` as its attribute ``counts`` has it collected and cleared after each block. One with a
method ``whole`` is given whole blocks in place of rows, and returns their outcomes.
"""


class LineBlock(Protocol):
    """What the engine asks of a block: the file it comes from, and its lines."""

    @property
    def path(self) -> str:
        """The file, for messages."""

    @property
    def data(self) -> bytes | None:
        """The lines, where they must travel to the worker; ``None`` where it can read them itself."""

    @property
    def first(self) -> bool:
        """Whether it is the first block of its file."""

    @property
    def array(self) -> bool:
        """Whether the bytes are one JSON array of rows instead of lines."""

    def read(self) -> bytes:
        """The block's bytes."""


@dataclass(slots=True)
class Failure:
    """One bad row: the line it stands on (within its block, then within its file) and why."""

    line: int
    reason: str
    message: str
    row: bytes


@dataclass(slots=True)
class Outcome:
    """What became of one block.

    Attributes:
        lines: how many lines the block has, blank ones too.
        rows_in: lines that are not blank.
        rows_out: rows the operator gave.
        dropped: sound rows left out, by reason.
        failures: bad rows in order; their lines are counted from the block's first line until the
            parent process adds the lines before it.
        counts: what the operator counted beside, by name.
        too_long: the first line that is longer than any line should be, counted from 1; 0 without one.
        size: bytes of output.
        data: the output, each row with its newline; ``None`` once it was written.
    """

    lines: int = 0
    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    counts: dict[Any, int] = field(default_factory=dict)
    too_long: int = 0
    size: int = 0
    data: bytes | None = None


def apply(operator: RowOperator, block: LineBlock, before: int = 0) -> Outcome:
    """Run ``operator`` over the rows of a block, which ``before`` rows of its file precede.

    Blank lines are no rows.

    Raises:
        InputError: the block is to be an array of rows and is none.
    """
    if (whole := getattr(operator, "whole", None)) is not None:
        outcome: Outcome = whole(block)
        return outcome
    parse, problems = orjson.loads, (RowError, orjson.JSONDecodeError)
    objects = not getattr(operator, "any_value", False)
    placed, path = getattr(operator, "placed", False), block.path
    outcome = Outcome()
    rows: list[bytes] = []
    add = rows.append
    blank = 0
    lines: list[Any] = _rows_of_array(block) if block.array else _lines_of(block)
    if block.array:
        parse = _parsed_already
    for number, line in enumerate(lines, 1):
        try:
            row = parse(line)
            if objects and type(row) is not dict:
                raise not_object(row)
            add(operator(row, path, before + number - blank) if placed else operator(row))
        except RowDropped as drop:
            outcome.dropped[drop.reason] = outcome.dropped.get(drop.reason, 0) + 1
        except problems as error:
            if not block.array and not line.strip():
                blank += 1
                continue
            problem = error if isinstance(error, RowError) else not_json(line, error)
            text = orjson.dumps(line) if block.array else line
            outcome.failures.append(Failure(number, problem.reason, str(problem), text))
    if not block.array and sum(map(len, lines)) > MAX_LINE:
        outcome.too_long = next((n for n, line in enumerate(lines, 1) if len(line) > MAX_LINE), 0)
    outcome.lines = len(lines)
    outcome.rows_in = len(lines) - blank
    outcome.rows_out = len(rows)
    if counts := getattr(operator, "counts", None):
        outcome.counts = dict(counts)
        counts.clear()
    if rows:
        add(b"")
        outcome.data = b"\n".join(rows)
        outcome.size = len(outcome.data)
    return outcome


def rows_in(block: LineBlock) -> int:
    """How many of a block's lines are not blank."""
    return sum(1 for line in block.read().split(b"\n") if line and not line.isspace())


def _lines_of(block: LineBlock) -> list[bytes]:
    lines = block.read().split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _rows_of_array(block: LineBlock) -> list[Any]:
    try:
        rows = orjson.loads(block.read())
    except orjson.JSONDecodeError as error:
        raise InputError(block.path, f"not JSON: {error}; expected an array of rows") from None
    if type(rows) is not list:
        raise InputError(block.path, f"found {describe(rows)}; expected a JSON array of rows")
    return rows


def _parsed_already(row: Any) -> Any:
    return row
