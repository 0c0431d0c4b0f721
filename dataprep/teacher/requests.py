"""Read requests to teachers, as ``dataprep prompt`` writes them, and find those still to be asked."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from dataprep.core import io as files
from dataprep.core import parallel as engine
from dataprep.core.conversations import ROLES
from dataprep.core.errors import InputError, Location, RowError, located
from dataprep.core.jsonl import parse_line
from dataprep.core.ledger import Ledger
from dataprep.core.records import describe
from dataprep.models.sampling import GenerationConfig, Tools, tools_of
from dataprep.teacher.journal.index import Index, Standing, entry_of
from dataprep.teacher.journal.line import OUTCOMES, Outcome

State = Literal[Outcome, "missing", "used"]
# The worst of several samples decides what the ledger counts their request as.
_WORST: tuple[State, ...] = ("missing", *reversed(OUTCOMES))
_SHOWN = 5
# Answers that arrive wait while requests are looked at, so one call looks at no more than these.
_AT_ONCE = 1_000


@dataclass(slots=True)
class Request:
    """A request: the row's id, the messages, the choices and tools if any, and the key if it is known."""

    id: str
    messages: list[dict[str, Any]]
    choices: tuple[str, ...] = ()
    key: str = ""
    tools: Tools | None = None  # In place of the tools of all requests.

    def whole(self) -> Request:
        """Return the request itself, as ``Keyed.whole`` does."""
        return self


def request_of(row: Mapping[str, Any]) -> Request:
    """Return the request in a row ``{id, messages, …}``."""
    identity, messages = row.get("id"), row.get("messages")
    if type(identity) is not str or not identity or "\0" in identity:
        raise RowError("no id", f"expected a text in 'id', found {describe(identity)}")
    if type(messages) is not list or not messages:
        raise RowError("no messages", f"expected a list of messages, found {describe(messages)}")
    try:
        for message in messages:
            if message["role"] not in ROLES or type(message["content"]) is not str:
                raise TypeError
    # Reasons are looked for only here, which keeps long files fast.
    except (KeyError, TypeError):
        _check_messages(messages)
    # Servers would continue such a message or refuse it.
    if messages[-1]["role"] == "assistant":
        raise RowError("no question", "the last message is the assistant's; expected one that asks")
    choices = row.get("choices") or []
    if type(choices) is not list or not all(type(choice) is str for choice in choices):
        raise RowError("malformed choices", f"expected texts, found {describe(choices)}")
    tools = row.get("tools")
    return Request(identity, messages, tuple(choices), tools=None if tools is None else tools_of(tools))


def _check_messages(messages: list[Any]) -> None:
    for message in messages:
        if type(message) is not dict or message.get("role") not in ROLES:
            raise RowError("not a message", f"expected one of the roles {ROLES}, found {describe(message)}")
        content = message.get("content")
        # A teacher's call of a tool needs no words, and a content can be divided.
        if content is None and message["role"] == "assistant" and message.get("tool_calls"):
            continue
        if type(content) is list and all(
            type(part) is dict and type(part.get("text")) is str for part in content
        ):
            continue
        if type(content) is not str:
            raise RowError("not a message", f"expected a text as 'content', found {describe(message)}")


def count_requests(path: str | Path) -> int:
    """Return the number of rows of a file, for a progress bar; 0 for standard input (read once)."""
    return 0 if str(path) == files.STDIO else sum(1 for _ in files.read_lines(str(path)))


class _Block:
    """The lines of a block, read when the first of them is needed."""

    def __init__(self, block: files.Block) -> None:
        self._block = block

    @cached_property
    def lines(self) -> list[bytes]:
        return self._block.read().split(b"\n")


@dataclass(slots=True)
class Keyed:
    """A request of which only id and key were read, as is enough for most of a resumed run."""

    id: str
    key: str
    block: _Block
    number: int  # Its line in the block, counted from 0.

    def whole(self) -> Request:
        """Parse and return the request itself."""
        return request_of(parse_line(self.block.lines[self.number]))


def read_keyed(path: str | Path, config: GenerationConfig) -> Iterator[Keyed]:
    """Yield the requests of a long JSON Lines file with their keys, which all cores compute."""
    # Workers return only ids and keys. The blocks stay here, for the few requests whose messages are needed.
    given, before = deque[files.Block](), 0

    def blocks() -> Iterator[files.Block]:
        for block in files.read_blocks(str(path)):
            given.append(block)
            yield block

    with engine.Pool(partial(_keys_of, config), engine.available_cores()) as pool:
        for rows, count, bad in pool.map(blocks()):
            lines = _Block(given.popleft())
            for number, identity, key in rows:
                yield Keyed(identity, key, lines, number)
            if bad is not None:
                raise InputError(Location(str(path), before + bad[0]), bad[1])
            before += count


