"""A faster encoder of rank files, splintr (extra ``fast``), that must give the reference's ids.

``docs/decisions/0005-token-encoder.md`` says why it is there and how much faster it is.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

Encode = Callable[[str], list[int]]

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
        splintr = import_module("splintr")
        encode: Encode = splintr.Tokenizer.from_bytes(content, pattern).encode_ordinary
        if any(encode(text) != reference(text) for text in AWKWARD):
            return reference
    except Exception:  # noqa: BLE001 - whatever ails an optional encoder, there is the reference
        return reference
    return _Checked(encode, reference)


class _Checked:
    """Both encoders for the first texts, then the faster one."""

    def __init__(self, encode: Encode, reference: Encode) -> None:
        self._fast = encode
        self._reference = reference
        self._encode: Encode = self._compare
        self._left = SAMPLE

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)

    def _compare(self, text: str) -> list[int]:
        ids = self._reference(text)
        self._left -= 1
        if self._fast(text) != ids:
            self._encode = self._reference
        elif not self._left:
            self._encode = self._fast
        return ids
