"""Run ``generate``: read the requests and the journal, ask for what is missing, and report.

The journal is the only state. After a crash or a change, the same command asks for what the journal lacks.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from dataprep import __version__
from dataprep.core import io as files
from dataprep.core.errors import UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.manifests.keys import value_without_keys
from dataprep.core.urls import without_credentials
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.client import Client, Progress
from dataprep.teacher.connection import Connection, check_models
from dataprep.teacher.journal.current import CurrentLines
from dataprep.teacher.journal.index import read_index
from dataprep.teacher.journal.line import now, outcome_of, sample_of
from dataprep.teacher.journal.writer import JournalWriter, set_aside
from dataprep.teacher.likelihood import way_of
from dataprep.teacher.requests import Keyed, PendingQueue, Request, is_long, read_keyed, read_requests
from dataprep.teacher.settings import Endpoint, Pacing
from dataprep.teacher.upstreams import Teacher

OnProgress = Callable[[Progress], None]
Connect = Callable[[], AbstractAsyncContextManager[Teacher]]


@dataclass
class GenerateReport:
    """The result of a run."""

    ledger: Ledger  # Requests in, complete answers out, and a reason for each of the others.
    progress: Progress = field(default_factory=Progress)
    interrupted: bool = False  # True if the user stopped it.
    signal: int = signal.SIGINT  # The last signal that did so.
    torn: bool = False  # True if the journal had a torn last line.
    twice: list[str] = field(default_factory=list)  # The first few ids that more than one request has.
    flags: dict[str, int] = field(default_factory=dict)  # The journal's lines with each of ``line.FLAGS``.
    # Of each of several endpoints, by address, how many requests were `sent` and `answered`.
    endpoints: dict[str, dict[str, int]] = field(default_factory=dict)


def status_of_requests(requests: str | Path, journal: str | Path, config: GenerationConfig) -> GenerateReport:
    """Report how far a journal answers a file of requests, without sending or writing anything."""
    index = read_index(journal)
    queue = PendingQueue(read_requests(requests), config, index)
    return GenerateReport(queue.drain(), torn=index.torn, flags=dict(index.flags))


def generate(
    requests: str | Path,
    journal: str | Path,
    config: GenerationConfig,
    endpoint: Endpoint | Sequence[Endpoint],
    *,
    teacher: str | None = None,
    pacing: Pacing | None = None,
    timeout: float = 120.0,
    retry_failed: bool = True,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
    log: Callable[[str], None] | None = None,
) -> GenerateReport:
    """Ask a teacher for what the journal lacks of the answers to a file of requests.

    Args:
        requests: a file of rows ``{id, messages}``, as ``prompt_file`` writes them.
        journal: a ``.jsonl`` file; it is created if it is missing, and only grows.
        config: the model, and the settings that change an answer.
        endpoint: where the teacher is. Several endpoints serve the same model, and share the requests.
        teacher: the teacher's name in the journal. Defaults to the model's name.
        pacing: how fast, how often and at what cost it is asked. Rates and the number of requests in flight
            are those of each endpoint; the budget and the limit are those of the run.
        timeout: seconds for one attempt.
        retry_failed: ask again for what failed or was empty in an earlier run.
        fresh: set the journal aside, and begin a new one.
        on_progress: called with the progress whenever it changes, in the thread that asks.
        log: called with a line when one of several endpoints is set aside, and when it answers again.
    """
    pacing = pacing or Pacing()
    check_pacing(pacing)
    endpoints = [endpoint] if isinstance(endpoint, Endpoint) else list(endpoint)
    options: dict[str, Any] = {"timeout": timeout, "likelihoods": way_of(config)}
    connections: dict[str, Connect] = {
        each.shown_url: partial(Connection, each, **options) for each in endpoints
    }
    if len(connections) < len(endpoints) or not endpoints:
        raise UsageError("expected one --base-url or more, each of them once")
    if len(endpoints) > 1:
        asyncio.run(check_models(endpoints, config.model, timeout))
    return run(
        requests,
        journal,
        config,
        connections,
        teacher=teacher or config.model,
        pacing=pacing,
        retry_failed=retry_failed,
        fresh=fresh,
        on_progress=on_progress,
        log=log,
    )


def run(
    requests: str | Path,
    journal: str | Path,
    config: GenerationConfig,
    connections: Mapping[str, Connect],
    *,
    teacher: str,
    pacing: Pacing,
    retry_failed: bool = True,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
    log: Callable[[str], None] | None = None,
) -> GenerateReport:
    """Ask a teacher of any kind: ``connections`` has what opens each of its connections, by address."""
    config.check_samples()
    files.check_local(journal, "a journal, to which answers are appended,")
    files.check_one_file(journal)
    files.check_input(str(requests))
    files.check_apart([journal], [requests], "the journal would be written into the requests")
    if fresh:
        set_aside(journal)
    began = now()
    rows: Iterable[Request | Keyed] = read_requests(requests)
    if is_long(requests):
        rows = read_keyed(requests, config)
    elif not files.is_file(requests):
        # The loop that asks would block on a slow pipe.
        rows = list(rows)
    with JournalWriter(journal) as opened:
        opened.index.check_teacher(config.model, teacher, str(journal))
        queue = PendingQueue(rows, config, opened.index, retry_failed=retry_failed)
        report = GenerateReport(Ledger(), torn=opened.index.torn)

        async def ask() -> None:
            async with AsyncExitStack() as stack:
                teachers = {
                    address: await stack.enter_async_context(connect())
                    for address, connect in connections.items()
                }
                watched: dict[str, Any] = {"on_progress": on_progress, "log": log}
                client = Client(teachers, teacher, queue, opened, config, pacing, **watched)
                report.progress = client.progress
                with _stopping_gently(client, report):
                    await client.run()
                report.endpoints = client.upstreams.counts()

        asyncio.run(ask())
        # The rest of the requests is read even after a stop: the ledger counts those that were not asked.
        report.ledger = queue.drain()
        report.ledger.check()
        report.twice, report.flags = queue.twice, dict(opened.index.flags)
        repeat_current(opened, queue, teacher)
    settings, addresses = config.to_json(), [_named(address) for address in connections]
    manifest = {
        "dataprep": __version__,
        "requests": _named(str(requests)),
        "teacher": teacher,
        "endpoint": addresses if len(addresses) > 1 else addresses[0],
        **settings,
        "extra": value_without_keys(settings["extra"]),
        "model": _named(config.model),
        "began": began,
        "ended": now(),
        "sent": report.progress.sent,
        "stopped": report.progress.stopped or None,
        "last_error": report.progress.last_error or None,
        "flags": report.flags,
        **({"endpoints": report.endpoints} if report.endpoints else {}),
        **report.ledger.to_json(),
    }
    text = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    files.write_text(text, str(Path(journal).with_suffix(".manifest.json")))
    return report


def _named(path: str) -> str:
    """Return a path, model or address, of which an absolute path tells its name alone."""
    if files.is_url(path):
        return without_credentials(path)
    return files.printable(Path(path).name if Path(path).is_absolute() else path)


def repeat_current(journal: JournalWriter, queue: PendingQueue, teacher: str) -> int:
    """Append answers again that lines with another key follow; return the number of lines."""
    # Readers take the key of an id's last line for the current one. If a prompt or a setting was changed and
    # then changed back, the answers with the present key are already there and nothing is sent. They are
    # appended once more, marked as repeated and without usage, because nobody paid again.
    # Nearly always the journal holds nothing but answers with these keys, and is not read a second time.
    if len(journal.index) <= len(queue.keys) - queue.missing:
        return 0
    last = {line["id"]: line["key"] for line in _lines(journal, teacher)}
    stale = {identity for identity, key in last.items() if queue.keys.get(identity, key) != key}
    lines: list[dict[str, Any]] = []
    current = CurrentLines()
    for line in _lines(journal, teacher) if stale else ():
        identity, key = line["id"], line["key"]
        if identity in stale and key == queue.keys[identity]:
            current.add(teacher, identity, key, sample_of(line), outcome_of(line), len(lines))
            lines.append(line)
    repeated = [lines[place] for _, _, _, place in current]
    if repeated:
        journal.append({**line, "usage": None, "repeated": True} for line in repeated)
    return len(repeated)


def _lines(journal: JournalWriter, teacher: str) -> Iterator[dict[str, Any]]:
    for _, data in files.read_lines(str(journal.path), growing=True):
        line = orjson.loads(data)
        if line["teacher"] == teacher:
            yield line


def check_pacing(pacing: Pacing) -> None:
    """Raise ``UsageError`` for a limit that is out of range."""
    limits = (pacing.rpm, pacing.tpm, pacing.budget)
    amounts = (*limits, pacing.price_in, pacing.price_out)
    if any(amount is not None and not math.isfinite(amount) for amount in amounts):
        raise UsageError("expected numbers for --rpm, --tpm, --budget and the prices")
    too_low = any(limit is not None and limit <= 0 for limit in limits)
    if pacing.concurrency < 1 or pacing.retries < 0 or too_low:
        raise UsageError("expected --concurrency of 1 or more, and --rpm, --tpm and --budget above 0")
    # Without prices every cost is 0, and the budget would never end.
    if pacing.budget is not None and not (pacing.price_in or pacing.price_out):
        raise UsageError("--budget needs --price-in and --price-out, in dollars for a million tokens")


@contextmanager
def _stopping_gently(client: Client, report: GenerateReport) -> Iterator[None]:
    """Stop sending at the first Ctrl-C, SIGTERM or SIGHUP, and do not wait for answers at the second."""
    loop = asyncio.get_running_loop()

    def interrupt(number: int) -> None:
        if report.interrupted:
            client.abandon()
        report.interrupted, report.signal = True, number
        client.stop("interrupted")

    # Put back afterwards: a library must not leave its handlers in the caller's process.
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # Signals that `nohup`, or a shell for its jobs, ignores stay ignored.
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    installed = []
    # Windows, or not the main thread.
    with suppress(NotImplementedError, ValueError, RuntimeError):
        for number in before:
            loop.add_signal_handler(number, interrupt, number)
            installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
