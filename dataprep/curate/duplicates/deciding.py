"""Decide on one machine which rows are dropped, and write the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from dataprep.core import io as files
from dataprep.core.errors import Location
from dataprep.core.parallel.backends import Backend
from dataprep.core.parallel.tasks import run
from dataprep.curate.duplicates.exact import representatives
from dataprep.curate.duplicates.join import build_buckets
from dataprep.curate.duplicates.rows import Piece, Rows
from dataprep.curate.duplicates.sets import open_sets
from dataprep.curate.duplicates.similar import LocalCandidates, Repeats, find_repeats
from dataprep.curate.duplicates.writing import ChunkDrops, WriteKept, drop_line, reason_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.core.parallel.chunks import Chunk


NO_SET = np.uint32((1 << 32) - 1)


@dataclass
class Decision:
    """For each row, the kept row that it repeats, or itself."""

    of: NDArray[np.uint32]
    # Of rows that nearly repeat another. NaN is an exact repeat. Only `--near` has them.
    similarity: NDArray[np.float64] | None = None


def decide(rows: Rows, near: float | None, threads: int) -> Decision:
    """Return what each row repeats."""
    kept = representatives(rows)
    if near is None:
        return Decision(kept)
    order = preferred(kept, rows.scores, rows.fixed)
    return resolved(kept, order, _repeats(rows, order, near, threads))


def resolved(kept: NDArray[np.uint32], order: NDArray[np.uint32], repeats: Repeats) -> Decision:
    """Return what each row repeats.

    Args:
        kept: for each row the one that represents it, which equals it.
        order: the rows that represent themselves; set k is that of row ``order[k]``.
        repeats: what each set repeats.
    """
    # Equal rows share the fate of the one that represents them.
    set_of = sets_of(order, len(kept))[kept]
    repeats.similarity[repeats.of == np.arange(len(order))] = np.nan
    return Decision(order[repeats.of][set_of], repeats.similarity[set_of])


def sets_of(order: NDArray[np.uint32], rows: int) -> NDArray[np.uint32]:
    """Return the set of each row in ``order``; of other rows ``NO_SET``."""
    sets = np.full(rows, NO_SET, np.uint32)
    sets[order] = np.arange(len(order), dtype=np.uint32)
    return sets


def preferred(kept: NDArray[np.uint32], scores: NDArray[np.float64] | None, fixed: int) -> NDArray[np.uint32]:
    """Return the rows that represent themselves: first those below ``fixed``, then by their scores."""
    numbers = np.flatnonzero(kept == np.arange(len(kept))).astype(np.uint32)
    if scores is None:
        return numbers
    ranks = np.where(numbers < fixed, np.inf, scores[numbers])
    return numbers[np.lexsort((numbers, -ranks))]


def _repeats(rows: Rows, order: NDArray[np.uint32], near: float, threads: int) -> Repeats:
    """Return the set that each set of shingles repeats."""
    with open_sets(rows, order, threads) as sets:
        buckets = build_buckets(sets, rows.counters, near, rows.folder)
        candidates = LocalCandidates(sets, buckets, near)
        return find_repeats(candidates, int((order < rows.fixed).sum()))


def write(
    rows: Rows,
    decision: Decision,
    blocks: Iterable[files.Block],
    out: files.Output | None,
    drops: files.Output | None,
) -> None:
    """Write the kept rows and the dropped ones, and count both."""
    pieces, ledger = rows.pieces[rows.fixed_pieces :], rows.ledger
    read = repeat(None, len(pieces)) if out is None and drops is None else blocks
    for piece, block in zip(pieces, read, strict=True):
        mine = np.arange(piece.first, piece.first + piece.count, dtype=np.uint32)
        kept = decision.of[piece.first : piece.first + piece.count] == mine
        ledger.rows_out += int(kept.sum())
        ledger.drop_all(_reasons(rows, decision, mine[~kept]))
        if block is None:
            continue
        lines = block.read().split(b"\n")
        if piece.lines is not None:
            lines = [lines[number - 1] for number in piece.lines.tolist()]
        if out is not None and kept.any():
            out.write(b"\n".join([*_picked(lines, kept), b""]))
        if drops is not None:
            for at in np.flatnonzero(~kept).tolist():
                drops.write(_drop_line(rows, decision, piece.first + at, lines[at]))


def _picked(lines: list[bytes], kept: NDArray[np.bool_]) -> list[bytes]:
    if kept.all():
        return lines[: len(kept)]  # what follows the last newline is no line
    return [lines[at] for at in np.flatnonzero(kept).tolist()]


def _reasons(rows: Rows, decision: Decision, dropped: NDArray[np.uint32]) -> Counter[str]:
    found = Counter[str]()
    others = decision.of[dropped]
    inside = others >= rows.fixed
    for other in others[~inside].tolist():
        found[reason_of(rows.place_of(other), fixed=True, near=False)] += 1
    mine = dropped[inside]
    near = 0 if decision.similarity is None else int((~np.isnan(decision.similarity[mine])).sum())
    nowhere = Location("", 0)
    found[reason_of(nowhere, fixed=False, near=False)] += len(mine) - near
    found[reason_of(nowhere, fixed=False, near=True)] += near
    return found


def _drop_line(rows: Rows, decision: Decision, row: int, data: bytes) -> bytes:
    other = int(decision.of[row])
    similarity = np.nan if decision.similarity is None else float(decision.similarity[row])
    where, fixed = rows.place_of(other), other < rows.fixed
    reason = reason_of(where, fixed=fixed, near=not np.isnan(similarity))
    return drop_line(rows.place_of(row), where, reason, similarity, data)


class ChunkNotes:
    """Say of each chunk which of its lines are dropped: each chunk gives one part of a folder.

    Args:
        rows: the rows of all files.
        decision: what each repeats.
        counts: for each chunk and each of its blocks, whether it begins a file, and the number of its lines.
    """

    def __init__(self, rows: Rows, decision: Decision, counts: list[list[tuple[bool, int]]]) -> None:
        self._rows, self._decision, self._counts = rows, decision, counts
        self._pieces: list[list[Piece]] = [[] for _ in rows.paths]
        for piece in rows.pieces:
            self._pieces[piece.path].append(piece)
        facts = [(piece.first, piece.path, piece.lines_before, piece.lines is None) for piece in rows.pieces]
        self._columns = np.array(facts, np.int64).reshape(-1, 4).T
        self._file, self._line = rows.fixed_paths - 1, 0
        self._at = 0  # the first piece of the file that reaches into the chunk

    def operator(self, *, told: bool) -> WriteKept:
        """Return the operator to which the notes are given."""
        units = tuple(pieces[0].unit for pieces in self._pieces)
        return WriteKept(tuple(self._rows.paths), units, self._rows.fixed_paths, told)

    def __call__(self, chunk: Chunk) -> ChunkDrops:
        """Return the note on the next chunk."""
        starts, skipped, lines, begin = [], [], [np.empty(0, np.int64)], 0
        rows = [np.empty(0, np.int64)]
        for first, count in self._counts[chunk.number]:
            if first:
                self._file, self._line, self._at = self._file + 1, 0, 0
            starts.append((begin, self._file, self._line))
            unsound = np.ones(count, bool)
            for numbers, sound in self._sound(count):
                unsound[numbers - 1] = False
                dropped = self._decision.of[sound] != sound
                lines.append(begin + numbers[dropped])
                rows.append(sound[dropped])
            skipped.append(begin + 1 + np.flatnonzero(unsound))
            begin, self._line = begin + count, self._line + count
        found, similarity = np.concatenate(rows), self._decision.similarity
        return ChunkDrops(
            starts,
            np.concatenate([np.empty(0, np.int64), *skipped]).astype(np.uint32),
            np.concatenate(lines).astype(np.uint32),
            *self._places(self._decision.of[found].astype(np.int64)),
            None if similarity is None else similarity[found],
        )

    def _sound(self, count: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the sound rows in the next lines of the file: their lines, from 1, and their numbers."""
        pieces = self._pieces[self._file]
        while self._at + 1 < len(pieces) and pieces[self._at + 1].lines_before <= self._line:
            self._at += 1
        for piece in pieces[self._at :]:
            before = piece.lines_before - self._line
            if before >= count:
                break
            lines = np.arange(1, piece.count + 1) if piece.lines is None else piece.lines.astype(np.int64)
            lines = lines + before
            inside = slice(*np.searchsorted(lines, [0, count], side="right").tolist())
            yield lines[inside], np.arange(piece.first, piece.first + piece.count)[inside]

    def _places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """Return the number of the file, and the line in it, of each row."""
        firsts, paths, before, plain = self._columns
        owners = np.searchsorted(firsts, rows, side="right") - 1
        lines = rows - firsts[owners] + 1
        for at in np.flatnonzero(plain[owners] == 0).tolist():  # few blocks have blank or bad lines
            numbers = self._rows.pieces[int(owners[at])].lines
            assert numbers is not None
            lines[at] = numbers[lines[at] - 1]
        return paths[owners].astype(np.uint32), (before[owners] + lines).astype(np.uint64)


def count_chunks(chunks: Iterable[Chunk], backend: Backend) -> list[list[tuple[bool, int]]]:
    """Return for each chunk and each of its blocks whether it begins a file, and the number of its lines."""
    counts = dict(run(_count, chunks, backend=backend))
    return [counts[number] for number in range(len(counts))]


def _count(chunk: Chunk) -> list[tuple[bool, int]]:
    counts = []
    for block in chunk.blocks:
        lines = 0
        for piece in files.pieces(block):
            data = piece.read()
            lines += data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
        counts.append((block.first, lines))
    return counts
