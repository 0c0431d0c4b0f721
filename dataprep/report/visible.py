"""Text out of data, made fit to be shown: what a reader would not see is written as an escape."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # part of words in Persian and Indic scripts, and of emoji
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str, lines: bool = False) -> str:
    r"""The text with control characters, invisible marks and lone surrogates as ``\x1b``, ``\u202e``.

    So no reply can move a terminal's cursor, reorder a line, or be what UTF-8 and HTML cannot hold.

    Args:
        text: any text.
        lines: whether newlines and tabs stay what they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _shows(character, lines) else _escaped(character) for character in text)


def _shows(character: str, lines: bool) -> bool:
    if character in "\n\t":
        return lines
    if unicodedata.category(character) in _UNSEEN:
        return character in _JOINERS
    code = ord(character)  # noncharacters, which HTML does not allow
    return not (code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF)


def _escaped(character: str) -> str:
    code = ord(character)
    short = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(character)
    return short or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def shortened(text: str, limit: int) -> str:
    """The text, or where it is longer than ``limit`` its beginning and its end, where an answer stands."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 3].rstrip()} … {text[-tail:].lstrip()}"
