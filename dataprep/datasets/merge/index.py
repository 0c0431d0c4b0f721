"""Index the rows of the inputs by file and offset: a merge shuffles the index, not the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import orjson

from dataprep.core.errors import RowError
from dataprep.core.io import Block
from dataprep.core.jsonl import MAX_LINE, not_json, not_object
from dataprep.core.parallel import Failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEWLINE = ord("\n")
# What bytes.strip() removes: a table answers for all lines of a block at once.
_WHITE = np.zeros(256, dtype=bool)
_WHITE[list(b" \t\r\n\v\f")] = True


@dataclass(slots=True)
class Scan:
    """The rows of one block.

    Attributes:
        lines: number of lines in the block, blank ones too.
        starts: first byte of each row within the block, shape ``(rows,)``.
        lengths: bytes of each row without its newline, shape ``(rows,)``.
        failures: rows that are not JSON objects; they are in neither array.
        too_long: the first line longer than ``MAX_LINE``, counted from 1; 0 if there is none.
    """

    lines: int
    starts: NDArray[np.uint32]
    lengths: NDArray[np.uint32]
    failures: list[Failure] = field(default_factory=list)
    too_long: int = 0


def scan(block: Block, check: bool) -> Scan:
    """Find the rows of a block, and with ``check`` those that are not JSON objects."""
    data = block.mapped()
    array = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(array == _NEWLINE)
    # The last line of a file may lack its newline.
    if data and data[-1] != _NEWLINE:
        ends = np.append(ends, len(data))
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts
    too_long = int(np.argmax(lengths > MAX_LINE)) + 1 if (lengths > MAX_LINE).any() else 0
    lines = ends.size
    keep = lengths > 0
    # Blank lines and lines of white space are not rows. Looking at the first byte of all lines at once leaves
    # few lines to look at one by one.
    first = array[np.minimum(starts, max(len(data) - 1, 0))]
    for row in np.flatnonzero(keep & _WHITE[first]).tolist():
        keep[row] = bool(bytes(data[starts[row] : ends[row]]).strip())
    failures = _check(data, starts, ends, keep) if check else []
    # Offsets within a block fit into 32 bits; build_index adds the block's offset in the file in 64.
    return Scan(lines, starts[keep].astype(np.uint32), lengths[keep].astype(np.uint32), failures, too_long)


def _check(
    data: memoryview, starts: NDArray[np.int64], ends: NDArray[np.int64], keep: NDArray[np.bool_]
) -> list[Failure]:
    """Return the rows that are not JSON objects, and clear ``keep`` for them."""
    loads, failures = orjson.loads, []
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if not keep[row]:
            continue
        line = bytes(data[start:end])
        try:
            value = loads(line)
            if type(value) is dict:
                continue
            problem: RowError = not_object(value)
        except orjson.JSONDecodeError as error:
            problem = not_json(line, error)
        failures.append(Failure(row + 1, problem.reason, str(problem), line))
        keep[row] = False
    return failures


@dataclass(slots=True)
class Index:
    """All rows of all inputs, in input order: 16 bytes a row.

    Attributes:
        paths: the plain files that hold the rows.
        files: the index in ``paths`` of each row's file, shape ``(rows,)``.
        starts: its first byte there, shape ``(rows,)``.
        lengths: its bytes without the newline, shape ``(rows,)``.
    """

    paths: list[str]
    files: NDArray[np.uint32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.uint32]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.starts.size

    @property
    def size(self) -> int:
        """Number of bytes of all rows, each with a newline."""
        return int(self.lengths.sum(dtype=np.int64)) + self.rows

    def ordered(self, order: NDArray[np.int64] | None) -> Index:
        """Return the index of the same rows in another order: position k holds row ``order[k]``."""
        if order is None:
            return self
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


def build_index(paths: list[str], scans: Iterable[tuple[Block, Scan]]) -> Index:
    """Combine the scans of all blocks to the index of the files ``paths``."""
    number = {path: index for index, path in enumerate(paths)}
    parts: list[tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.uint32]]] = []
    for block, found in scans:
        which = np.full(found.starts.size, number[block.path], dtype=np.uint32)
        parts.append((which, found.starts + np.int64(block.start), found.lengths))
    # numpy cannot concatenate nothing.
    if not parts:
        nothing = np.empty(0, dtype=np.uint32)
        return Index(paths, nothing, nothing.astype(np.int64), nothing)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Index(paths, columns[0], columns[1], columns[2])


def numbered(scans: Iterable[tuple[Block, Scan]]) -> Iterator[tuple[Block, Scan]]:
    """Count the lines of failures from the beginning of their files instead of their blocks."""
    before = 0
    for block, found in scans:
        if block.first:
            before = 0
        if found.too_long:
            found.too_long += before
        for failure in found.failures:
            failure.line += before
        before += found.lines
        yield block, found
