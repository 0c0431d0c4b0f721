"""Packing: documents into sequences of a fixed length, best fit decreasing, none of them divided.

Best fit decreasing takes the documents from the longest to the shortest and puts each into the sequence
that it leaves the least room in. What counts about a document is its length, and about a sequence its free
room, so documents of one length and sequences of one room are moved together: the work is one step for each
such meeting instead of one for each document, and the sequences are exactly as many as one by one.

Where documents are much alike, best fit decreasing is left with the short ones at the end, and every
sequence of those wastes nearly one of them. Where more than ``ENOUGH`` stays empty, a second way is tried:
sequence by sequence, the longest document first, then such as there are most of, and the last two chosen so
that they fill it to the last token; that choice of lengths is repeated as often as there are documents for
it. What needs fewer sequences is taken.

Source: Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv:2404.10830).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from dataprep.core.errors import UsageError
from dataprep.core.shuffle import shuffled_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENOUGH = 0.002  # the share of positions that may stay empty

Step = tuple[int, int, int]
"""Pieces of one length put into consecutive sequences: the first one, how many, and pieces for each."""

Range = tuple[int, int]
"""Some sequences with the same free room: the first one's number, and how many there are."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Sequences of pieces of documents; a piece is a whole document unless long ones were to be split.

    Attributes:
        size: tokens that a sequence has room for.
        documents: the document of each piece, in the order of the sequences, shape ``(pieces,)``.
        starts: the piece's first token within its document, shape ``(pieces,)``.
        lengths: its tokens, shape ``(pieces,)``.
        offsets: sequence k holds the pieces from ``offsets[k]`` to before ``offsets[k + 1]``, shape
            ``(sequences + 1,)``.
    """

    size: int
    documents: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @property
    def sequences(self) -> int:
        """How many sequences there are."""
        return self.offsets.size - 1

    @property
    def fill(self) -> float:
        """The share of all positions that hold a token, from 0 to 1."""
        return int(self.lengths.sum()) / (self.sequences * self.size) if self.sequences else 0.0


def pack(lengths: NDArray[np.int64], size: int, *, seed: int = 42, split_long: bool = False) -> Packed:
    """Put documents into sequences of ``size`` tokens, by best fit decreasing.

    Every token comes out exactly once. Documents of the same length are taken in the order that Python's
    ``random.Random(seed).shuffle`` gives the pieces; they lie in that order in a sequence too, and the
    sequences themselves are shuffled by the same seed. A document without tokens is in no sequence.

    Args:
        lengths: tokens of each document, shape ``(documents,)``.
        size: tokens that a sequence has room for.
        seed: of the order.
        split_long: cut documents that are longer than ``size`` into pieces of ``size`` and a rest.

    Raises:
        UsageError: ``size`` is below 1, or a document is longer and is not to be split.
    """
    if size < 1:
        raise UsageError(f"sequences of {size} tokens: expected 1 or more")
    lengths = np.asarray(lengths, dtype=np.int64)
    longest = int(lengths.max(initial=0))
    if longest > size and not split_long:
        raise UsageError(
            f"document {int(lengths.argmax()):,} has {longest:,} tokens, and a sequence room for {size:,}: "
            "leave long documents out (--truncation), or split them (--split-long)"
        )
    documents, starts, tokens = _pieces(lengths, size)
    order = shuffled_order(documents.size, seed)
    shuffled = tokens[order]
    narrow = shuffled.astype(np.uint16) if size < 1 << 16 else shuffled  # two bytes are sorted by radix
    falling = np.argsort(narrow.max(initial=0) - narrow, kind="stable")
    sequence_of = np.empty(documents.size, dtype=np.int64)
    count_of = np.bincount(tokens, minlength=1)  # none of length 0: an empty document has no piece
    steps, count = _best_fit(count_of, size)
    if int(tokens.sum()) < (1 - ENOUGH) * count * size:
        steps, count = min((steps, count), _exact_fit(count_of, size), key=itemgetter(1))
    sequence_of[falling] = _spread(steps)
    place_of = np.empty(count, dtype=np.int64)
    place_of[shuffled_order(count, seed)] = np.arange(count)
    places = place_of[sequence_of]
    pieces = order[np.argsort(places, kind="stable")]
    offsets = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(places, minlength=count), out=offsets[1:])
    return Packed(size, documents[pieces], starts[pieces], tokens[pieces], offsets)


def whole(lengths: NDArray[np.int64]) -> Packed:
    """Documents as they are, in their order, with no sequences: ``size`` and ``offsets`` are empty."""
    lengths = np.asarray(lengths, dtype=np.int64)
    numbers = np.arange(lengths.size, dtype=np.int64)
    return Packed(0, numbers, np.zeros_like(numbers), lengths, np.zeros(1, dtype=np.int64))


def _pieces(
    lengths: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Document, first token and length of each piece: as many of ``size`` as fit, and a rest."""
    counts = -(-lengths // size)
    documents = np.repeat(np.arange(lengths.size, dtype=np.int64), counts)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    starts = (np.arange(documents.size, dtype=np.int64) - before) * size
    return documents, starts, np.minimum(lengths[documents] - starts, size)


def _best_fit(count_of: NDArray[np.int64], size: int) -> tuple[list[Step], int]:
    """Where each piece goes, the longest piece first, and how many sequences there are.

    Args:
        count_of: how many pieces have each length, from 0 on.
        size: tokens that a sequence has room for.
    """
    sequences = 0
    rooms: list[list[Range]] = [[] for _ in range(size + 1)]  # by their free room
    free = 0  # bit k is set where `rooms[k]` holds sequences
    steps: list[Step] = []
    for length in np.flatnonzero(count_of)[::-1].tolist():
        left = int(count_of[length])
        while left:
            wide = free >> length
            if wide:
                room = length + (wide & -wide).bit_length() - 1
                first, many = rooms[room].pop()
                if not rooms[room]:
                    free ^= 1 << room
            else:
                room, first, many = size, sequences, -(-left // (size // length))
                sequences += many
            # A sequence that has taken a piece has the least room of all, so it takes as many as it can.
            each = room // length
            filled = min(left // each, many)
            rest = left - filled * each if filled < many else 0
            left -= filled * each + rest
            parts = (
                (first, filled, room - each * length, each),
                (first + filled, min(rest, 1), room - rest * length, rest),
                (first + filled + min(rest, 1), many - filled - min(rest, 1), room, 0),
            )
            for start, number, now, taken in parts:
                if number and taken:
                    steps.append((start, number, taken))
                if number and now:
                    rooms[now].append((start, number))
                    free |= 1 << now
    return steps, sequences


def _exact_fit(count_of: NDArray[np.int64], size: int) -> tuple[list[Step], int]:
    """The same, sequence by sequence: ``_lengths`` for one, and as many like it as there are pieces for."""
    left = dict(enumerate(count_of.tolist()))
    left = {length: count for length, count in left.items() if count}
    steps: list[tuple[int, Step]] = []
    sequences = 0
    while left:
        taken = Counter(_lengths(left, size))
        many = min(left[length] // each for length, each in taken.items())
        for length, each in taken.items():
            steps.append((length, (sequences, many, each)))
            left[length] -= many * each
            if not left[length]:
                del left[length]
        sequences += many
    steps.sort(key=lambda step: -step[0])
    return [step for _, step in steps], sequences


def _lengths(left: Mapping[int, int], size: int) -> list[int]:
    """Lengths of pieces that fill a sequence: the longest, then the most frequent ones, at last a pair.

    Two sets of bits hold the lengths that are left: bit k of ``there`` is set for length k, and bit
    ``size - k`` of ``mirrored``. Shifted by ``size - room``, that has bit k set where ``room - k`` is left.
    """
    there = sum(1 << length for length in left)
    mirrored = sum(1 << size - length for length in left)
    least = min(left)
    used: Counter[int] = Counter()
    taken: list[int] = []

    def take(length: int) -> None:
        nonlocal there, mirrored
        taken.append(length)
        used[length] += 1
        if used[length] == left[length]:
            there ^= 1 << length
            mirrored ^= 1 << size - length

    def pair(room: int) -> int:
        """The longer of two lengths that make up ``room``; 0 where there are none."""
        found = there & mirrored >> size - room & (1 << room) - 1
        half = room // 2
        if room == 2 * half and found >> half & 1 and left[half] - used[half] < 2:
            found ^= 1 << half
        return max(found.bit_length() - 1, 0)

    room = size
    while fits := there & (2 << room) - 1:
        longest = fits.bit_length() - 1
        wasted = room - longest
        if not wasted:
            take(longest)
            break
        shortfall = range(wasted) if wasted < least else range(1)
        best = next((each for each in shortfall if pair(room - each)), None)
        if best is not None:
            first = pair(room - best)
            take(first)
            take(room - best - first)
            break
        length = longest
        if taken and room > 3 * least:  # so that to the end there are lengths of all kinds to choose from
            fitting = (each for each in left if each <= room - 2 * least and used[each] < left[each])
            length = max(fitting, key=lambda each: (left[each] - used[each], each), default=longest)
        take(length)
        room -= length
    return taken


def _spread(steps: list[Step]) -> NDArray[np.int64]:
    """The sequence of each piece, out of steps that each put some pieces into consecutive sequences."""
    first, many, each = np.array(steps, dtype=np.int64).reshape(-1, 3).T
    pieces = many * each
    step = np.repeat(np.arange(pieces.size), pieces)
    within = np.arange(step.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    spread: NDArray[np.int64] = first[step] + within // each[step]
    return spread
