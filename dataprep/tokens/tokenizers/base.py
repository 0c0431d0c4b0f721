"""What every tokenizer can do, whatever file it comes from.

Text is data: ``encode`` never gives a special token, however much the text looks like one. Special tokens
come from the chat format alone, by name, through ``special``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from dataprep.core.errors import MissingDependencyError, RowError, TokenizerError


class Tokenizer(Protocol):
    """A tokenizer; picklable, so that workers can be given one.

    Attributes:
        kind: ``"tiktoken"``, ``"sentencepiece"`` or ``"huggingface"``.
        vocab_size: one more than the largest id, special tokens among them.
        special_tokens: the ids of the special tokens, by name, such as ``<|eot_id|>``.
        fingerprint: 64 hex digits that differ whenever a text may get other ids: SHA-256 of the files'
            content and of what this program adds to it.
        space: where it puts a space before a text by itself: ``"each"`` for every text between special
            tokens, ``"first"`` for the first one of a conversation only, ``""`` nowhere.
    """

    kind: str
    vocab_size: int
    special_tokens: Mapping[str, int]
    fingerprint: str
    space: str

    def encode(self, text: str) -> list[int]:
        """The ids of a text; none of them is a special token's.

        Raises:
            RowError: the text is no valid Unicode (a lone surrogate), or has a character that the
                tokenizer would read as another one.
        """

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts, in one thread; the same as ``encode`` of each."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens by their names; what is no valid UTF-8 becomes U+FFFD."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids, where the tokenizer is made of bytes; else ``decode`` in UTF-8."""

    def special(self, name: str) -> int:
        """The id of a special token.

        Raises:
            TokenizerError: the tokenizer has none of that name; the message lists those it has.
        """


SPACE_MARK = "\u2581"
"""What a space is in the vocabularies of SentencePiece; the same character in a text would be lost."""

_LOOKS_SPECIAL = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")


def needed(package: str, purpose: str) -> Any:
    """A library of the extra ``tokens``.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        raise MissingDependencyError(package, "tokens", purpose) from None


def looks_special(name: str) -> bool:
    """Whether a symbol is a mark such as ``<|eot_id|>`` or ``[SEP]``, and not a piece of text.

    Files do not always say so: some list ``<think>`` beside runs of spaces, as additional tokens alike.
    """
    return _LOOKS_SPECIAL.fullmatch(name) is not None


def check_unicode(text: str) -> None:
    """Raise ``RowError`` where a text holds half of a surrogate pair, which has no bytes in UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        detail = f"found a lone surrogate, {half}, at character {error.start + 1}; expected whole characters"
        raise RowError("not valid Unicode", detail) from None


def reads_as_space(encode: Callable[[str], list[int]]) -> bool:
    """Whether ``SPACE_MARK`` is read as a space, as in all that write spaces that way."""
    return encode(f"a{SPACE_MARK}a") == encode("a a")


def check_space_mark(text: str) -> None:
    """Raise ``RowError`` where a text has the character that stands for a space in the vocabulary."""
    if SPACE_MARK in text:
        place = text.index(SPACE_MARK)
        raise RowError(
            "a character that the tokenizer reads as a space",
            f"found {SPACE_MARK!r}, U+2581, in {text[max(0, place - 10) : place + 10]!r}; expected a text "
            "without it: replace it",
        )


def puts_space(encode: Callable[[str], list[int]]) -> bool:
    """Whether every text is given a space before it, as by SentencePiece with its dummy prefix."""
    return encode("]") + encode("a") == encode("] a")


def special_id(special_tokens: Mapping[str, int], name: str) -> int:
    """The id of a special token; the ``special`` of every kind."""
    try:
        return special_tokens[name]
    except KeyError:
        known = list(special_tokens)
        shown = ", ".join(known[:16]) + (f" and {len(known) - 16} more" if len(known) > 16 else "")
        raise TokenizerError(
            f"the tokenizer has no special token {name!r}; it has {shown or 'none'}: "
            "choose a chat format that it was made for, or another tokenizer"
        ) from None


def unknown_id(number: int, vocab_size: int) -> TokenizerError:
    """The error for an id that stands for nothing."""
    return TokenizerError(
        f"found the id {number}; expected one of the vocabulary's, below {vocab_size:,}: "
        "were the ids made with another tokenizer?"
    )
