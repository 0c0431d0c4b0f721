"""Find groups of rows that are similar: what ``split --by near-duplicates`` and ``report`` use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.options import check_whole
from dataprep.curate.duplicates.exact import halves, representatives
from dataprep.curate.duplicates.exchanged import ReadChunks
from dataprep.curate.duplicates.join import build_buckets
from dataprep.curate.duplicates.rows import ComparedText, ReadTexts, Rows, Spool, read_rows
from dataprep.curate.duplicates.sets import open_sets
from dataprep.curate.duplicates.shingles import Shingler
from dataprep.curate.duplicates.similar import Clusters, LocalCandidates, find_clusters
from dataprep.curate.duplicates.similar_exchanged import by_file, similar_rows
from dataprep.curate.inputs import bytes_of, checked_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Value = TypeVar("_Value", np.int64, np.uint64)
NGRAM = 3
THRESHOLD = 0.8


def check_threshold(threshold: float) -> None:
    """Raise ``UsageError`` unless a similarity is in the range that makes sense."""
    if not 0.1 <= threshold <= 1:
        raise UsageError(f"--near must be between 0.1 and 1, a Jaccard similarity; found {threshold}")


@dataclass
class Groups:
    """Groups of similar rows: rows that are linked by pairs of at least the threshold's similarity.

    Attributes:
        paths: the files.
        groups: for each file, the group of each of its rows; -1 for a bad row. Blank lines are no rows. The
            number of a group is that of its first row, counted from 0 through all files.
        keys: for each file, a key of each row's group, which other rows do not change: the smallest digest
            of its rows. Bad rows have the key 0.
        duplicates: number of rows that equal one before them.
        near_duplicates: number of rows that are in a group with one before them, and equal none.
    """

    paths: list[str]
    groups: list[NDArray[np.int64]]
    keys: list[NDArray[np.uint64]]
    duplicates: int
    near_duplicates: int

    def names(self) -> dict[str, Sequence[str]]:
        """Return the keys as texts by the files' paths, for ``split_files(keys=…)``."""
        return {path: _Names(keys) for path, keys in zip(self.paths, self.keys, strict=True)}


class _Names(Sequence[str]):
    """Numbers as texts, made when they are asked for."""

    def __init__(self, numbers: NDArray[np.uint64]) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Names(self._numbers[index])
        return f"{int(self._numbers[index]):016x}"


def find_groups(
    paths: str | Path | Sequence[str | Path],
    *,
    on: str = "messages",
    threshold: float = THRESHOLD,
    ngram: int = NGRAM,
    workers: int | None = 1,
    rejects: str | Path | files.Rejects | None = None,
    progress: engine.Progress | None = None,
) -> Groups:
    """Return the groups of similar rows in files.

    Args:
        paths: files of rows in any format that dataprep reads. Pipes are read once.
        on: the part of a row to compare, as for ``dedup_files``.
        threshold: Jaccard similarity of the sets of n-grams from which on two rows are linked.
        ngram: tokens of an n-gram.
        workers: number of processes; ``None`` decides by the input's size.
        rejects: file for bad rows. Without it the first one raises.
        progress: called with the bytes of input worked off since the last call.

    Raises:
        UsageError: an option is wrong.
        InputError: a row is bad, or has no such part.
    """
    check_threshold(threshold)
    check_whole("--ngram", ngram, 1)
    inputs = checked_inputs(paths, [], rejects, "compare")
    operator = ReadTexts(on, shingler=Shingler(ngram))
    with files.temporary_folder() as folder, files.open_rejects(rejects) as bad:
        spool = Spool(folder)
        if engine.on_cluster():
            return _groups_on_cluster(inputs, operator, threshold, spool, bad, progress)
        rows = Rows([], folder)
        read_rows(
            rows, operator, inputs,
            spool=spool, rejects=bad, workers=workers, ledger=rows.ledger, progress=progress,
        )  # fmt: skip
        kept = representatives(rows)
        order = np.flatnonzero(kept == np.arange(rows.count)).astype(np.uint32)
        with open_sets(rows, order, engine.workers_for(inputs, workers)) as sets:
            buckets = build_buckets(sets, rows.counters, threshold, folder)
            clusters = find_clusters(LocalCandidates(sets, buckets, threshold))
        highs = ((begin, high) for begin, high, _ in halves(rows))
        return _described(inputs, kept, order, clusters, highs, partial(_by_file, rows))


