"""Decide on many machines which rows repeat others exactly: digests go to buckets, rows stay where they are.

This process holds the lines of bad rows, and a few numbers of each chunk; what is dropped is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from dataprep.core import io as files
from dataprep.core.errors import Location
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import Fold, LineNumbers
from dataprep.core.parallel.backends import Backend
from dataprep.core.parallel.chunks import Chunk, chunks_of
from dataprep.core.parallel.exchanging import divided
from dataprep.core.parallel.records import Record
from dataprep.curate.duplicates.exact import keep_one
from dataprep.curate.duplicates.places import CHUNK_BITS, LINE, Places, row_numbers
from dataprep.curate.duplicates.rows import Compared, ReadTexts, Spool
from dataprep.curate.duplicates.writing import ChunkDrops, WriteKept, reason_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.uint64]

BUCKET_BYTES = 1 << 30  # of input, whose digests are compared together
MOST_BUCKETS = 64
# A stored piece costs the calling process a few kilobytes, so chunks are divided together in this many tasks.
_TASKS = 512
_GROUPS = 256  # files of dropped rows


def buckets_for(size: int) -> int:
    """Return among how many buckets the digests of so many bytes of input are divided."""
    return min(MOST_BUCKETS, 1 + size // BUCKET_BYTES)


class Told(NamedTuple):
    """Facts about a chunk, beside its record."""

    unsound: NDArray[np.uint32]  # the lines that are no sound rows
    rows: int  # number of sound rows
    # Of each sound row, if rows are compared by their shingles: the score, and the first half of the digest.
    scores: NDArray[np.float64] | None = None
    high: Numbers | None = None


@dataclass(frozen=True, slots=True)
class ByDigest:
    """Divide the rows of chunks by their digests; see ``core.parallel.exchanging.Divide``.

    A piece has the number of the chunk, the lines of rows, both halves of their digests, and their scores.
    """

    buckets: int

    def __call__(self, number: int, found: Sequence[tuple[int, Compared | None]]) -> tuple[Told, list[Any]]:
        """Return the note on a chunk, and its pieces."""
        lines, unsound = lines_of(found)
        high, low, scores = digests_of(found)
        columns = (lines, high, low, scores)
        return Told(unsound, len(lines)), [(number, *some) for some in by_digest(high, columns, self.buckets)]


def digests_of(
    found: Sequence[tuple[int, Compared | None]],
) -> tuple[Numbers, Numbers, NDArray[np.float64] | None]:
    """Return both halves of the digests of the rows of a chunk, and their scores."""
    compared = [one for _, one in found if one is not None]
    digests = np.frombuffer(b"".join(one.digests for one in compared), ">u8").reshape(-1, 2)
    scored = [one.scores for one in compared if one.scores is not None]
    scores = np.concatenate(scored) if scored else None
    return digests[:, 0].astype(np.uint64), digests[:, 1].astype(np.uint64), scores


def by_digest(high: Numbers, columns: Sequence[Any], buckets: int) -> Iterator[list[Any]]:
    """Yield what columns have of the rows of each bucket; ``None`` in place of a column stays."""
    owners = (high >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)
    for bucket in range(buckets):
        mine = np.flatnonzero(owners == bucket)
        yield [None if column is None else column[mine] for column in columns]


def lines_of(found: Sequence[tuple[int, Compared | None]]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the lines of a chunk that are sound rows, and those that are not."""
    sound, before = [np.empty(0, np.uint32)], 0
    for lines, one in found:
        if one is not None:
            rows = np.arange(1, lines + 1, dtype=np.uint32) if one.lines is None else one.lines
            sound.append(rows + np.uint32(before))
        before += lines
    rows = np.concatenate(sound)
    if len(rows) == before:
        return rows, np.empty(0, np.uint32)
    return rows, np.setdiff1d(np.arange(1, before + 1, dtype=np.uint32), rows, assume_unique=True)


class Repeated(NamedTuple):
    """The rows of a bucket that repeat others.

    Attributes:
        rows: their numbers.
        others: the rows that they repeat.
        different: number of different ones of these.
        most: how many rows repeat the same one at most.
        most_row: the first row that so many repeat.
    """

    rows: Numbers
    others: Numbers
    different: int
    most: int
    most_row: int

    @classmethod
    def of(cls, rows: Numbers, others: Numbers) -> Repeated:
        """Return rows with the figures about them."""
        different, times = np.unique(others, return_counts=True)
        first = int(np.argmax(times)) if len(times) else 0
        most, most_row = (int(times[first]), int(different[first])) if len(times) else (0, 0)
        return cls(rows, others, len(different), most, most_row)


