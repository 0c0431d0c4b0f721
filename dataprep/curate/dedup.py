"""Drop rows of files that repeat others: the library behind ``dataprep dedup``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import Location, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.curate.duplicates.exact import representatives
from dataprep.curate.duplicates.join import build_buckets
from dataprep.curate.duplicates.rows import ReadTexts, Rows, Spool, check_keep, read_rows
from dataprep.curate.duplicates.shingles import Shingler
from dataprep.curate.duplicates.similar import Repeats, find_repeats
from dataprep.curate.inputs import checked_inputs, place_fields
from dataprep.curate.near import NGRAM, check_threshold, open_sets

if TYPE_CHECKING:
    from numpy.typing import NDArray

DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near-duplicate"


@dataclass
class Dedup:
    """The result of ``dedup_files``.

    Attributes:
        ledger: the rows of the files, without those of ``across``.
        across: number of sound rows in each file of ``across``.
        repeated: number of rows, of ``across`` too, that a dropped row repeats.
        most: the largest number of dropped rows that repeat the same row.
        most_repeated: where that row stands; ``None`` if no row is dropped.
    """

    ledger: Ledger
    across: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    most: int = 0
    most_repeated: Location | None = None

    def facts(self) -> dict[str, Any]:
        """Return the numbers beside the ledger as a JSON object."""
        return {
            "across": self.across,
            "repeated": self.repeated,
            "most": self.most,
            "most_repeated": None if self.most_repeated is None else place_fields(self.most_repeated),
        }


@dataclass
class _Decision:
    """For each row, the kept row that it repeats, or itself."""

    of: NDArray[np.uint32]
    # Of rows that nearly repeat another. NaN is an exact repeat. Only `--near` has them.
    similarity: NDArray[np.float64] | None = None


def dedup_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path | None,
    *,
    on: str = "messages",
    near: float | None = None,
    ngram: int = NGRAM,
    keep: str = "first",
    across: str | Path | Sequence[str | Path] = (),
    dropped: str | Path | None = None,
    rejects: str | Path | None = None,
    workers: int | None = 1,
    progress: engine.Progress | None = None,
) -> Dedup:
    """Write the rows of files that repeat no other row.

    The files are read in the order of their paths, as by ``merge_files``. So neither the order in which they
    are named nor the number of workers changes a byte. Kept rows keep their bytes and order.

    Args:
        inputs: files of rows in any format that dataprep reads; ``-`` is standard input.
        output: receives the kept rows; ``-`` is standard output, and ``None`` writes none.
        on: the part of a row to compare: ``"messages"``, a role, ``"question"``, or a field. For
            ``"messages"``, rows that are no chat rows are compared by all fields but ``id`` and ``source``.
        near: also drop rows of this Jaccard similarity or more to a kept row, from 0.1 to 1: n-grams
            that both texts have, over those that either has. Without it, only texts that are equal except for
            case, white space and Unicode form.
        ngram: tokens of an n-gram. A shorter text has one n-gram.
        keep: which of similar rows is kept: ``"first"``, ``"longest"`` (of the compared text), or
            ``"best:FIELD"``, the one with the highest number there. The first of equals is kept.
        across: files whose rows are kept as they are, and not written; rows that repeat them are dropped.
        dropped: receives each dropped row, the row that it repeats, and their similarity.
        rejects: receives bad rows; without it the first one raises.
        workers: number of processes; ``None`` decides by the input's size.
        progress: called with the bytes of input worked off since the last call.

    Raises:
        UsageError: an option is wrong, or an output would replace an input.
        InputError: a row is bad, or has no such part.
    """
    check_keep(keep)
    check_whole("--ngram", ngram, 1)
    if near is not None:
        check_threshold(near)
    outputs = [str(path) for path in (output, dropped) if path is not None]
    paths = sorted(checked_inputs(inputs, outputs, rejects, "deduplicate"))
    others = sorted(checked_inputs(across, outputs, rejects, "compare with")) if across else []
    files.check_distinct(dropped, [] if output is None else [output])
    _check_apart(paths, others)
    operator = ReadTexts(on, keep, None if near is None else Shingler(ngram))
    unchanged = files.Unchanged([*others, *paths])
    with ExitStack() as stack:
        folder = stack.enter_context(files.temporary_folder())
        bad = stack.enter_context(files.open_rejects(rejects))
        rows, spool = Rows([], folder), Spool(folder)
        nothing = stack.enter_context(files.open_rejects(None))
        for group, ledger, aside in ((others, Ledger(), nothing), (paths, rows.ledger, bad)):
            if group:
                read_rows(
                    rows, operator, group,
                    spool=spool, rejects=aside, workers=workers, ledger=ledger, progress=progress,
                )  # fmt: skip
            if group is others:
                rows.fix()
        decision = _decide(rows, near, engine.workers_for([*others, *paths], workers))
        out, drops = (
            None if path is None else stack.enter_context(files.open_output(str(path)))
            for path in (output, dropped)
        )
        _write(rows, decision, spool.blocks(paths), out, drops)
        unchanged.check()
    rows.ledger.check()
    return _described(rows, decision, others)


def _check_apart(paths: Sequence[str], across: Sequence[str]) -> None:
    if [*paths, *across].count(files.STDIO) > 1:
        raise UsageError("standard input can be read once only; give a path")
    for path in across:
        if path != files.STDIO and any(
            other != files.STDIO and files.is_same_file(other, path) for other in paths
        ):
            raise UsageError(f"--across {path}: it is also an input, so all of its rows would be dropped")


def _decide(rows: Rows, near: float | None, threads: int) -> _Decision:
    """Return what each row repeats."""
    kept = representatives(rows)
    if near is None:
        return _Decision(kept)
    order = _order(rows, kept)
    repeats = _repeats(rows, order, near, threads)
    # Set k is that of row order[k]; equal rows share the fate of the one that represents them.
    set_of = np.empty(rows.count, np.uint32)
    set_of[order] = np.arange(len(order), dtype=np.uint32)
    set_of = set_of[kept]
    repeats.similarity[repeats.of == np.arange(len(order))] = np.nan
    return _Decision(order[repeats.of][set_of], repeats.similarity[set_of])


def _order(rows: Rows, kept: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the rows that equal no preferred one, the preferred ones first."""
    numbers = np.flatnonzero(kept == np.arange(rows.count)).astype(np.uint32)
    scores = rows.scores
    if scores is None:
        return numbers
    ranks = np.where(numbers < rows.fixed, np.inf, scores[numbers])
    return numbers[np.lexsort((numbers, -ranks))]


