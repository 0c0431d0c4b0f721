"""Captured logits: a teacher's distributions as data, and a student that learns from them."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from dataprep import read_rows
from dataprep.core.errors import FileError, InputError, TokenizerError, UsageError
from dataprep.core.io import open_output
from dataprep.teacher.settings import Endpoint
from dataprep.tokens.logits.files import DATA
from dataprep.tokens.logits.reading import Logits
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.mixture import mix_shards
from dataprep.tokens.shards.reading import Shards
from dataprep.tokens.tokenize import tokenize_files
from dataprep.tokens.tokenizers.loading import load_tokenizer
from dataprep.train.capture.capturing import capture
from dataprep.train.capture.options import CaptureOptions
from dataprep.train.layers import output_layer
from dataprep.train.layers.output_layer import Head
from dataprep.train.layers.top_k import TeacherTop, divergence_of_top
from dataprep.train.options import TrainOptions
from dataprep.train.run import train
from tests.helpers import run_here
from tests.real import SMOLLM2, needs_smollm2
from tests.students import unfinish, write_model, write_tokenizer
from tests.teacher_server import Reply, TeacherServer, error

K = 8
SAMPLES = Path(__file__).parents[2] / "raw" / "gsm8k" / "train.jsonl"


def make_shards(place, output, **options):
    """Shards of the training rows."""
    tokenize_files(
        place / "train.jsonl",
        output,
        tokenizer=place / "tokenizer.json",
        chat_format="llama3",
        options=ShardOptions(**options),
    )
    return output


@pytest.fixture(scope="session")
def shards(place, tmp_path_factory):
    """Shards of the training rows, and packed ones."""
    folder = tmp_path_factory.mktemp("tokens")
    make_shards(place, folder / "plain")
    make_shards(place, folder / "packed", pack=96)
    return folder


@pytest.fixture(scope="session")
def logits(place, shards, tmp_path_factory):
    """The teacher's logits of both."""
    folder = tmp_path_factory.mktemp("logits")
    for name in ("plain", "packed"):
        capture(shards / name, folder / name, str(place / "teacher"), options=CaptureOptions(top_k=K))
    return folder


@torch.no_grad()
def plain_logprobs(place, shards):
    """The teacher's log-probabilities by `transformers` alone, positions in the loss, all tokens."""
    teacher = LlamaForCausalLM.from_pretrained(place / "teacher").eval()
    for ids, mask in Shards.open(shards):
        where = np.flatnonzero(mask[1:]) + 1
        found = teacher(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, :, :330]
        yield where, found.log_softmax(dim=-1)[where - 1]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["plain", "packed"])
def test_the_likeliest_tokens_are_the_teachers(place, shards, logits, name):
    """Positions, ids, log-probabilities and the mass of the rest are those of the teacher alone."""
    vocabulary = Shards.open(shards / name).vocab_size
    opened = Logits.open(logits / name, shards=Shards.open(shards / name))
    for (where, logprobs), top in zip(plain_logprobs(place, shards / name), opened, strict=True):
        expected = logprobs[:, :vocabulary].log_softmax(dim=-1)
        assert (top.positions == where).all()
        values, ids = expected.topk(K, dim=-1)
        order = ids.sort(dim=-1)
        assert (top.ids == order.values.numpy()).all()
        np.testing.assert_allclose(top.logprobs, values.gather(1, order.indices).numpy(), atol=0.05)
        others = expected.scatter(1, ids, float("-inf"))
        for column, temperature in enumerate((1.0, 2.0)):
            rest = torch.logsumexp(others / temperature, dim=-1)
            np.testing.assert_allclose(top.tails[:, column], rest.numpy(), atol=0.002)


def test_any_batch_size_gives_the_same_logits(place, shards, logits, tmp_path):
    """The size of a batch decides no more than the last digits of the teacher's own numbers."""
    options = CaptureOptions(top_k=K, batch_size=1)
    found = capture(shards / "plain", tmp_path / "one", str(place / "teacher"), options=options).logits
    for top, other in zip(found, Logits.open(logits / "plain"), strict=True):
        assert (top.ids == other.ids).all()
        np.testing.assert_allclose(top.logprobs, other.logprobs, atol=0.05)


