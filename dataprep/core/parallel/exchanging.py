"""Exchange pieces between tasks: divide what a first function finds among buckets, and join each bucket.

``exchange`` does that for any tasks, as merging needs it, and ``divided`` for an operator over chunks of
files, as the search for repeated rows does. Pieces stay where they are made, on disk or in the object store
of a cluster: the calling process never holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dataprep.core.io import in_chunks
from dataprep.core.parallel.backends import Backend
from dataprep.core.parallel.operators import Operator
from dataprep.core.parallel.pool import Ahead
from dataprep.core.parallel.tasks import Bisection, run

if TYPE_CHECKING:
    from dataprep.core.parallel.chunks import Chunk
    from dataprep.core.parallel.records import Record

Task = TypeVar("Task")
Piece = TypeVar("Piece")
Result = TypeVar("Result")


def exchange(
    split: Callable[[Task], Sequence[Piece]],
    join: Callable[[int, Iterator[Piece]], Result],
    tasks: Iterable[Task],
    buckets: int,
    *,
    backend: Backend,
    batch: int = 1,
    bisection: Bisection[Task] | None = None,
    take: Take | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Divide the results of all tasks among buckets; yield each bucket's number and result as it is joined.

    Pieces stay where they are made until a bucket is joined, on disk or in the object store of a cluster: the
    calling process never holds them.

    Args:
        split: returns for a task its piece for each bucket. A piece can be anything that can be pickled.
        join: called with the number of a bucket and its pieces in the order of the tasks. They may be read
            as the iterator is, or be in memory together; arrays may be read-only.
        tasks: read as they can be begun.
        buckets: number of buckets, which are numbered from 0.
        backend: where the work is done.
        batch: how many tasks are divided together, so that their pieces for a bucket are stored as one. Each
            stored piece takes a few kilobytes of the calling process's memory, and on a cluster those below
            100 kB pass it, so small pieces need batches.
        bisection: as for ``run``, for the tasks that are divided.
        take: as for ``scattered``.

    Raises:
        Exception: as for ``run``.
    """
    made = scattered(split, tasks, buckets, backend=backend, batch=batch, bisection=bisection, take=take)
    with made as pieces:
        yield from pieces.join(join, backend=backend)


Take = Callable[[int, Any], None]


@contextmanager
def scattered(
    split: Callable[[Task], Any],
    tasks: Iterable[Task],
    buckets: int,
    *,
    backend: Backend,
    batch: int = 1,
    bisection: Bisection[Task] | None = None,
    take: Take | None = None,
) -> Iterator[Pieces]:
    """Divide the results of all tasks among buckets, as ``exchange`` does, and keep the pieces while inside.

    For work that needs more than one look at the pieces.

    Args:
        split: as for ``exchange``. With ``take`` it returns a pair: what that is called with, and pieces.
        tasks: as for ``exchange``.
        buckets: as for ``exchange``.
        backend: as for ``exchange``.
        batch: as for ``exchange``.
        bisection: as for ``exchange``.
        take: called in this process with the number of each task, and what ``split`` returned beside the
            pieces, as tasks are completed.
    """
    searched = _batches_of(bisection) if bisection is not None else None
    dividing = _Splitting(split, buckets, take is not None)
    with backend.keeping(dividing, buckets) as kept:
        pieces = Pieces(kept.joining, buckets)
        batches = run(kept.split, _batches(tasks, batch), backend=backend, bisection=searched)
        for number, (notes, references) in batches:
            pieces.made[number] = references
            for place, note in enumerate(notes):
                assert take is not None
                take(number * batch + place, note)
        yield pieces


