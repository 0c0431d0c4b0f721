"""The loop that asks: many requests in flight, one line in the journal for each that comes back.

One thread and no queue: whenever something has changed (an answer, a wait that is over, a stop), the loop
sends what may be sent and goes back to waiting. A request that is to be asked again waits in a heap, and
keeps no slot.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.journal.line import outcome_of
from dataprep.teacher.journal.writer import Journal
from dataprep.teacher.pacing import Budget, ConcurrencyLimit, Rate, backoff, likely_tokens, most_tokens
from dataprep.teacher.protocol import Answer, RequestError
from dataprep.teacher.queue import Job, PendingQueue

WATCHED_SECONDS = 0.5
FORBIDDEN = 403


class Teacher(Protocol):
    """Whoever is asked: ``Connection``, or a teacher that a test makes."""

    async def ask(
        self, body: dict[str, Any], choices: Sequence[str]
    ) -> tuple[list[Answer], dict[str, Any] | None]:
        """The answers to a request and their usage; raises ``RequestError``. ``choices``: the request's."""


@dataclass(frozen=True)
class Pacing:
    """How fast, how often and for how much a teacher is asked.

    Attributes:
        concurrency: requests in flight at most.
        rpm, tpm: requests and tokens a minute at most; ``None`` for no limit.
        retries: how often a request is sent again after a failure.
        limit: requests that are asked at most, by this run; ``None`` for all.
        budget: dollars that the journal's answers may cost in all; ``None`` for no limit.
        price_in, price_out: dollars for a million tokens of prompts and of answers.
    """

    concurrency: int = 32
    rpm: float | None = None
    tpm: float | None = None
    retries: int = 6
    limit: int | None = None
    budget: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0


@dataclass
class Progress:
    """What a run has done so far.

    Attributes:
        began: when it began, in seconds of ``time.monotonic``.
        settled: requests that needed no asking, as the journal has their answers.
        asked: requests that were taken up.
        answered, failed: answers and failures that were written.
        sent: requests that were sent, those that were sent again too.
        in_flight, waiting: requests that are being answered, and that wait to be sent again.
        prompt_tokens, completion_tokens: what the servers counted.
        cost: dollars that the journal's answers have cost, earlier runs' too.
        cost_before: dollars that they had cost before this run.
        paused: seconds for which nothing is sent, as the server asked for that.
        window: how many requests may be in flight now.
        stopped: why no more is sent; empty while it is.
        last_error: the last failure of a request, whether it was sent again or not.
    """

    began: float = field(default_factory=time.monotonic)
    settled: int = 0
    asked: int = 0
    answered: int = 0
    failed: int = 0
    sent: int = 0
    in_flight: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    cost_before: float = 0.0
    paused: float = 0.0
    window: int = 0
    stopped: str = ""
    last_error: str = ""


