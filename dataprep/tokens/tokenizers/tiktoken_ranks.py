r"""tiktoken's rank files: a token in base64 and its rank, one a line. tiktoken itself is the reference.

Llama 3's ``tokenizer.model`` is one, of 128,000 ranks; its pattern and its 256 special tokens, which the
file does not have, are those of Meta's ``llama-models``.

A faster encoder of rank files, splintr (extra ``fast``), that must give the reference's ids.

``docs/decisions/0005-token-encoder.md`` says why it is there and how much faster it is.

tiktoken's ids of texts with very long runs of white space, at which tiktoken itself gives up.

Its regular expressions keep a place to go back to for every character that ``\s+(?!\S)`` takes, and fail
at 1,000,000 of them. Only such runs are cut here; all else is left to tiktoken. Nothing depends on which
letters and digits a version of Unicode has: that is asked of tiktoken too.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from importlib import import_module
from operator import itemgetter
from typing import Any

import orjson

from dataprep.core.errors import TokenizerError
from dataprep.tokens.tokenizers.base import check_unicode, needed, special_id, unknown_id

Encode = Callable[[str], list[int]]
Pack = Callable[[str], bytes]

SAMPLE = 256
"""So many of the first texts in every process are encoded by both."""

# Where cutting or merging differs, it has been at places like these.
AWKWARD = (
    "", " ", "  a", "a  \n\n b\t", "\r\n\r\nx", "I'LL we'll 'ſ 's", "1234567", "<|eot_id|>", "#!?\n\n\n",
    "\u00a0x", "e\u0301 \u0301", "漢字かな交じり", "👩\u200d👩\u200d👧 👍🏽", "ⅧⅨ½ ٣٤٥",
    "\x00\x1c\u0085\u2028", "=" * 300, " " * 300 + "x", "ab" * 200,
)  # fmt: skip


def fast_encoder(content: bytes, pattern: str, reference: Encode) -> Encode:
    """An encoder that is splintr's, where it is installed and gives the reference's ids.

    It is tried on ``AWKWARD`` at once and on the first ``SAMPLE`` texts it is given, whose ids come from
    the reference; at the first difference the reference takes over for good.
    """
    try:
        splintr = import_module("splintr").Tokenizer.from_bytes(content, pattern)
        checked = FastEncoder(splintr.encode_ordinary, reference, splintr.encode_flat)
        if not all(checked.agrees(text, reference(text)) for text in AWKWARD):
            return reference
    except Exception:  # noqa: BLE001 - whatever ails an optional encoder, there is the reference
        return reference
    return checked


def pack_ids(ids: Sequence[int]) -> bytes:
    """Ids as numbers of four bytes, the lowest byte first."""
    return struct.pack(f"<{len(ids)}I", *ids)


class FastEncoder:
    """Both encoders for the first texts, then the faster one.

    Args:
        encode: the faster one.
        reference: the one that is right.
        pack: the faster one again, its ids as ``pack_ids`` writes them.
    """

    def __init__(self, encode: Encode, reference: Encode, pack: Pack) -> None:
        self._fast = encode
        self._reference = reference
        self._fast_pack = pack
        self._encode: Encode = self._compare
        self._pack: Pack = self._pack_slowly
        self._left = SAMPLE

    def __call__(self, text: str) -> list[int]:
        """A text's ids."""
        return self._encode(text)

    def pack(self, text: str) -> bytes:
        """A text's ids as ``pack_ids`` writes them."""
        return self._pack(text)

    def agrees(self, text: str, ids: list[int]) -> bool:
        """Whether the faster encoder gives these ids, in both of its forms."""
        return self._fast(text) == ids and self._fast_pack(text) == pack_ids(ids)

    def _compare(self, text: str) -> list[int]:
        ids = self._reference(text)
        self._left -= 1
        if not self.agrees(text, ids):
            self._encode = self._reference
        elif not self._left:
            self._encode, self._pack = self._fast, self._fast_pack
        return ids

    def _pack_slowly(self, text: str) -> bytes:
        return pack_ids(self._encode(text))


LONG = 100_000
"""White-space characters in a run that is cut here."""


