"""Find groups of rows that are similar: what ``split --by near-duplicates`` and ``report`` use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.errors import UsageError
from dataprep.core.options import check_whole
from dataprep.curate.duplicates.exact import halves, representatives
from dataprep.curate.duplicates.join import build_buckets
from dataprep.curate.duplicates.rows import ComparedText, ReadTexts, Rows, Spool, read_rows
from dataprep.curate.duplicates.sets import open_sets
from dataprep.curate.duplicates.shingles import Shingler
from dataprep.curate.duplicates.similar import LocalCandidates, find_clusters
from dataprep.curate.inputs import checked_inputs

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
    with files.temporary_folder() as folder, files.open_rejects(rejects) as bad:
        rows, operator = Rows([], folder), ReadTexts(on, shingler=Shingler(ngram))
        read_rows(
            rows, operator, inputs,
            spool=Spool(folder), rejects=bad, workers=workers, ledger=rows.ledger, progress=progress,
        )  # fmt: skip
        kept = representatives(rows)
        order = np.flatnonzero(kept == np.arange(rows.count)).astype(np.uint32)
        with open_sets(rows, order, engine.workers_for(inputs, workers)) as sets:
            buckets = build_buckets(sets, rows.counters, threshold, folder)
            clusters = find_clusters(LocalCandidates(sets, buckets, threshold))
        # The first set of a cluster is that of its first row, as the sets are in the order of their rows.
        group_of_set = order[clusters.roots]
        groups = group_of_set[np.searchsorted(order, kept)].astype(np.int64)
        smallest = np.full(rows.count, np.iinfo(np.uint64).max)
        for begin, high, _ in halves(rows):
            np.minimum.at(smallest, groups[begin : begin + len(high)], high)
        return Groups(
            inputs,
            _by_file(rows, groups, -1),
            _by_file(rows, smallest[groups], 0),
            duplicates=rows.count - len(order),
            near_duplicates=len(order) - len(np.unique(group_of_set)),
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
