"""Draw rows by a seed: a uniform sample of a stream, and the order of ``random.shuffle``."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dataprep.core.io import Block
from dataprep.core.options import check_whole
from dataprep.core.parallel import Noted, Operator, Outcome, run_operator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
_WORDS = 1 << 16  # words of the generator drawn at a time
_SWAPS = 192  # swaps made at a time: few enough that most blocks hold no position twice


class Reservoir(Generic[T]):
    """Keep a uniform sample of ``size`` rows from a stream of unknown length.

    Attributes:
        size: number of rows to keep.
        rows: the sample so far.
        seen: number of rows offered so far.
    """

    # Algorithm R (Vitter 1985, "Random sampling with a reservoir"): keep the first `size` rows. For each
    # further row i, counted from 1, draw j = generator.randrange(i) from generator = random.Random(seed), and
    # replace row j if j < size. The draws are part of the public behaviour: a seed must keep giving the same
    # rows.

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.rows: list[T] = []
        self.seen = 0
        self._draw = random.Random(seed).randrange

    def add(self, row: T) -> None:
        """Offer the next row of the stream."""
        self.seen += 1
        if len(self.rows) < self.size:
            self.rows.append(row)
        elif (place := self._draw(self.seen)) < self.size:
            self.rows[place] = row


_OF_CHUNK = "rows of a chunk"


def counting(operator: Operator) -> Noted:
    """Return an operator that counts the rows of each chunk, for ``rows_of_chunks``, and gives no output."""
    return Noted(_Counting(operator), lambda chunk: chunk.number)


def rows_of_chunks(counts: dict[Any, int]) -> list[int]:
    """Remove what ``counting`` counted from the counts, and return the number of rows of each chunk."""
    keys = sorted(key for key in counts if key[0] == _OF_CHUNK)
    return [counts.pop(key) for key in keys]


@dataclass(frozen=True, slots=True)
class _Counting:
    operator: Operator

    def of_chunk(self, number: int) -> Operator:
        return partial(_counted, self.operator, number)


def _counted(operator: Operator, number: int, block: Block) -> Outcome:
    outcome = operator(block)
    outcome.put(b"")
    outcome.counts[_OF_CHUNK, number] = outcome.rows_out
    return outcome


def rows_at(
    numbers: Sequence[int], operator: Operator, blocks: Iterable[Block], rows: Sequence[int]
) -> list[bytes]:
    """Return some of the rows that an operator makes of chunks, without their newlines.

    Args:
        numbers: those of the rows among all rows that are made, from 0, in any order.
        operator: makes the rows.
        blocks: all blocks.
        rows: the number of rows of each chunk; see ``rows_of_chunks``.
    """
    places: dict[int, list[int]] = {}
    ends = list(accumulate(rows))
    chunk = 0
    for number in sorted(numbers):
        while number >= ends[chunk]:
            chunk += 1
        places.setdefault(chunk, []).append(number - ends[chunk] + rows[chunk])
    found: list[bytes] = []
    for _, outcome in run_operator(Noted(_Picking(operator), lambda one: places.get(one.number, ())), blocks):
        found += (outcome.data or b"").split(b"\n")[:-1]
    by_number = dict(zip(sorted(numbers), found, strict=True))
    return [by_number[number] for number in numbers]


@dataclass(frozen=True, slots=True)
class _Picking:
    operator: Operator

    def of_chunk(self, places: Sequence[int]) -> Operator | None:
        return _PickRows(self.operator, places) if places else None


class _PickRows:
    """Make rows of the blocks of a chunk, and give those at some places."""

    def __init__(self, operator: Operator, places: Sequence[int]) -> None:
        self._operator, self._left = operator, list(reversed(places))
        self._before = 0

    def __call__(self, block: Block) -> Outcome:
        outcome = Outcome()
        if self._left:
            lines = (self._operator(block).data or b"").split(b"\n")[:-1]
            end, picked = self._before + len(lines), []
            while self._left and self._left[-1] < end:
                picked.append(lines[self._left.pop() - self._before] + b"\n")
            self._before, outcome.rows_out = end, len(picked)
            outcome.put(b"".join(picked))
        return outcome


def shuffled_order(count: int, seed: int) -> NDArray[np.int64]:
    """Return the order of ``random.Random(seed).shuffle(list(range(count)))``.

    Args:
        count: number of rows.
        seed: seed of Python's generator.

    Returns:
        Row numbers, shape ``(count,)``; position k holds the row that goes there.
    """
    check_whole("--seed", seed)
    # `convert` imports this module and does without numpy.
    import numpy as np

    # Python draws one number for each row in interpreted code. Here the words of the same Mersenne Twister
    # are drawn, tested and swapped in blocks. Measured with 1,000,000 rows, alternating, CPU time: 0.12 s
    # here, 0.62 s with `random.shuffle`. A merge of as many GSM8K rows takes 2.6 s in one process, so plain
    # `random.shuffle` would cost it a fifth more.
    # From here on a draw takes two words of the generator; no test could afford to compare that.
    if count >= 1 << 32:
        rows = list(range(count))
        random.Random(seed).shuffle(rows)
        return np.array(rows, dtype=np.int64)
    order = np.arange(count, dtype=np.int64)
    top = count  # the next swap is of position top - 1
    for targets in _swap_targets(count, seed):
        for begin in range(0, targets.size, _SWAPS):
            swaps = targets[begin : begin + _SWAPS]
            _swap(order, top, swaps)
            top -= swaps.size
    return order


def sorted_by(keys: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return numbers sorted by their keys, and by themselves where keys are equal.

    Args:
        keys: a key below 2 ** 32 for each number; they are overwritten.
        numbers: the numbers from 0 to before their count, each once.
    """
    import numpy as np

    if numbers.size > 1 << 32:
        return numbers[np.lexsort((numbers, keys))].view(np.int64)
    # Key and number in one word: numpy sorts words by vector instructions, but not their order.
    keys <<= np.uint64(32)
    keys |= numbers
    keys.sort()
    keys &= np.uint64(0xFFFFFFFF)
    return keys.view(np.int64)


def _swap(order: NDArray[np.int64], top: int, targets: NDArray[np.int64]) -> None:
    """Swap position ``top - 1`` with ``targets[0]``, ``top - 2`` with ``targets[1]``, and so on."""
    import numpy as np

    low = top - targets.size
    # If no position occurs twice, the swaps do not depend on one another and can be made at once.
    ascending = np.sort(targets)
    if ascending[-1] < low and (ascending[1:] != ascending[:-1]).all():
        moved = order[low:top].copy()
        order[low:top] = order[targets][::-1]
        order[targets] = moved[::-1]
        return
    for position, target in zip(range(top - 1, low - 1, -1), targets.tolist(), strict=True):
        order[position], order[target] = order[target], order[position]


def _swap_targets(count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield blocks of the numbers that ``shuffle`` draws: below ``count``, ``count - 1``, …, 2."""
    import numpy as np

    twister = np.random.MT19937()
    *key, position = random.Random(seed).getstate()[1]
    twister.state = {
        "bit_generator": "MT19937",
        "state": {"key": np.array(key, dtype=np.uint32), "pos": position},
    }
    drawn = np.empty(0, dtype=np.int64)
    bound = count
    while bound > 1:
        bits = bound.bit_length()
        wanted = bound - max(1 << (bits - 1), 2) + 1  # bounds of this many bits that are left
        if not drawn.size:
            drawn = twister.random_raw(_WORDS).astype(np.int64)
        window = drawn[: 2 * wanted + 64]  # more than half of all draws are accepted
        numbers = window >> (32 - bits)
        accepted = numbers < bound
        # Python draws `bound.bit_length()` bits until the number is below the bound, which falls by one at
        # each success. So whether a draw is accepted depends on how many were accepted before it. Assume at
        # first that the bound does not fall, and count again until nothing changes: each round settles at
        # least one more draw, and nearly all of them are settled by the first.
        while True:
            again = numbers < bound - (np.cumsum(accepted) - accepted)
            if np.array_equal(again, accepted):
                break
            accepted = again
        where = np.flatnonzero(accepted)[:wanted]
        yield numbers[where]
        bound -= where.size
        used = where[-1] + 1 if where.size == wanted else window.size
        drawn = drawn[used:]
