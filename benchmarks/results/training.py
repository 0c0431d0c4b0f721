"""Train on rationales, for quantization, on stored distributions, and on the answers of a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.results.keeping import Bench, Figures, NotMeasured, likelihoods, table

Words = list[str | Path]

# Shares of arc's rows that are used: all of them would take hours.
ARC_PARTS = {"train": 0.12, "test": 0.35}
_PORT, _START_SECONDS = 8517, 300


def _smollm(bench: Bench) -> Path:
    return bench.models / "smollm2-135m-instruct"


def _gsm8k(bench: Bench, name: str, split: str, rows: int) -> str:
    """Convert rows of GSM8K, and return their file's name."""
    source, made = bench.data / "gsm8k" / f"{split}.jsonl", f"{name}.jsonl"
    words: Words = ["convert", "gsm8k", source, "--sample", str(rows), "-o", made]
    bench.run(f"{name}/rows", *words)
    return made


def quantized(bench: Bench) -> str:
    """Compare SmolLM2 that is trained for 4-bit weights with one that is quantized after training."""
    train, test = _gsm8k(bench, "qat-train", "train", 64), _gsm8k(bench, "qat-test", "test", 24)
    words: Words = ["train", train, "--eval", test, "--model", _smollm(bench), "--batch-size", "8"]
    words += ["--learning-rate", "2e-5", "--seed", "1", "--qat", "int8-dynamic-int4", "-o", "qat", "--resume"]
    results = bench.run("qat/train", *words)
    rows = [[name.replace("_", " "), _shown(value)] for name, value in results["quantization"].items()]
    return table(["24 rows of GSM8K", "loss, nats a token"], rows)


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def stored(bench: Bench) -> str:
    """Teach a small Llama SmolLM2's distributions, from the model in memory and from a directory."""
    teacher = _smollm(bench)
    tokens = []
    for name, split, count in (("stored-train", "train", 100), ("stored-test", "test", 40)):
        rows, shards = _gsm8k(bench, name, split, count), f"{name}-tokens"
        tokenize: Words = [
            "tokenize",
            rows,
            "--tokenizer",
            teacher,
            "--chat-format",
            "template",
            "-o",
            shards,
        ]
        bench.run(f"stored/{shards}", *tokenize)
        tokens.append(shards)
    capture: Words = ["capture", tokens[0], "--teacher-model", teacher, "--top-k", "64", "-o", "logits"]
    bench.run("stored/logits", *capture)
    runs: dict[str, Words] = {
        "no teacher": [],
        "the teacher in memory": ["--teacher-model", teacher],
        "stored, k = 64": ["--teacher-logits", "logits"],
    }
    rows_of = []
    for number, (label, options) in enumerate(runs.items()):
        place = f"stored-{number}"
        words: Words = ["train", tokens[0], "--model", "llama-tiny", "--tokenizer", teacher, *options]
        words += ["--epochs", "3", "--batch-size", "8", "--seed", "1", "-o", place, "--resume"]
        found = bench.run(f"stored/run-{number}", *words)
        measure: Words = ["evaluate", place, "stored-test.jsonl", "--metric", "loss"]
        loss = bench.run(f"stored/loss-{number}", *measure)["results"][0]["figures"]["loss"]
        speed = found["tokens"] / found["seconds"]
        rows_of.append(
            [label, f"{loss['value']:.4f} ({loss['low']:.4f} to {loss['high']:.4f})", f"{speed:,.0f}"]
        )
    shown = table(["llama-tiny on 100 rows of GSM8K", "loss on 40 others", "tokens a second"], rows_of)
    return f"{shown}\n\n{_TAIL}"


_TAIL = (
    "At the default temperature of 2, the 49,088 tokens outside the 64 hold much of the teacher's mass.\n"
    "The stored run has them as one token, so the two runs with a teacher minimise different losses.\n"
    "Most of this student's work is its output layer, where a teacher's distributions add to the work."
)


