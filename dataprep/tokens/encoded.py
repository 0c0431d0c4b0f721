"""Token ids with their loss mask: one conversation, many of them, and truncation."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataprep.core.errors import RowDropped, RowError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRUNCATIONS = ("error", "drop", "truncate")


@dataclass(slots=True)
class Encoded:
    """A conversation in tokens.

    Attributes:
        ids: token ids, L of them.
        mask: the loss mask, L bytes: 1 where the token is in the loss, else 0.
    """

    ids: list[int]
    mask: bytearray


class Batch(NamedTuple):
    """Conversations in tokens, one after the other.

    Attributes:
        ids: the ids of all conversations, shape ``(tokens,)``.
        mask: the loss mask, 1 where a token is in the loss and else 0, shape ``(tokens,)``.
        lengths: number of tokens of each conversation, shape ``(conversations,)``.
        errors: the rows that could not be encoded, by their index among the rows that were given. They
            have no entry in the arrays.
    """

    ids: NDArray[np.uint32]
    mask: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    errors: Mapping[int, RowError]

    @classmethod
    def of(cls, results: Sequence[Encoded | RowError]) -> Batch:
        """Return the batch of single results; the inverse of ``results``."""
        rows = [row for row in results if isinstance(row, Encoded)]
        ids = array("I")  # four bytes on every platform that numpy supports
        for row in rows:
            ids.extend(row.ids)
        return cls(
            np.frombuffer(ids, dtype=np.uint32),
            np.frombuffer(b"".join([row.mask for row in rows]), dtype=np.uint8),
            np.fromiter((len(row.ids) for row in rows), np.int64, len(rows)),
            {index: row for index, row in enumerate(results) if isinstance(row, RowError)},
        )

    def results(self) -> Iterator[Encoded | RowError]:
        """Yield the tokens of each given row, or its error."""
        lengths = iter(self.lengths.tolist())
        end = 0
        for index in range(self.lengths.size + len(self.errors)):
            if (error := self.errors.get(index)) is not None:
                yield error
                continue
            start, end = end, end + next(lengths)
            yield Encoded(self.ids[start:end].tolist(), bytearray(self.mask[start:end]))


def spans_of(mask: bytes | bytearray) -> list[tuple[int, int]]:
    """Return the spans of tokens in the loss as (first, one after the last): the answers, in order.

    >>> spans_of(bytes([0, 1, 1, 0, 1]))
    [(1, 3), (4, 5)]
    """
    spans, start = [], mask.find(1)
    while start >= 0:
        end = mask.find(0, start)
        end = len(mask) if end < 0 else end
        spans.append((start, end))
        start = mask.find(1, end)
    return spans


class Truncated(NamedTuple):
    """A row that is short enough, and how many of its answers were shortened or removed."""

    encoded: Encoded
    cut_answers: int = 0


def truncate(encoded: Encoded, max_length: int, truncation: str = "error") -> Truncated:
    """Shorten a row to at most ``max_length`` tokens.

    Questions are never cut. The row ends with the last answer of which at least one token fits; a question
    that loses its whole answer is removed with it.

    Args:
        encoded: a row of L tokens.
        max_length: maximum number of tokens, 1 or more.
        truncation: one of ``TRUNCATIONS``.

    Raises:
        RowError: the row is too long, and ``truncation`` is ``"error"``.
        RowDropped: the row is too long, and ``truncation`` is ``"drop"``; or ``"truncate"`` would leave no
            token in the loss.
        UsageError: ``max_length`` or ``truncation`` is not valid.
    """
    if truncation not in TRUNCATIONS or max_length < 1:
        raise UsageError(
            f"expected 1 token or more, and one of {', '.join(TRUNCATIONS)}; "
            f"found {max_length} and {truncation!r}"
        )
    length = len(encoded.ids)
    if length <= max_length:
        return Truncated(encoded)
    lengths = f"found {length:,} tokens; expected at most {max_length:,}"
    if truncation == "error":
        raise RowError("too many tokens", f"{lengths}: drop or truncate such rows, or allow more")
    if truncation == "drop":
        raise RowDropped("too many tokens", lengths)
    spans = spans_of(encoded.mask)
    kept = [span for span in spans if span[0] < max_length]
    if not kept:
        raise RowDropped("no room for an answer", lengths)
    # A shortened answer gets no end-of-turn token: that would teach the model to stop in the middle.
    end = min(kept[-1][1], max_length)
    cut = sum(last > end for _, last in spans)
    return Truncated(Encoded(encoded.ids[:end], encoded.mask[:end]), cut)


def first_difference(first: Sequence[object], second: Sequence[object]) -> int | None:
    """Return the index at which two sequences first differ, or ``None`` if they are equal.

    >>> first_difference("abc", "abd"), first_difference("ab", "abc"), first_difference("a", "a")
    (2, 2, None)
    """
    pairs = zip(first, second, strict=False)
    at = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
    if at is None and len(first) != len(second):
        return min(len(first), len(second))
    return at