@dataclass(frozen=True, slots=True)
class KeepFirst:
    """Join the pieces of a bucket; ``fixed`` is the number of chunks whose rows are kept in any case."""

    fixed: int

    def __call__(self, _bucket: int, pieces: Iterator[Any]) -> Repeated:
        """Return the rows that are dropped."""
        rows, kept = compared(pieces, self.fixed)
        dropped = (kept != np.arange(len(kept))) & (rows >> CHUNK_BITS >= self.fixed)
        return Repeated.of(rows[dropped], rows[kept[dropped]])


def compared(pieces: Iterator[Any], fixed: int) -> tuple[Numbers, NDArray[np.int64]]:
    """Return the rows of a bucket, and for each the place among them of the one that is kept of its equals.

    The rows of the first ``fixed`` chunks are kept in any case.
    """
    chunks, none = [*pieces], np.empty(0, np.uint64)
    rows = np.concatenate([none, *(row_numbers(one[0], one[1]) for one in chunks)])
    high, low = (np.concatenate([none, *(one[half] for one in chunks)]) for half in (2, 3))
    scored = [one[4] for one in chunks if one[4] is not None]
    places = np.arange(len(rows))
    first = int(np.searchsorted(rows, np.uint64(fixed) << CHUNK_BITS))
    numbers, best = keep_one((places, high, low), np.concatenate(scored) if scored else None, first)
    kept = places.copy()
    kept[numbers] = best
    return rows, kept


class Drops(Protocol):
    """The rows that are dropped."""

    def of(self, chunk: int, /) -> tuple[NDArray[np.uint32], Numbers, NDArray[np.float64] | None]:
        """Return the lines of a chunk that are dropped, rising; the rows they repeat, and the similarity."""


