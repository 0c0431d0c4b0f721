"""Whether two tokenizers are one: their files may differ, and every text have the same ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dataprep.core.errors import TokenizerError

if TYPE_CHECKING:
    from dataprep.tokens.tokenizers.base import Tokenizer


def compare_tokenizers(
    own: Tokenizer, other: Tokenizer, texts: Sequence[str], where: str, advice: str
) -> None:
    """Raise ``TokenizerError`` unless two tokenizers have the same tokens and take texts apart alike.

    Args:
        own: the student's.
        other: the one that it is compared with.
        texts: what both take apart.
        where: how the message begins: whose tokenizer the other is.
        advice: how it ends: what to do.
    """
    if own.fingerprint == other.fingerprint:
        return
    where, advice = f"{where}: its tokenizer is not the student's: ", f"; {advice}"
    if own.vocab_size != other.vocab_size:
        raise TokenizerError(f"{where}{other.vocab_size:,} tokens, the student's {own.vocab_size:,}{advice}")
    if dict(own.special_tokens) != dict(other.special_tokens):
        differing = dict(own.special_tokens).items() ^ dict(other.special_tokens).items()
        name = min(each for each, _ in differing)
        there, here = other.special_tokens.get(name), own.special_tokens.get(name)
        raise TokenizerError(f"{where}special token {name} is {there} there, {here} here{advice}")
    for number in range(own.vocab_size):
        if (found := _bytes(other, number)) != (expected := _bytes(own, number)):
            raise TokenizerError(f"{where}token {number} is {found!r} there, {expected!r} here{advice}")
    for text in texts:
        ours, theirs = own.encode(text), other.encode(text)
        if ours != theirs:
            place = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
            around = own.decode(ours[max(place - 5, 0) : place + 5])
            raise TokenizerError(f"{where}it divides {around!r} otherwise{advice}")


def _bytes(tokenizer: Tokenizer, number: int) -> bytes | None:
    try:
        return tokenizer.decode_bytes([number])
    except TokenizerError:  # a number without a token
        return None
