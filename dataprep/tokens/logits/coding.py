"""Pack the likeliest tokens of documents' positions into bytes, and read them again.

A record holds M documents with N positions together and K tokens at each, K the same everywhere. All numbers
are little-endian::

    2 × uint32        N, and D: the number of different tokens in the record
    uint8             M
    5 × uint8         a, b, c, d, e: the low bits of the counts, gaps and values that follow
    N × uint16        the code of each position's smallest log-probability
    N × T × uint16    the log-mass of all other tokens, at each of T temperatures: see `TAIL_HIGHEST`
    M - 1 × a bits    low bits of the number of positions of each document but the last
    N × b bits        low bits of the gaps between the positions of a document
    D × c bits        low bits of the gaps between the ids of the different tokens, which ascend
    N × K × d bits    low bits of the gaps between a position's tokens, as indices into the different ones
    N × K × e bits    low bits of the values, in the order of the tokens
    the rest          the high parts of all five, in the same order: each as so many 0 and a 1 (a Rice code)

Each group of bits begins with a new byte, and with the highest bit. A gap is the difference less 1, from -1
on. Positions share most of their tokens, so indices into these take two thirds of the bits that ids take, if
there are some dozens: short documents share a record. The value of a log-probability is the code of the
position's smallest one less its own code.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# A step between codes is 1/1024 at probability 1, and grows with e^(-l/2.5) to 1/10 at e^-11.6. An error
# counts as much as the token's probability, and most of the K have small ones.
FINEST, SCALE, COARSEST = 1 / 1024, 2.5, 0.1
# A smaller log-probability counts as this one: no float32 softmax tells it from 0.
LOWEST = -100.0
# The log-mass t has the code (TAIL_HIGHEST - t) · TAIL_STEPS. At high temperatures, the sum of p^(1/T) over
# many tokens is above 1; its logarithm is below that of the vocabulary.
TAIL_HIGHEST, TAIL_STEPS = 12.0, 2048
_HEAD = struct.Struct("<II6B")
_BEND = -SCALE * np.log(COARSEST / FINEST)  # steps are equal below
_MOST_LOW = 24  # a field of so many bits and the 7 before it fit into the four bytes that are read for it


@dataclass(frozen=True, slots=True)
class TopLogprobs:
    """The K likeliest tokens at N positions, and the mass of all others.

    Attributes:
        positions: the indices of the predicted tokens in their document, shape `(N,)`, int64.
        ids: token ids, which ascend along each row, shape `(N, K)`, int64.
        logprobs: their log-probabilities at temperature 1, shape `(N, K)`, float32.
        tails: for each temperature T, the logarithm of the sum of p^(1/T) over all other tokens, shape
            `(N, temperatures)`, float32.
        temperatures: the temperatures of the columns of `tails`.
    """

    positions: NDArray[np.int64]
    ids: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    tails: NDArray[np.float32]
    temperatures: tuple[float, ...]

    def at(self, temperature: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the distribution at a temperature, over the K tokens and all others as one.

        Args:
            temperature: one of `temperatures`.

        Returns:
            The log-probabilities of the K tokens, shape `(N, K)`, and of the others together, `(N,)`. The
            probabilities of each row add up to 1.

        Raises:
            ValueError: the mass of the others is not known at this temperature.
        """
        if temperature not in self.temperatures:
            known = ", ".join(f"{each:g}" for each in self.temperatures)
            raise ValueError(f"found temperature {temperature:g}; the stored ones are {known}")
        listed = self.logprobs / np.float32(temperature)
        rest = self.tails[:, self.temperatures.index(temperature)]
        highest = np.maximum(listed.max(axis=1, initial=-np.inf), rest)
        total = np.exp(listed - highest[:, None]).sum(axis=1) + np.exp(rest - highest)
        # Also at temperature 1: each value was rounded by itself.
        norm = highest + np.log(total)
        return listed - norm[:, None], rest - norm


