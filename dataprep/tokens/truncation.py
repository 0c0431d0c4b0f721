"""Rows that are too long."""

from __future__ import annotations

from typing import NamedTuple

from dataprep.core.errors import RowDropped, RowError, UsageError
from dataprep.tokens.formats.base import Encoded

TRUNCATIONS = ("error", "drop", "truncate")


class Fitted(NamedTuple):
    """A row that fits, and how many of its answers were cut short or off."""

    encoded: Encoded
    cut_answers: int = 0


def spans_of(mask: bytes | bytearray) -> list[tuple[int, int]]:
    """The stretches of trained tokens, each from its first to after its last: the answers, in order.

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


def fit(encoded: Encoded, max_length: int, truncation: str = "error") -> Fitted:
    """The row in no more than ``max_length`` tokens.

    Truncating keeps questions whole and cuts the last answer that has room for one token or more. The
    row ends with that answer: it gets no end of turn, which would teach to stop in the middle of it, and
    a question that lost its whole answer goes too.

    Args:
        encoded: a row, of L tokens.
        max_length: how many tokens it may have, 1 or more.
        truncation: one of ``OVERFLOWS``.

    Raises:
        RowError: it is too long, and ``overflow`` is ``"error"``.
        RowDropped: it is too long, and ``overflow`` is ``"drop"``, or ``"truncate"`` would leave no
            trained token.
    """
    if truncation not in TRUNCATIONS or max_length < 1:
        wanted = f"{max_length} and {truncation!r}"
        raise UsageError(f"expected 1 token or more, and one of {', '.join(TRUNCATIONS)}; found {wanted}")
    length = len(encoded.ids)
    if length <= max_length:
        return Fitted(encoded)
    found = f"found {length:,} tokens; expected at most {max_length:,}"
    if truncation == "error":
        raise RowError("too many tokens", f"{found}: drop or truncate such rows, or allow more")
    if truncation == "drop":
        raise RowDropped("too many tokens", found)
    spans = spans_of(encoded.mask)
    kept = [span for span in spans if span[0] < max_length]
    if not kept:
        raise RowDropped("no room for an answer", found)
    end = min(kept[-1][1], max_length)
    cut = sum(last > end for _, last in spans)
    return Fitted(Encoded(encoded.ids[:end], encoded.mask[:end]), cut)