def is_long(path: str | Path) -> bool:
    """Return whether a file is worth several processes, and can be divided into byte ranges."""
    if not files.is_file(path) or not files.format_of(str(path)).is_plain_lines:
        return False
    return files.size_of(path) > engine.AUTO_WORKERS_BYTES


_Keys = tuple[list[tuple[int, str, str]], int, tuple[int, str] | None]


def _keys_of(config: GenerationConfig, block: files.Block) -> _Keys:
    """Return number, id and key of each row; the number of lines; and the first bad row, if any."""
    lines = block.read().removesuffix(b"\n").split(b"\n")
    rows: list[tuple[int, str, str]] = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            request = request_of(parse_line(line))
        except RowError as error:
            return rows, len(lines), (number + 1, str(error))
        rows.append((number, request.id, config.key(request.messages, request.tools, request.choices)))
    return rows, len(lines), None


def read_requests(path: str | Path) -> Iterator[Request]:
    """Yield the requests of a file, in order."""
    for where, row in files.read_rows(str(path)):
        # A context manager for each of a million requests would slow a resumed run down: bad rows only.
        try:
            request = request_of(row)
        except RowError:
            with located(where):
                raise
        yield request


@dataclass(slots=True)
class Job:
    """A request that is to be asked, and which of its samples are missing."""

    request: Request
    key: str
    samples: list[int]
    attempts: int = 0  # Number of times it was sent.
    reserved: float = 0.0  # Dollars reserved for it while it is in flight.
    pace: int = 0  # Tokens counted for it while it is in flight.
    count: int = 0  # Number of answers asked for while it is in flight.
    # Number of failures at each of several endpoints, by address; infinite where it is refused.
    failures: dict[str, float] = field(default_factory=dict)


class PendingQueue:
    """The jobs that are left, in the order of the requests.

    ``retry_failed`` asks again for what failed or was empty in an earlier run.
    """

    def __init__(
        self,
        requests: Iterable[Request | Keyed],
        config: GenerationConfig,
        index: Index,
        retry_failed: bool = True,
    ) -> None:
        self.seen = 0  # number of requests read so far
        self.exhausted = False  # whether all were read
        self.keys: dict[str, str] = {}  # their keys, by id
        self.twice: list[str] = []  # the first few ids that a further request has too
        self._requests = iter(requests)
        self._config = config
        self._index = index
        self._retry_failed = retry_failed
        self._settled: Counter[State] = Counter()

    def next(self) -> Job | None:
        """Return the next job; ``None`` if there is none, or none among the next ``_AT_ONCE`` requests."""
        single, key_of, done, keys = self._config.n == 1, self._config.key, self._index.done, self.keys
        before = self.seen
        for request in islice(self._requests, _AT_ONCE):
            self.seen += 1
            identity = request.id
            # Readers of the journal could not tell the two answers apart.
            if identity in keys:
                self._settled["used"] += 1
                if len(self.twice) < _SHOWN:
                    self.twice.append(identity)
                continue
            if not (key := request.key):
                whole = request.whole()
                key = key_of(whole.messages, whole.tools, whole.choices)
            keys[identity] = key
            # A resumed run of a million requests spends its time here, so the name is not made by a call.
            if single and done(f"{identity}\0{key}"):
                self._settled["ok"] += 1
                continue
            if samples := self._to_ask(identity, key):
                return Job(request.whole(), key, samples)
            self._settled[self._state(identity, key)] += 1
        self.exhausted = self.seen - before < _AT_ONCE
        return None

    def jobs(self) -> Iterator[Job]:
        """Yield all jobs that are left."""
        while not self.exhausted:
            if (job := self.next()) is not None:
                yield job

    def _standings(self, identity: str, key: str) -> list[Standing | None]:
        return [self._index.get(entry_of(identity, key, sample)) for sample in range(self._config.n)]

    def _to_ask(self, identity: str, key: str) -> list[int]:
        limit, retry_failed = self._config.max_tokens, self._retry_failed
        return [
            sample
            for sample, standing in enumerate(self._standings(identity, key))
            if standing is None or not standing.is_settled(limit, retry_failed=retry_failed)
        ]

    def _state(self, identity: str, key: str) -> State:
        limit, standings = self._config.max_tokens, self._standings(identity, key)
        states = {"missing" if standing is None else standing.outcome_at(limit) for standing in standings}
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
