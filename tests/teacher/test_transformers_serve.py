"""`dataprep generate` against a server that nobody here wrote: `transformers serve`, with a tiny model."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

NEEDED = ("torch", "transformers", "fastapi", "uvicorn", "openai", "accelerate")
missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing), reason=f"transformers serve needs {', '.join(missing)}"),
]
COUNT = 12
SECONDS_TO_START = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with a tiny model that knows a few answers."""
    import torch

    from tests import tiny_model

    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("models") / "tiny-llama"
    words, model = tiny_model.tokenizer(), tiny_model.llama()
    tiny_model.train(model, words)
    model.save_pretrained(path)
    words.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    """The address of a server that has the model; it ends with the tests."""
    with serving(folder, tmp_path_factory.mktemp("serve") / "log.txt") as address:
        yield address


@contextmanager
def serving(folder, log):
    """The address of a server that has the model in a folder; it ends with the block."""
    program = Path(sys.executable).with_name("transformers")
    if not program.is_file():
        pytest.skip("the command `transformers` is not installed beside this Python")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [str(program), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        if not _healthy(process, f"http://127.0.0.1:{port}/health"):
            last = log.read_text("utf-8", "replace").strip().splitlines()[-1:]
            pytest.skip(f"transformers serve does not start: {' '.join(last)}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _healthy(process, address):
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as reply:
                return reply.status == 200
        except OSError:
            time.sleep(0.2)
    return False


def test_every_request_is_answered_once(folder, server, run, tmp_path):
    """All requests get the model's answers over HTTP, and a second run asks nothing."""
    from tests.tiny_model import KNOWN, messages

    questions = list(KNOWN) * (COUNT // len(KNOWN))
    rows = [{"id": f"q{number}", "messages": messages(each)} for number, each in enumerate(questions)]
    (tmp_path / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    options = ("--model", folder, "--base-url", server, "--max-tokens", 24, "--concurrency", 4, "--json")
    command = ("generate", "requests.jsonl", "-o", "responses.jsonl", *options)
    first = run(*command)
    assert first.code == 0, first.err
    journal = tmp_path / "responses.jsonl"
    before = journal.read_bytes()
    lines = {line["id"]: line for line in map(json.loads, before.splitlines())}
    assert before.count(b"\n") == len(lines) == COUNT
    for number, question in enumerate(questions):
        line = lines[f"q{number}"]
        assert line["error"] is None
        assert line["finish_reason"] == "stop"
        assert line["response"] == KNOWN[question]
        assert line["usage"]["completion_tokens"] > 0
    again = run(*command)
    assert (again.code, json.loads(again.err)["sent"]) == (0, 0)
    assert journal.read_bytes() == before


def test_a_model_that_the_server_does_not_have_stops_the_run(server, run, tmp_path):
    """What every request would fail with is said once."""
    row = {"id": "q", "messages": [{"role": "user", "content": "Why?"}]}
    (tmp_path / "requests.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    options = ("--model", "another", "--base-url", server, "--retries", 0)
    done = run("generate", "requests.jsonl", "-o", "responses.jsonl", *options)
    assert done.code == 1
    assert "another" in done.err
    assert "Traceback" not in done.err


def test_a_student_answers_what_it_was_taught(run, tmp_path):
    """What `dataprep train` saves is served as it is: chat template, end of turn and weights go together."""
    from tests.students import write_model, write_tokenizer

    taught = {"one and one?": "two", "two and two?": "four", "the sum of two and one?": "three"}
    asked = [{"id": each, "messages": [{"role": "user", "content": each}]} for each in taught]
    rows = [
        {"messages": [*row["messages"], {"role": "assistant", "content": taught[row["id"]]}]} for row in asked
    ]
    for name, found in (("train.jsonl", rows), ("requests.jsonl", asked)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in found), "utf-8")
    model = write_model(tmp_path / "model", hidden_size=64, intermediate_size=128)
    tokenizer = write_tokenizer(tmp_path / "tokenizer.json")
    options = ("--tokenizer", tokenizer, "--chat-format", "llama3", "--steps", 150, "--learning-rate", 0.005)
    made = run("train", "train.jsonl", "-o", "student", "--model", model, *options, "-q")
    assert made.code == 0, made.err
    student = tmp_path / "student"
    with serving(student, tmp_path / "log.txt") as address:
        options = ("--model", student, "--base-url", address, "--max-tokens", 24, "--temperature", 0)
        done = run("generate", "requests.jsonl", "-o", "said.jsonl", *options)
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "said.jsonl").read_bytes().splitlines()]
    assert {line["id"]: line["response"] for line in lines} == taught
    assert {line["finish_reason"] for line in lines} == {"stop"}
