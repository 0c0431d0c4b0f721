"""Find near-duplicates for a report: within the files, and between training files and test files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core import io as files
from dataprep.core.errors import Location
from dataprep.curate.near import find_groups, similarity
from dataprep.inspect.report.counting import DIGEST
from dataprep.inspect.report.figures import NearDuplicates, NearGroup
from dataprep.inspect.report.repeats import PAIRS
from dataprep.inspect.report.showing import Place, Shower, Spans

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

Row = tuple[Place, Location, dict[str, Any]]
SHOWN = 4
"""Rows of a group that a page shows."""


@dataclass
class Members:
    """The rows of a group: the first different ones, and how many more there are."""

    places: list[Place]
    more: int


@dataclass
class Groups:
    """Rows of all files that belong together.

    Attributes:
        rows: rows of the inputs that are near-duplicates of an earlier one.
        number: number of groups with different rows of the inputs.
        largest: the largest of these groups.
        pairs: for each pair of a training and a test file, the training rows that are near a test row.
        across: the first groups with rows of both.
    """

    rows: int
    number: int
    largest: list[Members]
    pairs: dict[tuple[int, int], int]
    across: list[Members]


def groups_of(
    paths: Sequence[str],
    digests: Sequence[bytes | bytearray],
    train: Sequence[int],
    test: Sequence[int],
    threshold: float,
    workers: int | None,
    rejects: Path,
) -> Groups:
    """Return the groups of near-duplicates in files.

    Args:
        paths: the inputs, then further test files.
        digests: ``DIGEST`` bytes for each row of each input, by which equal rows are told.
        train: the indices of the training files.
        test: those of the test files.
        threshold: Jaccard similarity of the 3-grams from which on rows are near-duplicates.
        workers: number of processes.
        rejects: a file for bad rows, which were refused before.
    """
    import numpy as np

    by_file = find_groups(paths, threshold=threshold, workers=workers, rejects=rejects).groups
    starts = np.cumsum([0, *map(len, by_file)])
    groups = np.concatenate(by_file)
    inputs = int(starts[len(digests)])
    # A row that equals an earlier one is no near-duplicate: each content counts once per group.
    contents = np.arange(len(groups))
    joined = np.frombuffer(b"".join(digests), f"V{DIGEST}")
    contents[:inputs] = np.unique(joined, return_inverse=True)[1]
    is_test = np.zeros(len(groups), bool)
    for file in test:
        is_test[starts[file] : starts[file + 1]] = True

    def place(row: int) -> Place:
        file = int(np.searchsorted(starts, row, "right")) - 1
        return file, row - int(starts[file])

    def members(rows: Numbers, shown: Numbers) -> Members:
        return Members([place(row) for row in shown.tolist()], len(rows) - len(shown))

    within = _different(groups, contents, np.flatnonzero(groups[:inputs] >= 0))
    repeated = [rows for rows in within if len(rows) > 1]
    ranked = sorted(repeated, key=lambda rows: (-len(rows), int(rows[0])))[:PAIRS]
    pairs, both = {}, np.zeros(0, np.int64)
    for one in train:
        mine = groups[starts[one] : starts[one + 1]]
        for other in test:
            near = np.isin(mine, groups[starts[other] : starts[other + 1]]) & (mine >= 0)
            pairs[one, other] = int(near.sum())
            both = np.union1d(both, mine[near])
    sides = [np.arange(starts[file], starts[file + 1]) for file in (*train, *test)]
    rows_of_both = np.concatenate([both[:0], *sides])
    rows_of_both = rows_of_both[np.isin(groups[rows_of_both], both)]
    mixed = _different(groups, 2 * contents + is_test, rows_of_both)
    half = SHOWN // 2
    across = []
    for rows in sorted(mixed, key=lambda rows: int(rows[0]))[:PAIRS]:
        tests = is_test[rows]
        across.append(members(rows, np.concatenate([rows[~tests][:half], rows[tests][:half]])))
    return Groups(
        sum(len(rows) - 1 for rows in repeated), len(repeated),
        [members(rows, rows[:SHOWN]) for rows in ranked], pairs, across,
    )  # fmt: skip


def _different(groups: Numbers, contents: Numbers, rows: Numbers) -> list[Numbers]:
    """Return the rows of each group, of equal ones the first."""
    import numpy as np

    keys = np.stack([groups[rows], contents[rows]], axis=1)
    first = np.sort(np.unique(keys, axis=0, return_index=True)[1])
    rows = rows[first]
    order = np.argsort(groups[rows], kind="stable")
    borders = np.flatnonzero(np.diff(groups[rows][order])) + 1
    return [part for part in np.split(rows[order], borders) if len(part)]


def near_duplicates(
    groups: Groups, threshold: float, fetch: Callable[[set[Place]], Iterator[Row]], shower: Shower
) -> NearDuplicates:
    """Return what a page shows of groups.

    Args:
        groups: the groups.
        threshold: the similarity by which they were found.
        fetch: yields the rows at some places.
        shower: makes what is shown of a row.
    """
    wanted = {place for found in (*groups.largest, *groups.across) for place in found.places}
    rows = {place: (where, row) for place, where, row in fetch(wanted)}

    def shown(found: Members) -> NearGroup:
        known = [rows[place] for place in found.places if place in rows]
        nearest = [
            max((similarity(row, other) for _, other in known[:number]), default=1.0)
            for number, (_, row) in enumerate(known)
        ]
        return NearGroup([shower.show(*row) for row in known], nearest, found.more)

    return NearDuplicates(
        threshold, groups.rows, groups.number, [*map(shown, groups.largest)], [*map(shown, groups.across)]
    )


def rows_at(
    places: set[Place], inputs: int, spans: Spans, paths: Sequence[str], names: Mapping[str, str]
) -> Iterator[Row]:
    """Yield the rows at some places of the inputs, and of the test files behind them."""
    for place, where, row in spans.fetch(place for place in places if place[0] < inputs):
        yield place, where._replace(path=names[where.path]), row
    for file in sorted({file for file, _ in places if file >= inputs}):
        for number, (where, row) in zip(count(), files.read_rows(paths[file]), strict=False):
            if (file, number) in places:
                yield (file, number), where._replace(path=names[where.path]), row
