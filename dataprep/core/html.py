"""Make HTML pages.

All pages follow these rules: no script, nothing loaded from anywhere, every text escaped. The page of
``dataprep view`` is made of files of its own, and shares the style.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import PurePath

from dataprep.core import io as files
from dataprep.core.errors import UsageError, visible

STYLE = """\
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --ink: #1d1c1a; --muted: #64615b; --line: #dedad2; --panel: #f2efe9;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #181817; --ink: #e9e6df; --muted: #a29d93; --line: #3a3834; --panel: #232220; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
}
main { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.5rem; }
h2 { overflow-wrap: anywhere; }
p { margin: 0 0 0.75rem; overflow-wrap: anywhere; }
header p, .note, figcaption, footer { color: var(--muted); }
section { border-top: 1px solid var(--line); }
code { font: 0.9em ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
"""
_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
"""


def document(title: str, style: str, parts: Iterable[str]) -> str:
    """Return a whole page: its title as text, its own rules after the shared ones, its parts in HTML."""
    head = f"{_HEAD}<title>{html.escape(title)}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n"
    return "".join((head, "<body>\n<main>\n", *parts, "</main>\n</body>\n</html>\n"))


def escaped(text: str, lines: bool = False) -> str:
    """Return a text from data as HTML; ``lines`` as in ``visible``."""
    return html.escape(visible(text, lines))


def check_path(path: str, what: str) -> None:
    """Raise ``UsageError`` unless the path is that of an HTML page; ``what`` begins the explanation."""
    if path != files.STDIO and PurePath(path).suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"{path}: {what} an HTML page; expected a path that ends in .html")


REVIEW_STYLE = """\
:root {
  --bar: #3a78b8; --uniform: #1d1c1a; --gold: #c9c4b8;
  --ok: #3a78b8; --length: #d9a62e; --refused: #8a5fb0; --empty: #b3aea4; --failed: #c23b3b;
  --unknown: #5aa39a;
  --right: #2f8f6b; --wrong: #d4713a; --unread: #b3aea4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bar: #5b9bdc; --uniform: #e9e6df; --gold: #5c5952;
    --ok: #5b9bdc; --length: #e2b84c; --refused: #b08ad6; --empty: #6f6b64; --failed: #e06666;
    --unknown: #7cc4ba;
    --right: #4db58d; --wrong: #e58a55; --unread: #6f6b64;
  }
}
main { max-width: 54rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 0.75rem; }
h3 { font-size: 1rem; margin: 2rem 0 0.5rem; }
p { max-width: 44rem; }
.note, figcaption, footer { font-size: 0.85rem; }
section { margin-top: 2.5rem; padding-top: 2rem; }
.wide { overflow-x: auto; }
figure { margin: 1.75rem 0; }
figcaption { margin-top: 0.8rem; }
svg { display: block; width: 100%; min-width: 34rem; height: auto; overflow: visible; }
svg text { fill: var(--ink); font-size: 12px; font-variant-numeric: tabular-nums; }
svg .muted { fill: var(--muted); }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
table {
  border-collapse: collapse; margin: 0.5rem 0 1rem;
  font-variant-numeric: tabular-nums; font-size: 0.9rem;
}
th, td {
  padding: 0.3rem 0.75rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
}
thead th { color: var(--muted); font-weight: 500; vertical-align: bottom; }
tr > :first-child { text-align: start; padding-left: 0; }
th[scope="row"] { font-weight: 600; }
.names { width: 100%; }
.names th[scope="row"], td.name { text-align: start; min-width: 9rem; overflow-wrap: anywhere; }
.names thead th:nth-child(2):nth-last-child(5) { text-align: start; }
.confusion th, .confusion td { padding: 0.3rem 0.5rem; min-width: 2.4rem; text-align: center; }
.many th, .many td { padding: 0.2rem 0.1rem; min-width: 1.55rem; font-size: 0.75rem; }
.many th:nth-last-child(-n+2), .many td:nth-last-child(-n+2) { padding-left: 0.3rem; }
.confusion td { border: 1px solid var(--page); }
.confusion td:nth-last-child(-n+2) { text-align: right; color: var(--muted); border-color: transparent; }
.confusion .right { background: color-mix(in srgb, var(--right) var(--tint, 0%), var(--panel)); }
.confusion .wrong { background: color-mix(in srgb, var(--wrong) var(--tint, 0%), var(--panel)); }
.confusion .none { background: var(--panel); color: var(--muted); }
.replies { width: 100%; table-layout: fixed; }
.replies th, .replies td { overflow-wrap: anywhere; text-align: start; }
.replies th:first-child { width: 27%; font-weight: 400; color: var(--muted); }
.replies th:nth-child(2), .replies td:nth-child(2) { width: 23%; color: var(--muted); }
.replies tbody th { font: 0.8rem/1.75 ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace; }
.replies td { white-space: pre-wrap; }
.answers th:first-child { width: 15%; }
.answers th:nth-child(2), .answers td:nth-child(2) { width: 40%; color: inherit; }
.answers th:nth-child(3), .answers th:nth-child(4) { width: 13%; }
.notes { margin: 0; padding-left: 1.1rem; }
/* On a narrow screen a row becomes a block of labelled values. What stays wider says that it scrolls. */
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  .scrolls::before {
    content: "Wider than the screen: scroll sideways →"; position: sticky; left: 0; display: block;
    width: max-content; max-width: 90vw; color: var(--muted); font-size: 0.8rem;
  }
  .rows, .rows tbody { display: block; width: 100%; }
  .rows thead { display: none; }
  .rows tr { display: block; padding: 0.5rem 0; border-bottom: 1px solid var(--line); }
  .rows th, .rows td {
    display: flex; justify-content: space-between; gap: 1rem; width: auto; padding: 0.1rem 0; border: 0;
  }
  .rows th:first-child { width: auto; }
  .rows td::before { content: attr(data-label); color: var(--muted); text-align: start; }
  .replies td, .replies td:nth-child(2) { display: block; width: auto; }
  .replies td::before { display: block; font-size: 0.8rem; }
  .confusion th, .confusion td { padding: 0.25rem 0.2rem; min-width: 1.6rem; font-size: 0.8rem; }
}
@media print { section { break-inside: avoid-page; } main { max-width: none; } }
"""
