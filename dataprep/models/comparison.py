"""Compare two tokenizers: a student's with those of its shards, its teacher or its weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING

from dataprep.core.errors import TokenizerError

if TYPE_CHECKING:
    from dataprep.tokens.shards.reading import Shards
    from dataprep.tokens.tokenizers.base import Tokenizer


# Tokens are compared one by one; the texts of documents also show whether merges differ.
COMPARED_DOCUMENTS = 64


def compare_with_shards(own: Tokenizer, shards: Shards) -> None:
    """Check that shards were made with the student's tokenizer, or with another file of it."""
    if own.fingerprint == shards.fingerprint:
        return
    made_with, advice = shards.load_tokenizer(), "tokenize the rows with the student's own"
    compare_tokenizers(own, made_with, texts_of(shards, made_with), str(shards.path), advice)


def texts_of(shards: Shards, tokenizer: Tokenizer) -> list[str]:
    """Return the texts between the special tokens of the first documents."""
    special = {*tokenizer.special_tokens.values()}
    texts: list[str] = []
    for ids, _ in islice(shards, COMPARED_DOCUMENTS):
        runs = groupby(ids.tolist(), special.__contains__)
        texts += [tokenizer.decode([*run]) for is_special, run in runs if not is_special]
    return texts


def compare_tokenizers(
    own: Tokenizer, other: Tokenizer, texts: Sequence[str], where: str, advice: str
) -> None:
    """Check that two tokenizers have the same tokens and split texts in the same way.

    A ``TokenizerError`` begins with ``where``, the place of the other one, and ends with ``advice``.
    """
    # Files of the same tokenizer can differ (tokenizer.model, tokenizer.json), so the tokens decide.
    if own.fingerprint == other.fingerprint:
        return
    where, advice = f"{where}: its tokenizer is not the student's: ", f"; {advice}"
    # The cheapest comparison first: the number of tokens, then special tokens, all tokens, texts.
    if own.vocab_size != other.vocab_size:
        raise TokenizerError(f"{where}{other.vocab_size:,} tokens, the student's {own.vocab_size:,}{advice}")
    if dict(own.special_tokens) != dict(other.special_tokens):
        differing = dict(own.special_tokens).items() ^ dict(other.special_tokens).items()
        name = min(token for token, _ in differing)
        there, here = other.special_tokens.get(name), own.special_tokens.get(name)
        raise TokenizerError(f"{where}special token {name} is {there} there, {here} here{advice}")
    for number in range(own.vocab_size):
        # The id of unknown text is decoded in another way by each kind of file.
        if number == own.unk_id == other.unk_id:
            continue
        if (theirs := _bytes(other, number)) != (ours := _bytes(own, number)):
            raise TokenizerError(f"{where}token {number} is {theirs!r} there, {ours!r} here{advice}")
    # Equal tokens with other merges split texts differently.
    for text in texts:
        ids, other_ids = own.encode(text), other.encode(text)
        if ids != other_ids:
            first = next((n for n, (a, b) in enumerate(zip(ids, other_ids, strict=False)) if a != b), 0)
            around = own.decode(ids[max(first - 5, 0) : first + 5])
            raise TokenizerError(f"{where}it splits {around!r} differently{advice}")


def _bytes(tokenizer: Tokenizer, number: int) -> bytes | None:
    try:
        return tokenizer.decode_bytes([number])
    except TokenizerError:  # an id without a token
        return None
