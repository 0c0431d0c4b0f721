"""Lint files of chat rows as the tokens that a trainer would get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dataprep.core import io as files
from dataprep.core.conversations import Finding, find_in
from dataprep.core.errors import InputError, Location, RowDropped, RowError, UsageError
from dataprep.core.jsonl import parse_line
from dataprep.datasets.validate import Problem, Report
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.base import ChatFormat, Turns
from dataprep.tokens.tokenizers.base import Tokenizer
from dataprep.tokens.truncation import Encoded, truncate

BATCH = 256  # rows that are encoded at once


@dataclass(frozen=True)
class LintedRow:
    """A row with its tokens, if it has any, and its faults."""

    where: Location
    encoded: Encoded | None
    findings: Sequence[Finding]


@dataclass
class LintReport(Report):
    """The result of ``lint-tokens``: the report of ``validate``, and numbers of tokens."""

    tokens: int = 0  # in all rows that could be encoded, sound or not
    in_loss: int = 0  # tokens that the loss mask covers
    longest: int = 0  # tokens in the longest row
    kept: list[LintedRow] = field(default_factory=list)  # for the page; rows with faults first

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        counts = {"tokens": self.tokens, "in_loss": self.in_loss, "longest": self.longest}
        return super().to_json() | counts


class _Row(NamedTuple):
    """A row's place, and its roles and contents or else its faults."""

    where: Location
    turns: Turns | None
    findings: list[Finding]


def lint_files(
    inputs: str | Path | Sequence[str | Path],
    tokenizer: Tokenizer,
    chat_format: ChatFormat,
    *,
    max_length: int | None = None,
    keep: int = 0,
) -> LintReport:
    """Report the faults of chat rows as tokens.

    Args:
        inputs: a file of chat rows, or several.
        tokenizer: the tokenizer of the model that will be trained.
        chat_format: the chat format of its conversations.
        max_length: maximum number of tokens per row; longer rows are checked as they would be truncated.
        keep: number of rows to keep for a page.

    Raises:
        FileError: a file cannot be read.
        InputError: a file as a whole cannot be read, or has no rows.
        TokenizerError: the tokenizer lacks a special token of the chat format.
    """
    if not inputs:
        raise UsageError("there is nothing to lint: give at least one file")
    paths = [inputs] if isinstance(inputs, str | Path) else inputs
    encoder = Encoder(tokenizer, chat_format)
    report = LintReport()
    bad: list[LintedRow] = []
    good: list[LintedRow] = []
    for path in map(str, paths):
        report.rows[path] = 0
        rows = _rows_in(path, chat_format)
        while batch := list(islice(rows, BATCH)):
            for row in _linted(batch, encoder, max_length):
                report.rows[path] += 1
                _count(report, row)
                # Rows without faults are kept too, up to the same number: at the end they fill up the page.
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
        report.in_loss += row.encoded.mask.count(1)
        report.longest = max(report.longest, length)


def _linted(batch: Sequence[_Row], encoder: Encoder, max_length: int | None) -> Iterator[LintedRow]:
    results = encoder.encode([row.turns for row in batch if row.turns is not None]).results()
    for where, turns, findings in batch:
        if turns is None:
            yield LintedRow(where, None, findings)
            continue
        result = next(results)
        if isinstance(result, RowError):
            yield LintedRow(where, None, [Finding(result.reason, result.detail)])
            continue
        kept = _truncated(result, max_length)
        yield LintedRow(where, kept, [*encoder.linter.problems(kept, turns)])


def _truncated(encoded: Encoded, max_length: int | None) -> Encoded:
    if max_length is None:
        return encoded
    try:
        return truncate(encoded, max_length, "truncate").encoded
    except RowDropped:  # no token in the loss would be left, which the linter reports
        return Encoded(encoded.ids[:max_length], encoded.mask[:max_length])


def _rows_in(path: str, chat_format: ChatFormat) -> Iterator[_Row]:
    # `read_rows` would stop at the first bad row; here all of them are to be found.
    for where, item in files.read_items(path):
        if findings := [*find_in(item)]:
            yield _Row(where, None, findings)
            continue
        row = parse_line(item) if isinstance(item, bytes) else item
        try:
            yield _Row(where, chat_format.read(row["messages"]), [])
        except RowError as error:
            yield _Row(where, None, [Finding(error.reason, error.detail)])
