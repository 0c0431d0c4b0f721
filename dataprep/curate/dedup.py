"""Drop rows of files that repeat others: the library behind ``dataprep dedup``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import Location, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.core.parallel.chunks import chunks_of, run_chunks
from dataprep.curate.duplicates.deciding import ChunkNotes, count_chunks, decide, write
from dataprep.curate.duplicates.exchanged import ReadChunks, find_equal
from dataprep.curate.duplicates.rows import ReadTexts, Rows, Spool, check_keep, read_rows
from dataprep.curate.duplicates.shingles import Shingler
from dataprep.curate.duplicates.similar_exchanged import find_similar
from dataprep.curate.duplicates.writing import DUPLICATE, NEAR_DUPLICATE, WriteKept, reason_of
from dataprep.curate.inputs import bytes_of, checked_inputs, place_fields
from dataprep.curate.near import NGRAM, check_threshold


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
        bad, nothing = (stack.enter_context(files.open_rejects(path)) for path in (rejects, None))
        work = _Work(paths, others, operator, near, folder, Spool(folder), workers, progress)
        found = (_OnCluster if engine.on_cluster() else _Here)(work, bad, nothing)
        out, drops = (
            None if path is None else stack.enter_context(files.open_output(str(path)))
            for path in (output, dropped)
        )
        if isinstance(out, files.PartsOutput):
            out.ledger = work.ledger
        found.write(out, drops)
        _sort_reasons(work.ledger, others)
        unchanged.check()
    work.ledger.check()
    return found.described()


@dataclass
class _Work:
    """The files of a call, and how they are read and written."""

    paths: list[str]
    across: list[str]
    operator: ReadTexts
    near: float | None
    folder: Path
    spool: Spool
    workers: int | None
    progress: engine.Progress | None
    ledger: Ledger = field(default_factory=Ledger)

    def write(
        self, operator: WriteKept, notes: Any, out: files.Output | None, drops: files.Output | None
    ) -> None:
        """Write the rows of chunks that are kept, and the lines about the others, on workers."""
        written = run_chunks(
            engine.Noted(operator, notes),
            self.spool.blocks(self.paths),
            backend=engine.backend_for(engine.workers_for(self.paths, self.workers)),
            outputs=[out, drops],
        )
        for _, outcome in written:
            self.ledger.rows_out += outcome.rows_out
            self.ledger.drop_all(outcome.dropped)
            if out is not None:
                out.write(outcome.data or b"", outcome.rows_out)  # else a worker has written it
            for lines, count in outcome.sides:
                assert drops is not None
                drops.write(lines or b"", count)


class _Here:
    """Decide on this machine which rows are dropped."""

    def __init__(self, work: _Work, bad: files.Rejects, nothing: files.Rejects) -> None:
        self._work, self._rows = work, Rows([], work.folder, ledger=work.ledger)
        for group, ledger, aside in ((work.across, Ledger(), nothing), (work.paths, work.ledger, bad)):
            if group:
                read_rows(
                    self._rows, work.operator, group,
                    spool=work.spool, rejects=aside, workers=work.workers, ledger=ledger,
                    progress=work.progress,
                )  # fmt: skip
            if group is work.across:
                self._rows.fix()
        threads = engine.workers_for([*work.across, *work.paths], work.workers)
        self._decision = decide(self._rows, work.near, threads)

    def write(self, out: files.Output | None, drops: files.Output | None) -> None:
        """Write the kept rows and the dropped ones, and count both."""
        work, rows = self._work, self._rows
        if not engine.by_chunks((out, drops)):
            write(rows, self._decision, work.spool.blocks(work.paths), out, drops)
            return
        with files.in_chunks():
            chunks = chunks_of(work.spool.blocks(work.paths), files.chunk_bytes())
            backend = engine.backend_for(engine.workers_for(work.paths, work.workers))
            notes = ChunkNotes(rows, self._decision, count_chunks(chunks, backend))
        work.write(notes.operator(told=drops is not None), notes, out, drops)

    def described(self) -> Dedup:
        """Return the result."""
        rows, of = self._rows, self._decision.of
        counts = dict.fromkeys(self._work.across, 0)
        for piece in rows.pieces[: rows.fixed_pieces]:
            counts[rows.paths[piece.path]] += piece.count
        dropped = rows.fixed + np.flatnonzero(of[rows.fixed :] != np.arange(rows.fixed, rows.count))
        repeated, times = np.unique(of[dropped], return_counts=True)
        result = Dedup(rows.ledger, counts, len(repeated))
        if len(repeated):
            result.most = int(times.max())
            result.most_repeated = rows.place_of(int(repeated[np.argmax(times)]))
        return result


class _OnCluster:
    """Decide on a cluster which rows are dropped."""

    def __init__(self, work: _Work, bad: files.Rejects, nothing: files.Rejects) -> None:
        self._work = work
        across = engine.Fold(None, Ledger(), nothing, work.across, progress=work.progress)
        inputs = engine.Fold(None, work.ledger, bad, work.paths, progress=work.progress)
        self._read = ReadChunks(work.spool, [(work.across, across), (work.paths, inputs)])
        size, backend = bytes_of([*work.across, *work.paths]), engine.backend_for(1)
        if work.near is None:
            self._found = find_equal(
                self._read, work.operator, work.folder, size, backend=backend, stop=bad.raises
            )
        else:
            self._found = find_similar(
                self._read, work.operator, work.near, size, backend=backend, stop=bad.raises
            )

    def write(self, out: files.Output | None, drops: files.Output | None) -> None:
        """Write the kept rows and the dropped ones, and count both."""
        work, notes = self._work, self._read.notes(self._found.drops)
        if out is None and drops is None:
            self._read.count(self._found.drops, work.ledger)
            return
        work.write(self._read.operator(told=drops is not None), notes, out, drops)

    def described(self) -> Dedup:
        """Return the result."""
        found = self._found
        return Dedup(self._work.ledger, self._read.across, found.different, found.most, found.most_repeated)


def _sort_reasons(ledger: Ledger, others: Sequence[str]) -> None:
    """Put the reasons into an order that does not depend on which rows were looked at together."""
    reasons = [*(reason_of(Location(path, 0), fixed=True, near=False) for path in others)]
    counts = Counter[str]()
    for reason in [*reasons, DUPLICATE, NEAR_DUPLICATE]:
        if ledger.dropped[reason]:
            counts[reason] = ledger.dropped[reason]
    ledger.dropped = counts


def _check_apart(paths: Sequence[str], across: Sequence[str]) -> None:
    if [*paths, *across].count(files.STDIO) > 1:
        raise UsageError("standard input can be read once only; give a path")
    for path in across:
        if path != files.STDIO and any(
            other != files.STDIO and files.is_same_file(other, path) for other in paths
        ):
            raise UsageError(f"--across {path}: it is also an input, so all of its rows would be dropped")