def test_the_command_captures_and_does_nothing_twice(place, shards, logits, tmp_path):
    """`dataprep capture` says what it wrote; a second call keeps it; another teacher is refused."""
    words = ["capture", shards / "plain", "-o", tmp_path / "logits", "--top-k", str(K), "--json"]
    first = run_here([*words, "--teacher-model", place / "teacher"], cwd=tmp_path)
    assert first.code == 0, first.err
    (step,) = json.loads(first.err)["outputs"]
    assert (step["in"], step["out"], step["resumed"]) == (40, 40, 0)
    assert step["positions"] == Shards.open(shards / "plain").loss_tokens
    files = {path.name: path.read_bytes() for path in (tmp_path / "logits").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (logits / "plain").iterdir()}
    again = run_here([*words, "--teacher-model", place / "teacher"], cwd=tmp_path)
    assert json.loads(again.err)["outputs"][0]["resumed"] == 40
    other = run_here([*words, "--teacher-model", place / "student"], cwd=tmp_path)
    assert other.code == 1
    assert "holds logits that differ in the teacher (found teacher, sha256" in other.err
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "logits").iterdir()}
    (tmp_path / "logits" / DATA).write_bytes(files[DATA][:-1] + bytes([files[DATA][-1] ^ 1]))
    damaged = run_here([*words, "--teacher-model", place / "teacher"], cwd=tmp_path)
    assert damaged.code == 1
    assert "remove the directory, and make the logits again" in damaged.err


def test_what_cannot_be_captured_is_an_error(place, shards, tmp_path):
    """Rows, a teacher of another tokenizer, too long documents and strange temperatures are refused."""
    with pytest.raises(UsageError, match="dataprep tokenize"):
        capture(place / "train.jsonl", tmp_path / "out", str(place / "teacher"))
    other = tmp_path / "other"
    write_model(other)
    write_tokenizer(other / "tokenizer.json", words=["other", "words"])
    with pytest.raises(TokenizerError, match="make the shards with the teacher's tokenizer"):
        capture(shards / "plain", tmp_path / "out", str(other))
    short = tmp_path / "short"
    write_model(short, max_position_embeddings=8)
    write_tokenizer(short / "tokenizer.json")
    with pytest.raises(InputError, match="context length is 8"):
        capture(shards / "plain", tmp_path / "out", str(short))
    for values in ((), (1.0, 1.0), (0.0,), (float("nan"),)):
        with pytest.raises(UsageError, match="--temperature"):
            CaptureOptions(temperatures=values)


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_gpu_that_is_not_there_is_an_error(place, shards, tmp_path, monkeypatch, precision):
    """It is refused before there is a directory."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = CaptureOptions(device="cuda", precision=precision)
    with pytest.raises(
        UsageError, match="--device cuda: torch finds no GPU on this machine; leave the option out"
    ):
        capture(shards / "plain", tmp_path / "out", str(place / "teacher"), options=options)
    assert not (tmp_path / "out").exists()


KILLED = """
import os, random, signal, sys, time
import torch
from dataprep.train.capture import from_model
from dataprep.train.capture.capturing import capture
from dataprep.train.capture.options import CaptureOptions

torch.set_num_threads(1)
shards, teacher, output, seed, kills = sys.argv[1:]
batch_of = from_model.ModelTeacher._batch
def slow(self, *arguments):
    time.sleep(0.02)
    return batch_of(self, *arguments)
from_model.ModelTeacher._batch = slow
chance, options = random.Random(seed), CaptureOptions(top_k=8, batch_size=3)
def size():
    return os.path.getsize(output + "/data.bin") if os.path.exists(output + "/data.bin") else 0
for _ in range(int(kills)):
    print(size())
    if not (child := os.fork()):
        capture(shards, output, teacher, options=options)
        os._exit(0)
    before = size()
    while size() == before and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.08))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print(size(), flush=True)
capture(shards, output, teacher, options=options)
"""


@pytest.mark.medium
@pytest.mark.parametrize(
    ("seed", "kills"), [(0, 1), *(pytest.param(seed, 4, marks=pytest.mark.slow) for seed in range(4))]
)
def test_a_capture_that_is_killed_goes_on_to_the_same_bytes(place, shards, tmp_path, seed, kills):
    """SIGKILL at random moments: what was written stays, and the files are those of an undisturbed run."""
    options = CaptureOptions(top_k=K, batch_size=3)
    capture(shards / "plain", tmp_path / "whole", str(place / "teacher"), options=options)
    words = [shards / "plain", place / "teacher", tmp_path / "killed", seed, kills]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # as in this process: sums depend on their number
    )
    assert done.returncode == 0, done.stderr
    sizes = list(map(int, done.stdout.split()))
    assert sizes[0] == 0 < sizes[-1] < (tmp_path / "whole" / DATA).stat().st_size
    assert all(before < after for before, after in pairwise(sizes)), "what was captured is lost"
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "killed")
    ]
    assert files[0] == files[1]


def exact_losses(teacher, student, k, temperature):
    """The divergence at each position, of logits: the teacher's k likeliest tokens, and all others as one."""
    log_p, log_q = (torch.log_softmax(part.double() / temperature, dim=-1) for part in (teacher, student))
    ids = teacher.topk(k, dim=-1).indices
    others = torch.ones_like(log_p).scatter(1, ids, 0.0)
    p, q = (
        torch.cat([part.gather(1, ids).exp(), (part.exp() * others).sum(dim=1, keepdim=True)], dim=1)
        for part in (log_p, log_q)
    )
    return temperature**2 * (p * (p / q).log()).sum(dim=1)