def rationales(bench: Bench) -> str:
    """Train SmolLM2 on arc, with the answers alone, and with two teachers' rationales."""
    arc, model = bench.data / "tinyllm" / "arc", _smollm(bench)
    for split, part in ARC_PARTS.items():
        files = sorted((arc / "llm").glob(f"{split}_CoT_*.json"))
        words: Words = ["parse-rationales", *files, "--gold", arc / f"arc_{split}.json"]
        bench.run(f"rationales/{split}", *words, "-o", f"arc-{split}.jsonl")
        words = ["split", f"arc-{split}.jsonl", "--parts", f"used={part},rest={1 - part:g}"]
        bench.run(f"rationales/{split}-part", *words, "-o", f"arc-{split}-{{part}}.jsonl")
    measure: Words = ["evaluate", "--by", "likelihood", "--batch-size", "16"]
    runs: dict[str, Words] = {"answers alone": ["--alpha", "0", "--beta", "0"], "answers and rationales": []}
    found = {"before": bench.run("rationales/before", *measure, model, "arc-test-used.jsonl")}
    for name, options in runs.items():
        run = f"arc-{name.split()[-1]}-1"
        words = ["train", "arc-train-used.jsonl", "--model", model, *options, "--keep-status", "all"]
        words += ["--epochs", "1", "--batch-size", "8", "--learning-rate", "5e-5", "--seed", "1"]
        with suppress(NotMeasured):
            bench.run(f"rationales/train-{run}", *words, "-o", run, "--resume")
            found[f"{name}, seed 1"] = bench.run(f"rationales/{run}", *measure, run, "arc-test-used.jsonl")
    return likelihoods("SmolLM2-135M-Instruct", found)


def path(bench: Bench) -> str:
    """Take the way from questions to a student: prompts, a real server's answers, chat rows, training."""
    source, model = bench.data / "commonsense_qa" / "train_rand_split.jsonl", _smollm(bench)
    bench.once("path/rows", lambda: _first_rows(source, bench.folder / "path-rows.jsonl", 24))
    dataset: Words = ["--dataset", "commonsense_qa"]
    words: Words = [
        "prompt",
        "path-rows.jsonl",
        *dataset,
        "--no-teacher-forcing",
        "-o",
        "path-requests.jsonl",
    ]
    bench.run("path/prompt", *words)
    words = ["generate", "path-requests.jsonl", "-o", "path-responses.jsonl", "--model", model]
    words += ["--max-tokens", "96", "--concurrency", "4", "--base-url", f"http://127.0.0.1:{_PORT}/v1"]
    ask = bench.command(*words)

    def generate() -> Figures:
        with _served(model):
            return ask()

    asked = bench.once("path/generate", generate, key=bench.commands[-1])
    words = ["collect", "path-responses.jsonl", "--examples", "path-rows.jsonl", *dataset, "--to", "chat"]
    words += ["--keep", "ok,unjudged,answer_mismatch,no_answer", "-o", "path-train.jsonl"]
    collected = bench.run("path/collect", *words)
    words = ["train", "path-train.jsonl", "--model", model, "--lora", "8", "-o", "path-student", "--resume"]
    trained = bench.run("path/train", *words)
    losses = f"{trained['loss_first']:.3f}, {trained['loss_last']:.3f}"
    return table(
        ["step", "figure"],
        [
            ["generate: requests answered", asked["answered"]],
            ["collect: chat rows", collected["out"]],
            ["train: loss of the first step, and of the last", losses],
        ],
    )


def _first_rows(source: Path, target: Path, rows: int) -> Figures:
    target.write_bytes(b"".join(source.read_bytes().splitlines(keepends=True)[:rows]))
    return {"rows": rows}


@contextmanager
def _served(model: Path) -> Iterator[None]:
    """Have ``transformers serve`` answer with a model meanwhile."""
    program = Path(sys.executable).with_name("transformers")
    command: list[str | Path] = [program, "serve", model, "--host", "127.0.0.1", "--port", str(_PORT)]
    silent = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdout=silent, stderr=silent, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    ) as server:
        try:
            deadline = time.monotonic() + _START_SECONDS
            while True:
                try:
                    with urlopen(f"http://127.0.0.1:{_PORT}/health", timeout=5):
                        break
                except (URLError, OSError):
                    if server.poll() is not None or time.monotonic() > deadline:
                        sys.exit("transformers serve does not answer")
                    time.sleep(1)
            yield
        finally:
            server.terminate()
