"""When the next request may be sent: rates, concurrency that yields, and waits between attempts."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MINUTE = 60.0
FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
LONGEST_RETRY_AFTER = 3600.0


class Rate:
    """A limit of so much a minute, kept by spacing: what is spent puts off the next turn by its share.

    Attributes:
        ready_at: the time, in seconds, from which on something may be spent.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds = MINUTE / per_minute if per_minute else 0.0
        self.ready_at = 0.0

    def spend(self, now: float, amount: float = 1.0) -> None:
        """Note that ``amount`` is spent now."""
        self.ready_at = max(self.ready_at, now) + amount * self._seconds

    def correct(self, amount: float) -> None:
        """Note that ``amount`` more (or, negative, less) was spent than was thought."""
        self.ready_at += amount * self._seconds


class ConcurrencyLimit:
    """How many requests may be in flight: halved when the server says it is too much, then grown back.

    It is additive increase and multiplicative decrease, as TCP's congestion avoidance does it
    (RFC 5681): one more for each full window of answers.

    Attributes:
        most: the size that it never passes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._size = float(most)
        self._shrunk_at = float("-inf")

    @property
    def size(self) -> int:
        """How many requests may be in flight now; at least 1."""
        return int(self._size)

    def grow(self) -> None:
        """An answer came."""
        self._size = min(self.most, self._size + 1 / self._size)

    def shrink(self, sent: float, now: float) -> None:
        """A request sent at ``sent`` was turned away; one sent before the last cut says nothing new."""
        if sent > self._shrunk_at:
            self._size = max(1.0, self._size / 2)
            self._shrunk_at = now


def backoff(attempt: int, generator: random.Random) -> float:
    """Seconds to wait after the attempt of this number, from 1 on: exponential, with full jitter.

    A random part of a wait that doubles with each attempt, which spreads clients best (Brooker 2015,
    "Exponential Backoff And Jitter").
    """
    return generator.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 30)))


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds that a server asks to wait, at most an hour; ``None`` where it does not say.

    ``retry-after-ms`` and ``Retry-After`` are read, the latter in seconds or as a date (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        given = headers.get(name, "").strip()
        if not given:
            continue
        try:
            seconds = float(given) * unit
        except ValueError:
            try:
                date = parsedate_to_datetime(given)
            except (ValueError, OverflowError, TypeError):
                continue
            if date.tzinfo is None:
                date = date.replace(tzinfo=UTC)
            seconds = (date - (now or datetime.now(UTC))).total_seconds()
        if not math.isnan(seconds):
            return min(max(0.0, seconds), LONGEST_RETRY_AFTER)
    return None


class Budget:
    """Money that may be spent. What is in flight counts with the most that it can cost.

    Attributes:
        limit: in dollars; ``None`` for none.
        price_in, price_out: dollars for a million tokens of prompts and of answers.
        spent: dollars that answers have cost.
    """

    def __init__(self, limit: float | None, price_in: float = 0.0, price_out: float = 0.0) -> None:
        self.limit = limit
        self.price_in = price_in
        self.price_out = price_out
        self.spent = 0.0
        self._reserved = 0.0

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Dollars for so many tokens."""
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6

    def fits(self, cost: float) -> bool:
        """Whether the budget holds even if everything in flight costs the most it can, and this as well."""
        return self.limit is None or self.spent + self._reserved + cost <= self.limit

    def reserve(self, cost: float) -> None:
        """A request that can cost so much is sent."""
        self._reserved += cost

    def settle(self, reserved: float, cost: float) -> None:
        """A request for which ``reserved`` was set aside has ended, and has cost ``cost``."""
        self._reserved -= reserved
        self.spent += cost


def most_tokens(messages: list[dict[str, str]]) -> int:
    """A bound on a prompt's tokens: each holds at least a byte, and a message adds a few for its layout."""
    return sum(len(message["content"].encode("utf-8", "replace")) + 16 for message in messages) + 16


def likely_tokens(messages: list[dict[str, str]]) -> int:
    """A guess at the tokens of a prompt, for pacing: four characters each, as in English."""
    return sum(len(message["content"]) for message in messages) // 4 + 4 * len(messages)