@pytest.mark.models
@pytest.mark.slow
@needs_smollm2
@torch.no_grad()
def test_a_real_teacher_takes_few_bytes_and_loses_little(tmp_path):
    """Of SmolLM2, a token takes at most 120 bytes at k = 50, and the loss is that of its own logits."""
    made = run_here(["convert", "gsm8k", SAMPLES, "-o", "rows.jsonl"], cwd=tmp_path)
    assert made.code == 0, made.err
    lines = (tmp_path / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_bytes(b"".join(lines[:6]))
    tokenize_files(tmp_path / "few.jsonl", tmp_path / "tokens", tokenizer=SMOLLM2)
    shards = Shards.open(tmp_path / "tokens")
    teacher = LlamaForCausalLM.from_pretrained(SMOLLM2).eval()
    logits = []
    for ids, mask in shards:
        found = teacher(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, : shards.vocab_size]
        logits.append(found[np.flatnonzero(mask[1:])])
    exact = torch.cat(logits)
    # A student that is near the teacher.
    student = 0.9 * exact + 0.3 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))
    for k, most in ((50, 120), (128, 300)):
        options = CaptureOptions(top_k=k)
        stored = capture(tmp_path / "tokens", tmp_path / f"top-{k}", str(SMOLLM2), options=options).logits
        assert stored.bytes_per_token <= most
        top = stored.batch(range(len(stored)))
        for temperature in stored.temperatures:
            listed, rest = map(torch.from_numpy, top.at(temperature))
            found = divergence_of_top(student, torch.from_numpy(top.ids), listed, rest, temperature)
            expected = exact_losses(exact, student, k, temperature).mean()
            assert float(found) / len(exact) == pytest.approx(float(expected), abs=1e-4)


# Training


def run(place, shards, output, data=None, **settings):
    """A run on shards; its results."""
    given = {"model": str(place / "student"), "learning_rate": 0.01, "steps": 4, "batch_size": 4}
    options = TrainOptions(**{**given, "save_every": 0, **settings})
    return train(data or shards, [], output, options=options).results