class DropFiles:
    """Rows that are dropped, on disk, by groups of chunks; to be read chunk after chunk."""

    def __init__(self, folder: Path, chunks: int) -> None:
        self._folder, self._per = folder, -(-chunks // _GROUPS) or 1
        self._group, self._held = -1, np.empty((0, 2), np.uint64)

    def add(self, rows: Numbers, others: Numbers) -> None:
        """Add rows, and those that they repeat."""
        groups = (rows >> CHUNK_BITS) // np.uint64(self._per)
        with files.writing(str(self._folder)):
            for group in np.unique(groups).tolist():
                mine = groups == group
                with self._path(group).open("ab") as file:
                    file.write(np.column_stack([rows[mine], others[mine]]).tobytes())

    def of(self, chunk: int, /) -> tuple[NDArray[np.uint32], Numbers, None]:
        """Return the lines of a chunk that are dropped, rising, and the rows that they repeat."""
        if self._group != chunk // self._per:
            self._group = chunk // self._per
            path = self._path(self._group)
            held = np.fromfile(path, np.uint64).reshape(-1, 2) if path.exists() else self._held[:0]
            self._held = held[np.argsort(held[:, 0])]
        begin, end = np.searchsorted(self._held[:, 0], np.array([chunk << 32, (chunk + 1) << 32], np.uint64))
        mine = self._held[begin:end]
        return (mine[:, 0] & LINE).astype(np.uint32), mine[:, 1], None

    def _path(self, group: int) -> Path:
        return self._folder / f"dropped{group}"


class ReadChunks:
    """Read the chunks of files on workers, and take what they tell of themselves.

    Args:
        spool: reads the files.
        groups: the files whose rows are kept in any case, and the others, each with what takes their counts.

    Attributes:
        places: the places of all rows.
        told: what each chunk told.
        bad: the lines of each chunk that are bad rows, rising.
        fixed: number of chunks of the first group.
        fixed_files: number of its files.
        across: number of its sound rows by file.
    """

    def __init__(self, spool: Spool, groups: Sequence[tuple[list[str], Fold]]) -> None:
        self.places, self.told = Places(), list[Told]()
        self.bad: list[NDArray[np.uint32]] = []
        self.fixed = self.fixed_files = 0
        self.across: dict[str, int] = dict.fromkeys(groups[0][0], 0)
        self._spool, self._groups = spool, groups
        self._lines, self._group = LineNumbers(), 0
        self._first: int | None = None  # the first chunk of the second group, once it is known

    def divided(self, operator: ReadTexts, divide: Any, backend: Backend, *, stop: bool, batch: int) -> Any:
        """Read all chunks and divide their rows among buckets, as ``core.parallel.exchanging`` does."""
        return divided(
            operator, divide, self._chunks(), backend=backend, take=self._take, stop=stop, batch=batch
        )

    def finish(self) -> None:
        """Check that all files had rows."""
        self._to_group(1)
        self._groups[1][1].finish()

    def _chunks(self) -> Iterator[Chunk]:
        number = 0
        for group, (paths, _) in enumerate(self._groups):
            if group:
                self._first = number
            for chunk in chunks_of(self._spool.blocks(paths), files.chunk_bytes(), number):
                number = chunk.number + 1
                yield chunk

    def _take(self, record: Record, told: Told) -> None:
        if self._first is not None and record.number >= self._first:
            self._to_group(1)
        fold, parts, bad, before = self._groups[self._group][1], [], [], 0
        for block, outcome in record.outcomes:
            bad += [before + failure.line for failure in outcome.failures]
            before += outcome.lines
            self._lines.settle(block, outcome)
            fold.add(block, outcome)
            fold.count(block)
            parts.append((block, outcome.lines, outcome.lines_before))
            if not self._group:
                self.across[block.path] += outcome.rows_out
        self.places.add(parts)
        self.told.append(told)
        self.bad.append(np.array(bad, np.uint32))

    def _to_group(self, group: int) -> None:
        if self._group != group:
            if self._groups[0][0]:
                self._groups[0][1].finish()
            self._group, self.fixed, self.fixed_files = group, self.places.chunks, len(self.places.paths)

    def notes(self, drops: Drops) -> Callable[[Chunk], ChunkDrops]:
        """Return what says of each chunk of the second group which lines are dropped."""

        def note(chunk: Chunk) -> ChunkDrops:
            number = self.fixed + chunk.number
            lines, others, similarity = drops.of(number)
            starts, skipped = self.places.starts(number), self.told[number].unsound
            return ChunkDrops(starts, skipped, lines, *self.places.of(others), similarity)

        return note

    def count(self, drops: Drops, ledger: Ledger) -> None:
        """Count kept and dropped rows, of which nobody wants to read any."""
        for number in range(self.fixed, self.places.chunks):
            _, others, similarity = drops.of(number)
            files_, _ = self.places.of(others)
            ledger.rows_out += self.told[number].rows - len(others)
            near = np.zeros(len(others), bool) if similarity is None else ~np.isnan(similarity)
            for file, is_near in zip(files_.tolist(), near.tolist(), strict=True):
                other = Location(self.places.paths[file], 0)
                ledger.drop(reason_of(other, fixed=file < self.fixed_files, near=is_near))

    def operator(self, *, told: bool) -> WriteKept:
        """Return the operator to which the notes are given."""
        return WriteKept(tuple(self.places.paths), tuple(self.places.units), self.fixed_files, told)


@dataclass
class Found:
    """The rows that are dropped, and figures about them; see ``Repeated``."""

    drops: Drops
    different: int = 0
    most: int = 0
    most_repeated: Location | None = None


def find_equal(
    read: ReadChunks, operator: ReadTexts, folder: Path, size: int, *, backend: Backend, stop: bool
) -> Found:
    """Return which rows equal others.

    Args:
        read: the files.
        operator: reads their rows.
        folder: for temporary files.
        size: bytes of all files together, about.
        backend: where the work is done.
        stop: the first bad row ends the run.
    """
    buckets = buckets_for(size)
    batch = 1 + size // files.chunk_bytes() // _TASKS
    with read.divided(operator, ByDigest(buckets), backend, stop=stop, batch=batch) as pieces:
        read.finish()
        drops = DropFiles(folder, read.places.chunks)
        found, best = Found(drops), (0, 0)
        for _, repeated in pieces.join(KeepFirst(read.fixed), backend=backend):
            drops.add(repeated.rows, repeated.others)
            found.different += repeated.different
            best = max(best, (repeated.most, -repeated.most_row))
    found.most = best[0]
    if found.most:
        found.most_repeated = read.places.location(-best[1])
    return found