def codes_of(logprobs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the codes of log-probabilities, from 0 for l = 0."""
    values = np.clip(logprobs.astype(np.float64), LOWEST, 0)
    fine = SCALE / FINEST * -np.expm1(np.maximum(values, _BEND) / SCALE)
    codes: NDArray[np.int64] = np.rint(fine + np.maximum(_BEND - values, 0) / COARSEST).astype(np.int64)
    return codes


def _values() -> NDArray[np.float32]:
    """Return the log-probability of each code."""
    codes = np.arange(int(codes_of(np.array([LOWEST]))[0]) + 1)
    bend = SCALE / FINEST * -np.expm1(_BEND / SCALE)
    fine = SCALE * np.log1p(-np.minimum(codes, bend) * FINEST / SCALE)
    values: NDArray[np.float32] = (fine - np.maximum(codes - bend, 0) * COARSEST).astype(np.float32)
    return values


_VALUES = _values()


def joined(documents: Sequence[TopLogprobs]) -> TopLogprobs:
    """Return the positions of documents, at least one, one after the other."""
    arrays = {
        name: np.concatenate([getattr(top, name) for top in documents])
        for name in ("positions", "ids", "logprobs", "tails")
    }
    return TopLogprobs(**arrays, temperatures=documents[0].temperatures)


def encode(*documents: TopLogprobs) -> bytes:
    """Return the record of 1 to 255 documents; values are rounded, positions and ids are exact."""
    top = joined(documents)
    codes = codes_of(top.logprobs)
    largest = codes.max(axis=1, initial=0)
    tokens, indices = np.unique(top.ids, return_inverse=True)
    arrays = [
        np.array([each.positions.size for each in documents[:-1]], dtype=np.int64),
        np.concatenate([np.diff(each.positions, prepend=-1) for each in documents]) - 1,
        np.diff(tokens, prepend=-1) - 1,
        np.diff(indices.reshape(top.ids.shape), axis=1, prepend=-1).ravel() - 1,
        (largest[:, None] - codes).ravel(),
    ]
    bits = [_low_bits(array) for array in arrays]
    lows = [_packed_lows(array, count) for array, count in zip(arrays, bits, strict=True)]
    highs = np.concatenate([array >> count for array, count in zip(arrays, bits, strict=True)])
    unary = np.zeros(int(highs.sum()) + highs.size, dtype=np.uint8)
    unary[np.cumsum(highs + 1) - 1] = 1
    tails = np.clip(np.rint((TAIL_HIGHEST - top.tails.astype(np.float64)) * TAIL_STEPS), 0, 0xFFFF)
    head = _HEAD.pack(top.positions.size, tokens.size, len(documents), *bits)
    parts = [head, largest.astype("<u2"), tails.astype("<u2"), *lows, np.packbits(unary)]
    return b"".join(map(bytes, parts))


def decode(record: bytes, width: int, temperatures: Sequence[float]) -> list[TopLogprobs]:
    """Return the documents that `encode` was given.

    Args:
        record: the bytes.
        width: K, the number of tokens of each position.
        temperatures: those of the tails.
    """
    count, different, documents, *bits = _HEAD.unpack_from(record)
    data = np.frombuffer(record, dtype=np.uint8)
    begin = _HEAD.size
    end = begin + 2 * count * (1 + len(temperatures))
    numbers = data[begin:end].view("<u2")
    largest, tails = numbers[:count].astype(np.int64), numbers[count:].reshape(count, len(temperatures))
    sizes = [documents - 1, count, different, count * width, count * width]
    lows = []
    for size, low in zip(sizes, bits, strict=True):
        begin, end = end, end + (size * low + 7) // 8
        lows.append(_unpacked_lows(data[begin:end], size, low))
    ends = np.flatnonzero(np.unpackbits(data[end:]))
    highs = np.split(np.diff(ends, prepend=-1) - 1, np.cumsum(sizes[:-1]))
    counts, gaps, token_gaps, index_gaps, values = (
        (high << low) | rest for high, low, rest in zip(highs, bits, lows, strict=True)
    )
    tokens = np.cumsum(token_gaps + 1) - 1
    ids = tokens[np.cumsum(index_gaps.reshape(count, width) + 1, axis=1) - 1]
    logprobs = _VALUES[largest[:, None] - values.reshape(count, width)]
    masses = (TAIL_HIGHEST - tails / TAIL_STEPS).astype(np.float32)
    cuts = [0, *np.cumsum(counts).tolist(), count]
    return [
        TopLogprobs(
            np.cumsum(gaps[part] + 1) - 1, ids[part], logprobs[part], masses[part], tuple(temperatures)
        )
        for part in starmap(slice, pairwise(cuts))
    ]


def sizes_in(record: bytes, width: int, temperatures: Sequence[float]) -> list[int]:
    """Return the number of positions of each document in a record; the arguments are those of `decode`."""
    count, _, documents, *_ = _HEAD.unpack_from(record)
    if documents == 1:  # nearly all: short ones are joined only when all are there
        return [count]
    return [top.positions.size for top in decode(record, width, temperatures)]


def _low_bits(array: NDArray[np.int64]) -> int:
    """Return the number of low bits with which the array takes the fewest bits."""
    mean = int(array.sum()) // max(array.size, 1)
    # The best one is near the logarithm of the mean, whatever the distribution.
    guess = mean.bit_length()
    candidates = range(max(guess - 2, 0), min(guess + 2, _MOST_LOW + 1))
    return min(candidates, key=lambda low: low * array.size + int((array >> low).sum()))


def _packed_lows(array: NDArray[np.int64], low: int) -> NDArray[np.uint8]:
    shifts = np.arange(low - 1, -1, -1)
    return np.packbits(((array[:, None] >> shifts) & 1).astype(np.uint8))


def _unpacked_lows(data: NDArray[np.uint8], size: int, low: int) -> NDArray[Any]:
    if not low:
        return np.zeros(size, dtype=np.int64)
    # Four bytes are read for each field, also for the last one.
    padded = np.concatenate([data, np.zeros(4, dtype=np.uint8)]).astype(np.uint32)
    starts = np.arange(size, dtype=np.int64) * low
    first = starts >> 3
    window = padded[first] << 24 | padded[first + 1] << 16 | padded[first + 2] << 8 | padded[first + 3]
    shifts = (32 - low - (starts & 7)).astype(np.uint32)
    fields: NDArray[Any] = ((window >> shifts) & np.uint32((1 << low) - 1)).astype(np.int64)
    return fields
