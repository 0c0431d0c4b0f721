"""Divide what an operator finds in chunks among buckets, for commands that compare all rows with each other.

The records of chunks come to this process in the order of the chunks; the pieces do not come here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from dataprep.core.io import in_chunks
from dataprep.core.parallel.backends import Backend
from dataprep.core.parallel.chunks import BISECTION, Chunk, checked, outcomes_of
from dataprep.core.parallel.operators import Operator
from dataprep.core.parallel.records import Record
from dataprep.core.parallel.tasks import Pieces, scattered


class Divide(Protocol):
    """Divide the payloads of a chunk; picklable."""

    @property
    def buckets(self) -> int:
        """Number of buckets."""

    def __call__(self, number: int, found: Sequence[tuple[int, Any]], /) -> tuple[Any, Sequence[Any]]:
        """Return a note for the calling process, and the piece of a chunk for each bucket.

        Args:
            number: the chunk.
            found: the number of lines and the payload of each of its blocks, in order.
        """


@contextmanager
def divided(
    operator: Operator,
    divide: Divide,
    chunks: Iterable[Chunk],
    *,
    backend: Backend,
    take: Callable[[Record, Any], None],
    stop: bool,
    batch: int = 1,
) -> Iterator[Pieces]:
    """Run an operator over chunks, divide the payloads of its outcomes, and keep the pieces while inside.

    Args:
        operator: what finds the payloads; picklable.
        divide: what divides them.
        chunks: numbered from 0.
        backend: where the work is done.
        take: called in this process with the record of each chunk, in order, and the note on it. The outcomes
            have no payload.
        stop: ``take`` raises for a chunk with a bad row, so its pieces are not needed.
        batch: as for ``tasks.exchange``.
    """
    waiting: dict[int, tuple[Record, Any]] = {}
    following = 0

    def settle(number: int, told: tuple[Record, Any]) -> None:
        nonlocal following
        waiting[number] = told
        while following in waiting:
            take(*waiting.pop(following))
            following += 1

    work = _DivideChunk(operator, divide, stop)
    with ExitStack() as stack:
        with in_chunks():
            pieces = stack.enter_context(
                scattered(
                    work,
                    checked(chunks),
                    divide.buckets,
                    backend=backend,
                    batch=batch,
                    bisection=BISECTION,
                    take=settle,
                )
            )
        yield pieces


@dataclass(frozen=True, slots=True)
class _DivideChunk:
    operator: Operator
    divide: Divide
    stop: bool

    def __call__(self, chunk: Chunk) -> tuple[tuple[Record, Any], Sequence[Any]]:
        record, found = Record(chunk.number), []
        for block, outcome in outcomes_of(self.operator, chunk):
            if chunk.probe:
                continue
            found.append((outcome.lines, outcome.payload))
            outcome.payload = None
            record.add(block, outcome)
            if self.stop and outcome.failures:
                break
        if chunk.probe or (self.stop and record.outcomes and record.outcomes[-1][1].failures):
            return (record, None), [None] * self.divide.buckets
        note, pieces = self.divide(chunk.number, found)
        return (record, note), pieces
