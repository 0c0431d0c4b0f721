"""One block of lines through a row operator: the row path itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from dataprep.errors import InputError, RowDropped, RowError
from dataprep.lines import not_json

RowOperator = Callable[..., bytes]
"""One parsed row in, the output row as one line of bytes out; raises ``RowError`` or ``RowDropped``.

The row is whatever JSON value the line holds. An operator with a true attribute ``placed`` is also given the path
and the number of the row in its file, counted from 1; one with a ``Counter`` as its attribute ``counts`` has it
collected and cleared after each block.
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
    def too_long(self) -> bool:
        """Whether the last line is longer than any line should be, and not whole."""

    @property
    def array(self) -> bool:
        """Whether the bytes are one JSON array of rows instead of lines."""

    @property
    def before(self) -> int:
        """How many lines of the file precede the block, where that was counted."""

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
        size: bytes of output.
        data: the output, each row with its newline; ``None`` once it was written.
    """

    lines: int = 0
    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    counts: dict[Any, int] = field(default_factory=dict)
    size: int = 0
    data: bytes | None = None


def apply(operator: RowOperator, block: LineBlock) -> Outcome:
    """Run ``operator`` over the rows of a block; blank lines are no rows.

    Raises:
        InputError: the block is to be an array of rows and is none.
    """
    loads, problems = orjson.loads, (RowError, orjson.JSONDecodeError)
    placed, path, before = getattr(operator, "placed", False), block.path, block.before
    outcome = Outcome()
    rows: list[bytes] = []
    add = rows.append
    blank = 0
    lines = _lines_of(block)
    for number, line in enumerate(lines, 1):
        try:
            row = loads(line)
            add(operator(row, path, before + number) if placed else operator(row))
        except RowDropped as drop:
            outcome.dropped[drop.reason] = outcome.dropped.get(drop.reason, 0) + 1
        except problems as error:
            if not line.strip():
                blank += 1
                continue
            problem = error if isinstance(error, RowError) else not_json(line, error)
            outcome.failures.append(Failure(number, problem.reason, str(problem), line))
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


def _lines_of(block: LineBlock) -> list[bytes]:
    data = block.read()
    if block.array:
        try:
            rows = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise InputError(block.path, f"not JSON: {error}; expected an array of rows") from None
        if type(rows) is not list:
            raise InputError(block.path, "expected a JSON array of rows")
        return [orjson.dumps(row) for row in rows]
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines
