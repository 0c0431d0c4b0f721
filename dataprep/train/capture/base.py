"""The interface of teachers whose likeliest tokens are captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dataprep.tokens.logits.coding import TopLogprobs
    from dataprep.tokens.shards.reading import Shards

# Takes some documents of the shards with their numbers.
Write = Callable[[Sequence[tuple[int, "TopLogprobs"]]], None]


class Teacher(Protocol):
    """The interface of a teacher."""

    def capture(self, shards: Shards, done: NDArray[np.bool_], write: Write) -> None:
        """Write the documents that are not `done`, each with its number, in any order, as they are known."""


def batches_to_do(done: NDArray[np.bool_], size: int) -> Iterator[Sequence[int]]:
    """Yield the documents of each batch that is not done as a whole.

    Batches begin at multiples of `size` whatever is done: a document has the same company, and so the same
    last digits, whether the run was killed or not.
    """
    for begin in range(0, done.size, size):
        if not done[begin : begin + size].all():
            yield range(begin, min(begin + size, done.size))
