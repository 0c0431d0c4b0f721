"""Decide on many machines which rows are similar: in the same rounds as on one, with the buckets on workers.

This process holds a few numbers of each row, at most about 40 bytes, and the pairs of a round.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from dataprep.core.errors import UsageError
from dataprep.core.ledger import advance
from dataprep.core.parallel.backends import Backend
from dataprep.core.parallel.exchanging import Pieces
from dataprep.curate.duplicates import parts as looks
from dataprep.curate.duplicates.deciding import Decision, preferred, resolved, sets_of
from dataprep.curate.duplicates.divided_rows import AddCounts, DivideRows, KeepOne
from dataprep.curate.duplicates.exchanged import MOST_BUCKETS, ReadChunks, Repeated, Told, buckets_for
from dataprep.curate.duplicates.exchanged import Found as FoundRows
from dataprep.curate.duplicates.join import Postings
from dataprep.curate.duplicates.places import CHUNK_BITS, LINE, row_numbers
from dataprep.curate.duplicates.rows import COUNTERS, ReadTexts
from dataprep.curate.duplicates.sets import distinct, map_width
from dataprep.curate.duplicates.similar import Clusters, Pairs, find_repeats, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Value = TypeVar("_Value", np.int64, np.uint64)
    Numbers = NDArray[np.uint64]
    Mask = NDArray[np.bool_]

PART_SHINGLES = 32 << 20  # shingles in the prefixes of all sets whose buckets are one part
_MOST_PARTS = 256
PAIRS = 1 << 22  # pairs whose shingles are brought together at a time
PAIRS_OF_TASK = 1 << 16
_HALF = np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)


class SimilarRows:
    """The rows of files, numbered through all chunks, with the candidates among their sets.

    Attributes:
        kept: for each row the one that represents it, which equals it.
        order: the rows that represent themselves, by preference; set k is that of row ``order[k]``.
        fixed: number of rows that are kept in any case.
        candidates: the pairs of similar sets.
    """

    def __init__(self, read: ReadChunks, near: float, backend: Backend) -> None:
        self._read, self._near, self._backend = read, near, backend
        counts = np.array([told.rows for told in read.told], np.int64)
        self.bases = np.concatenate([[0], np.cumsum(counts)])
        if self.bases[-1] >= looks.NO_SET:
            most = int(looks.NO_SET)
            raise UsageError(
                f"--near: found {self.bases[-1]:,} rows, and fewer than {most:,} can be compared"
            )
        self.fixed = int(self.bases[read.fixed])
        self.kept = np.arange(self.bases[-1], dtype=np.uint32)
        self.order = self.kept
        self.candidates: Exchanged

    @contextmanager
    def compare(self, pieces: Pieces, divide: DivideRows) -> Iterator[None]:
        """Find the sets and their candidates, which can be used inside."""
        total = 0
        for _, (rows, others, shingles) in pieces.join(
            KeepOne(self._read.fixed), divide.digests, backend=self._backend
        ):
            self.kept[self.numbers(rows)] = self.numbers(others)
            total += shingles
        scored = [told.scores for told in self._read.told if told.scores is not None]
        self.order = preferred(self.kept, np.concatenate(scored) if scored else None, self.fixed)
        postings = Postings(self._ranks(pieces, divide), self._near, self._parts(total))
        with ExitStack() as stack:
            parts = stack.enter_context(self._build(pieces, divide, postings, total))
            self.candidates = Exchanged(self, parts, pieces, divide, self._near, self._backend)
            yield

    def numbers(self, rows: Numbers) -> NDArray[np.int64]:
        """Return the numbers through all chunks of rows that are known by chunk and row."""
        found: NDArray[np.int64] = self.bases[(rows >> CHUNK_BITS).astype(np.int64)]
        return found + (rows & LINE).astype(np.int64)

    def _ranks(self, pieces: Pieces, divide: DivideRows) -> NDArray[np.uint16]:
        cuts = np.arange(divide.counters + 1) * COUNTERS // divide.counters
        tasks = [
            (int(cuts[part + 1] - cuts[part]), pieces.of(divide.digests + part))
            for part in range(divide.counters)
        ]
        counts = dict(pieces.work(AddCounts(), tasks, backend=self._backend))
        return np.concatenate([counts[part] for part in range(divide.counters)])

    def _parts(self, shingles: int) -> int:
        in_prefixes = int(shingles * (1 - self._near)) + len(self.order)
        return min(_MOST_PARTS, 1 + in_prefixes // PART_SHINGLES)

    @contextmanager
    def _build(self, pieces: Pieces, divide: DivideRows, postings: Postings, total: int) -> Iterator[Pieces]:
        sets = sets_of(self.order, len(self.kept))
        last = divide.buckets - 1
        tasks = (
            (sets[self.bases[chunk] : self.bases[chunk + 1]], pieces.of(last, chunk))
            for chunk in range(len(self.bases) - 1)
        )
        width = map_width(len(self.order), total)
        work = looks.DivideShingles(postings, postings.parts, width)
        with ExitStack() as stack:
            with pieces.scattered(work, tasks, postings.parts, backend=self._backend) as divided:
                built = ((part, divided.of(part)) for part in range(postings.parts))
                parts = stack.enter_context(
                    divided.scattered(looks.BuildPart(self._near), built, 1, backend=self._backend)
                )
            yield parts


class Exchanged:
    """The candidates among sets in parts on workers; see ``similar.Candidates``."""

    def __init__(
        self,
        rows: SimilarRows,
        parts: Pieces,
        pieces: Pieces,
        divide: DivideRows,
        near: float,
        backend: Backend,
    ) -> None:
        self._rows, self._parts, self._pieces, self._last = rows, parts, pieces, divide.buckets - 1
        self._near, self._backend = near, backend

    def __len__(self) -> int:
        return len(self._rows.order)

    def leading(self, undecided: Mask, /) -> tuple[int, Mask]:
        """See ``Candidates``."""
        pairs, leading = 0, undecided.copy()
        for count, followers in self._look(looks.Leading(looks.Mask.of(undecided))):
            pairs += count
            leading[followers] = False
        return pairs, leading

    def to_leaders(self, leading: Mask, undecided: Mask, /) -> Pairs:
        """See ``Candidates``."""
        before, *masks = (looks.Mask.of(chosen) for chosen in (leading | undecided, leading, undecided))
        return self._similar(self._look(looks.ToLeaders(before, masks[0], masks[1], self._near)))

    def to_fixed(self, fixed: int, first: int, end: int, undecided: Mask, /) -> tuple[Pairs, bool]:
        """See ``Candidates``."""
        look = looks.ToFixed(fixed, first, end, looks.Mask.of(undecided), self._near)
        found = [*self._look(look)]
        return self._similar(pairs for pairs, _ in found), any(more for _, more in found)

    def among(self, undecided: Mask, /) -> Pairs:
        """See ``Candidates``."""
        return self._similar(self._look(looks.Among(looks.Mask.of(undecided), self._near)))

    def link(self, clusters: Clusters, /) -> None:
        """See ``Candidates``."""
        first = clusters.roots.astype(np.uint32)
        done = dict.fromkeys(range(len(self._parts.made)), 0)
        while done:
            look = looks.Apart(first, clusters.roots.astype(np.uint32), self._near)
            numbers = [*done]
            tasks = [(done[part], self._parts.of(0, part)) for part in numbers]
            found = []
            for number, (count, pairs) in self._parts.work(look, tasks, backend=self._backend):
                found.append(pairs)
                done[numbers[number]] = count
            done = {part: count for part, count in done.items() if count >= 0}
            clusters.unite(*self._similar(found)[:2])

    def _look(self, look: looks.Look) -> Iterator[Any]:
        tasks = [(part, self._parts.of(0, part)) for part in range(len(self._parts.made))]
        for _, found in self._parts.work(looks.LookAt(look), tasks, backend=self._backend):
            yield found

    def _similar(self, found: Any) -> Pairs:
        """Return the pairs that have the similarity."""
        pairs = distinct(np.concatenate([np.empty(0, np.uint64), *found]))
        parts = []
        for begin in range(0, len(pairs), PAIRS):
            some = pairs[begin : begin + PAIRS]
            similarity = self._compared(some)
            advance("pairs compared", len(some))
            enough = similarity >= self._near
            left, right = (half[enough].astype(np.int64) for half in (some >> _HALF, some & _LOW))
            parts.append(Pairs(left, right, similarity[enough]))
        return joined(parts)

    def _compared(self, pairs: Numbers) -> NDArray[np.float64]:
        """Return the similarity of each pair, which are rising."""
        buckets = min(MOST_BUCKETS, 1 + len(pairs) // PAIRS_OF_TASK)
        cuts = np.arange(buckets + 1) * len(pairs) // buckets
        owners = np.repeat(np.arange(buckets), np.diff(cuts)).astype(np.uint64)
        # Each set once for each bucket that needs it, by the chunk of its row.
        sets = np.concatenate([pairs >> _HALF, pairs & _LOW])
        needed = distinct((np.concatenate([owners, owners]) << _HALF) | sets)
        sets, owners = (needed & _LOW).astype(np.uint32), (needed >> _HALF).astype(np.uint32)
        rows = self._rows.order[sets].astype(np.int64)
        chunks = np.searchsorted(self._rows.bases, rows, side="right") - 1
        order = np.argsort(chunks, kind="stable")
        borders = np.flatnonzero(np.diff(chunks[order], prepend=-1))
        tasks = []
        for mine in np.split(order, borders[1:]):
            chunk = int(chunks[mine[0]])
            inside = (rows[mine] - self._rows.bases[chunk]).astype(np.uint32)
            tasks.append(((inside, sets[mine], owners[mine]), self._pieces.of(self._last, chunk)))
        work = looks.TakeShingles(buckets)
        with self._pieces.scattered(work, tasks, buckets, backend=self._backend) as taken:
            found = dict(taken.join(looks.Compare(pairs, cuts), backend=self._backend))
        return np.concatenate([found[bucket] for bucket in range(buckets)])


@contextmanager
def similar_rows(
    read: ReadChunks,
    operator: ReadTexts,
    near: float,
    size: int,
    *,
    backend: Backend,
    stop: bool,
    whole: bool = False,
) -> Iterator[SimilarRows]:
    """Read the rows of files on workers, and find the candidates for similar ones.

    Args:
        read: the files.
        operator: reads their rows, with shingles.
        near: similarity that pairs must have.
        size: bytes of all files together, about.
        backend: where the work is done.
        stop: the first bad row ends the run.
        whole: what chunks tell has the first half of each row's digest.
    """
    buckets = buckets_for(size)
    divide = DivideRows(buckets, min(8, buckets), whole)
    with read.divided(operator, divide, backend, stop=stop, batch=1) as pieces:
        read.finish()
        rows = SimilarRows(read, near, backend)
        with rows.compare(pieces, divide):
            yield rows


def by_file(
    read: ReadChunks, rows: SimilarRows, values: NDArray[_Value], missing: int
) -> list[NDArray[_Value]]:
    """Return the values of the rows of each file, with ``missing`` in place of those of bad rows."""
    found: list[list[NDArray[_Value]]] = [[values[:0]] for _ in read.places.paths]
    for chunk, (begin, bad) in enumerate(zip(rows.bases[:-1].tolist(), read.bad, strict=True)):
        count = read.told[chunk].rows
        lines = lines_of_rows(read.told[chunk], np.arange(count))
        merged = np.full(count + len(bad), missing, values.dtype)
        merged[np.arange(count) + np.searchsorted(bad, lines)] = values[begin : begin + count]
        starts = read.places.starts(chunk)
        ends = [first for first, _, _ in starts[1:]]
        cuts = np.searchsorted(lines, ends, side="right") + np.searchsorted(bad, ends, side="right")
        for (_, file, _), part in zip(starts, np.split(merged, cuts), strict=bool(starts)):
            found[file].append(part)
    return list(map(np.concatenate, found))


def lines_of_rows(told: Told, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return the lines of sound rows of a chunk, which are numbered from 0."""
    unsound = told.unsound.astype(np.int64)
    # Before row r are as many unsound lines as come before the r-th sound one.
    before = np.searchsorted(unsound - np.arange(1, len(unsound) + 1), rows, side="right")
    return (rows + before + 1).astype(np.uint32)