def metrics(folder, name="loss"):
    """A figure of each step."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if name in line]


def stored_tops(chance, count, vocabulary, k, temperature):
    """A teacher's distributions at some positions: the k likeliest tokens and the rest, in full precision."""
    logprobs = torch.log_softmax(3 * torch.randn(count, vocabulary, generator=chance) / temperature, dim=-1)
    values, ids = logprobs.topk(k, dim=-1)
    rest = torch.logsumexp(logprobs.scatter(1, ids, float("-inf")), dim=-1)
    return ids, values, rest


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_losses_and_gradients_in_one_pass_are_plain_torchs(monkeypatch, temperature, share, bias):
    """In chunks of positions, both losses and their gradients are those of torch's own functions."""
    monkeypatch.setitem(output_layer.CHUNK_LOGITS, "cpu", 40 * 3)
    chance = torch.Generator().manual_seed(1)
    layer = torch.nn.Linear(6, 40, bias=bias)
    hidden = torch.randn(10, 6, generator=chance, requires_grad=True)
    targets = torch.randint(40, (10,), generator=chance)
    ids, values, rest = stored_tops(chance, 10, 40, 5, temperature)
    top = TeacherTop(ids, values, rest, temperature, share)
    weights = [hidden, *layer.parameters()]

    logits = layer(hidden)
    own = torch.log_softmax(logits / temperature, dim=-1)
    others = torch.ones_like(own).scatter(1, ids, 0.0)
    own_rest = (own.exp() * others).sum(dim=-1, keepdim=True).log()
    log_q, log_p = torch.cat([own.gather(1, ids), own_rest], dim=1), torch.cat([values, rest[:, None]], dim=1)
    teacher = temperature**2 * functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
    tokens = functional.cross_entropy(logits, targets, reduction="sum")
    expected = torch.autograd.grad((1 - share) * tokens + share * teacher, weights)

    for head in (Head(layer, hidden), Head(Plain(layer), hidden)):
        found = head.losses_with_teacher(targets, top)
        torch.testing.assert_close(found[0], tokens, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(found[1], teacher, rtol=1e-4, atol=1e-4)
        slopes = torch.autograd.grad(0.1 * ((1 - share) * found[0] + share * found[1]), weights)
        for slope, other in zip(slopes, expected, strict=True):
            torch.testing.assert_close(slope, 0.1 * other, rtol=1e-4, atol=1e-5)


class Plain(torch.nn.Module):
    """A layer whose class is not torch's own, as wrapped ones are."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.weight = layer, layer.weight

    def forward(self, hidden):
        """The logits."""
        return self.layer(hidden)


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["plain", "packed"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_that_of_the_teacher_in_memory(place, shards, logits, tmp_path, name, temperature):
    """With the same k, the first loss and the sums are within 1e-4 of the teacher's own distributions."""
    settings = {
        "temperature": temperature,
        "learning_rate": 1e-9,
        "steps": 1,
        "batch_size": Shards.open(shards / name).epochs[0],
    }
    run(place, shards / name, tmp_path / "run", teacher_logits=str(logits / name), **settings)
    student = LlamaForCausalLM.from_pretrained(place / "student").eval()
    opened, total, count = Shards.open(shards / name), 0.0, 0
    with torch.no_grad():
        for (ids, _), (where, every) in zip(opened, plain_logprobs(place, shards / name), strict=True):
            count, teacher = count + where.size, every[:, : opened.vocab_size]
            own = student(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, where - 1]
            log_q = torch.log_softmax(own / temperature, dim=-1)
            log_p = torch.log_softmax(teacher / temperature, dim=-1)
            best = teacher.topk(K, dim=-1).indices
            listed = (log_p.gather(1, best), log_q.gather(1, best))
            rest = [1 - part.exp().sum(dim=-1, keepdim=True) for part in listed]
            p, q = (torch.cat([part.exp(), left], dim=1) for part, left in zip(listed, rest, strict=True))
            total += temperature**2 * float((p * (p / q).log()).sum())
    assert metrics(tmp_path / "run", "loss_teacher")[0] == pytest.approx(total / count, abs=1e-4)


@pytest.mark.medium
def test_a_share_of_nothing_is_plain_training(place, shards, logits, tmp_path):
    """Without a share of the teacher, the losses are those of a run without logits."""
    run(place, shards / "plain", tmp_path / "a", teacher_logits=str(logits / "plain"), teacher_share=0.0)
    run(place, shards / "plain", tmp_path / "b")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


@pytest.mark.medium
def test_the_divergence_falls(place, shards, logits, tmp_path):
    """A student learns from captured logits, with evaluation rows that have none, and its run can go on."""
    options = TrainOptions(
        model=str(place / "student"),
        teacher_logits=str(logits / "packed"),
        learning_rate=0.03,
        epochs=4,
        batch_size=4,
        save_every=2,
    )
    data = shards / "packed", place / "eval.jsonl"
    results = train(*data, tmp_path / "run", options=options).results
    losses = metrics(tmp_path / "run", "loss_teacher")
    assert losses[-1] < losses[0]
    assert results["eval_loss"] < results["eval_loss_before"]


def test_logits_of_other_shards_are_an_error(place, shards, logits, tmp_path):
    """Rows, other shards, both kinds of teacher and a temperature that was not captured are refused."""
    settings = {"teacher_logits": str(logits / "plain")}
    with pytest.raises(InputError, match=r"other data than .*packed: the shards"):
        run(place, shards / "packed", tmp_path / "run", **settings)
    with pytest.raises(UsageError, match="is a file of rows"):
        run(place, place / "train.jsonl", tmp_path / "run", chat_format="llama3", **settings)
    with pytest.raises(UsageError, match=r"--temperature 3: .* was captured for 1 or 2"):
        run(place, shards / "plain", tmp_path / "run", temperature=3.0, **settings)
    with pytest.raises(UsageError, match="expected one of them"):
        TrainOptions(teacher_logits="a", teacher_model="b")


@pytest.mark.slow
def test_folders_of_another_kind_say_what_they_hold(place, shards, logits, tmp_path):
    """Each kind of folder has a manifest.json; the message says which kind was found and which is read."""
    plain, top, mixture = shards / "plain", logits / "plain", tmp_path / "mixture"
    mix_shards({plain: 1.0}, mixture, total=5)
    rows_folder = f"{tmp_path}/rows/"
    with open_output(rows_folder) as out:
        out.write(b"{}\n")
    advice = "expected rows: give the files of rows that it was made from"
    for folder, held in ((plain, "token shards"), (mixture, "a mixture of token"), (top, "a teacher's")):
        with pytest.raises(InputError, match=f"^{re.escape(str(folder))}: holds {held}.*; {advice}"):
            list(read_rows(str(folder)))
        before = (folder / "manifest.json").read_bytes()
        with (
            pytest.raises(InputError, match=f"holds {held}.*; expected rows: give another directory"),
            open_output(f"{folder}/"),
        ):
            pass
        assert (folder / "manifest.json").read_bytes() == before
        for command in (["validate", folder], ["evaluate", place / "student", folder, "--metric", "loss"]):
            ran = run_here(command, cwd=tmp_path)
            assert (ran.code, f"holds {held}" in ran.err, advice in ran.err) == (1, True, True)
    for folder, held in ((top, "a teacher's logits"), (rows_folder, "rows")):
        with pytest.raises(InputError, match=f"holds {held}; expected token shards, as `dataprep tokenize`"):
            Shards.open(folder)
    for folder, held in ((plain, "token shards"), (rows_folder, "rows")):
        with pytest.raises(InputError, match=f"holds {held}; expected logits, as `dataprep capture` writes"):
            Logits.open(folder)


def test_two_processes_and_a_resumed_run_are_as_one(place, shards, logits, tmp_path):
    """Data parallelism and `--resume` change nothing about the losses."""
    words = ["train", shards / "packed", "--model", place / "student", "--teacher-logits", logits / "packed"]
    words += ["--learning-rate", "0.01", "--epochs", "3", "--save-every", "2"]
    run_here([*words, "-o", tmp_path / "one", "--batch-size", "4"], cwd=tmp_path)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "dataprep",
    ]
    command = [*launch, *words, "-o", tmp_path / "two", "--batch-size", "2", "--keep-checkpoints"]
    settings = {
        "env": os.environ | {"OMP_NUM_THREADS": "1"},
        "timeout": 300,
        "capture_output": True,
    }
    subprocess.run(list(map(str, command)), check=True, **settings)
    expected = metrics(tmp_path / "one")
    assert metrics(tmp_path / "two") == pytest.approx(expected, abs=1e-4)
    unfinish(tmp_path / "two")
    subprocess.run(list(map(str, [*command, "--resume"])), check=True, **settings)
    assert metrics(tmp_path / "two") == pytest.approx(expected, abs=1e-4)


