"""What all HTML pages have in common: no script, nothing loaded from anywhere, every text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import PurePath

from dataprep import files
from dataprep.errors import UsageError
from dataprep.report.visible import visible

_STYLE = """\
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
    """A whole page.

    Args:
        title: its title, as text.
        style: rules beside those that all pages have.
        parts: what stands on it, in HTML.
    """
    return "".join(
        (
            f"{_HEAD}<title>{html.escape(title)}</title>\n<style>\n{_STYLE}{style}</style>\n",
            "</head>\n<body>\n<main>\n",
            *parts,
            "</main>\n</body>\n</html>\n",
        )
    )


def escaped(text: str, lines: bool = False) -> str:
    """A text out of the data, as HTML; ``lines`` as ``visible`` has it."""
    return html.escape(visible(text, lines))


def check_path(path: str, what: str) -> None:
    """Raise ``UsageError`` where the path is no HTML page's; ``what`` begins the explanation."""
    if path != files.STDIO and PurePath(path).suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"{path}: {what} an HTML page; expected a path that ends in .html")