def _repeats(rows: Rows, order: NDArray[np.uint32], near: float, threads: int) -> Repeats:
    """Return the set that each set of shingles repeats."""
    with open_sets(rows, order, threads) as sets:
        buckets = build_buckets(sets, rows.counters, near, rows.folder)
        return find_repeats(sets, buckets, near, int((order < rows.fixed).sum()))


def _write(
    rows: Rows,
    decision: _Decision,
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


def _reasons(rows: Rows, decision: _Decision, dropped: NDArray[np.uint32]) -> Counter[str]:
    found = Counter[str]()
    inside = decision.of[dropped] >= rows.fixed
    for other in decision.of[dropped[~inside]].tolist():
        found[f"in {files.printable(rows.place_of(other).path)}"] += 1
    mine = dropped[inside]
    near = 0 if decision.similarity is None else int((~np.isnan(decision.similarity[mine])).sum())
    found[DUPLICATE] += len(mine) - near
    found[NEAR_DUPLICATE] += near
    return found


def _drop_line(rows: Rows, decision: _Decision, row: int, data: bytes) -> bytes:
    other = int(decision.of[row])
    similarity = 1.0 if decision.similarity is None else float(decision.similarity[row])
    exact = decision.similarity is None or np.isnan(similarity)
    where = rows.place_of(other)
    reason = DUPLICATE if exact else NEAR_DUPLICATE
    line = place_fields(rows.place_of(row)) | {
        "reason": reason if other >= rows.fixed else f"in {files.printable(where.path)}",
        "other": place_fields(where),
        "similarity": 1.0 if exact else round(similarity, 6),
        "row": orjson.Fragment(data.strip()),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _described(rows: Rows, decision: _Decision, others: Sequence[str]) -> Dedup:
    counts = dict.fromkeys(others, 0)
    for piece in rows.pieces[: rows.fixed_pieces]:
        counts[rows.paths[piece.path]] += piece.count
    dropped = rows.fixed + np.flatnonzero(decision.of[rows.fixed :] != np.arange(rows.fixed, rows.count))
    repeated, times = np.unique(decision.of[dropped], return_counts=True)
    result = Dedup(rows.ledger, counts, len(repeated))
    if len(repeated):
        result.most = int(times.max())
        result.most_repeated = rows.place_of(int(repeated[np.argmax(times)]))
    return result
