"""Drop the training rows of files that repeat test rows, and say which test rows were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import Location, UsageError
from dataprep.core.io import Block
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import Outcome, Progress, run_into, without_output, workers_for
from dataprep.curate.contamination.index import LONG, build_index
from dataprep.curate.contamination.items import Item, Text, read_items
from dataprep.curate.contamination.matching import KINDS, Kind, Matcher
from dataprep.curate.contamination.patterns import Patterns
from dataprep.curate.contamination.rows import REASONS, Decontaminate, Drop
from dataprep.curate.contamination.settings import Overlap
from dataprep.curate.inputs import place_fields


@dataclass
class Pair:
    """A training file and a test file.

    Attributes:
        train: path of the training file.
        test: path of the test file.
        rows: training rows that repeat a row of the test file, each once, by how.
        items: test rows that were found in the training file.
    """

    train: str
    test: str
    rows: Counter[Kind] = field(default_factory=Counter)
    items: int = 0


@dataclass
class Contamination:
    """The result of ``decontaminate_files``.

    Attributes:
        ledger: the training rows.
        pairs: what each pair of files has in common.
        test_rows: number of test rows, by file.
        found: number of test rows that were found, by file.
    """

    ledger: Ledger
    pairs: list[Pair]
    test_rows: dict[str, int]
    found: dict[str, int]

    def facts(self) -> dict[str, Any]:
        """Return the numbers beside the ledger as a JSON object."""
        return {
            "test_rows": self.test_rows,
            "test_rows_found": self.found,
            "pairs": [asdict(pair) | {"rows": dict(pair.rows)} for pair in self.pairs],
        }


def decontaminate_files(
    paths: Sequence[str | Path],
    output: str | Path | None,
    *,
    against: Sequence[str | Path],
    settings: Overlap | None = None,
    dropped: str | Path | None = None,
    found: str | Path | None = None,
    rejects: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Contamination:
    """Write the rows of files that repeat no row of test files.

    All texts of a training row are searched. The same files give the same bytes with any number of workers.

    Args:
        paths: files of training rows of any kind, one after the other.
        output: receives the kept rows; ``-`` is standard output, and ``None`` writes none.
        against: files of test rows of any kind.
        settings: what counts as a test row.
        dropped: receives each dropped row, the test row that it repeats, and the overlapping text.
        found: receives each test row that was found, for ``evaluate --contaminated``.
        rejects: receives bad training rows; without it the first one is an error.
        workers: number of processes.
        progress: called with the bytes of training rows that were read.

    Raises:
        UsageError: an output would replace an input or another output.
        InputError: a row is bad, or a file has none.
        FileError: a file cannot be read or written.
    """
    settings = settings or Overlap()
    trains, tests = list(map(str, paths)), list(map(str, against))
    if not trains or not tests:
        raise UsageError("expected files of training rows, and test files with --against")
    if (trains + tests).count(files.STDIO) > 1:
        raise UsageError("standard input can be read once only; give a path")
    _check_apart(output, [dropped, found, rejects], trains + tests)
    items, texts = read_items(tests, settings.fields)
    index = build_index(texts, settings.ngram)
    matcher = Matcher(index, Patterns.of(index, LONG), settings.overlap, settings.near)
    operator = Decontaminate(matcher, settings.fields, shows_rows=dropped is not None)
    ledger = Ledger()
    with ExitStack() as stack:
        bad = stack.enter_context(files.open_rejects(rejects))
        out, drops, listed = (
            None if path is None else stack.enter_context(files.open_output(str(path)))
            for path in (output, dropped, found)
        )
        collected = _Collected(items, texts, None if drops is None else drops.write)
        kept = Counter[str]()

        def take(block: Block, outcome: Outcome) -> None:
            kept["rows"] += outcome.rows_out
            collected.take(block, outcome)

        run_into(
            (block for path in trains for block in files.read_row_blocks(path)),
            operator if out is not None else without_output(operator), out, ledger, bad,
            paths=trains, workers=workers_for(trains, workers), take=take, progress=progress,
        )  # fmt: skip
        ledger.rows_out = kept["rows"]
        if listed is not None:
            listed.write(b"".join(collected.lines()))
    ledger.check()
    return collected.result(ledger, trains, tests)


def _check_apart(
    output: str | Path | None, others: Iterable[str | Path | None], inputs: Sequence[str]
) -> None:
    beside = [str(path) for path in others if path is not None]
    outputs = [*beside, *([] if output is None else [str(output)])]
    files.check_apart(outputs, inputs, "it would replace an input")
    for number, path in enumerate(beside):
        files.check_distinct(path, [*beside[:number], *([] if output is None else [str(output)])], inputs)


@dataclass(slots=True)
class _Best:
    """The surest training row of a test row, and how many repeat it."""

    kind: Kind
    score: float
    where: Location
    rows: int = 0


class _Collected:
    """Put together what the blocks found, in their order."""

    def __init__(self, items: list[Item], texts: list[Text], write: Callable[[bytes], None] | None) -> None:
        self._items, self._texts, self._write = items, texts, write
        self._before = 0
        self._best: dict[int, _Best] = {}
        self._rows: dict[tuple[str, str], Counter[Kind]] = {}
        self._found: dict[tuple[str, str], set[int]] = {}

    def take(self, block: Block, outcome: Outcome) -> None:
        if block.first:
            self._before = 0
        # Of a row that ends its worker there is no payload.
        for drop in map(Drop.of, outcome.payload or ()):
            where = Location(block.path, self._before + drop.line, block.unit)
            self._add(where, drop)
        self._before += outcome.lines

    def _add(self, where: Location, drop: Drop) -> None:
        by_test: dict[str, Kind] = {}
        seen: set[int] = set()
        for match in drop.matches:  # the surest first
            for number in self._texts[match.text].items:
                test = self._items[number].where.path
                by_test.setdefault(test, match.kind)
                self._found.setdefault((where.path, test), set()).add(number)
                best = self._best.setdefault(number, _Best(match.kind, match.score, where))
                if (KINDS.index(match.kind), -match.score) < (KINDS.index(best.kind), -best.score):
                    best.kind, best.score, best.where = match.kind, match.score, where
                best.rows += number not in seen
                seen.add(number)
        for test, kind in by_test.items():
            self._rows.setdefault((where.path, test), Counter())[kind] += 1
        if self._write is not None:
            self._write(self._line_of(where, drop))

    def _line_of(self, where: Location, drop: Drop) -> bytes:
        match = drop.matches[0]
        item = self._items[self._texts[match.text].items[0]]
        line = place_fields(where) | {
            "reason": REASONS[match.kind],
            "other": place_fields(item.where) | ({} if item.id is None else {"id": item.id}),
            "similarity": round(match.score, 4),
            "part": drop.part,
            "span": drop.span,
            "text": drop.text,
            "test_tokens": " ".join(self._texts[match.text].tokens),
            "row": orjson.Fragment(drop.row.strip()),
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def lines(self) -> list[bytes]:
        """Return the lines about the test rows that were found."""
        rows = []
        for number, best in sorted(self._best.items()):
            item = self._items[number]
            row = place_fields(item.where) | {"id": item.id, "digest": item.digest}
            row |= {"reason": REASONS[best.kind], "similarity": round(best.score, 4)}
            row |= {"other": place_fields(best.where), "rows": best.rows}
            rows.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return rows

    def result(self, ledger: Ledger, trains: Sequence[str], tests: Sequence[str]) -> Contamination:
        pairs = [
            Pair(
                train, test, self._rows.get((train, test), Counter()), len(self._found.get((train, test), ()))
            )
            for train in dict.fromkeys(trains)
            for test in dict.fromkeys(tests)
        ]
        counts, found = Counter[str](), Counter[str]()
        for number, item in enumerate(self._items):
            counts[item.where.path] += 1
            found[item.where.path] += number in self._best
        return Contamination(ledger, pairs, dict(counts), dict(found))
