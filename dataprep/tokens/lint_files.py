"""Lint files of chat rows as the tokens that a trainer would get, and keep rows to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from dataprep.core import io as files
from dataprep.core.conversations import Finding, find_in
from dataprep.core.errors import InputError, Location, RowDropped, RowError, UsageError
from dataprep.core.jsonl import parse_line
from dataprep.core.options import check_whole
from dataprep.datasets.checks.validation import Problem, Report
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.base import ChatFormat, Written
from dataprep.tokens.options import Encoded, ShardOptions, truncate
from dataprep.tokens.tokenize import prepare
from dataprep.tokens.tokenizers.base import Tokenizer

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
    notes: tuple[Finding, ...] = ()  # about the chat format itself; they are no problems of rows
    kept: list[LintedRow] = field(default_factory=list)  # to show; rows with faults first
    dropped: Counter[str] = field(default_factory=Counter)  # rows that the options leave out, by reason
    left_out: Counter[str] = field(default_factory=Counter)  # values that the chat format leaves out, by kind

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        counts = {"tokens": self.tokens, "in_loss": self.in_loss, "longest": self.longest}
        others = {"dropped": dict(self.dropped), "left_out": dict(self.left_out)}
        notes = [": ".join(note) for note in self.notes]
        return super().to_json() | counts | others | ({"notes": notes} if notes else {})


class _Row(NamedTuple):
    """A row's place, and the row as the chat format writes it or else its faults."""

    where: Location
    written: Written | None
    findings: list[Finding]
    dropped: str = ""  # why the options leave the row out


def lint_files(
    inputs: str | Path | Sequence[str | Path],
    tokenizer: str | Path | Tokenizer,
    chat_format: str | ChatFormat | None = None,
    *,
    template: str | Path | None = None,
    options: ShardOptions | None = None,
    max_length: int | None = None,
    keep: int = 0,
) -> LintReport:
    """Report the faults of chat rows as tokens.

    Args:
        inputs: a file of chat rows, or several.
        tokenizer: the tokenizer of the model that will be trained, or the path of its file or directory.
        chat_format: the chat format of its conversations, or its name, as for ``tokenize_files``.
        template: for the name ``template``: a model directory or a Jinja file. Defaults to the tokenizer's.
        options: as of ``tokenize_files``; those of packing are not used.
        max_length: maximum number of tokens per row, in place of that of ``options``; longer rows are checked
            as they would be truncated.
        keep: number of rows to keep in the report, to show them.

    Raises:
        FileError: a file cannot be read.
        InputError: a file as a whole cannot be read, or has no rows.
        TokenizerError: the tokenizer lacks a special token of the chat format.
    """
    if not inputs:
        raise UsageError("there is nothing to lint: give at least one file")
    if max_length is not None:
        check_whole("--max-length", max_length, 1)
    paths = [inputs] if isinstance(inputs, str | Path) else inputs
    options = options or ShardOptions()
    prepared = prepare(tokenizer, chat_format, options, template)
    max_length = options.limit if max_length is None else max_length
    settings: dict[str, Any] = {"loss": options.loss, "split_thinking": options.split_thinking}
    encoder = Encoder(prepared.tokenizer, prepared.chat_format, **settings)
    report = LintReport(notes=prepared.chat_format.notes)
    kept: list[LintedRow] = []
    for path in map(str, paths):
        before = report.rows.setdefault(path, 0)  # a file can be given twice
        room = {True: keep, False: keep}
        rows = _rows_in(path, encoder)
        while batch := list(islice(rows, BATCH)):
            report.dropped.update(row.dropped for row in batch if row.dropped)
            for row in _linted(batch, encoder, max_length):
                report.rows[path] += 1
                _count(report, row)
                # Rows without faults are kept too, up to the same number: at the end they fill up the page.
                if room[bool(row.findings)] > 0:
                    room[bool(row.findings)] -= 1
                    kept.append(row)
        if report.rows[path] == before:
            raise InputError(path, "the file is empty; expected chat rows")
    report.kept = first_rows(kept, keep)
    report.left_out = encoder.left_out
    return report


def first_rows(rows: Sequence[LintedRow], count: int) -> list[LintedRow]:
    """Return at most ``count`` rows: those with faults first, and of each file as many as possible."""
    first: list[LintedRow] = []
    for group in ([row for row in rows if row.findings], [row for row in rows if not row.findings]):
        by_file: dict[str, list[LintedRow]] = {}
        for row in group:
            by_file.setdefault(row.where.path, []).append(row)
        turns = [row for turn in zip_longest(*by_file.values()) for row in turn if row is not None]
        shown = set(map(id, turns[: count - len(first)]))
        # All files have their share, in the order of the files.
        first += [row for row in group if id(row) in shown]
    return first


def _count(report: LintReport, row: LintedRow) -> None:
    for finding in row.findings:
        report.add(Problem(str(row.where), *finding))
    if row.encoded is not None:
        length = len(row.encoded.ids)
        report.tokens += length
        report.in_loss += row.encoded.mask.count(1)
        report.longest = max(report.longest, length)


def _linted(batch: Sequence[_Row], encoder: Encoder, max_length: int | None) -> Iterator[LintedRow]:
    results = encoder.encode([row.written for row in batch if row.written is not None]).results()
    for where, written, findings, _ in batch:
        if written is None:
            yield LintedRow(where, None, findings)
            continue
        result = next(results)
        if isinstance(result, RowError):
            yield LintedRow(where, None, [Finding(result.reason, result.detail)])
            continue
        kept = _truncated(result, max_length)
        yield LintedRow(where, kept, [*encoder.linter.problems(kept, written)])


def _truncated(encoded: Encoded, max_length: int | None) -> Encoded:
    if max_length is None:
        return encoded
    try:
        return truncate(encoded, max_length, "truncate").encoded
    except RowDropped:  # no token in the loss would be left, which the linter reports
        return Encoded(encoded.ids[:max_length], encoded.mask[:max_length])


def _rows_in(path: str, encoder: Encoder) -> Iterator[_Row]:
    # `read_rows` would stop at the first bad row; here all of them are to be found.
    for where, item in files.read_items(path):
        if findings := [*find_in(item)]:
            yield _Row(where, None, findings)
            continue
        row = parse_line(item) if isinstance(item, bytes) else item
        try:
            yield _Row(where, encoder.read(row), [])
        except RowDropped as dropped:
            yield _Row(where, None, [], dropped.reason)
        except RowError as error:
            yield _Row(where, None, [Finding(error.reason, error.detail)])
