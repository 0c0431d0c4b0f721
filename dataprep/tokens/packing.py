"""Packing: documents into sequences of a fixed length, best fit decreasing, none of them divided.

Best fit decreasing takes the documents from the longest to the shortest and puts each into the sequence
that it leaves the least room in. What counts about a document is its length, and about a sequence its free
room, so documents of one length and sequences of one room are moved together: the work is one step for each
such meeting instead of one for each document, and the sequences are exactly as many as one by one.

Source: Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv:2404.10830).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataprep.errors import UsageError
from dataprep.sampling.order import shuffled_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
            "leave long documents out (--overflow), or split them (--split-long)"
        )
    documents, starts, tokens = _pieces(lengths, size)
    order = shuffled_order(documents.size, seed)
    shuffled = tokens[order]
    narrow = shuffled.astype(np.uint16) if size < 1 << 16 else shuffled  # two bytes are sorted by radix
    falling = np.argsort(narrow.max(initial=0) - narrow, kind="stable")
    sequence_of = np.empty(documents.size, dtype=np.int64)
    sequence_of[falling], count = _best_fit(np.bincount(tokens, minlength=1), size)
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


def _best_fit(count_of: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], int]:
    """The sequence of each piece, the longest piece first, and how many sequences there are.

    Args:
        count_of: how many pieces have each length, from 0 on.
        size: tokens that a sequence has room for.
    """
    sequences = 0
    rooms: list[list[Range]] = [[] for _ in range(size + 1)]  # by their free room
    free = 0  # bit k is set where `rooms[k]` holds sequences
    steps: list[tuple[int, int, int]] = []  # (first sequence, sequences, pieces put into each)
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
    return _spread(steps), sequences


def _spread(steps: list[tuple[int, int, int]]) -> NDArray[np.int64]:
    """The sequence of each piece, out of steps that each put some pieces into consecutive sequences."""
    first, many, each = np.array(steps, dtype=np.int64).reshape(-1, 3).T
    pieces = many * each
    step = np.repeat(np.arange(pieces.size), pieces)
    within = np.arange(step.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    spread: NDArray[np.int64] = first[step] + within // each[step]
    return spread
