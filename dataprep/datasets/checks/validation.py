"""Check files of chat rows: an operator that looks at blocks of rows, and the report of all blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.conversations import Finding, find_in, find_in_line, find_in_row
from dataprep.core.errors import Location, UsageError, one_line
from dataprep.core.ledger import Ledger
from dataprep.core.optional import require

# A converter that is wrong is wrong in every row; twenty examples of a fault are enough to see it.
SHOWN_PER_KIND = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of one row: its place, its kind, and what was found and expected."""

    where: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return one_line(": ".join(filter(None, (self.where, self.kind, self.detail))))


@dataclass
class Report:
    """The result of ``validate``.

    Attributes:
        rows: number of rows by file.
        counts: number of problems by kind.
        shown: the first problems of each kind.
        unknown_keys: number of messages with each key that dataprep does not know.
    """

    rows: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    shown: list[Problem] = field(default_factory=list)
    unknown_keys: Counter[str] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first of its kind."""
        self.counts[problem.kind] += 1
        if self.counts[problem.kind] <= SHOWN_PER_KIND:
            self.shown.append(problem)

    def add_block(self, block: files.Block, outcome: engine.Outcome) -> None:
        """Add what ``ValidateRows`` found in the block that follows."""
        self.rows[block.path] = self.rows.get(block.path, 0) + outcome.rows_in
        found: Mapping[str, Any] | None = outcome.payload
        if found is None:
            return
        listed: Counter[str] = Counter()
        for problem in _problems_in(block, outcome):
            listed[problem.kind] += 1
            self.add(problem)
        # The block lists so many of each kind that no further one would be shown.
        for kind, count in found["counts"].items():
            self.counts[kind] += count - listed[kind]
        self.unknown_keys.update(found["unknown"])

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "rows": {files.printable(path): rows for path, rows in self.rows.items()},
            "problems": dict(self.counts),
            "shown": [files.printable(str(problem)) for problem in self.shown],
            "unknown_keys": dict(self.unknown_keys),
        }


class ValidateRows:
    """Find what is wrong with the chat rows of a block: a picklable operator.

    The payload of an outcome, if there is something to report, has the number of problems by kind
    (``counts``), the first of each kind as ``(line in the block, kind, detail)`` (``problems``), and the
    unknown keys of messages (``unknown``).

    Args:
        strict: keys of messages that dataprep does not know are problems too.
        strict_tools: the arguments of tool calls must fit the JSON Schema of their tool.
        listed: number of problems of each kind that are listed; ``None`` lists all.
    """

    def __init__(self, *, strict: bool, strict_tools: bool, listed: int | None = SHOWN_PER_KIND) -> None:
        self._settings = {"strict": strict, "strict_tools": strict_tools}
        self._listed = listed

    def __call__(self, block: files.Block) -> engine.Outcome:
        """Return an outcome without output."""
        outcome, lines = engine.Outcome(), engine.lines_of(block)
        problems: list[tuple[int, str, str]] = []
        counts, unknown = Counter[str](), Counter[str]()
        engine.count_lines(outcome, block, lines)
        if outcome.too_long:
            return outcome
        for number, findings in enumerate(self._look_at(block, lines, unknown), 1):
            if findings is None:
                outcome.rows_in -= 1
                continue
            for kind, detail in findings:
                counts[kind] += 1
                if self._listed is None or counts[kind] <= self._listed:
                    problems.append((number, kind, detail))
        # Outcomes without a payload are put together where they are made.
        if counts or unknown:
            outcome.payload = {"problems": problems, "counts": dict(counts), "unknown": dict(unknown)}
        return outcome

    def _look_at(
        self, block: files.Block, lines: list[Any], unknown: Counter[str]
    ) -> Iterator[Iterable[Finding] | None]:
        """Yield the findings of each line; ``None`` for a blank one."""
        settings, is_text = self._settings, block.unit == "line"
        # The rows of a document were checked as a whole for what a parser loses of them.
        values = engine.values_of(block, lines, checked=is_text)
        for line, value in zip(lines, values, strict=True):
            if type(value) is dict:
                yield find_in_row(value, unknown=unknown, **settings)
            elif value is not engine.UNPARSED and not is_text:
                yield find_in(value)
            else:
                yield find_in_line(line, unknown=unknown, **settings) if line.strip() else None


def _problems_in(block: files.Block, outcome: engine.Outcome) -> Iterator[Problem]:
    for line, kind, detail in outcome.payload["problems"] if outcome.payload is not None else ():
        yield Problem(str(Location(block.path, outcome.lines_before + line, block.unit)), kind, detail)


def validate(
    rows: str | Path | Iterable[Mapping[str, Any]], *, strict: bool = False, strict_tools: bool = False
) -> Iterator[Problem]:
    """Yield everything that is wrong with a file of chat rows, or with the chat rows themselves.

    Args:
        rows: the file, or the rows.
        strict: keys of messages that dataprep does not know are problems too.
        strict_tools: the arguments of tool calls must fit the JSON Schema of their tool.

    >>> for problem in validate([{"messages": [{"role": "user", "content": "Hi"}]}]): print(problem)
    row 1: no assistant at the end: found user; expected an assistant message last
    """
    if not isinstance(rows, str | Path):
        for number, row in enumerate(rows, 1):
            for finding in find_in(row, strict=strict, strict_tools=strict_tools):
                yield Problem(f"row {number}", *finding)
        return
    path, count = str(rows), 0
    operator = ValidateRows(strict=strict, strict_tools=strict_tools, listed=None)
    for block, outcome in engine.run_operator(operator, files.read_row_blocks(path)):
        count += outcome.rows_in
        yield from _problems_in(block, outcome)
    engine.refuse_empty({path: count}, "chat rows")


def validate_files(
    inputs: Sequence[str | Path],
    *,
    strict: bool = False,
    strict_tools: bool = False,
    workers: int | None = 1,
) -> Report:
    """Check files of chat rows; raise ``InputError`` for one that holds no rows or is damaged as a whole.

    Args:
        inputs: the files.
        strict: keys of messages that dataprep does not know are problems too.
        strict_tools: the arguments of tool calls must fit the JSON Schema of their tool.
        workers: number of processes; ``None`` decides by the input's size. It does not change the report.
    """
    if not inputs:
        raise UsageError("there is nothing to validate: give at least one file")
    if strict_tools:
        require("jsonschema", extra="tools", feature="--strict-tools")
    paths = list(map(str, inputs))
    report = Report(dict.fromkeys(paths, 0))
    engine.run_into(
        chain.from_iterable(map(files.read_row_blocks, paths)),
        ValidateRows(strict=strict, strict_tools=strict_tools),
        None,
        Ledger(),
        files.Rejects(None),
        paths=paths,
        workers=engine.workers_for(paths, workers),
        take=report.add_block,
        expected="chat rows",
    )
    return report