@dataclass
class Pieces:
    """Pieces that are kept where they were made.

    Attributes:
        joining: makes a work of a function that joins pieces.
        buckets: number of buckets.
        made: for each batch of tasks, its references by bucket.
    """

    joining: Callable[[Callable[[int, Iterator[Any]], Any]], Callable[[Any], Any]]
    buckets: int
    made: dict[int, list[Any]] = field(default_factory=dict)

    def join(
        self,
        join: Callable[[int, Iterator[Any]], Result],
        buckets: int | None = None,
        *,
        backend: Backend,
        keep: bool = False,
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield the number of each bucket, and the result of ``join``, as buckets are joined.

        Args:
            join: as for ``exchange``.
            buckets: join the first so many only. Defaults to all.
            backend: the one that keeps the pieces.
            keep: the pieces can be joined once more. Otherwise a bucket's are dropped once it is joined.
        """
        tasks = self._tasks(self.buckets if buckets is None else buckets, keep)
        yield from self.work(join, tasks, backend=backend)

    def work(
        self,
        work: Callable[[Any, Iterator[Any]], Result],
        tasks: Iterable[tuple[Any, Sequence[Any]]],
        *,
        backend: Backend,
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield the number and the result of each task, as ``run`` does, of work that looks at pieces.

        Args:
            work: called with what each task is about, and the pieces.
            tasks: what each is about, and references to its pieces, from ``of``.
            backend: the one that keeps the pieces.
        """
        yield from run(self.joining(_Joining(work)), tasks, backend=backend)

    @contextmanager
    def scattered(
        self,
        split: Callable[[Any, Iterator[Any]], Sequence[Any]],
        tasks: Iterable[tuple[Any, Sequence[Any]]],
        buckets: int,
        *,
        backend: Backend,
    ) -> Iterator[Pieces]:
        """Divide pieces once more: what ``split`` returns for tasks as in ``work``, kept while inside."""
        work = self.joining(_SplittingPieces(split, buckets))
        with backend.keeping(work, buckets) as kept:
            pieces = Pieces(kept.joining, buckets)
            for number, (_, references) in run(kept.split, tasks, backend=backend):
                pieces.made[number] = references
            yield pieces

    def of(self, bucket: int, number: int | None = None) -> list[Any]:
        """Return references to the pieces of a bucket, or to that of one batch of tasks."""
        numbers = range(len(self.made)) if number is None else (number,)
        return [self.made[number][bucket] for number in numbers]

    def _tasks(self, buckets: int, keep: bool) -> Iterator[tuple[int, list[Any]]]:
        for bucket in range(buckets):
            yield bucket, self.of(bucket)
            for pieces in self.made.values() if not keep else ():
                pieces[bucket] = None  # the task has it until it is completed


# Some tasks that are divided together, each with its place among them.
_Batch = list[tuple[int, Task]]


def _batches(tasks: Iterable[Task], size: int) -> Iterator[_Batch[Task]]:
    remaining = Ahead(tasks)
    while batch := [*enumerate(islice(remaining, size))]:
        yield batch
    remaining.check()


def _batches_of(bisection: Bisection[Task]) -> Bisection[_Batch[Task]]:
    def halve(batch: _Batch[Task]) -> list[_Batch[Task]]:
        if len(batch) > 1:
            middle = len(batch) // 2
            return [batch[:middle], batch[middle:]]
        [(place, task)] = batch
        return [[(place, half)] for half in bisection.halve(task)]

    def without(batch: _Batch[Task], lost: Sequence[_Batch[Task]]) -> _Batch[Task]:
        lines: dict[int, list[Task]] = {}
        for [(place, line)] in lost:
            lines.setdefault(place, []).append(line)
        return [
            (place, bisection.without(task, lines[place]) if place in lines else task)
            for place, task in batch
        ]

    return Bisection(halve, without)


@dataclass(frozen=True, slots=True)
class _Splitting:
    """A work that divides a batch: for each bucket, the pieces of its tasks."""

    split: Callable[[Any], Any]
    buckets: int
    noted: bool

    def __call__(self, batch: _Batch[Any]) -> tuple[list[Any], list[tuple[Any, ...]]]:
        notes, pieces = [], []
        for _, task in batch:
            made = self.split(task)
            if self.noted:
                note, made = made
                notes.append(note)
            pieces.append(made)
        assert all(len(row) == self.buckets for row in pieces), f"expected {self.buckets} pieces of a task"
        return notes, [*zip(*pieces, strict=True)]


@dataclass(frozen=True, slots=True)
class _Joining:
    """Join the pieces of a bucket, which come in batches."""

    join: Callable[[int, Iterator[Any]], Any]

    def __call__(self, bucket: int, batches: Iterator[tuple[Any, ...]]) -> Any:
        return self.join(bucket, (piece for batch in batches for piece in batch))


@dataclass(frozen=True, slots=True)
class _SplittingPieces:
    """Divide pieces among buckets."""

    split: Callable[[Any, Iterator[Any]], Sequence[Any]]
    buckets: int

    def __call__(self, task: Any, batches: Iterator[tuple[Any, ...]]) -> tuple[None, list[tuple[Any]]]:
        pieces = self.split(task, (piece for batch in batches for piece in batch))
        assert len(pieces) == self.buckets, f"expected {self.buckets} pieces of a task"
        return None, [(piece,) for piece in pieces]


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
        batch: as for ``exchange``.
    """
    # Not at the top: it imports numpy, which most commands do without.
    from dataprep.core.parallel.chunks import BISECTION, checked

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
        from dataprep.core.parallel.chunks import outcomes_of
        from dataprep.core.parallel.records import Record

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
