"""Write the rows of a chunk that are kept, and the lines about those that are dropped."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core.errors import Location
from dataprep.core.parallel import Outcome
from dataprep.curate.inputs import place_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near-duplicate"


def reason_of(other: Location, *, fixed: bool, near: bool) -> str:
    """Return why a row is dropped: it repeats another one, which may be ``fixed``, one of ``--across``."""
    if fixed:
        return f"in {files.printable(other.path)}"
    return NEAR_DUPLICATE if near else DUPLICATE


def drop_line(where: Location, other: Location, reason: str, similarity: float, row: bytes) -> bytes:
    """Return the line about a dropped row; NaN is the similarity of an exact repeat."""
    line = place_fields(where) | {
        "reason": reason,
        "other": place_fields(other),
        "similarity": 1.0 if np.isnan(similarity) else round(similarity, 6),
        "row": orjson.Fragment(row.strip()),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(slots=True)
class ChunkDrops:
    """The lines of a chunk that are not kept.

    Attributes:
        starts: for each file, or part of one, in the chunk: how many lines of the chunk precede it, the
            number of the file, and how many lines of the file precede it.
        skipped: lines that are no sound rows, counted from 1 in the chunk; rising.
        lines: lines of dropped rows; rising.
        files: the number of the file of the row that each of them repeats.
        others: the line of that row in its file.
        similarity: the similarity of the two, NaN for exact repeats; ``None`` if all are.
    """

    starts: Sequence[tuple[int, int, int]]
    skipped: NDArray[np.uint32]
    lines: NDArray[np.uint32]
    files: NDArray[np.uint32]
    others: NDArray[np.uint64]
    similarity: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class WriteKept:
    """Keep the lines of chunks that are not dropped: for ``core.parallel.Noted``, with ``ChunkDrops``.

    Attributes:
        paths: the files.
        units: the unit of each, by which its rows are counted.
        fixed: number of files, the first ones, whose rows are kept in any case.
        told: whether outcomes have lines about dropped rows, as their only side.
    """

    paths: tuple[str, ...]
    units: tuple[Literal["line", "row"], ...]
    fixed: int
    told: bool

    def of_chunk(self, note: ChunkDrops) -> _WriteChunk:
        """Return the operator for the blocks of a chunk."""
        return _WriteChunk(self, note)

    def place_of(self, file: int, line: int) -> Location:
        """Return a place by the number of a file."""
        return Location(self.paths[file], line, self.units[file])


class _WriteChunk:
    def __init__(self, common: WriteKept, drops: ChunkDrops) -> None:
        self._common, self._drops = common, drops
        self._before = 0  # lines of the chunk before the block

    def __call__(self, block: files.Block) -> Outcome:
        data = block.read()
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        outcome = Outcome(len(lines))
        begin, end = self._before, self._before + len(lines)
        self._before = end
        skipped = _within(self._drops.skipped, begin, end)
        dropped = _within(self._drops.lines, begin, end)
        gone = np.concatenate([self._drops.skipped[skipped], self._drops.lines[dropped]])
        if len(gone):
            kept = np.ones(len(lines), bool)
            kept[gone.astype(np.int64) - begin - 1] = False
            rows = [lines[at] for at in np.flatnonzero(kept).tolist()]
            outcome.put(b"\n".join([*rows, b""]) if rows else b"")
            outcome.rows_out = len(rows)
        else:
            outcome.put(data if data.endswith(b"\n") or not data else data + b"\n")
            outcome.rows_out = len(lines)
        told = self._told(range(dropped.start, dropped.stop), lines, begin, outcome)
        if self._common.told:
            outcome.sides = [(b"".join(told), len(told))]
        return outcome

    def _told(self, numbers: range, lines: list[bytes], begin: int, outcome: Outcome) -> list[bytes]:
        """Count why rows are dropped, and return the lines about them if they are wanted."""
        common, drops, told = self._common, self._drops, []
        for at in numbers:
            similarity = np.nan if drops.similarity is None else float(drops.similarity[at])
            file = int(drops.files[at])
            other = common.place_of(file, int(drops.others[at]))
            reason = reason_of(other, fixed=file < common.fixed, near=not np.isnan(similarity))
            outcome.dropped[reason] = outcome.dropped.get(reason, 0) + 1
            if common.told:
                line = int(drops.lines[at])
                told.append(drop_line(self._where(line), other, reason, similarity, lines[line - begin - 1]))
        return told

    def _where(self, line: int) -> Location:
        starts = self._drops.starts
        first, file, before = starts[bisect_right(starts, line - 1, key=lambda start: start[0]) - 1]
        return self._common.place_of(file, before + line - first)


def _within(lines: NDArray[Any], begin: int, end: int) -> slice:
    """Return which of some rising line numbers are those of the lines after ``begin``, up to ``end``."""
    first, last = np.searchsorted(lines, [begin, end], side="right")
    return slice(int(first), int(last))
