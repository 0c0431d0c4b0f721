"""Check files of chat rows, row by row: the library behind ``dataprep validate``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core.conversations import Finding, find_in
from dataprep.core.errors import InputError, Location, UsageError, one_line

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
    """

    rows: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    shown: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first of its kind."""
        self.counts[problem.kind] += 1
        if self.counts[problem.kind] <= SHOWN_PER_KIND:
            self.shown.append(problem)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "rows": {files.printable(path): rows for path, rows in self.rows.items()},
            "problems": dict(self.counts),
            "shown": [files.printable(str(problem)) for problem in self.shown],
        }


def validate(rows: str | Path | Iterable[Mapping[str, Any]]) -> Iterator[Problem]:
    """Yield everything that is wrong with a file of chat rows, or with the chat rows themselves.

    >>> for problem in validate([{"messages": [{"role": "user", "content": "Hi"}]}]): print(problem)
    row 1: no assistant at the end: found user; expected an assistant message last
    """
    if isinstance(rows, str | Path):
        for where, findings in _findings_in(str(rows)):
            yield from (Problem(str(where), *finding) for finding in findings)
        return
    for number, row in enumerate(rows, 1):
        yield from (Problem(f"row {number}", *finding) for finding in find_in(row))


def validate_files(inputs: Sequence[str | Path]) -> Report:
    """Check files of chat rows; raise ``InputError`` for one that holds no rows or is damaged as a whole."""
    if not inputs:
        raise UsageError("there is nothing to validate: give at least one file")
    report = Report()
    for path in map(str, inputs):
        report.rows.setdefault(path, 0)  # a file can be given twice
        for where, findings in _findings_in(path):
            report.rows[path] += 1
            for finding in findings:
                report.add(Problem(str(where), *finding))
    return report


def _findings_in(path: str) -> Iterator[tuple[Location, Iterator[Finding]]]:
    # The last row's place; without one the file holds no rows, which is no fault of a row.
    where = None
    for where, item in files.read_items(path):
        yield where, find_in(item)
    if where is None:
        raise InputError(path, "the file is empty; expected chat rows")
