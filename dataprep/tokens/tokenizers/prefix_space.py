"""Texts that go on after another one, with tokenizers that put a space before a text by themselves.

Where the mask changes inside a text it is cut, and its second part encoded alone would begin with a space
that nobody wrote: ``▁`` before each answer, with Llama 2's tokenizer or Phi-3's.
"""

from __future__ import annotations

from collections.abc import Sequence

from dataprep.core.errors import RowError
from dataprep.tokens.tokenizers.base import Tokenizer

ANCHORS = ("\n", "]", "1", "x")
"""What a text is put behind, to see its ids there; nothing may be merged over the border."""


def goes_on(tokenizer: Tokenizer, behind_special: bool | None) -> bool:
    """Whether a text is to have no space put before it.

    Args:
        tokenizer: the tokenizer.
        behind_special: whether it stands behind a special token, or a text; ``None`` at the beginning.
    """
    if not tokenizer.space or behind_special is None:
        return False
    return not behind_special or tokenizer.space == "first"


def encode_after(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text that goes on after another.

    Raises:
        RowError: the text is no valid Unicode, or merges with whatever stands before it.
    """
    for anchor in ANCHORS:
        head = tokenizer.encode(anchor)
        ids = tokenizer.encode(anchor + text)
        if ids[: len(head)] == head and tokenizer.decode(head) == anchor:
            return ids[len(head) :]
    raise RowError(
        "a text that cannot be cut from the one before it",
        f"the tokenizer merges {text[:20]!r} with {', '.join(map(repr, ANCHORS))}; expected ids of its own",
    )


def decode_after(tokenizer: Tokenizer, ids: Sequence[int]) -> bytes:
    """The bytes of ids that go on after another text: with the space that decoding alone takes away."""
    alone = tokenizer.decode_bytes(ids)
    if not tokenizer.space:
        return alone
    head = tokenizer.encode(ANCHORS[1])
    behind = tokenizer.decode_bytes([*head, *ids]).removeprefix(tokenizer.decode_bytes(head))
    return behind if behind == b" " + alone else alone
