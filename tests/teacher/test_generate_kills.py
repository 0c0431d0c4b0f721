"""SIGKILL at any moment: no answer that was written is lost, and none is asked again."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import orjson
import pytest

from tests.teacher_server import Reply, TeacherServer, completion, error

ROWS = 120
CONCURRENCY = 8


def start(requests, journal, url):
    """``dataprep generate`` in a process of its own."""
    words = ["generate", requests, "-o", journal, "--model", "tiny", "--base-url", url, "--quiet"]
    words += ["--concurrency", str(CONCURRENCY), "--retries", "20"]
    return subprocess.Popen(
        [sys.executable, "-m", "dataprep", *map(str, words)],
        env=os.environ | {"TEACHER_MODEL_API_KEY": "k" * 20},
    )


def written(journal):
    """The ids of the whole lines with answers."""
    data = journal.read_bytes() if journal.exists() else b""
    rows = [orjson.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
    return [row["id"] for row in rows if row["error"] is None]


def run_and_kill(folder, kills, seed):
    """Kill so many runs at random moments, then let one finish; what was asked too often is returned."""
    chance = random.Random(seed)
    requests, journal = folder / "requests.jsonl", folder / "responses.jsonl"
    requests.write_bytes(
        b"".join(
            orjson.dumps({"id": f"r{n}", "messages": [{"role": "user", "content": f"q{n}"}]}) + b"\n"
            for n in range(ROWS)
        )
    )
    answered: Counter[str] = Counter()

    def behave(got, number):
        if number % 10 == 0:
            return chance.choice([Reply(429, error("slow")), Reply(500, error("x")), Reply(reset=True)])
        answered[got.question] += 1
        return Reply(body=completion(f"answer to {got.question}"), delay=chance.uniform(0.002, 0.03))

    with TeacherServer(behave) as server:
        for _ in range(kills):
            before = set(written(journal))
            sent_before = Counter(got.question for got in server.received)
            process = start(requests, journal, server.url)
            since = len(server.received)
            while len(server.received) == since and process.poll() is None:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            after = set(written(journal))
            assert before <= after, "an answer that was written is gone"
            asked = Counter(got.question for got in server.received) - sent_before
            assert not {f"q{identity[1:]}" for identity in before} & asked.keys(), "asked again"
        assert start(requests, journal, server.url).wait(120) == 0
    ids = Counter(written(journal))
    assert ids == {f"r{n}": 1 for n in range(ROWS)}, "an answer is missing, or there twice"
    texts = {row["id"]: row["response"] for row in map(orjson.loads, journal.read_bytes().splitlines())}
    assert texts == {f"r{n}": f"answer to q{n}" for n in range(ROWS)}
    return sum(answered.values()) - ROWS


@pytest.mark.medium
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_runs_lose_and_repeat_nothing(tmp_path, seed):
    """At most the requests in flight at a kill are asked again."""
    assert run_and_kill(tmp_path, 2, seed) <= 2 * CONCURRENCY


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_killed_runs_lose_and_repeat_nothing(tmp_path, seed):
    """Two hundred kills in all."""
    assert run_and_kill(tmp_path, 10, seed) <= 10 * CONCURRENCY
