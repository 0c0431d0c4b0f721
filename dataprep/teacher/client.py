"""Ask a teacher: many requests in flight, one line in the journal for each answer or failure.

One task decides what is sent. It wakes whenever an answer came, a wait is over or the run was stopped, sends
what may be sent, and waits again. Requests that are retried wait in a heap and occupy no connection.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from dataprep.models.sampling import GenerationConfig, Tools
from dataprep.teacher.journal.index import entry_of
from dataprep.teacher.journal.line import new_line, outcome_of
from dataprep.teacher.journal.writer import JournalWriter
from dataprep.teacher.pacing import LONGEST_PAUSE, Budget, fewest_tokens, likely_tokens, most_tokens
from dataprep.teacher.protocol import Answer, RequestError, flagged
from dataprep.teacher.requests import Job, PendingQueue
from dataprep.teacher.settings import Pacing
from dataprep.teacher.upstreams import Teacher, Upstream, Upstreams

WATCHED_SECONDS = 0.5


@dataclass
class Progress:
    """Counts of a run."""

    settled: int = 0  # Requests that the journal answers already.
    asked: int = 0  # Requests taken from the queue.
    answered: int = 0  # Answers that were written.
    failed: int = 0  # Failures that were written.
    sent: int = 0  # Requests that were sent, retries included.
    in_flight: int = 0  # Requests that wait for an answer.
    waiting: int = 0  # Requests that wait for a retry.
    prompt_tokens: int = 0  # Counted by the servers, as the next.
    completion_tokens: int = 0
    cost: float = 0.0  # Dollars that the journal's answers cost, earlier runs included.
    cost_before: float = 0.0  # Dollars that they cost before this run.
    paused: float = 0.0  # Seconds until requests are sent again, at the server's request.
    stopped: str = ""  # The reason why no more requests are sent; empty otherwise.
    last_error: str = ""  # The last failure of a request, even if it was retried.
    flags: Counter[str] = field(default_factory=Counter)  # The number of answers with each flag.


@dataclass(eq=False)
class Client:
    """Ask a teacher the requests of a queue, and write the answers to a journal.

    Attributes:
        teachers: the connections to its endpoints, by address.
        name: the teacher's name in the journal.
        log: called with a line when an endpoint is set aside, and when it answers again.
    """

    teachers: Mapping[str, Teacher]
    name: str
    queue: PendingQueue
    journal: JournalWriter
    config: GenerationConfig
    pacing: Pacing
    _: KW_ONLY
    on_progress: Callable[[Progress], None] | None = None
    log: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        pacing, index = self.pacing, self.journal.index
        self.progress = Progress()
        self.upstreams = Upstreams(self.teachers, pacing, self.log)
        self._budget = Budget(pacing.budget, pacing.price_in, pacing.price_out)
        # The budget is that of the journal, so earlier runs count.
        self._budget.spent = self._budget.cost(index.prompt_tokens, index.completion_tokens)
        self.progress.cost = self.progress.cost_before = self._budget.spent
        self._tasks: dict[asyncio.Task[None], tuple[Job, Upstream]] = {}
        self._later: list[tuple[float, int, Job]] = []
        # Jobs whose task was cancelled; they are counted at the end.
        self._cut_off: list[Job] = []
        self._count = itertools.count()
        self._wake = asyncio.Event()
        self._crash: BaseException | None = None

    async def run(self) -> None:
        """Ask until the queue is empty, or until ``stop`` was called and the answers in flight came."""
        try:
            while True:
                self._wake.clear()
                pause = self._send()
                self.progress.paused = self.upstreams.paused(time.monotonic())
                if self.on_progress is not None:
                    self.on_progress(self.progress)
                if pause is None and not self._tasks:
                    break
                await self._wait(pause)
        finally:
            await self._end()
        # A row that is not a request, or a journal that cannot be written.
        if self._crash is not None:
            raise self._crash

    async def _wait(self, pause: float | None) -> None:
        # The queue looked at its share of requests and found none to ask: let answers in, then continue.
        if pause == 0:
            await asyncio.sleep(0)
            return
        # A progress bar shows that time passes.
        if self.on_progress is not None:
            pause = min(WATCHED_SECONDS, pause or WATCHED_SECONDS)
        timer = None if pause is None else asyncio.get_running_loop().call_later(pause, self._wake.set)
        await self._wake.wait()
        if timer is not None:
            timer.cancel()

    async def _end(self) -> None:
        self.abandon()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # The callbacks of cancelled tasks run in the loop's next turn.
        await asyncio.sleep(0)
        # The queue counts every job that was taken from it, so those without an answer are settled as well.
        for job in [*self._cut_off, *(job for _, _, job in self._later)]:
            self.queue.settle(job)

    def stop(self, reason: str) -> None:
        """Send nothing more, and wait for the answers in flight. Only the first reason is kept."""
        self.progress.stopped = self.progress.stopped or reason
        self._wake.set()

    def abandon(self) -> None:
        """Do not wait for the answers in flight."""
        for task in self._tasks:
            task.cancel()

    def _send(self) -> float | None:
        """Send what may be sent; return the seconds until more may be, ``None`` if only an answer helps."""
        while not self.progress.stopped:
            now = time.monotonic()
            free = self.upstreams.free(now)
            if not free:
                return self.upstreams.ready_in(now) if self._later or not self._all_taken else None
            taken = self._next(now, free)
            if taken is None:
                if self.progress.stopped:
                    break
                return self._pause(now) if self._all_taken else 0
            job, upstream = taken
            job.count = 1 if upstream.singly else len(job.samples)
            completion = self.config.max_tokens * job.count
            most = self._budget.cost(self._most_tokens(job), completion)
            if not self._budget.fits(most):
                self._again(job, 0.0)
                # Requests in flight may cost less than reserved, so the run stops only when none is left.
                if not self._tasks:
                    self.stop(f"the next request could pass the budget of ${self.pacing.budget:g}")
                return None
            self._start(job, upstream, most, now)
        return None

    def _pause(self, now: float) -> float | None:
        """Return the seconds until one of the jobs that wait may be sent; the queue is empty."""
        if not self._later:
            return None
        due = min((then - now for then, _, _ in self._later if then > now), default=None)
        # Those that are due wait for another endpoint.
        ready = self.upstreams.ready_in(now) if self._later[0][0] <= now else None
        pause = min((wait for wait in (due, ready) if wait is not None), default=None)
        if pause is not None and pause > LONGEST_PAUSE and not self._tasks:
            self.stop("the endpoints that could answer the rest ask to wait for more than an hour")
        return None if pause is None else max(0.001, pause)

    @property
    def _all_taken(self) -> bool:
        limit = self.pacing.limit
        return self.queue.exhausted or (limit is not None and self.progress.asked >= limit)

    def _next(self, now: float, free: list[Upstream]) -> tuple[Job, Upstream] | None:
        skipped = []
        try:
            while self._later and self._later[0][0] <= now:
                waiting = heapq.heappop(self._later)
                if (upstream := self.upstreams.choose(waiting[2], free, now)) is not None:
                    self.progress.waiting -= 1
                    return waiting[2], upstream
                skipped.append(waiting)
        finally:
            for waiting in skipped:
                heapq.heappush(self._later, waiting)
        if self._all_taken:
            return None
        try:
            job = self.queue.next()
        except Exception as error:  # noqa: BLE001 - raised once the answers in flight are written
            self._crash = error
            self.stop("the requests cannot be read further")
            return None
        self.progress.asked += job is not None
        self.progress.settled = self.queue.seen - self.progress.asked
        upstream = None if job is None else self.upstreams.choose(job, free, now)
        return None if job is None or upstream is None else (job, upstream)

    def _start(self, job: Job, upstream: Upstream, most: float, now: float) -> None:
        job.attempts, job.reserved = job.attempts + 1, most
        prompt = likely_tokens(job.request.messages, self._tools(job))
        job.pace = prompt + self.config.max_tokens * job.count
        self._budget.reserve(most)
        upstream.requests.spend(now)
        upstream.tokens.spend(now, job.pace)
        task = asyncio.get_running_loop().create_task(self._ask(job, upstream, now))
        self._tasks[task] = job, upstream
        self.progress.sent += 1
        upstream.sent += 1
        upstream.in_flight += 1
        self.progress.in_flight = len(self._tasks)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        job, upstream = self._tasks.pop(task)
        upstream.in_flight -= 1
        self.progress.in_flight = len(self._tasks)
        if task.cancelled():
            self._cut_off.append(job)
        elif (error := task.exception()) is not None:
            self._crash = self._crash or error
            self.stop("an answer could not be written")
        self._wake.set()

    async def _ask(self, job: Job, upstream: Upstream, sent: float) -> None:
        request = job.request
        body = self.config.body(request.messages, job.count, first=job.samples[0], tools=request.tools)
        try:
            answers, usage = await upstream.teacher.ask(body, request.choices)
        except RequestError as error:
            self._failed(job, upstream, error, sent)
        else:
            self._answered(job, upstream, answers, usage or {}, sent)

    def _answered(
        self, job: Job, upstream: Upstream, answers: list[Answer], usage: dict[str, Any], sent: float
    ) -> None:
        latency = time.monotonic() - sent
        lines: list[dict[str, Any]] = []
        counted = usage or self._estimate(job)
        answers = flagged(answers, usage, self.config.max_tokens, fewest_tokens(job.request.messages))
        for sample, answer in zip(self._samples(job, len(answers)), answers, strict=True):
            # The usage is that of the whole reply, so only its first answer has it.
            line = self._line(job, upstream, sample, latency)
            lines.append(line | answer.fields(None if lines else counted))
        self.journal.append(lines)
        self.upstreams.answered(upstream, sent)
        tokens_in, tokens_out = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        self.progress.prompt_tokens += tokens_in
        self.progress.completion_tokens += tokens_out
        self._count_lines(lines)
        upstream.tokens.correct(tokens_in + tokens_out - job.pace if usage else 0)
        # A server that does not count tokens may have used as many as it was allowed.
        self._settle_cost(job, self._budget.cost(tokens_in, tokens_out) if usage else job.reserved)
        upstream.limit.grow()
        del job.samples[: len(lines)]
        # Some servers give one answer whatever `n` is, so the remaining samples are asked one by one.
        upstream.singly = upstream.singly or (job.count > 1 and len(answers) == 1)
        if job.samples:
            job.attempts = 0
            job.failures.clear()
            self._again(job, 0.0)
        else:
            self.queue.settle(job)

    def _samples(self, job: Job, count: int) -> list[int]:
        """Return the numbers of a reply's answers; more than were asked for get further numbers."""
        entry = job.request.id, job.key
        free = (
            n for n in itertools.count(self.config.n) if self.journal.index.get(entry_of(*entry, n)) is None
        )
        return [*job.samples[:count], *itertools.islice(free, max(0, count - len(job.samples)))]

    def _failed(self, job: Job, upstream: Upstream, error: RequestError, sent: float) -> None:
        # If a reply was lost on its way, the teacher did the work and may charge for it.
        billed = error.status is None and error.type != "connection_error"
        self._settle_cost(job, job.reserved if billed else 0.0)
        self.progress.last_error = f"{upstream.name}: {error}" if len(self.upstreams) > 1 else str(error)
        refuses_several = job.count > 1 and error.status in (400, 422) and error.is_about("n")
        # The attempt does not count: the server only told us how to ask.
        if error.free or refuses_several:
            upstream.singly = upstream.singly or refuses_several
            job.attempts -= 1
            self._again(job, 0.0)
            return
        verdict = self.upstreams.failed(upstream, job, error, sent)
        if verdict.again is not None:
            self._again(job, verdict.again)
        else:
            failure, latency = {"error": error.to_json()}, time.monotonic() - sent
            lines = [self._line(job, upstream, sample, latency) | failure for sample in job.samples]
            self.journal.append(lines)
            self._count_lines(lines)
            self.queue.settle(job)
        if verdict.stop:
            self.stop(verdict.stop)

    def _again(self, job: Job, delay: float) -> None:
        # The count keeps the heap from comparing two jobs.
        heapq.heappush(self._later, (time.monotonic() + delay, next(self._count), job))
        self.progress.waiting += 1

    def _settle_cost(self, job: Job, cost: float) -> None:
        self._budget.settle(job.reserved, cost)
        self.progress.cost = self._budget.spent

    def _estimate(self, job: Job) -> dict[str, Any] | None:
        # The next run must find the cost in the journal, so the most that the reply can have used is written.
        if self.pacing.budget is None:
            return None
        prompt, completion = self._most_tokens(job), self.config.max_tokens * len(job.samples)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "estimated": True}

    def _tools(self, job: Job) -> Tools | None:
        return self.config.tools if job.request.tools is None else job.request.tools

    def _most_tokens(self, job: Job) -> int:
        return most_tokens(job.request.messages, self._tools(job))

    def _count_lines(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            failed = outcome_of(line) == "failed"
            self.progress.failed += failed
            self.progress.answered += not failed
            self.progress.flags.update(line.get("flags", ()))
            if failed and line["error"] is None:
                self.progress.last_error = f"the answer ended with finish_reason {line['finish_reason']!r}"

    def _line(self, job: Job, upstream: Upstream, sample: int, latency: float) -> dict[str, Any]:
        answer = job.request.id, job.key, self.name, sample
        line = new_line(*answer, self.config, attempts=job.attempts, latency=round(latency, 3))
        # Not part of the key: the same answers hold whichever endpoints there are. Earlier readers ignore it.
        return line | ({"endpoint": upstream.name} if len(self.upstreams) > 1 else {})
