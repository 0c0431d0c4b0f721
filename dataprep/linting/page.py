"""Rows with their tokens as one HTML page: no script, nothing loaded from anywhere, every text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from dataprep import files
from dataprep.errors import UsageError
from dataprep.linting import LintedRow, LintReport
from dataprep.report.visible import visible
from dataprep.tokens.continuing import decode_after, goes_on
from dataprep.tokens.tokenizer import Tokenizer

MAX_TOKENS = 4096
"""Tokens of a row that are shown."""

_STYLE = """\
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --ink: #1d1c1a; --muted: #64615b; --line: #dedad2; --panel: #f2efe9;
  --plain: #e9e5dc; --plain2: #ded9cd; --trained: #bfe3cf; --trained2: #a5d6bb; --special: #8a5fb0;
  --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #181817; --ink: #e9e6df; --muted: #a29d93; --line: #3a3834; --panel: #232220;
    --plain: #2d2b28; --plain2: #383531; --trained: #1f4d38; --trained2: #2a6348; --special: #c9a6ea;
    --bad: #f2867e;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.5rem; }
h2 { font-size: 1.05rem; margin: 0 0 0.5rem; overflow-wrap: anywhere; }
p { margin: 0 0 0.75rem; overflow-wrap: anywhere; }
header p, .note, footer { color: var(--muted); font-size: 0.9rem; }
section { margin-top: 1.5rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
ul { margin: 0 0 0.75rem; padding-left: 1.1rem; color: var(--bad); overflow-wrap: anywhere; }
.row, .key {
  font: 0.85rem/1.9 ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
.row { background: var(--panel); border-radius: 0.4rem; padding: 0.75rem 0.9rem; }
.key { color: var(--ink) !important; }
i { font-style: normal; border-radius: 0.2rem; padding: 0.1em 0; background: var(--plain); }
i:nth-of-type(even) { background: var(--plain2); }
i.t { background: var(--trained); }
i.t:nth-of-type(even) { background: var(--trained2); }
i.s { color: var(--special); font-weight: 600; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media print { main { max-width: none; } i { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
_HEAD = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Rows and their tokens</title>
<style>
{_STYLE}</style>
</head>
<body>
<main>
"""
_KEY = """\
<p class="key"><i class="t">trained on</i> <i>not trained on</i> <i class="s">&lt;special token&gt;</i> \
<i class="s t">&lt;special, trained on&gt;</i></p>
"""
_FOOT = """\
<footer>
<p>Each token is a field of its own; its number and id are shown when it is pointed at. Bytes that are no
whole character, control characters and invisible marks are written as escapes.</p>
</footer>
</main>
</body>
</html>
"""


def check_page(path: str) -> None:
    """Raise ``UsageError`` where the path is no HTML page's, before any work is done."""
    if path != files.STDIO and PurePath(path).suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"{path}: the rows are shown on an HTML page; expected a path that ends in .html")


def write_page(report: LintReport, tokenizer: Tokenizer, path: str) -> None:
    """Write the rows that the report kept; the same rows give the same bytes.

    Raises:
        FileError: the place cannot be written.
    """
    files.write_text(page(report, tokenizer), path)


def page(report: LintReport, tokenizer: Tokenizer) -> str:
    """The page as one text."""
    names = ", ".join(f"<code>{_text(files.printable(path))}</code>" for path in report.rows)
    rows, problems = sum(report.rows.values()), report.counts.total()
    kinds = "".join(f"<li>{_text(kind)}: {count:,}</li>" for kind, count in report.counts.most_common())
    parts = [
        _HEAD,
        f"<header>\n<h1>Rows and their tokens</h1>\n<p>{rows:,} rows out of {names}: ",
        f"{report.tokens:,} tokens, {report.trained:,} of them trained on; {problems:,} problems.</p>\n",
        f"<ul>{kinds}</ul>\n" if kinds else "",
        _KEY,
        "</header>\n",
    ]
    parts += [_row(row, tokenizer) for row in report.kept]
    if rows > len(report.kept):
        shown = f"{len(report.kept):,} of {rows:,} rows are shown, those with problems first."
        parts.append(f'<p class="note">{shown}</p>\n')
    return "".join((*parts, _FOOT))


def _text(text: str) -> str:
    return html.escape(visible(text))


def _row(row: LintedRow, tokenizer: Tokenizer) -> str:
    """A row's section: its place, what is wrong with it, its tokens."""
    found = "".join(f"<li>{_text(': '.join(filter(None, finding)))}</li>" for finding in row.findings)
    title = f"<section>\n<h2>{_text(files.printable(row.where))}</h2>\n"
    problems = f"<ul>{found}</ul>\n" if found else ""
    if row.encoded is None:
        return f'{title}{problems}<p class="note">It has no tokens.</p>\n</section>\n'
    ids, mask = row.encoded.ids, row.encoded.mask
    counts = f'<p class="note">{len(ids):,} tokens, {mask.count(1):,} of them trained on.</p>\n'
    tokens = "".join(_tokens(ids[:MAX_TOKENS], mask, tokenizer))
    more = f'<p class="note">And {len(ids) - MAX_TOKENS:,} more.</p>\n' if len(ids) > MAX_TOKENS else ""
    return f'{title}{problems}{counts}<div class="row" dir="auto">{tokens}</div>\n{more}</section>\n'


def _tokens(ids: Sequence[int], mask: Sequence[int], tokenizer: Tokenizer) -> Iterator[str]:
    """Each token as HTML; a line ends after a token that has a newline in it."""
    special = set(tokenizer.specials.values())
    before: bool | None = None
    for number, (each, trained) in enumerate(zip(ids, mask, strict=False)):
        kinds = " ".join(["s"] * (each in special) + ["t"] * bool(trained))
        kind = f' class="{kinds}"' if kinds else ""
        after = goes_on(tokenizer, before)
        data = decode_after(tokenizer, [each]) if after else tokenizer.decode_bytes([each])
        before = each in special
        text = _shown(data)
        yield f'<i{kind} title="token {number + 1:,}, id {each}">{html.escape(text)}</i>'
        yield "\n" if b"\n" in data else ""


def _shown(data: bytes) -> str:
    r"""Bytes as text, ``\n`` for a newline, ``\xe2`` for a byte that is no whole character."""
    return visible(data.decode("utf-8", "backslashreplace")) or "∅"