class Client:
    """Asks a teacher for what a queue gives, and writes what comes back into a journal.

    Attributes:
        progress: what was done so far.
    """

    def __init__(
        self,
        teacher: Teacher,
        name: str,
        queue: PendingQueue,
        journal: Journal,
        config: GenerationConfig,
        pacing: Pacing,
        *,
        redact: Callable[[str], str] = str,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.progress = Progress()
        self._teacher = teacher
        self._name = name
        self._queue = queue
        self._journal = journal
        self._config = config
        self._pacing = pacing
        self._redact = redact
        self._on_progress = on_progress
        self._window = ConcurrencyLimit(pacing.concurrency)
        self._requests, self._tokens = Rate(pacing.rpm), Rate(pacing.tpm)
        self._budget = Budget(pacing.budget, pacing.price_in, pacing.price_out)
        index = journal.index
        self._budget.spent = self._budget.cost(index.prompt_tokens, index.completion_tokens)
        self.progress.cost = self.progress.cost_before = self._budget.spent
        self._paused_until = 0.0
        self._tasks: dict[asyncio.Task[None], Job] = {}
        self._later: list[tuple[float, int, Job]] = []
        self._held: Job | None = None
        self._cut_off: list[Job] = []
        self._count = itertools.count()
        self._jitter = random.Random()
        self._wake = asyncio.Event()
        self._crash: BaseException | None = None

    async def run(self) -> None:
        """Ask until nothing is left, or until ``stop`` was called and what was in flight has come back.

        Raises:
            InputError: a row of the requests is none; what is in flight is waited for first.
            FileError: the journal cannot be written.
        """
        try:
            while True:
                self._wake.clear()
                pause = self._send()
                self.progress.paused = max(0.0, self._paused_until - time.monotonic())
                if self._on_progress is not None:
                    self._on_progress(self.progress)
                if pause is None and not self._tasks:
                    break
                await self._wait(pause)
        finally:
            await self._end()
        if self._crash is not None:
            raise self._crash

    async def _wait(self, pause: float | None) -> None:
        if pause == 0:
            await asyncio.sleep(0)
            return
        if self._on_progress is not None:  # whoever watches sees that time goes by
            pause = min(WATCHED_SECONDS, pause or WATCHED_SECONDS)
        timer = None if pause is None else asyncio.get_running_loop().call_later(pause, self._wake.set)
        await self._wake.wait()
        if timer is not None:
            timer.cancel()

    async def _end(self) -> None:
        """Wait for tasks that were cut off, and have the queue count what was taken up and not ended."""
        tasks = list(self._tasks)
        self.abandon()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for the callbacks of those that were cut off
        for job in [
            *self._cut_off,
            *(job for _, _, job in self._later),
            *([self._held] if self._held else []),
        ]:
            self._queue.settle(job)

    def stop(self, reason: str) -> None:
        """Send nothing more; what is in flight is waited for. The first reason stays."""
        self.progress.stopped = self.progress.stopped or reason
        self._wake.set()

    def abandon(self) -> None:
        """Do not even wait for what is in flight."""
        for task in self._tasks:
            task.cancel()

    def _send(self) -> float | None:
        """Send what may be sent; the seconds until more may be, ``None`` where only an answer brings more."""
        while not self.progress.stopped:
            if len(self._tasks) >= self._window.size:
                return None
            now = time.monotonic()
            ready = max(self._paused_until, self._requests.ready_at, self._tokens.ready_at)
            if ready > now:
                return ready - now if self._later or self._held or not self._all_taken else None
            job = self._next(now)
            if job is None:
                if self.progress.stopped:
                    break
                if not self._all_taken:
                    return 0
                return max(0.001, self._later[0][0] - now) if self._later else None
            most = self._budget.cost(
                most_tokens(job.request.messages), self._config.max_tokens * len(job.samples)
            )
            if not self._budget.fits(most):
                self._held = job
                if not self._tasks:
                    self.stop(f"the next request could pass the budget of ${self._pacing.budget:g}")
                return None
            self._start(job, most, now)
        return None

    @property
    def _all_taken(self) -> bool:
        """Whether no further request is to be taken up."""
        limit = self._pacing.limit
        return self._queue.exhausted or (limit is not None and self.progress.asked >= limit)

    def _next(self, now: float) -> Job | None:
        if self._held is not None:
            job, self._held = self._held, None
            return job
        if self._later and self._later[0][0] <= now:
            self.progress.waiting -= 1
            return heapq.heappop(self._later)[2]
        if self._all_taken:
            return None
        try:
            found = self._queue.next()
        except Exception as error:  # noqa: BLE001 - raised when what is in flight has come back
            self._crash = error
            self.stop("the requests cannot be read further")
            return None
        self.progress.asked += found is not None
        self.progress.settled = self._queue.seen - self.progress.asked
        return found

    def _start(self, job: Job, most: float, now: float) -> None:
        job.attempts += 1
        job.reserved = most
        job.pace = likely_tokens(job.request.messages) + self._config.max_tokens * len(job.samples)
        self._budget.reserve(most)
        self._requests.spend(now)
        self._tokens.spend(now, job.pace)
        task = asyncio.get_running_loop().create_task(self._ask(job, now))
        self._tasks[task] = job
        self.progress.sent += 1
        self.progress.in_flight = len(self._tasks)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        job = self._tasks.pop(task)
        self.progress.in_flight = len(self._tasks)
        self.progress.window = self._window.size
        if task.cancelled():
            self._cut_off.append(job)
        elif (error := task.exception()) is not None:
            self._crash = self._crash or error
            self.stop("an answer could not be written")
        self._wake.set()

    async def _ask(self, job: Job, sent: float) -> None:
        body = self._config.body(job.request.messages, len(job.samples))
        try:
            answers, usage = await self._teacher.ask(body, job.request.choices)
        except RequestError as error:
            self._failed(job, error, sent)
        else:
            self._answered(job, answers, usage or {}, time.monotonic() - sent)

    def _answered(self, job: Job, answers: list[Answer], usage: dict[str, Any], latency: float) -> None:
        lines: list[dict[str, Any]] = []
        counted = usage or self._estimate(job)
        for sample, answer in zip(job.samples, answers, strict=False):
            line = self._line(job, sample, latency)
            line |= {
                "response": answer.response,
                "finish_reason": answer.finish_reason,
                "reasoning": answer.reasoning,
                "usage": None if lines else counted,  # it is the whole reply's
                "logprobs": answer.logprobs,
            }
            lines.append(line)
        self._write(lines)
        tokens_in, tokens_out = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        self.progress.prompt_tokens += tokens_in
        self.progress.completion_tokens += tokens_out
        failed = sum(outcome_of(line) == "failed" for line in lines)
        self.progress.failed += failed
        self.progress.answered += len(lines) - failed
        self._tokens.correct(tokens_in + tokens_out - job.pace if usage else 0)
        # A server that does not count is taken to have used all that it could.
        self._settle_cost(job, self._budget.cost(tokens_in, tokens_out) if usage else job.reserved)
        self._window.grow()
        del job.samples[: len(lines)]
        if job.samples:  # some servers give one answer whatever `n` says
            job.attempts = 0
            self._again(job, 0.0)
        else:
            self._queue.settle(job)

    def _failed(self, job: Job, error: RequestError, sent: float) -> None:
        now = time.monotonic()
        # Where a reply was on its way, the teacher has worked, and may well ask for its pay.
        billed = error.status is None and error.type != "connection_error"
        self._settle_cost(job, job.reserved if billed else 0.0)
        self.progress.last_error = str(error)
        if error.free:
            job.attempts -= 1
        if error.status in (429, 503):
            self._window.shrink(sent, now)
            if error.after:
                self._paused_until = max(self._paused_until, now + error.after)
        if error.retryable and job.attempts <= self._pacing.retries:
            self._again(job, backoff(job.attempts, self._jitter) if error.after is None else error.after)
            return
        failure = {"error": error.to_json()}
        self._write([self._line(job, sample, now - sent) | failure for sample in job.samples])
        self.progress.failed += 1
        self._queue.settle(job)
        # One prompt may be forbidden; where nothing was ever allowed, the key lacks the permission.
        if error.fatal or (error.status == FORBIDDEN and not self.progress.answered):
            self.stop(f"every request would fail like this one: {error}")

    def _again(self, job: Job, delay: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + delay, next(self._count), job))
        self.progress.waiting += 1

    def _settle_cost(self, job: Job, cost: float) -> None:
        self._budget.settle(job.reserved, cost)
        self.progress.cost = self._budget.spent

    def _estimate(self, job: Job) -> dict[str, Any] | None:
        """The most that a reply can have used, where there is a budget and the server does not count."""
        if self._pacing.budget is None:
            return None
        most = most_tokens(job.request.messages)
        return {
            "prompt_tokens": most,
            "completion_tokens": self._config.max_tokens * len(job.samples),
            "estimated": True,
        }

    def _write(self, lines: list[dict[str, Any]]) -> None:
        """Lines into the journal; a secret that a server quoted, in whatever field, does not go with them."""
        self._journal.append([_redacted(line, self._redact) for line in lines])

    def _line(self, job: Job, sample: int, latency: float) -> dict[str, Any]:
        return {
            "id": job.request.id,
            "key": job.key,
            "teacher": self._name,
            "model": self._config.model,
            "sample": sample,
            "max_tokens": self._config.max_tokens,
            "response": None,
            "finish_reason": None,
            "reasoning": None,
            "usage": None,
            "logprobs": None,
            "attempts": job.attempts,
            "latency": round(latency, 3),
            "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "error": None,
        }


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): _redacted(each, redact) for key, each in value.items()}
    return [_redacted(each, redact) for each in value] if isinstance(value, list) else value