def _groups_on_cluster(
    inputs: list[str],
    operator: ReadTexts,
    threshold: float,
    spool: Spool,
    bad: files.Rejects,
    progress: engine.Progress | None,
) -> Groups:
    none = engine.Fold(None, Ledger(), bad, [])
    fold = engine.Fold(None, Ledger(), bad, inputs, progress=progress)
    read = ReadChunks(spool, [([], none), (inputs, fold)])
    backend, size = engine.backend_for(1), bytes_of(inputs)
    with similar_rows(read, operator, threshold, size, backend=backend, stop=bad.raises, whole=True) as rows:
        clusters = find_clusters(rows.candidates)
    highs = (
        (int(begin), told.high)
        for begin, told in zip(rows.bases[:-1], read.told, strict=True)
        if told.high is not None
    )
    return _described(inputs, rows.kept, rows.order, clusters, highs, partial(by_file, read, rows))


def _described(
    inputs: list[str],
    kept: NDArray[np.uint32],
    order: NDArray[np.uint32],
    clusters: Clusters,
    highs: Iterable[tuple[int, NDArray[np.uint64]]],
    divide: Callable[[Any, int], list[Any]],
) -> Groups:
    """Return the groups.

    Args:
        inputs: the files.
        kept: for each row the one that represents it.
        order: the rows that represent themselves, in their order, of which each has a set.
        clusters: the clusters of sets.
        highs: the first halves of the digests of some rows, after the number of the first of them.
        divide: divides values by file, with a number in place of those of bad rows.
    """
    # The first set of a cluster is that of its first row, as the sets are in the order of their rows.
    group_of_set = order[clusters.roots]
    groups = group_of_set[np.searchsorted(order, kept)].astype(np.int64)
    smallest = np.full(len(kept), np.iinfo(np.uint64).max)
    for begin, high in highs:
        np.minimum.at(smallest, groups[begin : begin + len(high)], high)
    return Groups(
        inputs,
        divide(groups, -1),
        divide(smallest[groups], 0),
        duplicates=len(kept) - len(order),
        near_duplicates=int(np.count_nonzero(clusters.roots != np.arange(len(order)))),
    )


def similarity(
    one: Mapping[str, Any], other: Mapping[str, Any], on: str = "messages", ngram: int = NGRAM
) -> float:
    """Return the Jaccard similarity of the sets of n-grams of two rows; of rows without words, 1.0.

    Args:
        one: a row.
        other: another row.
        on: the part of a row to compare, as for ``dedup_files``.
        ngram: tokens of an n-gram.

    Raises:
        RowError: a row has no such part.
    """
    text_of = ComparedText(on)
    grams, (size, _) = Shingler(ngram)([text_of(one), text_of(other)])
    both = len(np.intersect1d(grams[:size], grams[size:]))
    return both / (len(grams) - both) if len(grams) else 1.0


def _by_file(rows: Rows, values: NDArray[_Value], missing: int) -> list[NDArray[_Value]]:
    """Return the values of the rows of each file, with ``missing`` in place of those of bad rows."""
    found = [np.full(count, missing, values.dtype) for count in rows.rows_in]
    for piece in rows.pieces:
        numbers = np.arange(piece.count) if piece.numbers is None else piece.numbers
        found[piece.path][piece.rows_before + numbers] = values[piece.first : piece.first + piece.count]
    return found
