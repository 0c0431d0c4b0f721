"""A file of requests asked of a teacher, answer by answer into the journal.

Which of several prompts' answers hold: those of the requests at hand, put last in the journal again.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from dataprep import __version__
from dataprep.core import io as files
from dataprep.core.errors import UsageError
from dataprep.core.ledger import Ledger
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.client import Client, Pacing, Progress, Teacher
from dataprep.teacher.connection import Connection
from dataprep.teacher.journal.current import CurrentLines, sample_of
from dataprep.teacher.journal.index import read_index
from dataprep.teacher.journal.line import outcome_of
from dataprep.teacher.journal.writer import Journal, set_aside
from dataprep.teacher.queue import PendingQueue
from dataprep.teacher.requests import Keyed, Request, is_long, read_keyed, read_requests
from dataprep.teacher.settings import Endpoint


def make_current(journal: Journal, queue: PendingQueue, teacher: str) -> int:
    """Repeat answers behind those to other prompts of the same ids; returns how many lines that took.

    Whoever reads a journal takes the last key of an id for the current one. When a prompt or a setting was
    changed and then changed back, the answers of the present key are there already, and nothing is sent for
    them: they are written once more, marked ``"repeated": true`` and without usage, as nobody paid again.
    """
    # Nearly always the journal holds nothing but the answers to these prompts, and is not read again.
    if len(journal.index) <= len(queue.keys) - queue.missing:
        return 0
    last: dict[str, str] = {}
    for line in _lines(journal, teacher):
        if line["id"] in queue.keys:
            last[line["id"]] = line["key"]
    stale = {identity for identity, key in last.items() if key != queue.keys[identity]}
    current = CurrentLines[dict[str, Any]]()
    for line in _lines(journal, teacher) if stale else ():
        identity, key = line["id"], line["key"]
        if identity in stale and key == queue.keys[identity]:
            current.add(teacher, identity, key, sample_of(line), outcome_of(line), line)
    repeated = [line for _, _, _, line in current.items()]
    if repeated:
        journal.append({**line, "usage": None, "repeated": True} for line in repeated)
    return len(repeated)


def _lines(journal: Journal, teacher: str) -> Iterator[dict[str, Any]]:
    for _, data in files.read_lines(str(journal.path)):
        line = orjson.loads(data)
        if line["teacher"] == teacher:
            yield line


OnProgress = Callable[[Progress], None]


@dataclass
class GenerateReport:
    """What became of the requests.

    Attributes:
        ledger: requests in, complete answers out, and a reason for each of the others.
        progress: what this run did; ``None`` where nothing was to be sent.
        interrupted: whether it was stopped by the user.
        torn: whether the journal had a torn last line.
        twice: ids that more than one request has, the first few.
    """

    ledger: Ledger
    progress: Progress = field(default_factory=Progress)
    interrupted: bool = False
    torn: bool = False
    twice: list[str] = field(default_factory=list)


def status_of_requests(requests: str | Path, journal: str | Path, config: GenerationConfig) -> GenerateReport:
    """What a journal holds of the answers to a file of requests. Nothing is sent or written.

    Raises:
        InputError: a row is no request, or a line none of a journal.
        FileError: a file cannot be read.
    """
    index = read_index(journal)
    return GenerateReport(PendingQueue(read_requests(requests), config, index).drain(), torn=index.torn)


def generate(
    requests: str | Path,
    journal: str | Path,
    config: GenerationConfig,
    endpoint: Endpoint,
    *,
    teacher: str | None = None,
    pacing: Pacing | None = None,
    timeout: float = 120.0,
    retry_failed: bool = True,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
) -> GenerateReport:
    """Ask a teacher for what the journal lacks of the answers to a file of requests.

    Args:
        requests: a file of rows ``{id, messages}``, as ``prompt_file`` writes them.
        journal: a ``.jsonl`` file; it is made where it is missing, and only grows.
        config: the model, and the settings that change an answer.
        endpoint: where the teacher is.
        teacher: what the teacher is called in the journal; without it, as the model.
        pacing: how fast, how often and for how much it is asked.
        timeout: seconds for one attempt.
        retry_failed: ask again for what has failed or was empty in an earlier run.
        fresh: set the journal aside, and begin a new one.
        on_progress: called with the progress whenever something has changed, in the thread that asks.

    Raises:
        InputError: a row is no request, or a line none of a journal.
        FileError: a file cannot be read or written, or another process writes the journal.
        UsageError: a setting that cannot be served.
        MissingDependencyError: the ``openai`` package is not installed.
    """
    pacing = pacing or Pacing()
    check_pacing(pacing)
    return run(
        requests,
        journal,
        config,
        lambda: Connection(endpoint, timeout=timeout),
        where=endpoint.shown_url,
        teacher=teacher or config.model,
        pacing=pacing,
        retry_failed=retry_failed,
        fresh=fresh,
        redact=endpoint.redact,
        on_progress=on_progress,
    )


def run(
    requests: str | Path,
    journal: str | Path,
    config: GenerationConfig,
    connect: Callable[[], AbstractAsyncContextManager[Teacher]],
    *,
    where: str,
    teacher: str,
    pacing: Pacing,
    retry_failed: bool = True,
    fresh: bool = False,
    redact: Callable[[str], str] = str,
    on_progress: OnProgress | None = None,
) -> GenerateReport:
    """As ``generate``, of a teacher of any kind: ``connect`` gives it, ``where`` says where it is."""
    files.check_input(str(requests))
    files.check_apart([journal], [requests], "the journal would be written into the requests")
    if fresh:
        set_aside(journal)
    began = _now()
    rows: Iterable[Request | Keyed] = read_requests(requests)
    if is_long(requests):
        rows = read_keyed(requests, config)
    elif not Path(requests).is_file():
        rows = list(rows)  # a pipe that is slow would hold up the answers, so it is read first
    with Journal(journal) as opened:
        opened.index.check_teacher(config.model, teacher, str(journal))
        queue = PendingQueue(rows, config, opened.index, retry_failed=retry_failed)
        report = GenerateReport(Ledger(), torn=opened.index.torn)

        async def ask() -> None:
            async with connect() as connected:
                client = Client(
                    connected, teacher, queue, opened, config, pacing, redact=redact, on_progress=on_progress
                )
                report.progress = client.progress
                with _stopping_gently(client, report):
                    await client.run()

        asyncio.run(ask())
        report.ledger = queue.drain()
        report.ledger.check()
        report.twice = queue.twice
        make_current(opened, queue, teacher)
    settings = {"teacher": teacher, "endpoint": where, **config.to_json()}
    _write_manifest(Path(journal), str(requests), settings, report, began)
    return report


def _write_manifest(
    journal: Path, requests: str, settings: dict[str, Any], report: GenerateReport, began: str
) -> None:
    """Say beside the journal what was asked of whom, with which settings, and what came of it."""
    manifest = {
        "dataprep": __version__,
        "requests": requests,
        **settings,
        "began": began,
        "ended": _now(),
        "sent": report.progress.sent,
        "stopped": report.progress.stopped or None,
        **report.ledger.to_json(),
    }
    text = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    files.write_text(text, str(journal.with_name(f"{journal.stem}.manifest.json")))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def check_pacing(pacing: Pacing) -> None:
    """Raise ``UsageError`` for a limit that makes no sense."""
    limits = (pacing.rpm, pacing.tpm, pacing.budget)
    amounts = (*limits, pacing.price_in, pacing.price_out)
    if any(amount is not None and not math.isfinite(amount) for amount in amounts):
        raise UsageError("expected numbers for --rpm, --tpm, --budget and the prices")
    if (
        pacing.concurrency < 1
        or pacing.retries < 0
        or any(limit is not None and limit <= 0 for limit in limits)
    ):
        raise UsageError("expected --concurrency of 1 or more, and --rpm, --tpm and --budget above 0")
    if pacing.budget is not None and not (pacing.price_in or pacing.price_out):
        raise UsageError("--budget needs --price-in and --price-out, in dollars for a million tokens")


@contextmanager
def _stopping_gently(client: Client, report: GenerateReport) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) stops sending, the second does not wait for what is in flight."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if report.interrupted:
            client.abandon()
        report.interrupted = True
        client.stop("interrupted")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    installed = []
    with suppress(NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
        for number in before:
            loop.add_signal_handler(number, interrupt)
            installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
