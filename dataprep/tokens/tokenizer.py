"""What every tokenizer can do, whatever file it comes from.

Text is data: ``encode`` never gives a special token, however much the text looks like one. Special tokens
come from the layout alone, by name, through ``special``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from dataprep import files
from dataprep.errors import MissingDependencyError, RowError, TokenizerError


class Tokenizer(Protocol):
    """A tokenizer; picklable, so that workers can be given one.

    Attributes:
        kind: ``"tiktoken"``, ``"sentencepiece"`` or ``"huggingface"``.
        vocab_size: one more than the largest id, special tokens among them.
        specials: the ids of the special tokens, by name, such as ``<|eot_id|>``.
        fingerprint: 64 hex digits that differ whenever a text may get other ids: SHA-256 of the files'
            content and of what this program adds to it.
        space: where it puts a space before a text by itself: ``"each"`` for every text between special
            tokens, ``"first"`` for the first one of a conversation only, ``""`` nowhere.
    """

    kind: str
    vocab_size: int
    specials: Mapping[str, int]
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


FILES = ("tokenizer.json", "tokenizer.model", "spiece.model")
"""What a model directory's tokenizer may be called, in the order of preference."""

SPACE_MARK = "\u2581"
"""What a space is in the vocabularies of SentencePiece; the same character in a text would be lost."""

_LOOKS_SPECIAL = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")
_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\s*")
_EXPECTED = "expected tiktoken ranks, a SentencePiece model or a Hugging Face tokenizer.json"
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (b"PK", "a zip archive, such as PyTorch writes: give the tokenizer's file, not the weights"),
    (b"\x1f\x8b", "gzip data: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd data: decompress it first"),
    (b"GGUF", "a GGUF model: give the tokenizer of the model that it was made from"),
    (b"<", "a page in HTML or XML: was a web page saved in place of the file?"),
)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in a file or a directory; its content decides of which kind it is.

    Args:
        path: a tiktoken rank file (base64 and rank, one a line: Llama 3's, or one of OpenAI's), a
            SentencePiece ``.model``, a Hugging Face ``tokenizer.json`` or a model directory, or the
            name of one of tiktoken's encodings, where its file is present.

    Raises:
        TokenizerError: it is none of these, or damaged: what was found, what was expected, what to do.
        FileError: it cannot be read.
        MissingDependencyError: its library is not installed (extra ``tokens``).
    """
    place = Path(path)
    if place.is_dir():
        place = _in_directory(place)
    elif not place.exists() and (named := _named(str(path))) is not None:
        return named
    return tokenizer_from(str(place), bytes(files.open_mapped(str(place))))


def file_of(path: str | Path) -> Path | None:
    """The file that ``load_tokenizer`` reads; ``None`` for one of tiktoken's encodings.

    Raises:
        TokenizerError: a directory holds no tokenizer.
    """
    place = Path(path)
    if place.is_dir():
        return _in_directory(place)
    return place if place.exists() else None


def _in_directory(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise TokenizerError(
        f"{folder}: found {found}; expected {', '.join(FILES[:-1])} or {FILES[-1]}: "
        "give the folder that the model's tokenizer was saved to, or a tokenizer's file"
    )


def _named(name: str) -> Tokenizer | None:
    from dataprep.tokens.encodings import ENCODINGS, load_encoding

    return load_encoding(name) if name in ENCODINGS else None


def tokenizer_from(path: str, content: bytes) -> Tokenizer:
    """The tokenizer that a file's content is, of whichever kind; ``path`` names it in messages.

    Raises:
        TokenizerError, MissingDependencyError: as for ``load_tokenizer``.
    """
    if not content.strip():
        raise TokenizerError(f"{path}: the file is empty; {_EXPECTED}: fetch it again")
    if content.lstrip().startswith(b"{"):
        from dataprep.tokens.huggingface import HuggingFaceTokenizer

        return HuggingFaceTokenizer(path, content)
    if _has_ranks(content):
        from dataprep.tokens.encodings import load_rank_file

        return load_rank_file(path, content)
    if content[:1] == b"\n" and content[2:3] == b"\n":  # a message whose first field is a message
        from dataprep.tokens.sentencepiece_model import SentencePieceTokenizer

        return SentencePieceTokenizer(path, content)
    for beginning, what in _OTHERS:
        if content.startswith(beginning):
            raise TokenizerError(f"{path}: found {what}; {_EXPECTED}")
    raise TokenizerError(f"{path}: found a file that begins with {content[:16]!r}; {_EXPECTED}")


def _has_ranks(content: bytes) -> bool:
    """Whether one of the first lines is a token and its rank; the others are then checked one by one."""
    return any(_RANK_LINE.fullmatch(line) for line in content[:4096].splitlines()[:8])


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


def special_id(specials: Mapping[str, int], name: str) -> int:
    """The id of a special token; the ``special`` of every kind."""
    try:
        return specials[name]
    except KeyError:
        known = list(specials)
        shown = ", ".join(known[:16]) + (f" and {len(known) - 16} more" if len(known) > 16 else "")
        raise TokenizerError(
            f"the tokenizer has no special token {name!r}; it has {shown or 'none'}: "
            "choose a layout that it was made for, or another tokenizer"
        ) from None


def unknown_id(number: int, vocab_size: int) -> TokenizerError:
    """The error for an id that stands for nothing."""
    return TokenizerError(
        f"found the id {number}; expected one of the vocabulary's, below {vocab_size:,}: "
        "were the ids made with another tokenizer?"
    )