class LongSpace:
    """Encodes texts with long runs of white space.

    Args:
        encode: tiktoken's, for the parts between the runs.
        ranks: each token's bytes and id.
        pattern: how tiktoken cuts a text into pieces.
        long: how many characters make a run long.
    """

    def __init__(self, encode: Encode, ranks: Mapping[bytes, int], pattern: str, long: int = LONG) -> None:
        tiktoken = needed("tiktoken", "a tokenizer of tiktoken's kind")
        self._regex: Any = needed("regex", "a text with very much white space")
        self._encode = encode
        self._pattern = pattern
        self._long = long
        self._runs = self._regex.compile(rf"\s{{{long},}}+")
        whole = tiktoken.Encoding("piece", pat_str="(?s:.+)", mergeable_ranks=ranks, special_tokens={})
        self._merge: Encode = whole.encode_ordinary
        joined = {bytes([byte]): byte for byte in range(256)}
        for end in b"\n\r":
            joined |= {bytes([byte, end]): len(joined) + byte for byte in range(256)}
        probe = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=joined, special_tokens={})
        self._probe: Encode = probe.encode_ordinary

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ids: list[int] = []
        done = 0
        for run in self._runs.finditer(text):
            start = self._piece_begin(text, run.start(), run.end())
            ids += self._encode(text[done:start])
            done = start
            for piece in self._regex.finditer(self._pattern, text[start : run.end() + 1]):
                if len(piece.group()) < self._long or start + piece.end() > run.end():
                    break  # no piece that is all space and long: tiktoken goes on from here
                ids += self._merge(piece.group())
                done = start + piece.end()
        return ids + self._encode(text[done:])

    def _piece_begin(self, text: str, start: int, end: int) -> int:
        """Where the first piece of a run begins: after the line ends that a mark before it takes."""
        if start and text[start] in "\r\n" and self._probe(text[start - 1 : start + 1])[-1] >= 256:
            while start < end and text[start] in "\r\n":
                start += 1
        return start


LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_RANKS = 128_000
LLAMA3_SPECIALS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|step_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|image|>",
    *(f"<|reserved_special_token_{number}|>" for number in range(2, 246)),
)


