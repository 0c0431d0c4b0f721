"""Print rows as their tokens, coloured by the loss mask, or with marks around what is in the loss."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from dataprep.cli.console import print_text, say

if TYPE_CHECKING:
    from rich.text import Text

    from dataprep.tokens.lint_files import LintedRow
    from dataprep.tokens.tokenizers.base import Tokenizer
    from dataprep.tokens.views import Token

# For tokens in the loss and others, two shades each, so that neighbouring tokens can be told apart. Text and
# background are both set, so that they are readable on dark and on light terminals.
SHADES = (
    ("color(255) on color(22)", "color(255) on color(28)"),
    ("color(253) on color(236)", "color(253) on color(239)"),
)
# The nearest of 16 colours would be the same for both.
SHADES_OF_16 = (("black on green", "black on bright_green"), ("black on white", "black on bright_white"))
SPECIAL, ESCAPE = "bold underline", "italic"
OPEN, CLOSE = "⟦", "⟧"  # around what is in the loss where there are no colours


def print_token_rows(rows: Sequence[LintedRow], tokenizer: Tokenizer) -> None:
    """Print rows that the linter kept, on standard output."""
    from dataprep.tokens.views import MAX_TOKENS, tokens_of

    if not rows:
        return
    shades = _shades()
    if shades:
        print_text(_key(shades[0][1], shades[1][1]), colour=True, file=sys.stdout)
    for row in rows:
        if row.encoded is None:
            say(f"{row.where}: it has no tokens", file=sys.stdout)
            continue
        length, in_loss = len(row.encoded.ids), row.encoded.mask.count(1)
        say(f"{row.where}: {length:,} tokens, {in_loss:,} in the loss", file=sys.stdout)
        tokens = tokens_of(row.encoded, tokenizer)
        if shades:
            print_text(_coloured(tokens, *shades), colour=True, file=sys.stdout)
        else:
            print_text(with_marks(tokens), min_width=sys.maxsize, file=sys.stdout)
        if length > MAX_TOKENS:
            say(f"and {length - MAX_TOKENS:,} more tokens", file=sys.stdout)


def _shades() -> tuple[tuple[str, str], tuple[str, str]] | None:
    """Return the styles of tokens in the loss and of others, or ``None`` where there are no colours."""
    from rich.console import Console

    # rich knows when there are none: a pipe, NO_COLOR, TERM=dumb.
    console = Console(file=sys.stdout)
    if not console.is_terminal or console.no_color or console.color_system is None:
        return None
    return SHADES if console.color_system in ("256", "truecolor") else SHADES_OF_16


def _key(in_loss: str, other: str) -> Text:
    from rich.text import Text

    names = (
        (" in the loss ", in_loss),
        (" not in the loss ", other),
        (" special token ", f"{other} {SPECIAL}"),
    )
    return Text("  ").join(Text(name, style) for name, style in names)


def _coloured(tokens: Iterable[Token], in_loss: Sequence[str], other: Sequence[str]) -> Text:
    from rich.text import Text

    shown = Text()
    for token in tokens:
        style = (in_loss if token.in_loss else other)[token.number % 2] + f" {SPECIAL}" * token.special
        for text, escape in token.parts:
            shown.append(text, f"{style} {ESCAPE}" if escape else style)
        shown.append("\n" if token.ends_line else "")
    if shown.plain.endswith("\n"):
        shown.right_crop(1)
    return shown


def with_marks(tokens: Iterable[Token]) -> str:
    """Return tokens as text with ``⟦…⟧`` around what is in the loss, and a line break after each newline."""
    parts: list[str] = []
    for in_loss, group in groupby(tokens, key=lambda token: token.in_loss):
        texts = [_without_marks(token) + "\n" * token.ends_line for token in group]
        text = "".join(texts)
        # A line break behind the last token of a span belongs to the lines, not to the span.
        body = text.removesuffix("\n")
        parts.append(f"{OPEN}{body}{CLOSE}{text[len(body) :]}" if in_loss else text)
    return "".join(parts).removesuffix("\n")


def _without_marks(token: Token) -> str:
    # Marks that a row contains would look like ours.
    return token.text.replace(OPEN, "\\u27e6").replace(CLOSE, "\\u27e7")
