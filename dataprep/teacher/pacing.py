"""Decide when the next request may be sent: rates, concurrency, budget and waits between attempts."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

MINUTE = 60.0
_PLAIN = {"role", "content"}  # the fields of most messages
FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
# A server that asks for a longer wait is not waited for: the run stops, and can be continued later.
LONGEST_PAUSE = 3600.0
LONGEST_RETRY_AFTER = 30 * 86400.0
# Failures of one kind in a row, with nothing answered, after which every request would fail.
FEW_FAILURES = 5
# The first and the longest wait of an endpoint that is set aside, in seconds; each is twice the one before.
FIRST_ASIDE = 10.0
LONGEST_ASIDE = 300.0


class Rate:
    """A limit per minute, kept by spacing: each request delays the next one by its share."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds = MINUTE / per_minute if per_minute else 0.0
        self.ready_at = 0.0  # the time of the next request, in seconds

    def spend(self, now: float, amount: float = 1.0) -> None:
        """Count ``amount`` as spent now."""
        # Time that passed without requests is not saved up, so there are no bursts after a pause.
        self.ready_at = max(self.ready_at, now) + amount * self._seconds

    def correct(self, amount: float) -> None:
        """Count ``amount`` more (or, if negative, less) than was counted before."""
        self.ready_at += amount * self._seconds


class ConcurrencyLimit:
    """The number of requests that may be in flight.

    It is halved when the server is overloaded, and grows by one for each full window of answers: additive
    increase and multiplicative decrease, as in TCP's congestion avoidance (RFC 5681).
    """

    def __init__(self, most: int) -> None:
        self._most, self._size = most, float(most)
        self._shrunk_at = float("-inf")

    @property
    def size(self) -> int:
        """The number of requests that may be in flight now, at least 1."""
        return int(self._size)

    def grow(self) -> None:
        """Count an answer."""
        self._size = min(self._most, self._size + 1 / self._size)

    def shrink(self, sent: float, now: float) -> None:
        """Count a refusal of a request that was sent at ``sent``."""
        # A burst of refusals is one event: requests sent before the last cut do not cut again.
        if sent > self._shrunk_at:
            self._size = max(1.0, self._size / 2)
            self._shrunk_at = now


class SameFailure:
    """Failures of one kind in a row, before the first answer."""

    def __init__(self) -> None:
        self._kind: object = None
        self.count = 0  # The number of failures in a row so far.
        self._counted_at = float("-inf")
        self._answered = False

    @property
    def room(self) -> int:
        """The number of requests that may be in flight: no more than can still fail before the run stops."""
        return FEW_FAILURES - self.count if 0 < self.count < FEW_FAILURES else sys.maxsize

    def add(self, kind: object, sent: float, now: float, *, once: bool) -> bool:
        """Count a failure of a request that was sent at ``sent``; return whether there were too many.

        With ``once``, failures of requests that were in flight together count as one: they have one cause,
        such as a server that starts up, which can be over at the next attempt.
        """
        if self._answered:
            return False
        if kind != self._kind:
            self._kind, self.count, self._counted_at = kind, 0, float("-inf")
        if not once or sent > self._counted_at:
            self.count, self._counted_at = self.count + 1, now
        return self.count >= FEW_FAILURES

    def answered(self) -> None:
        """Count an answer: not every request fails."""
        self._answered, self.count = True, 0


