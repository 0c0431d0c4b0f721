"""What every tokenizer can do, whatever file it comes from.

Text is data: ``encode`` never gives a special token, however much the text looks like one. Special tokens
come from the layout alone, by name, through ``special``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from dataprep.errors import FileError


class Tokenizer(Protocol):
    """A tokenizer; picklable, so that workers can be given one.

    Attributes:
        kind: ``"tiktoken"``, ``"sentencepiece"`` or ``"huggingface"``.
        vocab_size: one more than the largest id, special tokens among them.
        specials: the ids of the special tokens, by name, such as ``<|eot_id|>``.
        fingerprint: 64 hex digits that differ whenever a text may get other ids: SHA-256 of the files'
            content and of what this program adds to it.
    """

    kind: str
    vocab_size: int
    specials: Mapping[str, int]
    fingerprint: str

    def encode(self, text: str) -> list[int]:
        """The ids of a text; none of them is a special token's.

        Raises:
            RowError: the text is no valid Unicode (a lone surrogate).
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


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in a file or a directory; its content decides of which kind it is.

    Args:
        path: a tiktoken rank file (Llama 3's ``tokenizer.model``: base64 and rank, one a line), a
            SentencePiece ``.model``, a Hugging Face ``tokenizer.json`` or a model directory, or the
            name of one of tiktoken's encodings, where its file is present.

    Raises:
        TokenizerError: it is none of these, or damaged: what was found, what was expected, what to do.
        FileError: it cannot be read.
        MissingDependencyError: its library is not installed (extra ``tokens``).
    """
    raise FileError(path, "no tokenizer can be loaded yet")
