r"""Around tiktoken: a faster encoder with the same ids, and texts that tiktoken cannot encode.

``docs/decisions/0005-token-encoder.md`` has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from dataprep.tokens.tokenizers.base import needed, pack_ids

Encode = Callable[[str], list[int]]
Pack = Callable[[str], bytes]
# Number of texts that both encoders encode in every process before the faster one is trusted.
SAMPLE = 256
# Encoders have differed at places like these.
AWKWARD = (
    "", " ", "  a", "a  \n\n b\t", "\r\n\r\nx", "I'LL we'll 'ſ 's", "1234567", "<|eot_id|>", "#!?\n\n\n",
    "\u00a0x", "e\u0301 \u0301", "漢字かな交じり", "👩\u200d👩\u200d👧 👍🏽", "ⅧⅨ½ ٣٤٥",
    "\x00\x1c\u0085\u2028", "=" * 300, " " * 300 + "x", "ab" * 200,
)  # fmt: skip


def fast_encoder(content: bytes, pattern: str, reference: Encode) -> FastEncoder | None:
    """Return splintr's encoder of a rank file, if it is installed and gives the reference's ids."""
    # Whatever is wrong with an optional encoder, also in a version that is not written yet: the reference is
    # there, and gives the same ids more slowly (3.5 instead of 10 to 29 million tokens a second).
    try:
        splintr = import_module("splintr").Tokenizer.from_bytes(content, pattern)
        encoder = FastEncoder(splintr.encode_ordinary, reference, splintr.encode_flat)
        return encoder if all(encoder.agrees(text, reference(text)) for text in AWKWARD) else None
    except Exception:  # noqa: BLE001
        return None


class FastEncoder:
    """Uses both encoders for the first texts, then the faster one alone."""

    def __init__(self, encode: Encode, reference: Encode, pack: Pack) -> None:
        self._fast = encode
        self._reference = reference
        self._fast_pack = pack
        self._encode: Encode = self._compare
        self._pack: Pack = self._pack_slowly
        self._left = SAMPLE

    def __call__(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return self._encode(text)

    def pack(self, text: str) -> bytes:
        """Return the ids of a text as ``pack_ids`` does."""
        return self._pack(text)

    def agrees(self, text: str, ids: list[int]) -> bool:
        """Return whether the faster encoder gives these ids, in both of its forms."""
        return self._fast(text) == ids and self._fast_pack(text) == pack_ids(ids)

    def _compare(self, text: str) -> list[int]:
        ids = self._reference(text)
        self._left -= 1
        if not self.agrees(text, ids):
            self._encode = self._reference  # for good
        elif not self._left:
            self._encode, self._pack = self._fast, self._fast_pack
        return ids

    def _pack_slowly(self, text: str) -> bytes:
        return pack_ids(self._encode(text))


# tiktoken 0.14 panics at 1,000,000 white-space characters in a row: its regular expressions keep a place to
# go back to for every character that `\s+(?!\S)` takes. Such a row could be refused instead, but the
# documentation promises that texts may have any length.
LONG = 100_000  # white-space characters from which a run is cut here, well below the limit


class LongSpace:
    """Encodes texts with very long runs of white space."""

    def __init__(self, encode: Encode, ranks: Mapping[bytes, int], pattern: str, long: int = LONG) -> None:
        tiktoken = needed("tiktoken", "a tokenizer of tiktoken's kind")
        self._regex: Any = needed("regex", "a text with very much white space")
        self._encode = encode
        self._pattern = pattern
        self._long = long
        self._runs = self._regex.compile(rf"\s{{{long},}}+")
        whole = tiktoken.Encoding("piece", pat_str="(?s:.+)", mergeable_ranks=ranks, special_tokens={})
        self._merge: Encode = whole.encode_ordinary
        # The marks that take the line end behind them depend on the Unicode version of tiktoken's library, so
        # it is asked: in this encoding, a byte and a line end are one token only if they are in one piece.
        joined = {bytes([byte]): byte for byte in range(256)}
        for end in b"\n\r":
            joined |= {bytes([byte, end]): len(joined) + byte for byte in range(256)}
        probe = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=joined, special_tokens={})
        self._probe: Encode = probe.encode_ordinary

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        # Only very long runs are cut here; all other text is left to tiktoken.
        ids: list[int] = []
        done = 0
        for run in self._runs.finditer(text):
            start = self._piece_start(text, run.start(), run.end())
            ids += self._encode(text[done:start])
            done = start
            for piece in self._regex.finditer(self._pattern, text[start : run.end() + 1]):
                if len(piece.group()) < self._long or start + piece.end() > run.end():
                    break  # a short piece, or one that is not all white space: tiktoken continues from here
                ids += self._merge(piece.group())
                done = start + piece.end()
        return ids + self._encode(text[done:])

    def _piece_start(self, text: str, start: int, end: int) -> int:
        """Return where the first piece of a run begins: after the line ends that a mark before it takes."""
        if start and text[start] in "\r\n" and self._probe(text[start - 1 : start + 1])[-1] >= 256:
            while start < end and text[start] in "\r\n":
                start += 1
        return start