class _Decided:
    """The rows that are dropped, by their numbers; see ``exchanged.Drops``."""

    def __init__(self, read: ReadChunks, rows: SimilarRows, decision: Decision) -> None:
        self._read, self._rows, self._decision = read, rows, decision

    def of(self, chunk: int, /) -> tuple[NDArray[np.uint32], Numbers, NDArray[np.float64] | None]:
        begin, end = self._rows.bases[chunk], self._rows.bases[chunk + 1]
        others = self._decision.of[begin:end]
        dropped = np.flatnonzero(others != np.arange(begin, end))
        similarity = cast("NDArray[np.float64]", self._decision.similarity)
        return (
            lines_of_rows(self._read.told[chunk], dropped),
            self.places(others[dropped].astype(np.int64)),
            similarity[begin:end][dropped],
        )

    def places(self, rows: NDArray[np.int64]) -> Numbers:
        """Return the chunk and line of rows."""
        chunks = np.searchsorted(self._rows.bases, rows, side="right") - 1
        numbers = np.empty(len(rows), np.uint64)
        order = np.argsort(chunks, kind="stable")
        borders = np.flatnonzero(np.diff(chunks[order], prepend=-1))
        for mine in np.split(order, borders[1:]) if len(order) else ():
            chunk = int(chunks[mine[0]])
            inside = rows[mine] - self._rows.bases[chunk]
            numbers[mine] = row_numbers(chunk, lines_of_rows(self._read.told[chunk], inside))
        return numbers


def find_similar(
    read: ReadChunks, operator: ReadTexts, near: float, size: int, *, backend: Backend, stop: bool
) -> FoundRows:
    """Return which rows equal others or are similar to them; the parameters are those of ``similar_rows``."""
    with similar_rows(read, operator, near, size, backend=backend, stop=stop) as rows:
        fixed = int((rows.order < rows.fixed).sum())
        decision = resolved(rows.kept, rows.order, find_repeats(rows.candidates, fixed))
    numbers = rows.fixed + np.flatnonzero(
        decision.of[rows.fixed :] != np.arange(rows.fixed, len(decision.of))
    )
    figures = Repeated.of(numbers.astype(np.uint64), decision.of[numbers].astype(np.uint64))
    drops = _Decided(read, rows, decision)
    found = FoundRows(drops, figures.different, figures.most)
    if found.most:
        found.most_repeated = read.places.location(drops.places(np.array([figures.most_row]))[0])
    return found
