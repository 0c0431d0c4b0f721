"""Tokenizers for tests: one of bytes that is always there, and Llama 3's where its rank file lies."""

import functools
import re
from collections.abc import Sequence

from dataprep.core.errors import RowError, TokenizerError
from dataprep.tokens.tokenizers.base import Tokenizer
from tests.real import LLAMA3

NAMES = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
OTHERS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>")


class _Common(Tokenizer):
    """What both tokenizers do alike."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def special(self, name: str) -> int:
        """The id of a special token."""
        if name not in self.special_tokens:
            raise TokenizerError(
                f"no special token {name!r}; those there are: {', '.join(self.special_tokens)}"
            )
        return self.special_tokens[name]


class ToyTokenizer(_Common):
    r"""A token a byte, and one for ``\n\n``, for ``\n\n\n`` and for a space with a letter: borders merge.

    Args:
        dummy: it puts a space before every text, and takes it away again, as SentencePiece does.
    """

    kind = "tiktoken"
    fingerprint = "0" * 64

    def __init__(self, dummy: bool = False) -> None:
        self.dummy = dummy
        self.space = "each" if dummy else ""
        merged = [b"\n\n", b"\n\n\n", *(b" " + bytes([letter]) for letter in range(97, 123))]
        self._bytes = [bytes([number]) for number in range(256)] + merged
        self._ids = {each: number for number, each in enumerate(self._bytes)}
        self.special_tokens = {name: 300 + number for number, name in enumerate(NAMES + OTHERS)}
        self.vocab_size = 300 + len(self.special_tokens)

    def encode(self, text: str) -> list[int]:
        """The ids of a text; none of them is a special token's."""
        try:
            data = ((" " if self.dummy else "") + text).encode()
        except UnicodeEncodeError:
            raise RowError("a lone surrogate", "expected valid Unicode") from None
        return [self._ids[each] for each in re.findall(rb"\n\n\n|\n\n| [a-z]|[\x00-\xff]", data, re.DOTALL)]

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids."""
        names = {number: name.encode() for name, number in self.special_tokens.items()}
        data = b"".join(names.get(number) or self._bytes[number] for number in ids)
        return data.removeprefix(b" ") if self.dummy else data


class Llama3(_Common):
    """Llama 3's tokenizer, by tiktoken."""

    kind = "tiktoken"
    space = ""
    fingerprint = "1" * 64

    def __init__(self) -> None:
        import tiktoken
        from tiktoken.load import load_tiktoken_bpe

        ranks = load_tiktoken_bpe(str(LLAMA3))
        known = {0: NAMES[0], 1: NAMES[1], 6: NAMES[2], 7: NAMES[3], 8: "<|eom_id|>", 9: NAMES[4]}
        self.special_tokens = {
            known.get(number, f"<|reserved_special_token_{number}|>"): len(ranks) + number
            for number in range(256)
        }
        self.vocab_size = len(ranks) + 256
        self.ranks = ranks
        self._encoding = tiktoken.Encoding(
            "llama3", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=self.special_tokens
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text; none of them is a special token's."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError("a lone surrogate", "expected valid Unicode") from None
        return self._encoding.encode_ordinary(text)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids."""
        return self._encoding.decode_bytes(list(ids))


PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@functools.cache
def llama3() -> Llama3:
    """Llama 3's tokenizer, once."""
    return Llama3()
