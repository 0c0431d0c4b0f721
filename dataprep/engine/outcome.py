"""One block of lines through a row operator: the row path itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from dataprep.errors import RowDropped, RowError
from dataprep.lines import MAX_LINE, not_json, not_object

RowOperator = Callable[[dict[str, Any]], bytes]
"""One parsed row in, the output row as one line of bytes out; raises ``RowError`` or ``RowDropped``."""


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

    def read(self) -> bytes:
        """The block's lines."""


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
        too_long: the first line that is longer than any line should be, counted from 1; 0 without one.
        size: bytes of output.
        data: the output, each row with its newline; ``None`` once it was written.
    """

    lines: int = 0
    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    too_long: int = 0
    size: int = 0
    data: bytes | None = None


def apply(operator: RowOperator, block: bytes) -> Outcome:
    """Run ``operator`` over the lines of a block; blank lines are no rows."""
    loads, problems = orjson.loads, (RowError, orjson.JSONDecodeError)
    outcome = Outcome()
    rows: list[bytes] = []
    add = rows.append
    blank = 0
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            row = loads(line)
            if type(row) is not dict:
                raise not_object(row)
            add(operator(row))
        except RowDropped as drop:
            outcome.dropped[drop.reason] = outcome.dropped.get(drop.reason, 0) + 1
        except problems as error:
            if not line.strip():
                blank += 1
                continue
            problem = error if isinstance(error, RowError) else not_json(line, error)
            outcome.failures.append(Failure(number, problem.reason, str(problem), line))
    if len(block) > MAX_LINE:
        outcome.too_long = next((n for n, line in enumerate(lines, 1) if len(line) > MAX_LINE), 0)
    outcome.lines = len(lines)
    outcome.rows_in = len(lines) - blank
    outcome.rows_out = len(rows)
    if rows:
        add(b"")
        outcome.data = b"\n".join(rows)
        outcome.size = len(outcome.data)
    return outcome
