"""Files of chat rows, looked at as the tokens that a trainer would be given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from dataprep.core import io as files
from dataprep.core.conversations import Finding, find_in
from dataprep.core.errors import InputError, Location, RowDropped, RowError, UsageError
from dataprep.core.jsonl import parse_line
from dataprep.datasets.validate import Problem, Report
from dataprep.tokens.encoder import ChatEncoder
from dataprep.tokens.formats.base import ChatFormat, Encoded, Messages
from dataprep.tokens.lint.rules import Linter
from dataprep.tokens.tokenizers.base import Tokenizer
from dataprep.tokens.truncation import fit

BATCH = 256  # rows that are encoded at once


@dataclass(frozen=True)
class LintedRow:
    """A row with its tokens, where it has any, and what is wrong with it."""

    where: Location
    encoded: Encoded | None
    findings: Sequence[Finding]


@dataclass
class LintReport(Report):
    """What ``lint-tokens`` found: as ``validate``'s report, and how many tokens there were.

    Attributes:
        tokens: ids in all sound and unsound rows that could be encoded.
        trained: those of them that are trained on.
        longest: the most tokens that a row has.
        kept: some rows for the page, those with problems before others, each in order.
    """

    tokens: int = 0
    trained: int = 0
    longest: int = 0
    kept: list[LintedRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        counts = {"tokens": self.tokens, "trained": self.trained, "longest": self.longest}
        return super().to_json() | counts


def lint_files(
    inputs: str | Path | Sequence[str | Path],
    tokenizer: Tokenizer,
    chat_format: ChatFormat,
    *,
    max_length: int | None = None,
    keep: int = 0,
) -> LintReport:
    """A report on files of chat rows as tokens.

    Args:
        inputs: files of chat rows, or one.
        tokenizer: the tokenizer of the model that will be trained.
        chat_format: the chat format of its conversations.
        max_length: the tokens that a row may have; what is longer is looked at as it would be cut.
        keep: how many rows to keep for a page.

    Raises:
        FileError: a file cannot be read.
        InputError: a file as a whole cannot be read, or holds no rows.
        TokenizerError: the tokenizer lacks a special token of the chat format.
    """
    if not inputs:
        raise UsageError("there is nothing to lint: give at least one file")
    paths = [inputs] if isinstance(inputs, str | Path) else inputs
    encoder, linter = ChatEncoder(tokenizer, chat_format), Linter(tokenizer, chat_format)
    report = LintReport()
    bad: list[LintedRow] = []
    good: list[LintedRow] = []
    for path in map(str, paths):
        report.rows[path] = 0
        rows = _rows_in(path)
        while batch := list(islice(rows, BATCH)):
            for row in _linted(batch, encoder, linter, max_length):
                report.rows[path] += 1
                _count(report, row)
                kept = bad if row.findings else good
                if len(kept) < keep:
                    kept.append(row)
        if not report.rows[path]:
            raise InputError(path, "the file is empty; expected chat rows")
    report.kept = (bad + good)[:keep]
    return report


def _count(report: LintReport, row: LintedRow) -> None:
    for finding in row.findings:
        report.add(Problem(str(row.where), *finding))
    if row.encoded is not None:
        length = len(row.encoded.ids)
        report.tokens += length
        report.trained += row.encoded.mask.count(1)
        report.longest = max(report.longest, length)


def _linted(
    batch: Sequence[tuple[Location, Messages | None, list[Finding]]],
    encoder: ChatEncoder,
    linter: Linter,
    max_length: int | None,
) -> Iterator[LintedRow]:
    """Rows with their tokens, and what is wrong with them."""
    done = iter(encoder.results([messages for _, messages, _ in batch if messages is not None]))
    for where, messages, findings in batch:
        result = next(done) if messages is not None else None
        if isinstance(result, Encoded):
            kept = _cut(result, max_length)
            yield LintedRow(where, kept, [*linter.problems(kept, messages)])
        elif isinstance(result, RowError):
            yield LintedRow(where, None, [Finding(result.reason, result.detail)])
        else:
            yield LintedRow(where, None, findings)


def _cut(encoded: Encoded, max_length: int | None) -> Encoded:
    """The row as it would be cut; where nothing to train on would be left, that is for the linter to say."""
    if max_length is None:
        return encoded
    try:
        return fit(encoded, max_length, "truncate").encoded
    except RowDropped:
        return Encoded(encoded.ids[:max_length], encoded.mask[:max_length])


def _rows_in(path: str) -> Iterator[tuple[Location, Messages | None, list[Finding]]]:
    """Each row's place, its messages where it is a chat row, and else what is wrong with it."""
    for where, item in files.read_items(path):
        if found := [*find_in(item)]:
            yield where, None, found
        else:
            yield where, (parse_line(item) if isinstance(item, bytes) else item)["messages"], found
