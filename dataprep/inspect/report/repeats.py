"""Find the rows that repeat others: duplicates within the files, and test rows in training files."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core import io as files
from dataprep.core.errors import Location
from dataprep.inspect.report.counting import DIGEST
from dataprep.inspect.report.figures import Overlap, Repeat, ShownRow
from dataprep.inspect.report.showing import Place, Shower

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAIRS = 10
"""Pairs of rows that a page shows."""
_TRAIN = re.compile(r"(?:^|[^a-z])train(?:[^a-z]|$)")
_TEST = re.compile(r"(?:^|[^a-z])(?:test|dev|valid|validation|eval)(?:[^a-z]|$)")


def halves_of(digests: bytes | bytearray) -> NDArray[np.void]:
    """Return digests as an array that numpy can sort; a view of the bytes, shape ``(rows,)``."""
    import numpy as np

    return np.frombuffer(digests, dtype=np.dtype([("low", "<u8"), ("high", "<u8")]))


def duplicates_of(digests: Sequence[bytes | bytearray]) -> tuple[int, list[tuple[Place, Place]]]:
    """Return how many rows repeat an earlier row, and the first of them, each with the row that it repeats.

    Args:
        digests: ``DIGEST`` bytes for each row of each file; zeros for a row that is bad.
    """
    import numpy as np

    starts = [0, *accumulate(len(each) // DIGEST for each in digests)]
    halves = halves_of(b"".join(digests))
    # Stable, so that of equal digests the first row comes first.
    order = np.lexsort((halves["low"], halves["high"]))
    same = np.zeros(len(order), dtype=bool)
    for half in ("low", "high"):
        column = halves[half][order]
        same[1:] |= column[1:] != column[:-1]
    same[1:] = ~same[1:] & (halves["low"][order][1:] != 0)
    begins = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    later = np.flatnonzero(same)
    rows, firsts = order[later], order[begins[later]]
    shown = np.argsort(rows)[:PAIRS]

    def place(row: int) -> Place:
        file = bisect_right(starts, row) - 1
        return file, row - starts[file]

    pairs = zip(rows[shown].tolist(), firsts[shown].tolist(), strict=True)
    return len(later), [(place(row), place(first)) for row, first in pairs]


def sound_rows(digests: bytes | bytearray) -> NDArray[np.int64]:
    """Return the numbers of the rows that have a digest; bad rows have zeros."""
    import numpy as np

    return np.flatnonzero(halves_of(digests)["low"])


def shared_rows(one: bytes | bytearray, other: bytes | bytearray) -> int:
    """Return how many different rows two files share."""
    import numpy as np

    both = np.intersect1d(halves_of(one), halves_of(other))
    return int((both["low"] != 0).sum())


def files_by_part(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the training files and the test files among paths, by their names.

    >>> files_by_part(["a/train.jsonl", "test_questions.jsonl", "other.jsonl"])
    (['a/train.jsonl'], ['test_questions.jsonl'])
    """
    names = [(path, Path(path).name.lower()) for path in paths]
    train = [path for path, name in names if _TRAIN.search(name)]
    test = [path for path, name in names if _TEST.search(name) and not _TRAIN.search(name)]
    return (train, test) if train and test else ([], [])


def overlaps_of(
    train: Sequence[str],
    test: Sequence[str],
    fields: tuple[str, ...],
    shower: Shower,
    workers: int | None,
    scratch: Path,
    names: Mapping[str, str],
) -> tuple[list[Overlap], list[Repeat]]:
    """Return what training files and test files share, and the surest of the rows.

    Args:
        train: the training files.
        test: the test files.
        fields: the parts of test rows that are looked for.
        shower: makes what is shown of a row.
        workers: number of processes.
        scratch: a folder for intermediate files.
        names: the name of each file, by its path.
    """
    from dataprep.curate.contamination import settings
    from dataprep.curate.contamination.files import decontaminate_files

    drops = scratch / "dropped.jsonl"
    rejects = scratch / "rejects.jsonl"  # bad rows were refused before
    found = decontaminate_files(
        train, None, against=test, settings=settings.Overlap(fields), dropped=drops, rejects=rejects,
        workers=workers,
    )  # fmt: skip
    overlaps = [
        Overlap(
            names[pair.train], names[pair.test],
            {kind: pair.rows[kind] for kind in pair.rows}, pair.items, found.test_rows[pair.test],
        )
        for pair in found.pairs
    ]  # fmt: skip
    lines = []
    for _, line in files.read_rows(str(drops)) if drops.stat().st_size else ():
        lines.append(line)
        lines.sort(key=lambda row: (-row["similarity"], row["path"]))
        del lines[PAIRS:]
    return overlaps, _shown(lines, names, shower)


def _shown(lines: list[dict[str, Any]], names: Mapping[str, str], shower: Shower) -> list[Repeat]:
    paths = {files.printable(path): path for path in names}
    wanted = {(line["other"]["path"], _number(line["other"])) for line in lines}
    tests: dict[tuple[str, int], ShownRow] = {}
    for printed in dict.fromkeys(line["other"]["path"] for line in lines):
        for where, row in files.read_rows(paths[printed]):
            if (printed, where.number) in wanted:
                tests[printed, where.number] = shower.show(where._replace(path=names[where.path]), row)
    repeats = []
    for line in lines:
        name = names[paths[line["path"]]]
        where = Location(name, _number(line), "line" if "line" in line else "row")
        test = tests[line["other"]["path"], _number(line["other"])]
        repeats.append(
            Repeat(line["similarity"], line["reason"], shower.show(where, line["row"]), test, line["text"])
        )
    return repeats


def _number(place: Mapping[str, Any]) -> int:
    return int(place["line"] if "line" in place else place["row_number"])
