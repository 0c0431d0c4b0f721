"""A faster encoder of rank files, splintr (extra ``fast``), that must give the reference's ids.

``docs/decisions/0005-token-encoder.md`` says why it is there and how much faster it is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from importlib import import_module

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
