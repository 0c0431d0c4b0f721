"""A published set from raw rows to training data: prompt, generate (killed twice), collect, review."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import orjson
import pytest

from tests.real import DATA, needs
from tests.teacher_server import Reply, TeacherServer, completion, error

DEV = DATA / "commonsense_qa" / "dev_rand_split.jsonl"
ROWS = 1_221


def dataprep(*words, **options):
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dataprep", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"TEACHER_MODEL_API_KEY": "x" * 20},
        **options,
    )  # fmt: skip


def done(*words):
    """A command that must succeed; its standard error."""
    process = dataprep(*words)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said.decode()
    return said.decode()


def behave(got, number):
    """One request in ten fails, in one of six ways; the letter depends on the question alone."""
    faults = [
        Reply(429, error("slow"), {"retry-after": "0.01"}), Reply(500, error("oops")), Reply(503, b"busy"),
        Reply(reset=True), Reply(body=completion("(a) and mo"), cut=40), Reply(body=b'{"choices": ['),
    ]  # fmt: skip
    if number % 10 == 0:
        return faults[number // 10 % len(faults)]
    return Reply(body=completion(f"({'abcde'[len(got.question) % 5]})"), delay=0.01)


@pytest.mark.slow
@needs("commonsense_qa")
def test_commonsense_qa_goes_from_raw_rows_to_training_data(tmp_path):
    """1,221 rows, 10% faults, two SIGKILLs: 1,221 answers, none twice, train_data.jsonl and the page."""
    requests, journal = tmp_path / "requests.jsonl", tmp_path / "responses.jsonl"
    done("prompt", DEV, "--dataset", "commonsense_qa", "--no-teacher-forcing", "-o", requests)
    with TeacherServer(behave) as server:
        ask = ("generate", requests, "-o", journal, "--model", "tiny", "--base-url", server.url)
        for kill_at in (300, 800):
            process = dataprep(*ask)
            while len(server.received) < kill_at:
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert f"{ROWS:,} in = {ROWS:,} out" in done(*ask)
        sent = len(server.received)
        done(*ask)
        assert len(server.received) == sent
    lines = [orjson.loads(line) for line in journal.read_bytes().splitlines()]
    answers = Counter(line["id"] for line in lines if line["error"] is None)
    assert len(answers) == ROWS
    assert set(answers.values()) == {1}

    pairs = tmp_path / "train_data.jsonl"
    collect = ("collect", journal, "--examples", DEV, "--dataset", "commonsense_qa")
    done(*collect, "--to", "qa", "--keep", "ok,answer_mismatch", "-o", pairs)
    rows = [orjson.loads(line) for line in pairs.read_bytes().splitlines()]
    assert len(rows) == ROWS
    assert all(row.keys() == {"Question", "Answer"} for row in rows)
    labelled = tmp_path / "labelled.jsonl"
    done(*collect, "-o", labelled)
    statuses = Counter(orjson.loads(line)["status"]["tiny"] for line in labelled.read_bytes().splitlines())
    assert statuses.total() == ROWS
    assert set(statuses) == {"ok", "answer_mismatch"}
    page = tmp_path / "report.html"
    done("review", journal, "--gold", DEV, "-o", page)
    assert "<svg" in page.read_text("utf-8")
