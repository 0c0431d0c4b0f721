"""tiktoken's rank files: one token in base64 and its rank per line.

A rank file says neither how text is cut nor which special tokens there are. Llama 3's ``tokenizer.model`` is
known by its 128,000 ranks; its pattern and special tokens are those of Meta's ``llama-models``. OpenAI's
files are known by their SHA-256; the rest of those encodings comes from tiktoken. Nothing is downloaded.
"""

from __future__ import annotations

import os
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import sha1, sha256
from importlib.util import find_spec, module_from_spec
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import TokenizerError
from dataprep.tokens.tokenizers.base import Tokenizer, check_unicode, needed, pack_ids, unknown_id
from dataprep.tokens.tokenizers.tiktoken_encoders import LONG, LongSpace, fast_encoder

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_RANKS = 128_000
LLAMA3_SPECIALS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
    "<|eot_id|>", "<|python_tag|>", "<|image|>",
    *(f"<|reserved_special_token_{number}|>" for number in range(2, 246)),
)  # fmt: skip

_R50K = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
_P50K = "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
_CL100K = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
_O200K = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

# By name: the published rank file and its SHA-256, as tiktoken lists them.
ENCODINGS = {
    "r50k_base": ("r50k_base", _R50K),
    "p50k_base": ("p50k_base", _P50K),
    "p50k_edit": ("p50k_base", _P50K),
    "cl100k_base": ("cl100k_base", _CL100K),
    "o200k_base": ("o200k_base", _O200K),
    "o200k_harmony": ("o200k_base", _O200K),
}
_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


class RankTokenizer(Tokenizer):
    """Byte pair encoding by ranks, the ids of tokens by their bytes."""

    kind = "tiktoken"
    space = ""

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        pattern: str,
        special_tokens: Mapping[str, int],
        origin: tuple[
            Callable[..., RankTokenizer], tuple[Any, ...]
        ],  # makes the same tokenizer in another process
        content: bytes | None = None,  # the rank file, if a faster encoder may be made from it
    ) -> None:
        tiktoken = needed("tiktoken", "a tokenizer of tiktoken's kind")
        self.special_tokens: Mapping[str, int] = dict(special_tokens)
        self.vocab_size = 1 + max(*ranks.values(), *special_tokens.values())
        self._origin = origin
        self.pattern = pattern
        self._encoding = tiktoken.Encoding(
            "dataprep", pat_str=pattern, mergeable_ranks=ranks, special_tokens=self.special_tokens
        )
        reference: Callable[[str], list[int]] = self._encoding.encode_ordinary
        self._fast = None if content is None else fast_encoder(content, pattern, reference)
        self._encode = self._fast or reference
        in_order = sorted(ranks.items(), key=itemgetter(1))
        by_id = {rank: token for token, rank in in_order}
        self.token_bytes: Sequence[bytes | None] = [*map(by_id.get, range(self.vocab_size))]
        # Of ranks, pattern and special tokens, not of the file: two files in another order of lines are one
        # tokenizer, and one file with another pattern is another.
        digest = sha256(orjson.dumps([pattern, list(self.special_tokens.items())]))
        digest.update(b"".join([b"%d %d %b" % (rank, len(token), token) for token, rank in in_order]))
        self.fingerprint = digest.hexdigest()

    def __reduce__(self) -> tuple[Callable[..., RankTokenizer], tuple[Any, ...]]:
        return self._origin

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; see ``Tokenizer``."""
        if not text.isascii():
            check_unicode(text)  # tiktoken would put U+FFFD in place of a lone surrogate
        # Most texts are shorter than the shortest run that must be cut, so nothing is searched in them.
        if len(text) >= LONG:
            return self._long_space.encode(text)
        return self._encode(text)

    @property
    def ranks(self) -> dict[bytes, int]:
        """The id of each token by its bytes, without special tokens."""
        return {
            token: self._encoding.encode_single_token(token) for token in self._encoding.token_byte_values()
        }

    def encode_packed(self, texts: Sequence[str]) -> list[bytes]:
        """Return the packed ids of several texts; see ``Tokenizer``."""
        if self._fast is None:
            return super().encode_packed(texts)
        # `isascii` reads a flag of the string, while `check_unicode` encodes it.
        pack = self._fast.pack
        return [
            pack(text) if text.isascii() and len(text) < LONG else self._pack_checked(text) for text in texts
        ]

    def _pack_checked(self, text: str) -> bytes:
        check_unicode(text)
        if self._fast is None or len(text) >= LONG:
            return pack_ids(self.encode(text))
        return self._fast.pack(text)

    @cached_property
    def _long_space(self) -> LongSpace:
        return LongSpace(self._encoding.encode_ordinary, self.ranks, self.pattern)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; invalid UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of ids."""
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


def load_ranks(path: str, content: bytes) -> RankTokenizer:
    """Return Llama 3's tokenizer from its rank file."""
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
    """Return the rank of each token."""
    if (sound := _parse_sound(content)) is not None:
        return sound
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
    """Return the ranks of a file without faults; ``None`` if there may be one."""
    # Published files have their ranks in order, and are then parsed many times faster than line by line.
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


def load_encoding(name: str) -> RankTokenizer:
    """Return one of tiktoken's own encodings, from its file in ``TIKTOKEN_CACHE_DIR``."""
    stem, expected = ENCODINGS[name]
    url = _URL.format(stem)
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", "")
    path = Path(folder) / sha1(url.encode(), usedforsecurity=False).hexdigest()
    if not folder or not path.is_file():
        place = str(path) if folder else f"{path.name} in a folder that TIKTOKEN_CACHE_DIR names"
        raise TokenizerError(
            f"{name}: its file is not here, and nothing is downloaded: put {url} at {place}, or give the "
            "path of a tokenizer's file"
        )
    content = files.read_bytes(str(path))
    found = sha256(content).hexdigest()
    if found != expected:
        raise TokenizerError(
            f"{path}: found SHA-256 {found[:16]}…; expected {expected[:16]}… of {name}: fetch {url} again"
        )
    return _named(name, str(path), content)


def _named(name: str, path: str, content: bytes) -> RankTokenizer:
    # Another machine need not have the file.
    return _encoding(name, path, content, (_named, (name, path, content)))


def load_rank_file(path: str, content: bytes) -> RankTokenizer:
    """Return the tokenizer of a rank file: one of OpenAI's, or Llama 3's."""
    digest = sha256(content).hexdigest()
    for name, (stem, expected) in ENCODINGS.items():
        # Several encodings share a file; the one of the file's own name is taken.
        if digest == expected and name == stem:
            return _encoding(name, path, content, (load_rank_file, (path, content)))
    return load_ranks(path, content)


def _encoding(name: str, path: str, content: bytes, origin: tuple[Any, tuple[Any, ...]]) -> RankTokenizer:
    # tiktoken has the pattern and the special tokens of its encodings inside functions that also download the
    # ranks. So a copy of its module is executed whose download gives the ranks of the file; tiktoken's own
    # module stays as it is.
    needed("tiktoken_ext.openai_public", "one of tiktoken's encodings")
    found = find_spec("tiktoken_ext.openai_public")
    if found is None or found.loader is None:
        raise TokenizerError(f"{name}: this version of tiktoken does not have it; install another")
    published = module_from_spec(found)
    found.loader.exec_module(published)
    ranks = parse_ranks(path, content)
    published.load_tiktoken_bpe = lambda *_, **__: ranks  # type: ignore[attr-defined]
    parts = published.ENCODING_CONSTRUCTORS[name]()
    return RankTokenizer(ranks, parts["pat_str"], parts["special_tokens"], origin)
