"""Describe the tokens of a row as people see them, for every view: text, escapes, loss mask."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from dataprep.core.errors import visible
from dataprep.tokens.options import Encoded
from dataprep.tokens.tokenizers.base import Tokenizer, decode_part

MAX_TOKENS = 4096  # that are shown per row


class Token(NamedTuple):
    """A token as people see it."""

    number: int  # its place in the row, from 1
    id: int
    special: bool
    in_loss: bool
    # Texts without control characters, and whether each is an escape that stands for what cannot be seen.
    parts: tuple[tuple[str, bool], ...]
    ends_line: bool  # whether it contains a newline

    @property
    def text(self) -> str:
        """The parts as one text."""
        return "".join(text for text, _ in self.parts)


def tokens_of(encoded: Encoded, tokenizer: Tokenizer) -> Iterator[Token]:
    """Yield the first ``MAX_TOKENS`` tokens of a row."""
    special = set(tokenizer.special_tokens.values())
    behind_special: bool | None = None
    ids = encoded.ids[:MAX_TOKENS]
    for number, (token, in_loss) in enumerate(zip(ids, encoded.mask, strict=False), start=1):
        data = decode_part(tokenizer, [token], behind_special)
        behind_special = token in special
        yield Token(number, token, behind_special, bool(in_loss), _parts(data), b"\n" in data)


def _parts(data: bytes) -> tuple[tuple[str, bool], ...]:
    r"""Return bytes as texts and escapes: ``\n`` for a newline, ``\xe2`` for a byte of no character."""
    shown = []
    # A token may be a part of a character: its bytes come back as lone surrogates from U+DC80 on.
    for character in data.decode("utf-8", "surrogateescape"):
        code = ord(character)
        seen = f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else visible(character)
        shown.append((seen, seen != character))
    # An escape stays a part of its own, and the characters between two escapes are one.
    parts: list[tuple[str, bool]] = []
    for escape, group in groupby(shown, key=lambda part: part[1]):
        texts = [text for text, _ in group]
        parts += [(text, True) for text in texts] if escape else [("".join(texts), False)]
    return tuple(parts) or (("∅", True),)
