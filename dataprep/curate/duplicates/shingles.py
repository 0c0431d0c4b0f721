"""Turn texts into sets of hashed word n-grams, many texts at a time."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from dataprep.curate.texts import word_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]
    Numbers = NDArray[np.int64]

# A shingle is a hash of 48 bits, so that a row's number within a batch fits above it in 64.
BITS = np.uint64(48)
MASK = np.uint64((1 << 48) - 1)
BATCH_ROWS = 1 << 16
_BATCH_BYTES = 1 << 20  # texts to hash together: arrays of their bytes should fit into the cache
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse
_INVERSE = pow(_BASE, -1, 1 << 64)
_MISSING = np.uint64(0xD1B54A32D192ED03)  # in place of the words that a short text lacks
_SPACE, _END = ord(" "), ord("\n")
# Words are hashed by numbers for their bytes.
_DIGESTS = [blake2b(bytes([byte]), digest_size=8).digest() for byte in range(256)]
_NUMBERS = np.frombuffer(b"".join(_DIGESTS), "<u8").astype(np.uint64)


class Shingler:
    """Return the sets of n-grams of texts; picklable.

    A text of fewer than ``size`` words has one n-gram: all of its words. A text without words has none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._powers = self._inverses = np.empty(0, np.uint64)

    def __reduce__(self) -> tuple[type[Shingler], tuple[int]]:
        return Shingler, (self.size,)

    def __call__(self, texts: Sequence[str]) -> tuple[Hashes, NDArray[np.uint32]]:
        """Return the sorted n-grams of one text after the other, and the number of those of each text."""
        parts: list[tuple[Hashes, NDArray[np.uint32]]] = []
        some: list[bytes] = []
        length = 0
        for text in texts:
            words = word_bytes(text)
            if some and (length + len(words) > _BATCH_BYTES or len(some) == BATCH_ROWS):
                parts.append(self._batch(some))
                some, length = [], 0
            some.append(words)
            length += len(words) + 1
        parts.append(self._batch(some))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _batch(self, texts: list[bytes]) -> tuple[Hashes, NDArray[np.uint32]]:
        words, counts = self._words(b"\n".join([b"", *texts, b""]))
        grams = np.maximum(counts - (self.size - 1), np.minimum(counts, 1))
        total = int(grams.sum())
        # An n-gram begins at each word of a text but the last ones.
        begins = np.repeat(_starts_of(counts) - _starts_of(grams), grams) + np.arange(total)
        hashes = np.zeros(total, np.uint64)
        words = np.concatenate([words, np.full(self.size, _MISSING)])
        for offset in range(self.size):
            hashes = hashes * np.uint64(_BASE) + words[begins + offset]
        short = np.flatnonzero((counts > 0) & (counts < self.size))
        if len(short):
            hashes[_starts_of(grams)[short]] = self._short(words, _starts_of(counts)[short], counts[short])
        keys = np.repeat(np.arange(len(texts), dtype=np.uint64) << BITS, grams)
        keys |= _mixed(hashes) & MASK
        keys.sort()
        distinct = np.ones(total, bool)
        np.not_equal(keys[1:], keys[:-1], out=distinct[1:])
        keys = keys[distinct]
        sizes = np.bincount((keys >> BITS).astype(np.int64), minlength=len(texts))
        return keys & MASK, sizes.astype(np.uint32)

    def _short(self, words: Hashes, begins: Numbers, counts: Numbers) -> Hashes:
        """Return the hashes of texts that are shorter than an n-gram."""
        hashes = np.zeros(len(begins), np.uint64)
        for offset in range(self.size):
            word = np.where(counts > offset, words[np.minimum(begins + offset, len(words) - 1)], _MISSING)
            hashes = hashes * np.uint64(_BASE) + word
        return hashes

    def _words(self, joined: bytes) -> tuple[Hashes, Numbers]:
        """Return the hash of each word of texts that end with newlines, and the number of words of each text.

        The hash of a word is the polynomial of its bytes' numbers: a difference of two sums over all bytes.
        """
        data = np.frombuffer(joined, np.uint8)
        if len(data) > len(self._powers):
            self._powers = _powers_of(_BASE, len(data))
            self._inverses = _powers_of(_INVERSE, len(data))
        inside = (data != _SPACE) & (data != _END)
        begins = np.flatnonzero(inside[1:] & ~inside[:-1]) + 1
        ends = np.flatnonzero(inside[:-1] & ~inside[1:])
        sums = np.cumsum(_NUMBERS[data] * self._powers[: len(data)])
        words = (sums[ends] - sums[begins - 1]) * self._inverses[begins]
        borders = np.searchsorted(begins, np.flatnonzero(data == _END))
        return _mixed(words), np.diff(borders)


def _powers_of(base: int, count: int) -> Hashes:
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


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