# Servers


def vllm(place, k_limit=20):
    """A server that answers as vLLM does, with the logits of the teacher."""
    teacher = LlamaForCausalLM.from_pretrained(place / "teacher").eval()
    tokenizer = load_tokenizer(place / "tokenizer.json")

    @torch.no_grad()
    def behave(received, _):
        body = received.body
        assert received.path == "/v1/completions"
        if body["prompt_logprobs"] > k_limit:
            return Reply(
                400, error(f"Requested prompt logprobs of {body['prompt_logprobs']}, max is {k_limit}")
            )
        ids = body["prompt"]
        logprobs = teacher(torch.tensor([ids])).logits[0, :-1, : tokenizer.vocab_size].log_softmax(dim=-1)
        entries = [None]
        for row, token in zip(logprobs, ids[1:], strict=True):
            values, best = row.topk(body["prompt_logprobs"])
            listed = dict(zip(best.tolist(), values.tolist(), strict=True)) | {token: float(row[token])}
            entries.append(
                {
                    str(name): {
                        "logprob": value,
                        "rank": int((row > value).sum()) + 1,
                        "decoded_token": text(name),
                    }
                    for name, value in listed.items()
                }
            )
        return Reply(body={"choices": [{"index": 0, "text": "x", "prompt_logprobs": entries}]})

    def text(token):
        return tokenizer.decode([token])

    return behave


