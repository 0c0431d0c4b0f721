"""Share requests among the endpoints of one teacher: each has its own limits, and what one fails others get.

An endpoint that keeps failing is set aside and tried again later, with one request at a time (a circuit
breaker). A request is a failure only when every endpoint in use has failed it.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from dataprep.teacher.pacing import (
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    Breaker,
    ConcurrencyLimit,
    Rate,
    SameFailure,
    backoff,
)
from dataprep.teacher.protocol import Reply, RequestError
from dataprep.teacher.requests import Job
from dataprep.teacher.settings import Pacing

# After so many waits in vain of each endpoint, an outage is not waited for any longer.
MOST_WAITS = 3


class Teacher(Protocol):
    """The interface of a connection to a teacher."""

    async def ask(self, body: dict[str, Any], choices: Sequence[str]) -> Reply:
        """Return the answers to a request and their usage; raise ``RequestError`` if there is none."""


class Verdict(NamedTuple):
    """The consequences of a failure."""

    again: float | None  # Seconds until the request is asked again; `None` if it is a failed row.
    stop: str = ""  # The reason to stop the run; empty otherwise.


class Upstream:
    """One endpoint: its connection, its limits, and how it has answered so far."""

    def __init__(self, name: str, teacher: Teacher, pacing: Pacing) -> None:
        self.name, self.teacher = name, teacher
        self.limit = ConcurrencyLimit(pacing.concurrency)
        self.requests, self.tokens = Rate(pacing.rpm), Rate(pacing.tpm)
        self.same_failure, self.breaker = SameFailure(), Breaker()
        self.paused_until = 0.0  # As the server asks.
        self.singly = False  # True if it gives one answer per request, whatever `n` is.
        self.in_flight = self.sent = self.answered = 0
        self.error: RequestError | None = None  # The last one.

    @property
    def has_room(self) -> bool:
        """True if a further request may be in flight."""
        return self.in_flight < min(self.limit.size, self.same_failure.room, self.breaker.room)

    @property
    def pauses_until(self) -> float:
        """The time at which it may be asked again, whatever its rates are."""
        return max(self.paused_until, self.breaker.ready_at)

    @property
    def ready_at(self) -> float:
        """The time of its next request."""
        return max(self.pauses_until, self.requests.ready_at, self.tokens.ready_at)

    @property
    def load(self) -> tuple[float, int]:
        """Its share of requests in flight, and the number sent so far: lower for one that is less busy."""
        return self.in_flight / self.limit.size, self.sent

    def answer(self, sent: float) -> bool:
        """Count an answer to a request that was sent at ``sent``; return whether it was set aside before."""
        self.same_failure.answered()
        self.answered += 1
        return self.breaker.answered(sent)


class Upstreams:
    """The endpoints of a run."""

    def __init__(
        self, teachers: Mapping[str, Teacher], pacing: Pacing, log: Callable[[str], None] | None = None
    ) -> None:
        self._pacing, self._log, self._jitter = pacing, log or (lambda _: None), random.Random()
        self._all = [Upstream(name, teacher, pacing) for name, teacher in teachers.items()]

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many requests were sent to each of several endpoints and answered, by address."""
        shared = self._all if len(self._all) > 1 else []
        return {each.name: {"sent": each.sent, "answered": each.answered} for each in shared}

    def free(self, now: float) -> list[Upstream]:
        """Return those that may be sent a request now."""
        return [upstream for upstream in self._all if upstream.has_room and upstream.ready_at <= now]

    def ready_in(self, now: float) -> float | None:
        """Return the seconds until one more may be sent a request; ``None`` if only an answer helps."""
        times = (upstream.ready_at for upstream in self._all if upstream.has_room)
        return min((ready - now for ready in times if ready > now), default=None)

    def paused(self, now: float) -> float:
        """Return the seconds for which none may be sent a request."""
        return max(0.0, min(upstream.pauses_until for upstream in self._all) - now)

    def choose(self, job: Job, free: Sequence[Upstream], now: float) -> Upstream | None:
        """Return which of those that are free gets a job; ``None`` if it waits for another one."""
        if not job.failures:
            return min(free, key=lambda upstream: upstream.load)
        # Where it failed least often, also if that one is busy. A longer pause is not waited for.
        fewest = min(
            (_failures(job, upstream) for upstream in self._all if upstream.pauses_until <= now),
            default=math.inf,
        )
        fit = [each for each in free if _failures(job, each) == fewest < math.inf]
        return min(fit, key=lambda upstream: upstream.load, default=None)

    def answered(self, upstream: Upstream, sent: float) -> None:
        """Count an answer, or a refusal of a prompt, to a request that was sent at ``sent``."""
        if upstream.answer(sent):
            self._log(f"{upstream.name} answers again")

    def failed(self, upstream: Upstream, job: Job, error: RequestError, sent: float) -> Verdict:
        """Count a failure of a request that was sent at ``sent``, and return what follows from it."""
        now, after = time.monotonic(), error.after or 0.0
        upstream.error = error
        if error.refused:
            self.answered(upstream, sent)
        is_long = error.retryable and after > LONGEST_PAUSE
        if error.status in (429, 503) and not is_long:
            upstream.limit.shrink(sent, now)
            upstream.paused_until = max(upstream.paused_until, now + after)
        if len(self._all) == 1:
            return self._of_one(upstream, job, error, sent, is_long=is_long)
        if error.refused:
            return Verdict(None)
        return self._of_several(upstream, job, error, sent, is_long=is_long)

    def _of_one(
        self, upstream: Upstream, job: Job, error: RequestError, sent: float, *, is_long: bool
    ) -> Verdict:
        now, after, failures = time.monotonic(), error.after or 0.0, upstream.same_failure
        if is_long:
            wait = f"run the same command again after that: {error}"
            return Verdict(0.0, f"the server asks to wait {_long(after)}; {wait}")
        # After a few failures it is clear that every request fails, and not one prompt.
        hopeless = (_is_no_teacher(error) or not error.retryable) and failures.add(
            (error.status, error.type), sent, now, once=error.retryable
        )
        if error.type == "connection_error" and failures.count:
            # Otherwise the other requests would use up the few failures while this one waits.
            pause = backoff(failures.count, self._jitter)
            upstream.paused_until = max(upstream.paused_until, now + pause)
        stop = ""
        if error.fatal or hopeless:
            stop = f"every request would fail like this one: {_advised(error)}"
        if error.retryable and job.attempts <= self._pacing.retries:
            # A server that says 0, or a date in the past, would use up all attempts at once.
            return Verdict(max(after, backoff(job.attempts, self._jitter)), stop)
        return Verdict(None, stop)

    def _of_several(
        self, upstream: Upstream, job: Job, error: RequestError, sent: float, *, is_long: bool
    ) -> Verdict:
        # The endpoint alone is to blame, and no attempt of the request was used up.
        is_upstreams = error.type == "connection_error" or error.fatal or is_long
        elsewhere = [each for each in self._all if each is not upstream and _failures(job, each)]
        refuses = not (error.retryable or is_upstreams)
        job.failures[upstream.name] = math.inf if refuses else _failures(job, upstream) + 1
        job.attempts -= is_upstreams
        self._count(upstream, error, sent, elsewhere, is_upstreams=is_upstreams, is_long=is_long)
        return Verdict(self._again(job, error, is_upstreams=is_upstreams), self._outage())

    def _count(
        self,
        upstream: Upstream,
        error: RequestError,
        sent: float,
        elsewhere: Sequence[Upstream],
        *,
        is_upstreams: bool,
        is_long: bool,
    ) -> None:
        """Count a failure as one of the endpoint, unless the request is to blame."""
        now, breaker = time.monotonic(), upstream.breaker
        is_new = not upstream.answered and (_is_no_teacher(error) or not error.retryable)
        if not (is_upstreams or is_new):
            # Prompts that fail everywhere would set all endpoints aside.
            for other in elsewhere:
                other.breaker.forgive()
            if elsewhere or not error.retryable:
                return
        before = breaker.waits
        if is_long:
            breaker.open(now, error.after or 0.0, waits=MOST_WAITS + 1)
        else:
            certain = error.type == "connection_error"
            breaker.failed(sent, now, self._jitter, at_once=error.fatal, certain=certain)
        if breaker.waits and not before:
            wait = _long(error.after or 0.0) if is_long else f"{breaker.ready_at - now:.0f} s"
            self._log(f"{upstream.name} is set aside for {wait}: {_advised(error)}")

    def _again(self, job: Job, error: RequestError, *, is_upstreams: bool) -> float | None:
        """Return the seconds until a job is asked again; ``None`` if it is a failed row."""
        in_use = [upstream for upstream in self._all if not upstream.breaker.waits]
        if any(upstream.name not in job.failures for upstream in in_use):
            return 0.0
        # While all are set aside, it waits for them.
        rounds = [_failures(job, upstream) for upstream in in_use or self._all]
        if min(rounds) == math.inf or not (error.retryable or is_upstreams):
            return None
        if is_upstreams and not job.attempts:
            return 0.0
        if not is_upstreams and job.attempts > self._pacing.retries:
            return None
        return max(error.after or 0.0, backoff(int(min(rounds)), self._jitter))

    def _outage(self) -> str:
        """Return why nothing more is sent: no endpoint answers any more, or none ever did."""
        if not all(upstream.breaker.waits for upstream in self._all):
            return ""
        # A network that is gone for a minute ends no long run.
        may_return = any(upstream.breaker.waits <= MOST_WAITS for upstream in self._all)
        if may_return and any(upstream.answered for upstream in self._all):
            return ""
        reasons = (f"{each.name}: {_advised(each.error)}" for each in self._all if each.error is not None)
        return f"every endpoint fails: {'; '.join(reasons)}"


def _failures(job: Job, upstream: Upstream) -> float:
    return job.failures.get(upstream.name, 0)


def _is_no_teacher(error: RequestError) -> bool:
    return error.type in ("connection_error", "malformed_reply")


def _advised(error: RequestError) -> str:
    return f"{error}; {error.advice}" if error.advice else str(error)


def _long(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds < LONGEST_RETRY_AFTER else "30 days or longer"