class Breaker:
    """A circuit breaker: it sets an endpoint aside that fails several times in a row.

    Then one request at a time finds out whether the endpoint answers again.
    """

    def __init__(self) -> None:
        self.count = 0  # The number of failures in a row so far.
        self.waits = 0  # The number of waits in a row; 0 if the endpoint is in use.
        self.ready_at = 0.0  # The time at which it may be asked again.
        self._counted_at = float("-inf")

    @property
    def room(self) -> int:
        """The number of requests that may be in flight: no more than can still fail."""
        return max(1, FEW_FAILURES - self.count) if self.count or self.waits else sys.maxsize

    def failed(
        self,
        sent: float,
        now: float,
        generator: random.Random,
        *,
        at_once: bool = False,
        certain: bool = False,
    ) -> None:
        """Count a failure of a request that was sent at ``sent``.

        Args:
            sent: when the request was sent.
            now: the time.
            generator: draws the wait.
            at_once: every other request would fail too.
            certain: the endpoint is to blame, and not the request.
        """
        # Requests that were in flight together have one cause, and count as one.
        if sent <= self._counted_at:
            return
        self.count, self._counted_at = self.count + 1, now
        if at_once or self.count >= FEW_FAILURES:
            self.open(now, min(LONGEST_ASIDE, FIRST_ASIDE * 2.0 ** min(self.waits, 30)))
        elif certain or self.count > 1:
            self.ready_at = now + backoff(self.count, generator)

    def open(self, now: float, seconds: float, waits: int = 1) -> None:
        """Set the endpoint aside for some seconds, which count as so many ``waits``."""
        self.waits, self.ready_at = self.waits + waits, now + seconds

    def forgive(self) -> None:
        """Take back a failure: the request failed elsewhere too, so it is to blame."""
        if not self.waits:
            self.count = max(0, self.count - 1)

    def answered(self, sent: float) -> bool:
        """Count an answer to a request that was sent at ``sent``; return whether it ended a wait."""
        # An answer that was under way says nothing of an endpoint that was set aside meanwhile.
        if self.waits and sent <= self._counted_at:
            return False
        ended = self.waits > 0
        self.count, self.waits, self.ready_at = 0, 0, 0.0
        return ended


def backoff(attempt: int, generator: random.Random) -> float:
    """Return the seconds to wait after an attempt, counted from 1: exponential backoff with full jitter.

    A random part of a wait that doubles with each attempt spreads clients best (Brooker 2015, "Exponential
    Backoff And Jitter").
    """
    # The exponent is bounded, because a float overflows at 2 ** 1024.
    return generator.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 30)))


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds that a server asks to wait, at most 30 days; ``None`` if it does not say.

    The headers are ``retry-after-ms`` and ``Retry-After``, in seconds or as a date (RFC 9110, 10.2.3).
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


@dataclass
class Budget:
    """A budget in dollars. Requests in flight count with the most that they can cost."""

    limit: float | None  # `None` for no limit.
    price_in: float = 0.0  # Of a million tokens of prompts.
    price_out: float = 0.0  # Of a million tokens of answers.
    spent: float = 0.0  # On answers.
    _reserved: float = 0.0

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of tokens in dollars."""
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6

    def fits(self, cost: float) -> bool:
        """Return whether a further cost fits, even if everything in flight costs the most it can."""
        return self.limit is None or self.spent + self._reserved + cost <= self.limit

    def reserve(self, cost: float) -> None:
        """Reserve the most that a request can cost."""
        self._reserved += cost

    def settle(self, reserved: float, cost: float) -> None:
        """Replace what was reserved for a request by its cost."""
        self._reserved -= reserved
        self.spent += cost


def most_tokens(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None) -> int:
    """Return an upper bound of a prompt's tokens."""
    # A token has at least one byte; the chat format adds a few tokens per message.
    total = sum(len(text.encode("utf-8", "replace")) + 16 for text in map(_text, messages)) + 16
    # A template may write a schema with other spaces and marks.
    return total + 2 * _size(tools)


def fewest_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return a lower bound of a prompt's tokens."""
    # Tokenizers divide texts at white space at least. Texts without it, such as Chinese, have a token for
    # every 32 bytes at least; only long runs of one character have longer tokens. A template may leave out
    # thinking and calls of tools.
    texts = [text for message in messages if type(text := message.get("content")) is str]
    return sum(max(len(text.split()), len(text.encode("utf-8", "replace")) // 32) for text in texts)


def likely_tokens(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None) -> int:
    """Return an estimate of a prompt's tokens, for pacing: four characters per token, as in English."""
    return (sum(map(len, map(_text, messages))) + _size(tools)) // 4 + 4 * len(messages)


def _text(message: Mapping[str, Any]) -> str:
    """Return the texts in a message; calls of tools and a divided content as JSON."""
    content = message["content"] if message.keys() <= _PLAIN else None
    return content if type(content) is str else json.dumps(message, ensure_ascii=False)


def _size(tools: Sequence[Any] | None) -> int:
    return len(json.dumps(tools)) if tools else 0
