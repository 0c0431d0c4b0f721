"""The figures of a report: of each file, and of the files beside one another."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dataprep.datasets.checks.figures import Bin, Lengths, lengths_of, nearest_rank, rank_of
from dataprep.inspect.report.counting import Counts
from dataprep.tokens.views import Token

_BINS = 16
_STEPS = (1, 1.5, 2, 3, 5, 7)  # edges within a power of ten
_LONG_TAIL = 12  # times the median: with such lengths, bins of equal width would leave most of a chart empty


@dataclass(frozen=True)
class ShownText:
    """A text of a row, or its beginning; as in ``inspect.blocks.TextBlock``."""

    role: str
    kind: str
    title: str
    text: str
    more: int = 0  # characters that are left out at the end


@dataclass(frozen=True)
class ShownRow:
    """A row to show, with its texts shortened.

    Attributes:
        where: its place.
        texts: its texts.
        more: texts that are left out.
        length: its characters.
        tokens: its first tokens, if a tokenizer was given and the row can be encoded.
        token_count: all its tokens.
        in_loss: how many of them are in the loss.
        fault: why the row has no tokens.
    """

    where: str
    texts: tuple[ShownText, ...]
    more: int = 0
    length: int = 0
    tokens: tuple[Token, ...] = ()
    token_count: int = 0
    in_loss: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Repeat:
    """Two rows that are alike: how much, by what, and both rows."""

    similarity: float
    how: str
    row: ShownRow
    other: ShownRow
    text: str = ""  # the text that they share, if they share a part


@dataclass(frozen=True)
class NearGroup:
    """Rows that are near-duplicates of one another.

    Attributes:
        rows: the first ones.
        similarities: for each of them, its largest similarity to one before it; 1.0 for the first.
        more: how many are left out.
    """

    rows: list[ShownRow]
    similarities: list[float]
    more: int


@dataclass(frozen=True)
class NearDuplicates:
    """The near-duplicates in the files.

    Attributes:
        threshold: the similarity from which on two rows are linked.
        rows: rows that equal no earlier one, and are in a group with an earlier one.
        groups: number of groups.
        largest: the largest groups.
        across: the first groups with training and test rows.
    """

    threshold: float
    rows: int
    groups: int
    largest: list[NearGroup]
    across: list[NearGroup]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object, with the places of the rows."""
        return {
            "threshold": self.threshold, "rows": self.rows, "groups": self.groups,
            "largest": [[row.where for row in group.rows] for group in self.largest],
            "training_and_test": [[row.where for row in group.rows] for group in self.across],
        }  # fmt: skip


@dataclass
class Overlap:
    """The rows that a training file shares with a test file.

    Attributes:
        train: name of the training file.
        test: name of the test file.
        rows: training rows that repeat a test row, by how.
        found: test rows that were found.
        test_rows: all test rows.
        near: training rows that are near-duplicates of a test row; ``None`` if they were not looked for.
    """

    train: str
    test: str
    rows: dict[str, int]
    found: int
    test_rows: int
    near: int | None = None


