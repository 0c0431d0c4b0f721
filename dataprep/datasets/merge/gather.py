"""Put rows into their new order: from memory, or through the disk if they do not fit."""

from __future__ import annotations

import mmap
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataprep.core.io import open_mapped, writing
from dataprep.core.parallel import Pool
from dataprep.datasets.merge.index import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Large enough that a worker's answer costs little beside its work, small enough for a smooth progress bar.
PART_BYTES = 2 << 20
MAX_BUCKETS = 500  # each is an open file, and systems commonly allow 1,024


@dataclass(slots=True)
class Part:
    """Some consecutive rows of the output.

    Attributes:
        rows: number of rows.
        size: their bytes.
        data: the rows; ``None`` once a worker has written them.
    """

    rows: int
    size: int
    data: bytes | None


class Gatherer:
    """Collect rows of an ordered index from the mapped input files; picklable."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._maps: list[mmap.mmap | bytes] | None = None

    def close(self) -> None:
        """Unmap the input files."""
        for view in self._maps or ():
            if isinstance(view, mmap.mmap):
                view.close()
        self._maps = None

    def forget(self) -> None:
        """Release the memory of the pages read so far."""
        # Mapped pages count as the process's memory until the system needs them: --memory would seem ignored.
        for view in self._maps or ():
            if isinstance(view, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                view.madvise(mmap.MADV_DONTNEED)

    def __reduce__(self) -> tuple[type[Gatherer], tuple[Index]]:
        # Maps cannot be pickled; each worker maps the files itself.
        return Gatherer, (self.index,)

    def __call__(self, span: tuple[int, int]) -> Part:
        """Return the rows from position ``span[0]`` to before ``span[1]``, each with a newline."""
        if self._maps is None:
            self._maps = [open_mapped(path) for path in self.index.paths]
        part, maps = self.index.part(*span), self._maps
        starts = part.starts.tolist()
        ends = (part.starts + part.lengths).tolist()
        # This is the inner loop of a merge; a single file needs no lookup per row.
        if len(maps) == 1:
            (only,) = maps
            rows = [only[start:end] for start, end in zip(starts, ends, strict=True)]
        else:
            places = zip(part.files.tolist(), starts, ends, strict=True)
            rows = [maps[file][start:end] for file, start, end in places]
        rows.append(b"")
        data = b"\n".join(rows)
        return Part(part.rows, len(data), data)


def gather_in_memory(
    ordered: Index, workers: int = 1, output: str | None = None, name: str = ""
) -> Generator[Part, None, None]:
    """Yield the rows of an ordered index, a part at a time.

    Args:
        ordered: the index, in the order of the output.
        workers: number of processes.
        output: a file that several workers write their parts into. Without it one process does the work.
        name: the name of ``output`` in messages.
    """
    gather = Gatherer(ordered)
    spans = pairwise(ordered.cuts(PART_BYTES))
    if workers == 1 or output is None:
        yield from map(gather, spans)
        gather.close()
        return
    with Pool(gather, workers, output=output, name=name) as pool:
        yield from pool.map(spans)


def gather_on_disk(
    index: Index, order: NDArray[np.int64], scratch: Path, memory: int, name: str
) -> Generator[Part, None, None]:
    """Yield the rows of an index in the given order, in two sequential passes over the disk.

    The output is divided into buckets of half the memory. The first pass reads the inputs from beginning to
    end and appends each row to the file of its bucket. The second pass loads one bucket after the other and
    puts its rows in order.

    Args:
        index: the rows in input order.
        order: row numbers in output order, shape ``(rows,)``.
        scratch: folder for the buckets.
        memory: maximum number of bytes of rows to hold.
        name: the output's name, for messages.
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
        yield from gather_in_memory(inside.ordered(np.searchsorted(arrived, rows)))
        bucket.unlink()


def _scatter(index: Index, order: NDArray[np.int64], cuts: list[int], buckets: list[Path]) -> None:
    """Append every row to the file of the bucket that holds its position in the output."""
    bucket_of = np.empty(index.rows, dtype=np.uint32)
    for number, (begin, end) in enumerate(pairwise(cuts)):
        bucket_of[order[begin:end]] = number
    gather = Gatherer(index)
    with ExitStack() as stack:
        outs = [stack.enter_context(bucket.open("wb")) for bucket in buckets]
        for begin, end in pairwise(index.cuts(4 * PART_BYTES)):
            part = gather((begin, end))
            assert part.data is not None
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
    gather.close()
