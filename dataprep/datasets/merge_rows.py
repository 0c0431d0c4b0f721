"""Index the rows of the inputs by file and offset, and gather them in another order.

A merge shuffles the index, not the rows. Rows that do not fit into memory are gathered through the disk.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from io import FileIO
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import numpy as np

from dataprep.core.io import Block, allow_open, open_mapped, write_at, writing
from dataprep.core.parallel import Pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A block with its rows: the first byte of each within the block, and its bytes without the newline.
Scan = tuple[Block, tuple["NDArray[np.uint32]", "NDArray[np.uint32]"]]

# Large enough that a worker's answer costs little beside its work, small enough for a smooth progress bar.
PART_BYTES = 2 << 20
MAX_BUCKETS = 500  # each is an open file


@dataclass(slots=True)
class Index:
    """All rows of all inputs, in input order: 16 bytes a row."""

    paths: list[str]  # the plain files that hold the rows
    files: NDArray[np.uint32]  # the index in `paths` of each row's file, shape `(rows,)`
    starts: NDArray[np.int64]  # its first byte there, shape `(rows,)`
    lengths: NDArray[np.uint32]  # its bytes without the newline, shape `(rows,)`

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.starts.size

    @property
    def size(self) -> int:
        """Return the number of bytes of all rows, each with a newline."""
        return int(self.lengths.sum(dtype=np.int64)) + self.rows

    def ordered(self, order: NDArray[np.int64]) -> Index:
        """Return the index of the same rows in another order: position k holds row ``order[k]``."""
        return Index(self.paths, self.files[order], self.starts[order], self.lengths[order])

    def part(self, begin: int, end: int) -> Index:
        """Return the index of the rows from position ``begin`` to before ``end``."""
        pick = slice(begin, end)
        return Index(self.paths, self.files[pick], self.starts[pick], self.lengths[pick])

    def cuts(self, size: int) -> list[int]:
        """Return positions 0, …, ``rows`` that divide the rows into parts of about ``size`` bytes."""
        total = np.cumsum(self.lengths, dtype=np.int64) + np.arange(1, self.rows + 1)
        marks = np.searchsorted(total, np.arange(size, self.size + size, size), side="left") + 1
        # One row can be larger than a part, and several marks then fall on it: unique removes empty parts.
        inner = np.minimum(marks, self.rows)
        return [0, *np.unique(inner).tolist()]


def build_index(scans: Iterable[Scan]) -> Index:
    """Combine the rows that were found in each block; a block is of the plain file that holds its range."""
    numbers: dict[str, int] = {}
    parts: list[tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.uint32]]] = []
    for block, (starts, lengths) in scans:
        file = np.full(starts.size, numbers.setdefault(block.file, len(numbers)), dtype=np.uint32)
        parts.append((file, starts + np.int64(block.start), lengths))
    # numpy cannot concatenate nothing.
    if not parts:
        nothing = np.empty(0, dtype=np.uint32)
        return Index([], nothing, nothing.astype(np.int64), nothing)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Index([*numbers], columns[0], columns[1], columns[2])


@dataclass(slots=True)
class Part:
    """Consecutive rows of the output: their number, their bytes, and the rows themselves."""

    rows: int
    size: int
    data: bytes | list[memoryview] | None  # None once a worker has written them


class Gatherer:
    """Collect rows of an ordered index from the mapped input files; picklable.

    With ``copied`` they are bytes, otherwise pieces of the mapped files for the system to copy.
    """

    def __init__(self, index: Index, copied: bool) -> None:
        self.index = index
        self.copied = copied or not hasattr(os, "pwritev")
        self._maps: list[mmap.mmap | bytes] = []
        self._views: list[memoryview] = []
        self._copies: IO[bytes] | None = None

    def close(self) -> None:
        """Unmap the input files."""
        if self._copies is not None:
            self._copies.close()
        self._copies = None
        self._views.clear()
        for view in self._maps:
            # Rows that were not written, or an error's traceback, still have views.
            with suppress(BufferError):
                if isinstance(view, mmap.mmap):
                    view.close()
        self._maps.clear()

    def forget(self) -> None:
        """Release the memory of the pages read so far."""
        # Mapped pages count as the process's memory until the system needs them: --memory would seem ignored.
        for view in self._maps:
            if isinstance(view, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                view.madvise(mmap.MADV_DONTNEED)

    def __reduce__(self) -> tuple[type[Gatherer], tuple[Index, bool]]:
        # Maps cannot be pickled; each worker maps the files itself.
        return Gatherer, (self.index, self.copied)

    def __call__(self, span: tuple[int, int]) -> Part:
        """Return the rows from position ``span[0]`` to before ``span[1]``, each with a newline."""
        if not self._maps:
            allow_open(len(self.index.paths) + MAX_BUCKETS)
            self._maps = [open_mapped(path) for path in self.index.paths]
            self._views = [memoryview(mapped) for mapped in self._maps]
            self._sizes = np.array([view.nbytes for view in self._views], dtype=np.int64)
        part, views = self.index.part(*span), self._views
        ends_of = part.starts + part.lengths
        starts, ends = part.starts.tolist(), (ends_of + 1).tolist()
        # This is the inner loop of a merge; a single file needs no lookup per row.
        if len(views) == 1:
            (only,) = views
            rows = [only[start:end] for start, end in zip(starts, ends, strict=True)]
        else:
            ranges = zip(part.files.tolist(), starts, ends, strict=True)
            rows = [views[file][start:end] for file, start, end in ranges]
        # The last line of a file may lack its newline.
        for row in np.flatnonzero(ends_of == self._sizes[part.files])[::-1].tolist():
            rows.insert(row + 1, memoryview(b"\n"))
        return Part(part.rows, part.size, self._copy_of(rows, part.size) if self.copied else rows)

    def _copy_of(self, rows: list[memoryview], size: int) -> bytes:
        if not hasattr(os, "pwritev"):
            return b"".join(rows)
        if self._copies is None:
            self._copies = _file_in_memory()
        write_at(self._copies.fileno(), rows, size, 0)
        return os.pread(self._copies.fileno(), size, 0)


def _file_in_memory() -> IO[bytes]:
    if hasattr(os, "memfd_create"):  # Linux
        return FileIO(os.memfd_create("rows"), "r+b")
    return TemporaryFile(buffering=0)


def gather_in_memory(
    ordered: Index, workers: int = 1, output: str | None = None, name: str = ""
) -> Generator[Part, None, None]:
    """Yield the rows of an ordered index, a part at a time; ``name`` is the output's name in messages.

    Several workers write their parts into ``output``. Without it one process does the work.
    """
    spans = pairwise(ordered.cuts(PART_BYTES))
    with closing(Gatherer(ordered, output is None)) as gather:
        if workers == 1 or output is None:
            yield from map(gather, spans)
            return
        with Pool(gather, workers, output=output, name=name) as pool:
            yield from pool.map(spans)


def gather_on_disk(
    index: Index, order: NDArray[np.int64], scratch: Path, memory: int, output: str | None, name: str
) -> Generator[Part, None, None]:
    """Yield the rows of an index in the given order, in two sequential passes over the disk.

    The output is divided into buckets of half the memory (bytes). The first pass reads the inputs from
    beginning to end and appends each row to the file of its bucket, in the folder ``scratch``. The second
    pass loads one bucket after the other and puts its rows in order.
    """
    # Reading rows at random offsets from a disk would cost a seek per row; two passes read and write
    # everything twice, but in order.
    ordered_lengths = Index(index.paths, index.files, index.starts, index.lengths[order])
    # Half the memory: a bucket is held twice, as it is read and as it is put in order.
    cuts = ordered_lengths.cuts(max(memory // 2, index.size // MAX_BUCKETS + 1))
    buckets = [scratch / f"bucket{number}" for number in range(len(cuts) - 1)]
    with writing(name):
        _scatter(index, order, cuts, buckets)
    for bucket, (begin, end) in zip(buckets, pairwise(cuts), strict=True):
        rows = order[begin:end]
        arrived = np.sort(rows)  # a bucket has its rows in input order
        lengths = index.lengths[arrived]
        starts = np.cumsum(lengths, dtype=np.int64) + np.arange(rows.size) - lengths
        inside = Index([str(bucket)], np.zeros(rows.size, np.uint32), starts, lengths)
        yield from gather_in_memory(inside.ordered(np.searchsorted(arrived, rows)), 1, output, name)
        bucket.unlink()


def _scatter(index: Index, order: NDArray[np.int64], cuts: list[int], buckets: list[Path]) -> None:
    """Append every row to the file of the bucket that holds its position in the output."""
    bucket_of = np.empty(index.rows, dtype=np.uint32)
    for number, (begin, end) in enumerate(pairwise(cuts)):
        bucket_of[order[begin:end]] = number
    with ExitStack() as stack:
        gather = stack.enter_context(closing(Gatherer(index, copied=True)))
        outs = [stack.enter_context(bucket.open("wb")) for bucket in buckets]
        for begin, end in pairwise(index.cuts(4 * PART_BYTES)):
            part = gather((begin, end))
            assert isinstance(part.data, bytes)
            rows = part.data.split(b"\n")
            numbers = bucket_of[begin:end]
            # Stable, so that rows stay in input order within a bucket: gather_on_disk relies on it.
            by_bucket = np.argsort(numbers, kind="stable").tolist()
            counts = np.bincount(numbers, minlength=len(buckets)).tolist()
            position = 0
            for out, count in zip(outs, counts, strict=True):
                picked = by_bucket[position : position + count]
                out.write(b"".join([rows[row] + b"\n" for row in picked]))
                position += count
            gather.forget()


@dataclass(frozen=True, slots=True)
class Portion:
    """Whole lines of a file with their rows, and where these go."""

    block: Block
    starts: NDArray[np.uint32]  # the first byte of each row in the block
    lengths: NDArray[np.uint32]  # its bytes without the newline
    places: NDArray[np.int64]  # its first byte in the output


def portions_of(scans: Iterable[Scan], places: NDArray[np.int64], size: int) -> Iterator[list[Portion]]:
    """Yield portions of about ``size`` bytes together; their arrays are parts of those given."""
    held: list[Portion] = []
    total = row = 0
    for block, (starts, lengths) in scans:
        bytes_ = block.end - block.start
        if held and total + bytes_ > size:
            yield held
            held, total = [], 0
        if starts.size:
            held.append(Portion(block, starts, lengths, places[row : row + starts.size]))
            total += bytes_
            row += starts.size
    if held:
        yield held


def connected(portions: Iterable[Portion]) -> list[Portion]:
    """Connect portions of which each begins where the one before ends, so that they are read at once."""
    runs: list[list[Portion]] = []
    for portion in portions:
        before, block = runs[-1][-1].block if runs else None, portion.block
        follows = before is not None and (before.file, before.end) == (block.file, block.start)
        if follows and block.data is None:
            runs[-1].append(portion)
        else:
            runs.append([portion])
    return [
        Portion(
            replace(run[0].block, end=run[-1].block.end),
            np.concatenate([one.starts + (one.block.start - run[0].block.start) for one in run]),
            np.concatenate([one.lengths for one in run]),
            np.concatenate([one.places for one in run]),
        )
        for run in runs
    ]
