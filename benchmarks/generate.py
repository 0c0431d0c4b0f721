"""Measure ``dataprep generate`` against a bare loop, and the resuming of a journal of a million lines."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson

from benchmarks.measure import Contender, claim, race, table

ROWS = 20_000
IN_FLIGHT = 256
ENDPOINTS = 4
SECONDS = 0.05
JOURNAL_ROWS = 1_000_000


def bench(_: Path, folder: Path, rounds: int) -> bool:
    """Compare requests per second, and measure the time to resume a long journal."""
    requests, journal, bare = folder / "requests.jsonl", folder / "responses.jsonl", folder / "bare.jsonl"
    several = folder / "several.jsonl"
    _write_requests(requests, ROWS)
    with ExitStack() as stack:
        urls = [stack.enter_context(_serving()) for _ in range(ENDPOINTS)]
        url = urls[0]
        ours = Contender("dataprep generate", _command(requests, journal, url), [journal])
        shared = Contender(
            f"dataprep generate, {ENDPOINTS} endpoints", _command(requests, several, *urls), [several]
        )
        loop = Contender(
            "bare asyncio loop over the same client",
            [
                sys.executable,
                "-m",
                "benchmarks.rivals",
                "openai",
                str(requests),
                str(bare),
                url,
                str(IN_FLIGHT),
            ],
            [bare],
        )
        race([ours, shared, loop], rounds)
        table(
            f"{ROWS:,} requests, {IN_FLIGHT} in flight, {SECONDS * 1000:g} ms each",
            [ours, shared, loop],
            loop.name,
        )
        met = [
            claim("requests a second over the bare loop's", loop.median / ours.median, 0.85, at_least=True),
            claim(
                "processor time of several endpoints over that of one",
                min(shared.processor) / min(ours.processor),
                1.1,
                at_least=False,
            ),
            claim("peak memory in MB", ours.peak, 300, at_least=False),
        ]
        resumed = _resume(folder, url, rounds)
    return all([*met, claim("seconds until a million lines are resumed", resumed, 5.0, at_least=False)])


@contextmanager
def _serving() -> Iterator[str]:
    """Run a server, and yield its address."""
    command = [sys.executable, "-m", "benchmarks.teacher_server", str(SECONDS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        server.stdin.close()


def _command(requests: Path, journal: Path, *urls: str) -> list[str]:
    words = ["generate", str(requests), "-o", str(journal), "--model", "tiny"]
    words += [word for url in urls for word in ("--base-url", url)]
    return [sys.executable, "-m", "dataprep", *words, "--concurrency", str(IN_FLIGHT // len(urls))]


def _write_requests(path: Path, count: int) -> None:
    with path.open("wb") as out:
        for number in range(count):
            text = f"Question {number}: which of these melts first? " * 8
            row = {"id": f"row-{number}", "messages": [{"role": "user", "content": text}]}
            out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def _resume(folder: Path, url: str, rounds: int) -> float:
    """Return the seconds until the only missing answer of a million requests has arrived."""
    from dataprep.models.sampling import GenerationConfig

    requests, full, journal = folder / "million.jsonl", folder / "full.jsonl", folder / "resumed.jsonl"
    _write_requests(requests, JOURNAL_ROWS)
    config = GenerationConfig("tiny")
    with requests.open("rb") as rows, full.open("wb") as out:
        for number, line in enumerate(rows):
            row = orjson.loads(line)
            answer = {
                "id": row["id"],
                "key": config.key(row["messages"]),
                "teacher": "tiny",
                "model": "tiny",
                "sample": 0,
                "max_tokens": 512,
                "response": "The answer is (b). " * 20,
                "finish_reason": "stop",
                "reasoning": None,
                "usage": {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200},
                "logprobs": None,
                "attempts": 1,
                "latency": 0.051,
                "time": "2026-01-01T00:00:00Z",
                "error": None,
            }
            if number < JOURNAL_ROWS - 1:
                out.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE))
    full.rename(journal)
    contender = Contender("resume", [*_command(requests, journal, url), "--limit", "1"])
    size, seconds = journal.stat().st_size, []
    for _ in range(rounds):
        with journal.open("r+b") as file:
            file.truncate(size)  # the last request is missing again
        began = time.time()
        contender.run()
        seconds.append(journal.stat().st_mtime - began)
    table("a journal of a million lines, its last request asked", [contender], "resume")
    return statistics.median(seconds)
