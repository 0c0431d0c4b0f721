"""Index the n-grams of test texts in arrays, small to send to other processes and fast to look up.

A token is a number, an n-gram the hash of its numbers, of 64 bits. The texts of many training rows are hashed
together, and one look-up returns all places where one of their n-grams stands in a test text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataprep.curate.contamination.items import SHORTEST, Text

UNKNOWN, NUMBER, END = 0, 1, 2
"""A token that no test text has, any number, and the end of a text."""

RUN = 8
"""Tokens of a run that is looked for in other test texts: wording is longer, most idioms are shorter."""
MASKED = 5
"""Tokens of the n-grams, with any number for each number, by which changed texts are looked for."""
FREQUENT = 30  # texts that have an n-gram; one that more texts have would only cost time
LONG = 20
"""Tokens, without its names, of a text that is looked for with a few of them changed."""
_WORDS = 15  # of those that are no numbers: any number stands for each, so that all sums are alike

_BASE = np.uint64(0x9E3779B97F4A7C15)
_NUMBERS_WORDS = """
one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand
million billion half twice double triple quarter third once fourth fifth sixth seventh eighth ninth tenth
"""
_NUMBERS = frozenset(_NUMBERS_WORDS.split())
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


class Vocabulary(dict[str, int]):
    """The numbers of the tokens of test texts; of another token ``UNKNOWN``, or ``NUMBER`` if it is one."""

    def __missing__(self, token: str) -> int:
        return NUMBER if is_number(token) else UNKNOWN


def is_number(token: str) -> bool:
    """Return whether a token is a number, in figures or as a word."""
    return token[0].isdigit() or token in _NUMBERS


@dataclass(frozen=True, slots=True)
class Table:
    """The n-grams of one length, sorted, and for each one the test texts and places where it stands.

    Attributes:
        length: number of tokens.
        hashes: the n-grams without repetition.
        starts: for each n-gram, where its places begin in ``texts`` and ``places``; then their number.
        texts: numbers of test texts.
        places: numbers of the first token in its text.
        sieve: whether there may be an n-gram with these highest bits.
    """

    length: int
    hashes: Hashes
    starts: Places
    texts: NDArray[np.int32]
    places: NDArray[np.int32]
    sieve: NDArray[np.bool_]

    @classmethod
    def of(cls, length: int, hashes: Hashes, texts: Places, places: Places) -> Table:
        """Return the table of n-grams that stand at some places of some texts."""
        order = np.argsort(hashes, kind="stable")
        distinct, starts = np.unique(hashes[order], return_index=True)
        bits = max(10, (8 * len(distinct)).bit_length())
        sieve = np.zeros(1 << bits, np.bool_)
        sieve[distinct >> np.uint64(64 - bits)] = True
        ends = np.append(starts, len(hashes)).astype(np.int64)
        return cls(
            length, distinct, ends, texts[order].astype(np.int32), places[order].astype(np.int32), sieve
        )

    def find(self, hashes: Hashes) -> tuple[Places, Places, Places]:
        """Return, for each n-gram that is in the table, its position in ``hashes``, text and place there."""
        shift = np.uint64(65 - len(self.sieve).bit_length())
        at = np.flatnonzero(self.sieve[hashes >> shift])
        wanted = hashes[at]
        found = np.searchsorted(self.hashes, wanted)
        found[found == len(self.hashes)] = 0
        right = self.hashes[found] == wanted if len(self.hashes) else np.zeros(len(at), np.bool_)
        at, found = at[right], found[right]
        counts = self.starts[found + 1] - self.starts[found]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        postings = np.repeat(self.starts[found], counts) + within
        return (
            np.repeat(at, counts),
            self.texts[postings].astype(np.int64),
            self.places[postings].astype(np.int64),
        )


@dataclass(frozen=True, slots=True)
class Index:
    """The test texts as tables of n-grams.

    Attributes:
        vocabulary: the numbers of tokens.
        masks: for each number of a token, ``NUMBER`` in place of any number.
        tokens: the tokens of each text, without the wording at its ends.
        capitals: whether each text begins with a capital letter, as a sentence does.
        names: for each token of each text, whether it is a name.
        cores: the tokens of each text with masked numbers and without names; empty if they are too few.
        grams: the n-grams of ``--ngram`` tokens.
        totals: how many of them each text has.
        whole: for each text, whether all of its n-grams must be found.
        short: the texts with fewer tokens than an n-gram, by their number of tokens.
        masked: the n-grams of ``MASKED`` tokens with masked numbers.
        masked_totals: how many of them each text has.
    """

    vocabulary: Vocabulary
    masks: NDArray[np.int32]
    values: Hashes
    tokens: list[NDArray[np.int32]]
    capitals: list[bool]
    names: list[NDArray[np.bool_]]
    cores: list[NDArray[np.int32]]
    grams: Table
    totals: Places
    whole: NDArray[np.bool_]
    short: dict[int, Table]
    masked: Table
    masked_totals: Places


def build_index(texts: Sequence[Text], ngram: int) -> Index:
    """Return the index of test texts with n-grams of ``ngram`` tokens."""
    vocabulary = Vocabulary()
    for text in texts:
        for token in text.tokens:
            if token not in vocabulary:
                vocabulary[token] = len(vocabulary) + 3
    masks = np.arange(len(vocabulary) + 3, dtype=np.int32)
    masks[[number for token, number in vocabulary.items() if is_number(token)]] = NUMBER
    values = _mixed(np.arange(len(masks), dtype=np.uint64))
    numbers = [np.array([vocabulary[token] for token in text.tokens], np.int32) for text in texts]
    tokens, capitals, names, cores, common = [], [], [], [], []
    for text, row, shared in zip(texts, numbers, _common(numbers, values), strict=True):
        begin, end = _own(shared)
        tokens.append(row[begin:end])
        capitals.append(text.capital and not begin)
        common.append(shared[begin:end])
        names.append(np.array(text.names[begin:end], np.bool_))
        core = masks[row[begin:end]][~names[-1]]
        is_long = len(core) >= LONG and np.count_nonzero(core != NUMBER) >= _WORDS
        cores.append(core if is_long else core[:0])
    whole = np.array([bool(shared.all()) for shared in common], np.bool_)
    grams = _table(
        ngram, tokens, values, [(~shared) | all_of for shared, all_of in zip(common, whole, strict=True)]
    )
    short = {
        length: _table(length, [row if len(row) == length else row[:0] for row in tokens], values, None)
        for length in sorted({len(row) for row in tokens})
        if length < ngram
    }
    changed = [masks[row] if len(core) else row[:0] for row, core in zip(tokens, cores, strict=True)]
    masked = _frequent_left_out(_table(MASKED, changed, values, None))
    return Index(
        vocabulary, masks, values, tokens, capitals, names, cores,
        grams, _totals(grams, len(texts)), whole, short, masked, _totals(masked, len(texts)),
    )  # fmt: skip


def hashes_of(values: Hashes, lengths: Iterable[int]) -> Iterator[tuple[int, Hashes]]:
    """Yield for each length the hashes of all n-grams of a sequence of tokens."""
    wanted = set(lengths)
    total = values
    for length in range(1, max(wanted, default=0) + 1):
        if length > 1:
            total = total[:-1] * _BASE + values[length - 1 :]
        if length in wanted:
            yield length, total


def _mixed(values: Hashes) -> Hashes:
    # The finalizer of SplitMix64 (Steele, Lea and Flood 2014): neighbours get unrelated values.
    values = (values + np.uint64(1)) * _BASE
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _common(rows: Sequence[NDArray[np.int32]], values: Hashes) -> list[NDArray[np.bool_]]:
    """Return for each token of each text whether it is part of a run of tokens that many texts have."""
    count = len(rows)
    limit = max(10, count // 100) if count >= 20 else max(3, -(-count // 2))
    table = _table(RUN, rows, values, None)
    frequent = _texts_of(table) >= limit
    shared = [np.zeros(len(row), np.bool_) for row in rows]
    for gram in np.flatnonzero(frequent):
        for posting in range(table.starts[gram], table.starts[gram + 1]):
            place = table.places[posting]
            shared[table.texts[posting]][place : place + RUN] = True
    return shared


def _own(shared: NDArray[np.bool_]) -> tuple[int, int]:
    """Return where the tokens begin and end that are not wording; all of them if they would be too few."""
    own = np.flatnonzero(~shared)
    if not len(own) or own[-1] + 1 - own[0] < SHORTEST:
        return 0, len(shared)
    return int(own[0]), int(own[-1]) + 1


def _table(
    length: int,
    rows: Sequence[NDArray[np.int32]],
    values: Hashes,
    wanted: Sequence[NDArray[np.bool_]] | None,
) -> Table:
    """Return the table of the n-grams of texts that have a wanted token."""
    sizes = np.array([len(row) for row in rows], np.int64)
    texts = np.repeat(np.arange(len(rows)), sizes)
    places = np.arange(len(texts)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # All texts are hashed as one; the n-grams that begin in one text and end in another are left out.
    inside = places + length <= sizes[texts]
    if wanted is not None and len(texts) >= length:
        seen = np.append(0, np.cumsum(np.concatenate(wanted)))
        inside[: len(seen) - length] &= seen[length:] > seen[:-length]
    at = np.flatnonzero(inside)
    flat = np.concatenate(rows) if len(texts) else np.zeros(0, np.int32)
    ((_, hashes),) = hashes_of(values[flat], [length])
    return Table.of(length, hashes[at], texts[at], places[at])


def _texts_of(table: Table) -> Places:
    """Return for each n-gram how many texts have it."""
    grams = np.repeat(np.arange(len(table.hashes)), np.diff(table.starts))
    pairs = np.unique(np.stack([grams, table.texts.astype(np.int64)]), axis=1)
    return np.bincount(pairs[0], minlength=len(table.hashes))


def _frequent_left_out(table: Table) -> Table:
    counts = np.diff(table.starts)
    kept = np.repeat(counts <= FREQUENT, counts)
    hashes = np.repeat(table.hashes, counts)
    texts, places = table.texts.astype(np.int64), table.places.astype(np.int64)
    return Table.of(table.length, hashes[kept], texts[kept], places[kept])


def _totals(table: Table, count: int) -> Places:
    return np.bincount(table.texts, minlength=count)
