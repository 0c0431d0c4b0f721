"""Fold outcomes in the order of the blocks: numbers of lines, the ledger, rejects, and outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from dataprep.core import provenance
from dataprep.core.errors import InputError, Location
from dataprep.core.io import Block, Output, PartsOutput, Rejects
from dataprep.core.jsonl import UNREADABLE, too_long
from dataprep.core.ledger import Ledger, advance
from dataprep.core.parallel.operators import Outcome

Progress = Callable[[int], None]  # called with the bytes of input that were worked off since the last call


class Sink(Protocol):
    """Where output goes: an ``Output`` of ``core.io``, or anything like it."""

    @property
    def path(self) -> str:
        """The name for messages."""

    @property
    def direct(self) -> str | None:
        """A file that worker processes write into; ``None`` if all output must pass through ``write``."""

    def write(self, lines: bytes, /) -> None:
        """Write output that was made in this process."""


class LineNumbers:
    """Number the lines of outcomes from the beginning of their file."""

    def __init__(self) -> None:
        self._before = 0

    def settle(self, block: Block, outcome: Outcome) -> None:
        """Number the lines of the next block's outcome, whose failures have numbers within the block.

        Raises:
            InputError: a line is so long that the file is no JSON Lines.
        """
        if block.first:
            self._before = 0
        # Before the failures of the block are reported: a line this long is no bad row, the file is not JSON
        # Lines at all, and no file of rejects should take it.
        if outcome.too_long:
            raise too_long(block.path, self._before + outcome.too_long)
        for failure in outcome.failures:
            failure.line += self._before
        outcome.lines_before = self._before
        self._before += outcome.lines


class Fold:
    """Write the output of outcomes, and put every row into the ledger.

    Args:
        output: where the output goes; ``None`` leaves output and ``ledger.rows_out`` to others.
        ledger: takes the rows that came in, went out, were dropped or failed.
        rejects: takes bad rows; without a file of rejects the first one raises.
        paths: the files; each must have a row.
        sides: outputs for what is in ``Outcome.sides``; ``None`` in place of one that is not wanted.
        progress: called after each block.
        expected: what the files hold, for messages.
    """

    def __init__(
        self,
        output: Sink | None,
        ledger: Ledger,
        rejects: Rejects,
        paths: Sequence[str],
        *,
        sides: Sequence[Output | None] = (),
        progress: Progress | None = None,
        expected: str = "rows",
    ) -> None:
        self.counts: Counter[Any] = Counter()
        # Files without rows are an error at the end, not at the beginning: a compressed file or a pipe shows
        # only then whether it holds any.
        self._rows_of, self._unreadable = dict.fromkeys(paths, 0), Counter[str]()
        self._output, self._ledger, self._rejects, self._sides = output, ledger, rejects, sides
        self._progress, self._expected = progress or _read, expected
        if isinstance(output, PartsOutput):
            output.ledger = ledger

    def add(self, block: Block, outcome: Outcome) -> None:
        """Take the next outcome, whose lines are numbered.

        Raises:
            InputError: a row is bad and there is no file of rejects.
        """
        ledger, output = self._ledger, self._output
        self._rows_of[block.path] += outcome.rows_in
        ledger.rows_in += outcome.rows_in
        ledger.drop_all(outcome.dropped)
        for failure in outcome.failures:
            where = Location(block.path, failure.line, block.unit)
            self._rejects.add(where, failure.message, failure.row)
            ledger.fail(failure.reason)
            self._unreadable[block.path] += failure.reason in UNREADABLE
        self.counts.update(outcome.counts)
        if output is not None:
            ledger.rows_out += outcome.rows_out
            if isinstance(output, Output):
                output.write(outcome.data or b"", outcome.rows_out)  # else a worker has written it
            elif outcome.data is not None:
                output.write(outcome.data)
        for side, (lines, rows) in zip(self._sides, outcome.sides, strict=bool(outcome.sides)):
            if side is not None:
                side.write(lines or b"", rows)  # else a worker has written it

    def count(self, block: Block) -> None:
        """Say that a block is worked off."""
        self._progress(block.end - block.start if block.data is None else len(block.data))

    def finish(self) -> None:
        """Check that all files had rows, and say how many.

        Raises:
            InputError: a file has no rows, or no line that can be read.
        """
        refuse_empty(self._rows_of, self._expected)
        refuse_unreadable(self._rows_of, self._unreadable)
        for path, rows in self._rows_of.items():
            provenance.count(path, rows)


def _read(size: int) -> None:
    advance("bytes read", size)


def refuse_empty(rows_of: Mapping[str, int], expected: str = "rows") -> None:
    """Raise ``InputError`` for the first file without rows."""
    for path, rows in rows_of.items():
        if not rows:
            raise InputError(path, f"the file is empty; expected {expected}")


def refuse_unreadable(rows_of: Mapping[str, int], unreadable: Mapping[str, int]) -> None:
    """Raise ``InputError`` for the first file of which no line could be read: it is of another format."""
    for path, rows in rows_of.items():
        if rows and unreadable.get(path, 0) == rows:
            found = "its only line is" if rows == 1 else f"all of its {rows:,} lines are"
            raise InputError(
                path, f"{found} unreadable; expected JSON Lines, one row per line: is it another format?"
            )
