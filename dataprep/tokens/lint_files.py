"""Lint files of chat rows as the tokens that a trainer would get, and show rows on one HTML page."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from dataprep.core import io as files
from dataprep.core.conversations import Finding, find_in
from dataprep.core.errors import InputError, Location, RowDropped, RowError, UsageError, visible
from dataprep.core.html import check_path, document, escaped
from dataprep.core.jsonl import parse_line
from dataprep.core.options import check_whole
from dataprep.datasets.checks import Problem, Report
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.base import ChatFormat, Written
from dataprep.tokens.options import Encoded, ShardOptions, truncate
from dataprep.tokens.tokenize import prepare
from dataprep.tokens.tokenizers.base import Tokenizer, continues, decode_after

BATCH = 256  # rows that are encoded at once
MAX_TOKENS = 4096  # that are shown per row

_STYLE = """\
:root {
  --row: #fffefc; --plain: #ece8df; --plain2: #ddd7ca; --loss: #bfe3cf; --loss2: #9fd3b6;
  --special: #7a4aa5; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --row: #121211; --plain: #2d2b28; --plain2: #3b3834; --loss: #1f4d38; --loss2: #2c6b4e;
    --special: #c9a6ea; --bad: #f2867e;
  }
}
main { max-width: 60rem; }
h2 { font-size: 1.05rem; margin: 0 0 0.5rem; }
header p, .note, footer { font-size: 0.9rem; }
section { margin-top: 1.5rem; padding-top: 1.25rem; }
ul { margin: 0 0 0.75rem; padding-left: 1.1rem; color: var(--bad); overflow-wrap: anywhere; }
.row, .key i {
  font: 0.85rem/1.9 ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
.row {
  background: var(--row); border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.75rem 0.9rem;
}
i { font-style: normal; color: var(--ink); background: var(--plain); padding: 0.1em 0; }
i { border-radius: 0.2rem; }
.row i:nth-of-type(even) { background: var(--plain2); }
i.t, .row i.t { background: var(--loss); }
.row i.t:nth-of-type(even) { background: var(--loss2); }
i.s { color: var(--special); font-weight: 600; }
.key i { display: inline-block; padding: 0 0.4em; margin-right: 0.35em; }
i b { font-weight: 400; color: var(--muted); }
@media print { main { max-width: none; } i { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
_KEY = """\
<p class="key"><i class="t">in the loss</i> <i>not in the loss</i> <i class="s">&lt;special token&gt;</i> \
<i class="s t">&lt;special, in the loss&gt;</i> <i><b>\\n</b></i> a newline</p>
"""
_FOOT = """\
<footer>
<p>Each token is a field of its own; point at it to see its number and id. Bytes that are not a whole
character, control characters and invisible marks are written as escapes, in grey.</p>
</footer>
"""


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
    kept: list[LintedRow] = field(default_factory=list)  # for the page; rows with faults first
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
        keep: number of rows to keep for a page.

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
    bad: list[list[LintedRow]] = []
    good: list[list[LintedRow]] = []
    for path in map(str, paths):
        before = report.rows.setdefault(path, 0)  # a file can be given twice
        bad.append([])
        good.append([])
        rows = _rows_in(path, encoder)
        while batch := list(islice(rows, BATCH)):
            report.dropped.update(row.dropped for row in batch if row.dropped)
            for row in _linted(batch, encoder, max_length):
                report.rows[path] += 1
                _count(report, row)
                # Rows without faults are kept too, up to the same number: at the end they fill up the page.
                kept = (bad if row.findings else good)[-1]
                if len(kept) < keep:
                    kept.append(row)
        if report.rows[path] == before:
            raise InputError(path, "the file is empty; expected chat rows")
    # All files have their share of the page, in the order of the files.
    kept_bad = _shared(bad, keep)
    report.kept = kept_bad + _shared(good, keep - len(kept_bad))
    report.left_out = encoder.left_out
    return report


def _shared(kept: Sequence[Sequence[LintedRow]], count: int) -> list[LintedRow]:
    """Return the first rows of each file, as many of each as possible, and `count` together."""
    turns = [row for turn in zip_longest(*kept) for row in turn if row is not None]
    shown = set(map(id, turns[:count]))
    return [row for rows in kept for row in rows if id(row) in shown]


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


def check_page(path: str) -> None:
    """Raise ``UsageError`` if the path is not an HTML page's, before any work is done."""
    check_path(path, "the rows are shown on")


def write_page(report: LintReport, tokenizer: Tokenizer, path: str) -> None:
    """Write the page of the rows that the report kept; the same rows give the same bytes."""
    files.write_text(page(report, tokenizer), path)


def page(report: LintReport, tokenizer: Tokenizer) -> str:
    """Return the page."""
    names = ", ".join(f"<code>{escaped(files.printable(path))}</code>" for path in report.rows)
    rows, problems = sum(report.rows.values()), report.counts.total()
    kinds = "".join(f"<li>{escaped(kind)}: {count:,}</li>" for kind, count in report.counts.most_common())
    parts = [
        f"<header>\n<h1>Rows and their tokens</h1>\n<p>{rows:,} rows out of {names}: ",
        f"{report.tokens:,} tokens, {report.in_loss:,} of them in the loss; {problems:,} problems.</p>\n",
        f"<ul>{kinds}</ul>\n" if kinds else "",
        *(f'<p class="note">Chat format: {escaped(": ".join(note))}</p>\n' for note in report.notes),
        _KEY,
        "</header>\n",
    ]
    parts += [_row(row, tokenizer) for row in report.kept]
    if rows > len(report.kept):
        shown = f"{len(report.kept):,} of {rows:,} rows are shown, those with problems first."
        parts.append(f'<p class="note">{shown}</p>\n')
    return document("Rows and their tokens", _STYLE, (*parts, _FOOT))


def _row(row: LintedRow, tokenizer: Tokenizer) -> str:
    findings = "".join(f"<li>{escaped(': '.join(filter(None, finding)))}</li>" for finding in row.findings)
    title = f"<section>\n<h2>{escaped(files.printable(str(row.where)))}</h2>\n"
    problems = f"<ul>{findings}</ul>\n" if findings else ""
    if row.encoded is None:
        return f'{title}{problems}<p class="note">It has no tokens.</p>\n</section>\n'
    ids, mask = row.encoded.ids, row.encoded.mask
    counts = f'<p class="note">{len(ids):,} tokens, {mask.count(1):,} of them in the loss.</p>\n'
    tokens = "".join(_tokens(ids[:MAX_TOKENS], mask, tokenizer))
    more = f'<p class="note">And {len(ids) - MAX_TOKENS:,} more.</p>\n' if len(ids) > MAX_TOKENS else ""
    return f'{title}{problems}{counts}<div class="row" dir="auto">{tokens}</div>\n{more}</section>\n'


def _tokens(ids: Sequence[int], mask: Sequence[int], tokenizer: Tokenizer) -> Iterator[str]:
    # A line of the page's source ends after a token with a newline, so that diffs of pages can be read.
    special = set(tokenizer.special_tokens.values())
    behind_special: bool | None = None
    for number, (token, in_loss) in enumerate(zip(ids, mask, strict=False)):
        kinds = " ".join(["s"] * (token in special) + ["t"] * bool(in_loss))
        kind = f' class="{kinds}"' if kinds else ""
        if continues(tokenizer, behind_special):
            data = decode_after(tokenizer, [token])
        else:
            data = tokenizer.decode_bytes([token])
        behind_special = token in special
        yield f'<i{kind} title="token {number + 1:,}, id {token}">{_escaped(data)}</i>'
        yield "\n" if b"\n" in data else ""


def _escaped(data: bytes) -> str:
    r"""Return bytes as HTML, with a grey ``\n`` for a newline and ``\xe2`` for a byte of no character."""
    parts = []
    # A token may be a part of a character: its bytes come back as lone surrogates from U+DC80 on.
    for character in data.decode("utf-8", "surrogateescape"):
        code = ord(character)
        seen = f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else visible(character)
        parts.append(html.escape(character) if seen == character else f"<b>{seen}</b>")
    return "".join(parts) or "<b>∅</b>"
