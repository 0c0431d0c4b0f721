"""Account for what a format does not carry: an error, or with ``--lossy`` a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NoReturn

from dataprep.core.errors import RowDropped, RowError

LOST, CHANGED = "lost", "changed"
# Kinds of changes that several formats count.
EMPTY = "empty fields left out"
DEFAULT_MARKS = "loss marks that say the default left out"


class Account:
    """The losses and changes of rows on their way from one format to another.

    A loss is something that the other side does not get, such as the reasoning in an alpaca row. A change
    means the same and is written differently, so that the way back does not give the same bytes.

    Attributes:
        target: what the rows become, for messages: ``"alpaca"`` or ``"a chat row"``.
        lossy: count a loss instead of raising.
        pending: the losses and changes of the current row.
    """

    __slots__ = ("_counts", "lossy", "pending", "target")

    def __init__(self, target: str, *, lossy: bool = False) -> None:
        self.target = target
        self.lossy = lossy
        self.pending: list[tuple[str, str]] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def lose(self, kind: str, detail: str) -> None:
        """Count a part of a row that the target cannot carry; without ``lossy``, raise ``RowError``."""
        if not self.lossy:
            raise RowError(f"{self.target} cannot carry {kind}", f"{detail}; --lossy drops and counts it")
        self.pending.append((LOST, kind))

    def change(self, kind: str) -> None:
        """Count a part of a row that means the same for the target, and is written differently."""
        self.pending.append((CHANGED, kind))

    def leave_out(self, kind: str, detail: str) -> NoReturn:
        """Leave out a row that cannot be written at all; without ``lossy``, raise ``RowError``."""
        reason = f"{self.target} cannot carry {kind}"
        if self.lossy:
            raise RowDropped(reason)
        raise RowError(reason, f"{detail}; --lossy leaves such rows out and counts them")

    def settle(self) -> None:
        """Count the losses and changes of a row that is written."""
        self._counts.update(self.pending)
        self.pending.clear()

    def forget(self) -> None:
        """Forget the losses and changes of a row that is not written."""
        self.pending.clear()

    def take_counts(self) -> Mapping[tuple[str, str], int]:
        """Return what was counted since the last call."""
        counts, self._counts = self._counts, Counter()
        return counts
