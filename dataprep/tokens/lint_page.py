"""Show the rows that the linter kept on one HTML page, as their tokens in the colours of the loss mask."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

from dataprep.core import io as files
from dataprep.core.html import check_path, document, escaped
from dataprep.tokens.lint_files import LintedRow, LintReport, first_rows
from dataprep.tokens.tokenizers.base import Tokenizer
from dataprep.tokens.views import MAX_TOKENS, Token, tokens_of

COLOURS = """\
:root {
  --row: #fffefc; --plain: #ece8df; --plain2: #ddd7ca; --loss: #bfe3cf; --loss2: #9fd3b6;
  --special: #5f3187; --bad: #b3261e; --escape: #4f4b45;
}
@media (prefers-color-scheme: dark) {
  :root {
    --row: #121211; --plain: #2d2b28; --plain2: #3b3834; --loss: #1f4d38; --loss2: #24593f;
    --special: #dcc2f2; --bad: #f2867e; --escape: #cbc6bc;
  }
}
"""
MASK_STYLE = """\
.row, .key i {
  font: 0.85rem/1.9 ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace;
  white-space: break-spaces; overflow-wrap: anywhere;
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
i b { font-weight: 400; color: var(--escape); }
"""
_STYLE = """\
main { max-width: 60rem; }
h2 { font-size: 1.05rem; margin: 0 0 0.5rem; }
header p, .note, footer { font-size: 0.9rem; }
section { margin-top: 1.5rem; padding-top: 1.25rem; }
ul { margin: 0 0 0.75rem; padding-left: 1.1rem; color: var(--bad); overflow-wrap: anywhere; }
@media print { main { max-width: none; } i { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
MASK_KEY = """\
<p class="key"><i class="t">in the loss</i> <i>not in the loss</i> <i class="s">&lt;special token&gt;</i> \
<i class="s t">&lt;special, in the loss&gt;</i> <i><b>\\n</b></i> a newline</p>
"""
_FOOT = """\
<footer>
<p>Each token is a field of its own; point at it to see its number and id. Bytes that are not a whole
character, control characters and invisible marks are written as escapes, in grey.</p>
</footer>
"""


def check_page(path: str) -> None:
    """Raise ``UsageError`` if the path is not an HTML page's, before any work is done."""
    check_path(path, "the rows are shown on")


def write_page(report: LintReport, tokenizer: Tokenizer, path: str, count: int) -> None:
    """Write the page of the first ``count`` rows that the report kept; the same rows give the same bytes."""
    files.write_text(page(report, tokenizer, count), path)


def page(report: LintReport, tokenizer: Tokenizer, count: int | None = None) -> str:
    """Return the page of all rows that the report kept, or of the first ``count`` of them."""
    kept = report.kept if count is None else first_rows(report.kept, count)
    names = ", ".join(f"<code>{escaped(files.printable(path))}</code>" for path in report.rows)
    rows, problems = sum(report.rows.values()), report.counts.total()
    kinds = "".join(f"<li>{escaped(kind)}: {count:,}</li>" for kind, count in report.counts.most_common())
    parts = [
        f"<header>\n<h1>Rows and their tokens</h1>\n<p>{rows:,} rows out of {names}: ",
        f"{report.tokens:,} tokens, {report.in_loss:,} of them in the loss; {problems:,} problems.</p>\n",
        f"<ul>{kinds}</ul>\n" if kinds else "",
        *(f'<p class="note">Chat format: {escaped(": ".join(note))}</p>\n' for note in report.notes),
        MASK_KEY,
        "</header>\n",
    ]
    parts += [_row(row, tokenizer) for row in kept]
    if rows > len(kept):
        shown = f"{len(kept):,} of {rows:,} rows are shown, those with problems first."
        parts.append(f'<p class="note">{shown}</p>\n')
    return document("Rows and their tokens", COLOURS + MASK_STYLE + _STYLE, (*parts, _FOOT))


def _row(row: LintedRow, tokenizer: Tokenizer) -> str:
    findings = "".join(f"<li>{escaped(': '.join(filter(None, finding)))}</li>" for finding in row.findings)
    title = f"<section>\n<h2>{escaped(files.printable(str(row.where)))}</h2>\n"
    problems = f"<ul>{findings}</ul>\n" if findings else ""
    if row.encoded is None:
        return f'{title}{problems}<p class="note">It has no tokens.</p>\n</section>\n'
    ids, mask = row.encoded.ids, row.encoded.mask
    counts = f'<p class="note">{len(ids):,} tokens, {mask.count(1):,} of them in the loss.</p>\n'
    tokens = "".join(html_of(tokens_of(row.encoded, tokenizer)))
    more = f'<p class="note">And {len(ids) - MAX_TOKENS:,} more.</p>\n' if len(ids) > MAX_TOKENS else ""
    return f'{title}{problems}{counts}<div class="row" dir="auto">{tokens}</div>\n{more}</section>\n'


def html_of(tokens: Iterable[Token]) -> Iterator[str]:
    """Yield tokens in HTML, for a page with the rules of ``COLOURS`` and ``MASK_STYLE``."""
    # A line of the page's source ends after a token with a newline, so that diffs of pages can be read.
    for token in tokens:
        kinds = " ".join(["s"] * token.special + ["t"] * token.in_loss)
        kind = f' class="{kinds}"' if kinds else ""
        parts = [f"<b>{text}</b>" if escape else html.escape(text) for text, escape in token.parts]
        yield f'<i{kind} title="token {token.number:,}, id {token.id}">{"".join(parts)}</i>'
        yield "\n" if token.ends_line else ""
