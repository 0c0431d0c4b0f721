"""Draw the loss mask of the README's row with reasoning and a tool call: ``python docs/picture.py``.

The picture shows what ``dataprep lint-tokens --show 1`` prints. Each token has its field, and each run of
text in a line is stretched to the width of its fields, so that every reader's font fits.
"""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.lint_files import lint_files
from dataprep.tokens.lint_page import COLOURS
from dataprep.tokens.tokenizers.base import Tokenizer
from dataprep.tokens.tokenizers.loading import load_tokenizer
from dataprep.tokens.tokenizers.training import texts_of_files, train_tokenizer
from dataprep.tokens.views import Token, tokens_of

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "loss-mask.svg"
ROWS = ROOT / "raw" / "tool_calls" / "train.jsonl"
TEMPLATE = ROOT / "raw" / "tool_calls" / "chat_template.jinja"
# As in the README.
TEXTS = (ROOT / "raw" / "gsm8k" / "train.jsonl", ROWS)
SPECIAL_TOKENS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
VOCABULARY = 1024

COLUMNS = 92  # characters in a line
CHARACTER, LINE, FIELD, MARGIN = 8, 23, 19, 16  # pixels: widths of a character and of the margin, heights
STYLE = """\
text { font: 13.3px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; }
text { fill: var(--ink); white-space: pre; }
.page { fill: var(--row); stroke: var(--line); }
.o0 { fill: var(--plain); } .o1 { fill: var(--plain2); }
.l0 { fill: var(--loss); } .l1 { fill: var(--loss2); }
.s { fill: var(--special); font-weight: 600; } .e { fill: var(--muted); }
:root { --ink: #1d1c1a; --muted: #64615b; --line: #dedad2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e6df; --muted: #a29d93; --line: #3a3834; } }
"""
KEY = (("in the loss", "l1", ""), ("not in the loss", "o1", ""), ("special token", "o1", "s"))


class Part(NamedTuple):
    """A text in one style at its place."""

    line: int
    column: int
    text: str
    style: str  # s: of a special token, e: an escape, or none


def draw(tokens: list[Token]) -> str:
    """Return tokens as a picture in SVG."""
    fields: list[str] = []
    parts: list[Part] = []
    column = 0
    for name, field, style in KEY:
        fields.append(_field(0, column, len(name) + 2, field))
        parts.append(Part(0, column + 1, name, style))
        column += len(name) + 4
    line, column = 2, 0
    for token in tokens:
        if column + len(token.text) > COLUMNS:
            line, column = line + 1, 0
        fields.append(
            _field(line, column, len(token.text), f"{'l' if token.in_loss else 'o'}{token.number % 2}")
        )
        for text, escape in token.parts:
            parts.append(Part(line, column, text, "e" if escape else "s" if token.special else ""))
            column += len(text)
        if token.ends_line:
            line, column = line + 1, 0
    lines = line + (column > 0)
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, lines * LINE + 2 * MARGIN
    title = "A row with reasoning and a tool call as tokens, coloured by the loss mask"
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" ',
            f'viewBox="0 0 {width} {height}" role="img">\n<title>{title}</title>\n',
            f"<style>\n{COLOURS}{STYLE}</style>\n",
            f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>\n',
            *fields,
            *map(_text, _joined(parts)),
            "</svg>\n",
        )
    )


def _field(line: int, column: int, length: int, style: str) -> str:
    x, y = MARGIN + column * CHARACTER, MARGIN + line * LINE
    return f'<rect class="{style}" x="{x}" y="{y}" width="{length * CHARACTER}" height="{FIELD}" rx="2"/>\n'


def _joined(parts: list[Part]) -> Iterator[Part]:
    """Yield the parts of one style in one line as one part."""
    # Parts of a line are neighbours, except those of the key, which all have spaces between them.
    for (line, style), group in groupby(parts, key=lambda part: (part.line, part.style)):
        if line == 0:
            yield from group
            continue
        run = list(group)
        yield Part(line, run[0].column, "".join(part.text for part in run), style)


def _text(part: Part) -> str:
    text = part.text.strip(" ")
    if not text:
        return ""
    column = part.column + len(part.text) - len(part.text.lstrip(" "))
    x, y = MARGIN + column * CHARACTER, MARGIN + part.line * LINE + 14
    style = f' class="{part.style}"' if part.style else ""
    length = f'textLength="{len(text) * CHARACTER}" lengthAdjust="spacingAndGlyphs"'
    return f'<text{style} x="{x}" y="{y}" {length}>{html.escape(text)}</text>\n'


def picture(tokenizer: Tokenizer, rows: Path = ROWS, template: Path = TEMPLATE) -> str:
    """Return the picture of the first of the rows."""
    chat_format = chat_format_of("template", path=template, special_tokens=tuple(tokenizer.special_tokens))
    (row,) = lint_files(rows, tokenizer, chat_format, keep=1).kept
    assert row.encoded is not None
    return draw([*tokens_of(row.encoded, tokenizer)])


def main() -> None:
    """Write the picture."""
    texts = texts_of_files(map(str, TEXTS))
    content = train_tokenizer(texts, VOCABULARY, special_tokens=SPECIAL_TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(content)
        text = picture(load_tokenizer(path))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