@dataclass
class FileFigures:
    """The figures of one file, or of several together.

    Attributes:
        name: the file's name.
        counts: what was counted in its rows.
        duplicates: rows that repeat an earlier row of the same file, except for id, source, case and spaces.
        longest: the longest rows, and ``shortest`` the shortest.
    """

    name: str
    counts: Counts
    duplicates: int = 0
    longest: list[ShownRow] = field(default_factory=list)
    shortest: list[ShownRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object; rows to show are left out."""
        counts = self.counts
        found: dict[str, Any] = {
            "name": self.name, "rows": counts.rows, "duplicates": self.duplicates,
            "kinds": ordered(counts.kinds), "sources": ordered(counts.sources),
            "tasks": ordered(counts.tasks), "messages": ordered(counts.roles),
            "parts": ordered(counts.parts), "characters": _described(counts.characters),
            "row_characters": _described({"row": counts.row_characters}).get("row"),
        }  # fmt: skip
        if counts.tokens:
            found["tokens"] = _described(counts.tokens)
            found["row_tokens"] = _described({"row": counts.row_tokens}).get("row")
            found["total_tokens"] = total(counts.row_tokens)
        found["statuses"] = {teacher: ordered(each) for teacher, each in counts.statuses.items()}
        found["labels"] = {source: dict(sorted(each.items())) for source, each in counts.labels.items()}
        found["answers"] = ordered(counts.answers)
        found["long_answers"] = counts.long_answers
        return found


@dataclass
class Report:
    """The result of ``report_files``.

    Attributes:
        files: the figures of each file, in the order in which they were given.
        together: the figures of all files.
        shared: rows of one of two files that stand in the other too; ``None`` unless there are two.
        repeats: the first rows that repeat an earlier row.
        near: the near-duplicates; ``None`` if they were not looked for.
        overlaps: what training files and test files share; empty if there are no test files.
        overlap_rows: the first such pairs.
        not_searched: why test rows were not looked for, if that could not be done.
        sample: rows drawn by ``seed``.
        tokenizer: the name of the tokenizer, and ``chat_format`` that of the chat format.
        bad_rows: rows that could not be read, by reason.
    """

    files: list[FileFigures]
    together: FileFigures
    seed: int
    shared: int | None = None
    repeats: list[Repeat] = field(default_factory=list)
    near: NearDuplicates | None = None
    overlaps: list[Overlap] = field(default_factory=list)
    overlap_rows: list[Repeat] = field(default_factory=list)
    not_searched: str = ""
    sample: list[ShownRow] = field(default_factory=list)
    tokenizer: str = ""
    chat_format: str = ""
    bad_rows: dict[str, int] = field(default_factory=dict)

    @property
    def columns(self) -> list[FileFigures]:
        """The figures that stand beside one another: of two files each, else of all files together."""
        return self.files if len(self.files) == 2 else [self.together]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object; the rows that the page shows are named by their places."""
        found: dict[str, Any] = {
            "files": [file.to_json() for file in self.files],
            "together": self.together.to_json(),
            "shared_rows": self.shared,
            "pairs": [_pair(repeat) for repeat in self.repeats],
            "near_duplicates": None if self.near is None else self.near.to_json(),
            "overlaps": [asdict(overlap) for overlap in self.overlaps],
            "overlapping": [_pair(repeat) for repeat in self.overlap_rows],
            "not_searched": self.not_searched or None,
            "seed": self.seed,
            "sample": [row.where for row in self.sample],
            "tokenizer": self.tokenizer or None,
            "bad_rows": self.bad_rows,
        }
        return {name: value for name, value in found.items() if value is not None}


def _pair(repeat: Repeat) -> dict[str, Any]:
    return {
        "row": repeat.row.where, "other": repeat.other.where, "how": repeat.how,
        "similarity": repeat.similarity,
    }  # fmt: skip


def _described(lengths: Mapping[str, Counter[int]]) -> dict[str, Any]:
    return {name: asdict(described(counts)) for name, counts in lengths.items() if counts}


def described(counts: Counter[int]) -> Lengths:
    """Return minimum, median, 95th percentile and maximum of lengths."""
    return lengths_of(counts)


def total(counts: Counter[int]) -> int:
    """Return the sum of lengths."""
    return sum(length * count for length, count in counts.items())


def ordered(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by name, the largest first, and equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def edges_of(counters: Iterable[Counter[int]]) -> list[int]:
    """Return the lower edges of bins that suit several distributions of lengths together.

    Bins are of equal width, or grow with the lengths if these have a long tail. The last one has no upper
    edge: it begins below the 99th percentile.
    """
    together: Counter[int] = Counter()
    for counts in counters:
        together.update(counts)
    if not together:
        return [0]
    at, texts = rank_of(together), together.total()
    low, median, high = at(0), at(texts // 2), at(nearest_rank(0.99, texts))
    if max(together) > _LONG_TAIL * max(median, 1) or high > _LONG_TAIL * max(at(texts // 20), 1):
        return _growing(low, high)
    width = _nice((high + 1 - low) / _BINS)
    start = low // width * width
    return list(range(start, max(high, start + 1), width))


def _nice(width: float) -> int:
    """Return the least of 1, 2, 5, 10, 20, 25, 50, … that is at least ``width``."""
    power = 1
    while True:
        for step in (1, 2, 2.5, 5):
            if step * power >= width and step * power == int(step * power):
                return int(step * power)
        power *= 10


def _growing(low: int, high: int) -> list[int]:
    edges, power = [0], 1
    while power <= high:
        edges += [int(step * power) for step in _STEPS if step * power == int(step * power)]
        power *= 10
    begin = max(bisect_right(edges, low) - 1, 0)
    return [edge for edge in edges[begin:] if edge <= max(high, low)]


def binned(counts: Counter[int], edges: Sequence[int]) -> list[Bin]:
    """Return how many lengths are in each bin; the last bin ends with the greatest length."""
    rows = [0] * len(edges)
    for length, count in counts.items():
        rows[max(bisect_right(edges, length) - 1, 0)] += count
    longest = max(max(counts, default=0), edges[-1])
    tops = [edge - 1 for edge in edges[1:]] + [longest]
    return [Bin(low, top, held) for low, top, held in zip(edges, tops, rows, strict=True)]
