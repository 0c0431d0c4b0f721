"""Count rows in, rows out, and the reason for every row that is left out; say how far the work is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dataprep.core.errors import LedgerError

# Called with the kind of thing that was done, how many more of them, and of how many (0 if nobody knows).
OnAdvance = Callable[[str, int, int], None]
RESUMED = "chunks are taken from an earlier run"
_listeners: list[OnAdvance] = []


@contextmanager
def listening(listener: OnAdvance) -> Iterator[None]:
    """Call ``listener`` for each ``advance`` inside."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def advance(what: str, count: int, total: int = 0) -> None:
    """Say that ``count`` more of something are done, for example ``bytes read``, of ``total`` if known.

    Long work calls it at least every few seconds, so that whoever waits sees that it continues.
    """
    # No parameter of every function between here and the command line: the listener belongs to the process.
    for listener in _listeners:
        listener(what, count, total)


@dataclass
class Ledger:
    """Account for a command's rows: ``rows_in + repeated = rows_out + dropped + failed``.

    Attributes:
        rows_in: rows that were read.
        rows_out: rows that were written.
        dropped: sound rows left out on purpose, by reason.
        failed: bad rows, by reason.
        repeated: how often a row was written once more.
    """

    # rows_in is counted where rows are read and rows_out where they are written. Computing one from the other
    # would hide the lost row that `check` looks for.

    rows_in: int = 0
    rows_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    repeated: int = 0

    def drop(self, reason: str, count: int = 1) -> None:
        """Count sound rows that are left out on purpose."""
        # A reason that counts nothing would show up in the summary as "reason: 0".
        if count:
            self.dropped[reason] += count

    def fail(self, reason: str, count: int = 1) -> None:
        """Count bad rows."""
        if count:
            self.failed[reason] += count

    def drop_all(self, reasons: Mapping[str, int]) -> None:
        """Count dropped rows by reason."""
        for reason, count in reasons.items():
            self.drop(reason, count)

    def check(self) -> None:
        """Raise ``LedgerError`` unless every row that came in is accounted for."""
        accounted = self.rows_out + self.dropped.total() + self.failed.total()
        if self.rows_in + self.repeated != accounted:
            raise LedgerError(
                f"{self.rows_in:,} rows came in, {accounted:,} are accounted for ({self}): "
                "this is a bug in dataprep: report it"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the counts as a JSON object."""
        counts = {"in": self.rows_in, "out": self.rows_out}
        # Few commands repeat rows.
        counts |= {"repeated": self.repeated} if self.repeated else {}
        return {**counts, "dropped": dict(self.dropped), "failed": dict(self.failed)}

    def __str__(self) -> str:
        repeated = f" + {self.repeated:,} repeated" if self.repeated else ""
        parts = [f"{self.rows_in:,} in{repeated} = {self.rows_out:,} out"]
        for name, counts in (("dropped", self.dropped), ("failed", self.failed)):
            if counts:
                reasons = ", ".join(f"{reason}: {count:,}" for reason, count in counts.items())
                parts.append(f"{counts.total():,} {name} ({reasons})")
        return " + ".join(parts)
