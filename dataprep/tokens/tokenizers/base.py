"""The interface of a tokenizer, and what tokenizers of all kinds share.

Text is data: ``encode`` never returns a special token, whatever the text says. Special tokens come from
the chat format alone, by name, through ``special``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from itertools import accumulate
from typing import Any, Protocol

from dataprep.core.errors import MissingDependencyError, RowError, TokenizerError


class Tokenizer(Protocol):
    """A tokenizer; picklable, so that it can be sent to worker processes."""

    kind: str  # "tiktoken", "sentencepiece" or "huggingface"
    vocab_size: int  # one more than the largest id; special tokens count
    special_tokens: Mapping[str, int]  # ids by name, for example <|eot_id|>
    # 64 hex digits that differ whenever a text may get other ids: the SHA-256 of the file's content and of
    # what this program adds to it.
    fingerprint: str
    # Where the tokenizer puts a space before a text by itself: "each" for every text between special tokens,
    # "first" for the first text of a conversation only, "" nowhere.
    space: str
    # True for byte-level tokenizers with `add_prefix_space`, which put no such space before a text that
    # begins with one: a text has the same ids with and without a space before it, and is decoded without.
    drops_space: bool = False
    # The bytes of each token by id, for tokenizers whose texts are the bytes of their tokens, one after the
    # other; `None` there for special tokens and unused ids. `None` for other kinds.
    token_bytes: Sequence[bytes | None] | None = None
    # The id of text that the vocabulary lacks, if there is one. It stands for no text, and is decoded to its
    # name by some kinds, and to another sign by SentencePiece.
    unk_id: int | None = None

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, none of them a special token's, or raise ``RowError``."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of several texts, computed in one thread; see ``encode``."""
        return [self.encode(text) for text in texts]

    def encode_packed(self, texts: Sequence[str]) -> list[bytes]:
        """Return the ids of several texts, each packed as by ``pack_ids``; see ``encode``."""
        return [pack_ids(self.encode(text)) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens by name; invalid UTF-8 becomes U+FFFD."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of ids if the tokenizer is made of bytes, else ``decode`` in UTF-8."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return which characters of a text each id of ``encode`` stands for: first, one after the last.

        A part of a character stands for the whole character. Raises ``RowError`` if the ids do not stand for
        the text as it is.
        """
        ids, data = self.encode(text), text.encode("utf-8")
        known = self.token_bytes
        if known is not None:
            ends = [*accumulate(len(known[number] or b"") for number in ids)]
        else:
            ends = [len(self.decode_bytes(ids[: count + 1])) for count in range(len(ids))]
        # A space that the tokenizer puts before a text is no part of it.
        extra = ends[-1] - len(data) if ends else 0
        if extra not in (0, 1):
            raise RowError(
                "a text that the tokenizer changes", "its tokens do not tell where a part of it begins"
            )
        character = [*accumulate(byte & 0xC0 != 0x80 for byte in data)]
        ends = [max(0, end - extra) for end in ends]
        return [
            (character[start] - 1 if start < len(data) else len(text), character[end - 1] if end else 0)
            for start, end in zip([0, *ends], ends, strict=False)
        ]

    def special(self, name: str) -> int:
        """Return the id of a special token; raise ``TokenizerError`` if no token has that name."""
        if (number := self.special_tokens.get(name)) is not None:
            return number
        known = list(self.special_tokens)
        names = ", ".join(known[:16]) + (f" and {len(known) - 16} more" if len(known) > 16 else "")
        raise TokenizerError(
            f"the tokenizer has no special token {name!r}; it has {names or 'none'}: "
            "choose a chat format that it was made for with --chat-format (llama3, chatml, llama2, or "
            f"template: the model directory's own), or another tokenizer{_fitting(self.special_tokens)}"
        )


# The special tokens that named chat formats need besides the end of a text.
_NEEDED = {
    "llama3": {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
    "chatml": {"<|im_start|>", "<|im_end|>"},
    "llama2": {"<s>", "</s>"},
}


def _fitting(known: Collection[str]) -> str:
    """Return which named chat formats fit a tokenizer, as the end of a message."""
    names = [name for name, needed in _NEEDED.items() if needed.issubset(known)]
    if not names and first_of(EOS, known) is not None:
        names = ["plain"]
    return f"; for this tokenizer: --chat-format {' or '.join(names)}" if names else ""


# A space in the vocabularies of SentencePiece. The same character in a text would be read as a space.
SPACE_MARK = "\u2581"
# The special tokens that models use; the only list of such names. Each tuple is an order of preference: the
# first name that a tokenizer has is taken.
BOS = ("<|begin_of_text|>", "<s>", "<bos>", "[BOS]")
EOS = ("<|end_of_text|>", "<|endoftext|>", "</s>")
# Llama 3 has no padding token; its authors reserve the first one here for fine-tuning. Models without any
# are padded with the token that ends a text. Padding is never in the loss, so either is safe.
PAD = ("<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|pad|>", *EOS)
_MARK = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")


def first_of(names: tuple[str, ...], known: Collection[str]) -> str | None:
    """Return the first of the names that is known, or ``None``."""
    return next((name for name in names if name in known), None)


def pad_id(tokenizer: Tokenizer) -> int:
    """Return the id of the padding token, else of the token that ends a text, else 0."""
    name = first_of(PAD, tokenizer.special_tokens)
    return 0 if name is None else tokenizer.special_tokens[name]


def pack_ids(ids: Sequence[int]) -> bytes:
    """Return ids as unsigned numbers of four bytes, little-endian."""
    return struct.pack(f"<{len(ids)}I", *ids)


def needed(package: str, feature: str, extra: str = "tokens") -> Any:
    """Import an optional library; raise ``MissingDependencyError`` with what needs it and the extra."""
    try:
        return import_module(package)
    except ImportError:
        # pip knows Google's module by another name.
        name = "protobuf" if package.startswith("google.protobuf") else package.partition(".")[0]
        raise MissingDependencyError(name, extra, feature) from None


def looks_special(name: str) -> bool:
    """Return whether a symbol is a mark, for example ``<|eot_id|>`` or ``[SEP]``, and not a piece of text."""
    # Files don't always tell: some list `<think>` beside runs of spaces, both as additional tokens.
    return _MARK.fullmatch(name) is not None


def check_unicode(text: str) -> None:
    """Raise ``RowError`` if a text contains half of a surrogate pair, which has no bytes in UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        detail = f"found a lone surrogate, {half}, at character {error.start + 1}; expected whole characters"
        raise RowError("not valid Unicode", detail) from None


def reads_mark_as_space(encode: Callable[[str], list[int]]) -> bool:
    """Return whether ``SPACE_MARK`` in a text is read as a space, as by all SentencePiece models."""
    return encode(f"a{SPACE_MARK}a") == encode("a a")


def check_space_mark(text: str) -> None:
    """Raise ``RowError`` if a text contains ``SPACE_MARK``."""
    if SPACE_MARK in text:
        at = text.index(SPACE_MARK)
        raise RowError(
            "a character that the tokenizer reads as a space",
            f"found {SPACE_MARK!r}, U+2581, in {text[max(0, at - 10) : at + 10]!r}; expected a text "
            "without it: replace it",
        )


def puts_space(encode: Callable[[str], list[int]]) -> bool:
    """Return whether every text gets a space before it, as SentencePiece's dummy prefix does."""
    return encode("]") + encode("a") == encode("] a")


def unknown_id(number: int, vocab_size: int) -> TokenizerError:
    """Return the error for an id that stands for nothing."""
    return TokenizerError(
        f"found the id {number}; expected one of the vocabulary's, below {vocab_size:,}: "
        "were the ids made with another tokenizer?"
    )


# The remaining functions are for tokenizers that put a space before a text by themselves. Where the loss
# mask changes, a text is cut, and its second part encoded alone would begin with a space that nobody wrote:
# `▁` before each answer, with the tokenizers of Llama 2 or Phi-3.

# Texts to put before a text to see its ids there; nothing may be merged across the border.
_ANCHORS = ("\n", "]", "1", "x")


def continues(tokenizer: Tokenizer, behind_special: bool | None) -> bool:
    """Return whether a text must be encoded without a space before it."""
    # `behind_special` is true behind a special token, false behind a text, and `None` at the beginning.
    if not tokenizer.space or behind_special is None:
        return False
    return not behind_special or tokenizer.space == "first"


def encode_after(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of a text that continues another one."""
    for anchor in _ANCHORS:
        head = tokenizer.encode(anchor)
        ids = tokenizer.encode(anchor + text)
        if ids[: len(head)] == head and tokenizer.decode(head) == anchor:
            return ids[len(head) :]
    raise RowError(
        "a text that cannot be cut from the one before it",
        f"the tokenizer merges {text[:20]!r} with {', '.join(map(repr, _ANCHORS))}; expected ids of its own",
    )


def _spans_after(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    """Return the characters that each id of ``encode_after`` stands for."""
    ids = encode_after(tokenizer, text)
    for anchor in _ANCHORS:
        spans = tokenizer.spans(anchor + text)
        head = len(tokenizer.encode(anchor))
        if tokenizer.encode(anchor + text)[head:] == ids:
            return [(max(0, start - len(anchor)), end - len(anchor)) for start, end in spans[head:]]
    return []


def decode_after(tokenizer: Tokenizer, ids: Sequence[int]) -> bytes:
    """Return the bytes of ids that continue another text, with the space that decoding alone removes."""
    alone = tokenizer.decode_bytes(ids)
    if not tokenizer.space:
        return alone
    head = tokenizer.encode(_ANCHORS[1])
    behind = tokenizer.decode_bytes([*head, *ids]).removeprefix(tokenizer.decode_bytes(head))
    return behind if behind == b" " + alone else alone


def decode_part(tokenizer: Tokenizer, ids: Sequence[int], behind_special: bool | None) -> bytes:
    """Return the bytes of ids inside a row; ``behind_special`` as for ``continues``."""
    if continues(tokenizer, behind_special):
        return decode_after(tokenizer, ids)
    return tokenizer.decode_bytes(ids)


def border_of(tokenizer: Tokenizer, text: str, at: int, *, continuing: bool = False) -> tuple[int, int]:
    """Return how many tokens of a text end before a position, and how many begin before it.

    The two numbers differ if a token crosses the position, which is counted in characters. A text that
    continues another one has the ids of ``encode_after``.
    """
    spans = tokenizer.spans(text) if not continuing else _spans_after(tokenizer, text)
    return sum(end <= at for _, end in spans), sum(start < at for start, _ in spans)


def is_text_of(tokenizer: Tokenizer, text: Any, token: int) -> bool:
    """Return whether a text is that of a token, as servers write it."""
    if not isinstance(text, str):
        return False
    # Servers mark spaces as the vocabulary does, or decode; and what is no whole character is broken.
    texts = {text, text.replace(SPACE_MARK, " "), text.replace("Ġ", " ").replace("Ċ", "\n")}
    own = (tokenizer.decode_bytes([token]), decode_after(tokenizer, [token]))
    return not texts.isdisjoint(each.decode("utf-8", "replace") for each in own)
