"""The special tokens that models use, by role; the only list of such names.

Each tuple is an order of preference: the first name that a tokenizer has is taken.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataprep.tokens.tokenizers.base import Tokenizer

BOS = ("<|begin_of_text|>", "<s>", "<bos>", "[BOS]")
"""Tokens that begin a text."""

EOS = ("<|end_of_text|>", "<|endoftext|>", "</s>")
"""Tokens that end a text."""

END_OF_TURN = ("<|eot_id|>", "<|im_end|>")
"""Tokens that end an assistant's turn."""

# Llama 3 has no padding token; its authors reserve the first one here for fine-tuning. Models without any
# are padded with the token that ends a text. Padding is never in the loss, so either is safe.
PAD = ("<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|pad|>", *EOS)
"""Tokens for positions that hold no token."""


def first_of(names: tuple[str, ...], known: Collection[str]) -> str | None:
    """Return the first of the names that is known, or ``None``."""
    return next((name for name in names if name in known), None)


def pad_id(tokenizer: Tokenizer) -> int:
    """Return the id of the padding token, else of the token that ends a text, else 0."""
    name = first_of(PAD, tokenizer.special_tokens)
    return 0 if name is None else tokenizer.special_tokens[name]
