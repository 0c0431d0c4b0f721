"""Find which requests are still to be asked, given what the journal already holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from dataprep.core.ledger import Ledger
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.journal.index import Index, entry_of
from dataprep.teacher.journal.line import OUTCOMES, Outcome
from dataprep.teacher.requests import Keyed, Request

State = Literal[Outcome, "missing", "used"]
# The worst of several samples decides what the ledger counts their request as.
_WORST: tuple[State, ...] = ("missing", *reversed(OUTCOMES))
SHOWN = 5
# Answers that arrive wait while requests are looked at, so one call looks at no more than these.
AT_ONCE = 1_000


@dataclass(slots=True)
class Job:
    """A request that is to be asked, and which of its samples are missing.

    Attributes:
        attempts: number of times it was sent.
        reserved: dollars reserved for it while it is in flight.
        pace: tokens counted for it while it is in flight.
    """

    request: Request
    key: str
    samples: list[int]
    attempts: int = 0
    reserved: float = 0.0
    pace: int = 0


class PendingQueue:
    """The jobs that are left, in the order of the requests.

    Attributes:
        seen: number of requests read so far.
        exhausted: whether all were read.
        keys: their keys, by id.
        twice: the first few ids that a further request has too.
    """

    def __init__(
        self,
        requests: Iterable[Request | Keyed],
        config: GenerationConfig,
        index: Index,
        *,
        retry_failed: bool = True,
    ) -> None:
        self.seen = 0
        self.exhausted = False
        self.keys: dict[str, str] = {}
        self.twice: list[str] = []
        self._requests = iter(requests)
        self._config = config
        self._index = index
        self._retry_failed = retry_failed
        self._settled: Counter[State] = Counter()

    def next(self) -> Job | None:
        """Return the next job; ``None`` if there is none, or none among the next ``AT_ONCE`` requests."""
        single, key_of, done, keys = self._config.n == 1, self._config.key, self._index.done, self.keys
        before = self.seen
        for request in islice(self._requests, AT_ONCE):
            self.seen += 1
            identity = request.id
            # Readers of the journal could not tell the two answers apart.
            if identity in keys:
                self._settled["used"] += 1
                if len(self.twice) < SHOWN:
                    self.twice.append(identity)
                continue
            keys[identity] = key = request.key or key_of(request.whole().messages)
            # A resumed run of a million requests spends its time here, so the name is not made by a call.
            if single and done(f"{identity}\0{key}"):
                self._settled["ok"] += 1
                continue
            if samples := self._to_ask(identity, key):
                return Job(request.whole(), key, samples)
            self._settled[self._state(identity, key)] += 1
        self.exhausted = self.seen - before < AT_ONCE
        return None

    def jobs(self) -> Iterator[Job]:
        """Yield all jobs that are left."""
        while not self.exhausted:
            if (job := self.next()) is not None:
                yield job

    def _to_ask(self, identity: str, key: str) -> list[int]:
        limit, retry_failed = self._config.max_tokens, self._retry_failed
        standings = (self._index.get(entry_of(identity, key, sample)) for sample in range(self._config.n))
        return [
            sample
            for sample, standing in enumerate(standings)
            if standing is None or not standing.is_settled(limit, retry_failed=retry_failed)
        ]

    def _state(self, identity: str, key: str) -> State:
        standings = [self._index.get(entry_of(identity, key, sample)) for sample in range(self._config.n)]
        limit = self._config.max_tokens
        states: set[State] = {
            "missing" if standing is None else standing.outcome_at(limit) for standing in standings
        }
        return next(state for state in _WORST if state in states)

    @property
    def missing(self) -> int:
        """Number of settled requests that lack a line for one of their samples."""
        return self._settled["missing"]

    def settle(self, job: Job) -> None:
        """Count a job by what the journal holds of it now."""
        self._settled[self._state(job.request.id, job.key)] += 1

    def drain(self) -> Ledger:
        """Return the ledger of all requests; those that were not asked are dropped as ``not asked yet``."""
        for job in self.jobs():
            self.settle(job)
        ledger = Ledger(self.seen, self._settled["ok"])
        for state, count in self._settled.items():
            if state in ("failed", "used"):
                ledger.fail("its id is used twice" if state == "used" else state, count)
            elif state != "ok":
                ledger.drop("not asked yet" if state == "missing" else state, count)
        return ledger
