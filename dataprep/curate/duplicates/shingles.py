"""Turn texts into sets of hashed word n-grams, many texts at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from dataprep.curate.texts import word_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]
    Numbers = NDArray[np.int64]

# A shingle is a hash of 48 bits, so that a row's number within a batch fits above it in 64.
BITS = np.uint64(48)
MASK = np.uint64((1 << 48) - 1)
BATCH_ROWS = 1 << 16
_BATCH_CHARS = 1 << 20  # texts to hash together: arrays of their words should fit into the cache
_BASE = 0x9E3779B97F4A7C15
_MISSING = np.uint64(0xD1B54A32D192ED03)  # in place of the words that a short text lacks
_SPACE, _END = ord(" "), ord("\n")
_STEP = 8  # bytes of a word that are hashed together
_LONG = 64  # bytes from which on words are hashed one by one
# The C library gives large arrays back to the system as soon as they are freed, and the next one costs a page
# fault for every 4 KB: a tenth of all time. Once it has freed an array of this size, it keeps smaller ones.
np.empty(31 << 20, np.uint8)


class Shingler:
    """Return the sets of n-grams of texts; picklable.

    A text of fewer than ``size`` words has one n-gram: all of its words. A text without words has none.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, texts: Sequence[str]) -> tuple[Hashes, NDArray[np.uint32]]:
        """Return the sorted n-grams of one text after the other, and the number of those of each text."""
        parts = [self._batch(some) for some in _batches(texts)]
        if len(parts) == 1:
            return parts[0]
        empty = np.empty(0, np.uint64), np.empty(0, np.uint32)
        hashes, sizes = zip(empty, *parts, strict=True)
        return np.concatenate(hashes), np.concatenate(sizes)

    def _batch(self, texts: Sequence[str]) -> tuple[Hashes, NDArray[np.uint32]]:
        words, counts = _words(word_lines(texts))
        grams = np.maximum(counts - (self.size - 1), np.minimum(counts, 1))
        hashes = self._at_each(words)
        # An n-gram begins at each word of a text but the last ones.
        begins = np.repeat(_starts_of(counts) - _starts_of(grams), grams)
        begins += np.arange(len(begins))
        hashes = hashes[begins]
        short = np.flatnonzero((counts > 0) & (counts < self.size))
        if len(short):
            hashes[_starts_of(grams)[short]] = self._short(words, _starts_of(counts)[short], counts[short])
        keys = _mixed(hashes)
        keys &= MASK
        keys |= np.repeat(np.arange(len(texts), dtype=np.uint64) << BITS, grams)
        keys.sort()
        distinct = np.ones(len(keys), bool)
        np.not_equal(keys[1:], keys[:-1], out=distinct[1:])
        keys = keys[distinct]
        sizes = np.bincount((keys >> BITS).astype(np.int64), minlength=len(texts))
        keys &= MASK
        return keys, sizes.astype(np.uint32)

    def _at_each(self, words: Hashes) -> Hashes:
        """Return the hash of the n-gram that begins at each word, whatever text its words are in."""
        words = np.concatenate([words, np.full(self.size - 1, _MISSING)])
        count = len(words) - self.size + 1
        hashes = words[:count].copy()
        for offset in range(1, self.size):
            hashes *= np.uint64(_BASE)
            hashes += words[offset : offset + count]
        return hashes

    def _short(self, words: Hashes, begins: Numbers, counts: Numbers) -> Hashes:
        """Return the hashes of texts that are shorter than an n-gram."""
        hashes = np.zeros(len(begins), np.uint64)
        for offset in range(self.size):
            word = np.where(counts > offset, words[np.minimum(begins + offset, len(words) - 1)], _MISSING)
            hashes = hashes * np.uint64(_BASE) + word
        return hashes


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Divide texts so that those of a batch are not many, nor long together."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    begin = 0
    while begin < len(texts):
        before = int(ends[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(ends, before + _BATCH_CHARS, side="right")), begin + 1)
        end = min(end, begin + BATCH_ROWS)
        yield texts[begin:end]
        begin = end


def _words(lines: bytes) -> tuple[Hashes, Numbers]:
    """Return the hash of each word of texts, and the number of words of each text.

    Args:
        lines: a line of words for each text.
    """
    # A separator before the first word, and bytes to read behind the last one.
    padded = b"".join([b"\n", lines, bytes(_STEP)])
    data = np.frombuffer(padded, np.uint8, len(lines) + 1)
    inside = data > _SPACE
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    begins, lengths = edges[::2], edges[1::2] - edges[::2]
    # Eight bytes from each place on, as one number. They are not aligned, which numpy copes with.
    steps = np.ndarray((len(data),), "<u8", padded, strides=(1,))
    words = _mixed(_first(steps[begins], lengths))
    left = np.flatnonzero(lengths > _STEP)
    for offset in range(_STEP, _LONG, _STEP):
        if not len(left):
            break
        words[left] *= np.uint64(_BASE)
        words[left] ^= _first(steps[begins[left] + offset], lengths[left] - offset)
        words[left] = _mixed(words[left])
        left = left[lengths[left] > offset + _STEP]
    for number in left.tolist():  # a word of any length, also one that was made to take long
        begin = int(begins[number])
        word = padded[begin : begin + int(lengths[number])]
        words[number] = int.from_bytes(blake2b(word, digest_size=8).digest(), "little")
    borders = np.searchsorted(begins, np.flatnonzero(data == _END))
    return words, np.diff(borders)


def _first(steps: Hashes, lengths: Numbers) -> Hashes:
    """Return numbers of eight bytes of which only the first ``lengths`` count; no byte of a word is 0."""
    unused = (_STEP - np.minimum(lengths, _STEP)) * 8
    return steps << unused.astype(np.uint64)


def _starts_of(counts: Numbers) -> Numbers:
    return np.cumsum(counts) - counts


def _mixed(values: Hashes) -> Hashes:
    """Return values whose bits all depend on all bits: the last step of MurmurHash3."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values
