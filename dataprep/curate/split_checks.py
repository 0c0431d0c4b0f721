"""Check what ``split`` has written: no key is in two parts, and the files hold the rows that were read."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import LedgerError
from dataprep.core.parallel.tasks import run

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HELD = 256 << 20  # bytes of keys in memory; more of them go to files
_BUCKETS = 64
_KEY = np.dtype([("key", "<u8"), ("part", "<u4")])
_CHECKED = 8 << 20  # bytes that one task reads again


class KeyCounts(NamedTuple):
    """Numbers of different keys.

    Attributes:
        of_parts: number of different keys in each part.
        largest: number of rows with the most frequent key.
        twice: number of keys that are in two parts.
    """

    of_parts: list[int]
    largest: int
    twice: int


class Keys:
    """The keys of the rows of each part, 8 bytes each; a context manager.

    Args:
        parts: number of parts.
        held: how many bytes of keys to hold in memory.
    """

    def __init__(self, parts: int, held: int = _HELD) -> None:
        self._parts, self._most = parts, held
        self._held: list[list[bytes]] = [[] for _ in range(parts)]
        self._size = 0
        self._folder: Path | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, *_details: object) -> None:
        self._stack.close()

    def add(self, part: int, keys: bytes) -> None:
        """Add keys of rows of a part."""
        self._held[part].append(keys)
        self._size += len(keys)
        if self._size > self._most:
            self._spill()

    def count(self) -> KeyCounts:
        """Return how many different keys there are."""
        total = KeyCounts([0] * self._parts, 0, 0)
        for keys in self._divided():
            found = [np.unique(numbers, return_counts=True) for numbers in keys]
            distinct = [numbers for numbers, _ in found]
            total = KeyCounts(
                [before + len(numbers) for before, numbers in zip(total.of_parts, distinct, strict=True)],
                max([total.largest, *(int(counts.max(initial=0)) for _, counts in found)]),
                total.twice + _repeats(np.concatenate(distinct)),
            )
        return total

    def _divided(self) -> Iterator[list[NDArray[np.uint64]]]:
        """Yield keys by part, a share of all keys at a time."""
        if self._folder is None:
            yield [np.frombuffer(b"".join(keys), np.uint64) for keys in self._held]
            return
        self._spill()
        for bucket in range(_BUCKETS):
            rows = np.fromfile(self._folder / str(bucket), _KEY)
            yield [rows["key"][rows["part"] == part] for part in range(self._parts)]

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = self._stack.enter_context(files.temporary_folder())
        with files.writing(str(self._folder)):
            for part, keys in enumerate(self._held):
                numbers = np.frombuffer(b"".join(keys), np.uint64)
                rows = np.empty(len(numbers), _KEY)
                rows["key"], rows["part"] = numbers, part
                owners = (numbers % _BUCKETS).astype(np.uint8)
                rows = rows[np.argsort(owners, kind="stable")]
                cuts = np.cumsum(np.bincount(owners, minlength=_BUCKETS))
                for bucket, mine in enumerate(np.split(rows, cuts[:-1])):
                    with (self._folder / str(bucket)).open("ab") as file:
                        file.write(mine.tobytes())
        self._held = [[] for _ in range(self._parts)]
        self._size = 0


def _repeats(numbers: NDArray[np.uint64]) -> int:
    """Return how many numbers are equal to one before them."""
    numbers = np.sort(numbers)
    return int(np.count_nonzero(numbers[1:] == numbers[:-1]))


@dataclass
class Written:
    """The rows that were written to a part: their number, and checksums of pieces of their lines."""

    rows: int = 0
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    sums: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, rows: int, size: int, checksum: int) -> None:
        """Add lines that were written."""
        self.rows += rows
        self.sizes.append(size)
        self.sums.append(checksum)

    def check(self, path: str) -> None:
        """Read a part again; raise ``LedgerError`` unless it has the rows that were written."""
        if not self.rows:
            return
        if files.is_parts(path) or files.format_of(path).is_plain_lines:
            checks = self._checks(path)
            # On a cluster where there is one: the whole output is read again.
            same = checks is not None and all(
                same for _, same in run(_is_same, checks, backend=engine.backend_for(1))
            )
        else:
            same = sum(engine.rows_in(block) for block in files.read_row_blocks(path)) == self.rows
        if not same:
            raise LedgerError(f"{path}: read again, the file does not have the rows that were written to it")

    def _checks(self, path: str) -> list[_Check] | None:
        """Return what is to be read; ``None`` if the file does not have the size of the rows."""
        checks: list[_Check] = []
        number = 0
        for block in _whole(path):
            start = block.start
            while start < block.end:
                end, first = start, number
                while number < len(self.sizes) and end + self.sizes[number] <= block.end:
                    end += self.sizes[number]
                    number += 1
                    if end - start >= _CHECKED:
                        break
                if number == first:
                    return None
                piece = files.Block(path, start, end, source=block.source)
                checks.append(_Check(piece, self.sizes[first:number], self.sums[first:number]))
                start = end
        return checks if number == len(self.sizes) else None


class _Check(NamedTuple):
    block: files.Block
    sizes: Sequence[int]
    sums: Sequence[int]


def _whole(path: str) -> Iterator[files.Block]:
    """Yield each file of an output as one block."""
    with files.in_chunks(1 << 62):
        yield from files.read_blocks(path)


def _is_same(check: _Check) -> bool:
    data, begin = memoryview(check.block.read()), 0
    for size, checksum in zip(check.sizes, check.sums, strict=True):
        if crc32(data[begin : begin + size]) != checksum:
            return False
        begin += size
    return begin == len(data)