class RankTokenizer:
    """Byte pair encoding by ranks.

    Args:
        ranks: each token's bytes and id.
        pattern: how a text is cut into pieces, as ``regex`` and tiktoken understand it.
        special_tokens: the special tokens' ids by name.
        origin: a function and its arguments that make the same tokenizer again, in another process.
        content: the rank file, from which a faster encoder may be made.

    Attributes:
        pattern: as given.
    """

    kind = "tiktoken"
    space = ""

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        pattern: str,
        special_tokens: Mapping[str, int],
        origin: tuple[Callable[..., RankTokenizer], tuple[Any, ...]],
        content: bytes | None = None,
    ) -> None:
        tiktoken = needed("tiktoken", "a tokenizer of tiktoken's kind")
        self.special_tokens: Mapping[str, int] = dict(special_tokens)
        self.vocab_size = 1 + max(*ranks.values(), *special_tokens.values())
        self._origin = origin
        self.pattern = pattern
        self._encoding = tiktoken.Encoding(
            "dataprep", pat_str=pattern, mergeable_ranks=ranks, special_tokens=self.special_tokens
        )
        self._encode: Callable[[str], list[int]] = self._encoding.encode_ordinary
        if content is not None:
            self._encode = fast_encoder(content, pattern, self._encode)
        in_order = sorted(ranks.items(), key=itemgetter(1))
        self.token_bytes: Sequence[bytes | None] = _by_id(in_order, self.vocab_size)
        digest = sha256(orjson.dumps([pattern, list(self.special_tokens.items())]))
        digest.update(b"".join([b"%d %d %b" % (rank, len(token), token) for token, rank in in_order]))
        self.fingerprint = digest.hexdigest()

    def __reduce__(self) -> tuple[Callable[..., RankTokenizer], tuple[Any, ...]]:
        return self._origin

    def encode(self, text: str) -> list[int]:
        """The ids of a text; none of them is a special token's."""
        if not text.isascii():
            check_unicode(text)  # tiktoken would put U+FFFD in its place
        if len(text) >= LONG:
            return self._long_space.encode(text)
        return self._encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts."""
        return [self.encode(text) for text in texts]

    @property
    def ranks(self) -> dict[bytes, int]:
        """Each token's bytes and id, special tokens left out."""
        return {
            token: self._encoding.encode_single_token(token) for token in self._encoding.token_byte_values()
        }

    def encode_packed(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of many texts, each as numbers of four bytes, the lowest byte first."""
        encode = self._encode
        if not isinstance(encode, FastEncoder):
            return [pack_ids(self.encode(text)) for text in texts]
        pack = encode.pack
        return [
            pack(text) if text.isascii() and len(text) < LONG else self._pack_checked(text) for text in texts
        ]

    def _pack_checked(self, text: str) -> bytes:
        check_unicode(text)
        if len(text) < LONG and isinstance(self._encode, FastEncoder):
            return self._encode.pack(text)
        return pack_ids(self.encode(text))

    @cached_property
    def _long_space(self) -> LongSpace:
        return LongSpace(self._encoding.encode_ordinary, self.ranks, self.pattern)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; what is no valid UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids."""
        try:
            return bytes(self._encoding.decode_bytes(ids))
        except (KeyError, OverflowError):
            wrong = next(number for number in ids if not self._is_known(number))
            raise unknown_id(wrong, self.vocab_size) from None

    def _is_known(self, number: int) -> bool:
        try:
            self._encoding.decode_single_token_bytes(number)
        except (KeyError, OverflowError):
            return False
        return True

    def special(self, name: str) -> int:
        """The id of a special token."""
        return special_id(self.special_tokens, name)


def _by_id(ranks: Iterable[tuple[bytes, int]], size: int) -> list[bytes | None]:
    """The tokens' bytes in the order of their ids; ``None`` for ids that are no ranks."""
    tokens: list[bytes | None] = [None] * size
    for token, rank in ranks:
        tokens[rank] = token
    return tokens


def load_ranks(path: str, content: bytes) -> RankTokenizer:
    """Llama 3's tokenizer, out of its rank file.

    Raises:
        TokenizerError: a line is damaged, a rank is missing or there twice, or they are not Llama 3's.
    """
    ranks = parse_ranks(path, content)
    _check_complete(path, ranks)
    if len(ranks) != LLAMA3_RANKS:
        raise TokenizerError(
            f"{path}: found {len(ranks):,} ranks; expected the {LLAMA3_RANKS:,} of Llama 3's "
            "tokenizer.model, or one of OpenAI's published files: fetch a file that was cut short or changed "
            "again; other models' rank files do not say how text is cut: give their tokenizer.json"
        )
    special_tokens = {name: LLAMA3_RANKS + number for number, name in enumerate(LLAMA3_SPECIALS)}
    return RankTokenizer(ranks, LLAMA3_PATTERN, special_tokens, (load_ranks, (path, content)), content)


def parse_ranks(path: str, content: bytes) -> dict[bytes, int]:
    """Each token's rank.

    Raises:
        TokenizerError: a line is no token and rank, or a token or a rank is there twice.
    """
    whole = _parse_sound(content)
    if whole is not None:
        return whole
    ranks: dict[bytes, int] = {}
    lines: dict[int, int] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        token, rank = _parse_line(f"{path}:{number}", line)
        if rank in lines:
            raise TokenizerError(
                f"{path}:{number}: found rank {rank} again (it is on line {lines[rank]} too); "
                "expected each rank once: fetch the file again"
            )
        if token in ranks:
            raise TokenizerError(
                f"{path}:{number}: found the token {token!r} again (it has rank {ranks[token]} too); "
                "expected each token once: fetch the file again"
            )
        ranks[token], lines[rank] = rank, number
    return ranks


def _parse_sound(content: bytes) -> dict[bytes, int] | None:
    """The ranks of a file as they are published, many times faster; ``None`` where there may be a fault."""
    texts = content.split()[::2]
    if b"".join([b"%b %d\n" % (text, rank) for rank, text in enumerate(texts)]) != content:
        return None
    try:
        tokens = [a2b_base64(text, strict_mode=True) for text in texts]
    except Base64Error:
        return None
    ranks = dict(zip(tokens, range(len(tokens)), strict=True))
    every_byte = all(bytes([byte]) in ranks for byte in range(256))
    return ranks if every_byte and len(ranks) == len(tokens) and b"" not in ranks else None


def _parse_line(where: str, line: bytes) -> tuple[bytes, int]:
    try:
        text, digits = line.split()
        token, rank = b64decode(text, validate=True), int(digits)
        if not token or rank < 0:
            raise ValueError
    except (ValueError, Base64Error):
        found = repr(line[:40])[1:]
        raise TokenizerError(
            f"{where}: found {found}; expected a token in base64, a space and its rank: fetch the file again"
        ) from None
    return token, rank


def _check_complete(path: str, ranks: Mapping[bytes, int]) -> None:
    found = set(ranks.values())
    for rank in range(len(found)):
        if rank not in found:
            raise TokenizerError(
                f"{path}: rank {rank} is missing; expected every rank from 0 to {max(found)}: "
                "fetch the file again"
            )
    for byte in range(256):
        if bytes([byte]) not in ranks:
            raise TokenizerError(
                f"{path}: no token is the byte 0x{byte:02x}; expected all 256, without which some texts have "
                "no ids: fetch the file again"
            )