@pytest.mark.medium
def test_a_servers_log_probabilities_of_prompts(place, shards, logits, tmp_path, monkeypatch):
    """Captured from a server that fails now and then, the logits are those of the model in this process."""
    monkeypatch.setattr("dataprep.teacher.pacing.FIRST_WAIT", 0.01)
    answer = vllm(place)

    def behave(received, number):
        return Reply(503, error("busy")) if number % 5 == 0 else answer(received, number)

    options = CaptureOptions(top_k=K, concurrency=4)
    with TeacherServer(behave) as server:
        found = capture(
            shards / "plain", tmp_path / "logits", "tiny", options=options, endpoint=Endpoint(server.url)
        ).logits
    assert found.temperatures == (1.0,)
    for top, other in zip(found, Logits.open(logits / "plain"), strict=True):
        assert (top.ids == other.ids).all()
        np.testing.assert_allclose(top.logprobs, other.logprobs, atol=0.05)
        np.testing.assert_allclose(top.tails[:, 0], other.tails[:, 0], atol=0.01)
    settings = {"teacher_logits": str(tmp_path / "logits")}
    run(place, shards / "plain", tmp_path / "run", temperature=1.0, **settings)
    with pytest.raises(UsageError, match="captured for 1: give --temperature 1"):
        run(place, shards / "plain", tmp_path / "other", **settings)


@pytest.mark.medium
def test_no_document_is_asked_for_twice(place, shards, tmp_path):
    """A server that breaks down loses nothing: the next run asks for the rest, and the files are the same."""
    answer, asked = vllm(place), []

    def behave(received, _):
        if len(asked) == 12:
            return Reply(401, error("the key has expired"))
        asked.append(tuple(received.body["prompt"]))
        return answer(received, 0)

    options = CaptureOptions(top_k=K, concurrency=4)
    with TeacherServer(behave) as server:
        settings = {"options": options, "endpoint": Endpoint(server.url)}
        with pytest.raises(FileError, match=r"document .*401 .*key has expired; check the key"):
            capture(shards / "plain", tmp_path / "logits", "tiny", **settings)
        first, asked[:] = list(asked), []
        asked.extend([()] * 13)
        done = capture(shards / "plain", tmp_path / "logits", "tiny", **settings)
        assert done.resumed == 12
        assert sorted([*first, *asked[13:]]) == sorted(
            tuple(ids.tolist()) for ids, _ in Shards.open(shards / "plain")
        )
        capture(shards / "plain", tmp_path / "whole", "tiny", **settings)
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("logits", "whole")
    ]
    assert files[0] == files[1]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: Reply(body={"choices": [{"text": "x"}]}), "found 0 entries in prompt_logprobs"),
        (lambda body: body["choices"][0]["prompt_logprobs"].pop(), "entries in prompt_logprobs for"),
        (lambda body: body["choices"][0].update(prompt_logprobs=[None] * 999), "999 entries"),
        (lambda body: _entry(body).clear(), "without the token .* itself"),
        (lambda body: _entry(body).update({"7": 1}), "expected a server"),
        (lambda body: _entry(body).update({"99999": {"logprob": -1.0}}), "the tokenizer of the shards lacks"),
        (
            lambda body: [_entry(body).popitem() for _ in range(3)] and None,
            "log-probabilities, expected|itself",
        ),
        (
            lambda body: [value.update(decoded_token="?!") for value in _entry(body).values()] and None,
            "another tokenizer",
        ),
    ],
)
def test_what_a_server_gets_wrong_is_an_error_that_names_the_document(
    place, shards, tmp_path, change, message
):
    """Replies without log-probabilities, or of another tokenizer, end the run with place and reason."""
    answer = vllm(place)

    def behave(received, number):
        reply = answer(received, number)
        return found if isinstance(found := change(reply.body), Reply) else reply

    options = CaptureOptions(top_k=K, concurrency=1)
    with TeacherServer(behave) as server, pytest.raises((FileError, TokenizerError), match=message) as caught:
        capture(shards / "plain", tmp_path / "out", "tiny", options=options, endpoint=Endpoint(server.url))
    assert "document 0" in str(caught.value)


def _entry(body):
    """The entry of the last position."""
    return body["choices"][0]["prompt_logprobs"][-2]


def test_a_limit_of_the_server_is_named(place, shards, tmp_path):
    """A server lists at most 20 tokens unless it is told otherwise: the error says how."""
    options, message = CaptureOptions(top_k=21), r"vLLM: max-logprobs 21\), or lower --top-k"
    with TeacherServer(vllm(place)) as server, pytest.raises(FileError, match=message):
        capture(shards / "plain", tmp_path / "out", "tiny", options=options, endpoint=Endpoint(server.url))
