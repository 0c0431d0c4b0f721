"""Compare supervised fine-tuning on chat rows with TRL's `SFTTrainer` and two plain loops, on the CPU.

All of them take the same steps: the same weights, the same rows of GSM8K in the same order, AdamW with the
same settings, in float32 on as many threads. Each is a process of its own, and they take turns step by step,
so that a slow minute of the machine hits all alike. ``python -m benchmarks.train_chat NAME ROWS MODEL`` is
one of them: it says when it is ready for a step, waits for a line, and in the end prints tokens, seconds
and loss of each step, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure import claim

STEPS = 4  # in a round, after one that warms up and is not timed
BATCH = 8
RATE, DECAY, CLIP, SEED = 1e-3, 0.1, 1.0, 0
SHAPE = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}

Run = dict[str, list[float]]


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Let all contenders take turns, and compare tokens per second and the losses of each step."""
    rows, model = folder / "chat.jsonl", folder / "student"
    steps = 1 + STEPS * rounds
    _write_rows(data, rows, steps * BATCH)
    _write_model(data / "tokenizers" / "llama3.model", model)
    log = folder / "train_chat.log"
    with log.open("wb") as errors:
        running = {name: _started(name, rows, model, errors) for name in CONTENDERS}
        for each in running.values():
            _line_of(each, log)
        found: dict[str, Run] = {}
        for number in range(steps):
            for name, each in running.items():
                print(f"  step {number + 1}/{steps}: {name} …", file=sys.stderr)
                each.stdin.write("go\n")
                each.stdin.flush()
                answer = _line_of(each, log)  # the last is what was measured
                if number == steps - 1:
                    found[name] = json.loads(answer)
    return _table(found)


def _table(found: dict[str, Run]) -> bool:
    """Print the results, and return whether the targets were met."""
    rates = {name: _rate(run) for name, run in found.items()}
    apart = {name: _apart(found["dataprep"], run) for name, run in found.items()}
    print(f"\nchat rows: hidden size 128, 4 layers, 128,256 tokens, {BATCH} rows a step\n")
    print("| | tokens a second | × | loss apart, at most |\n| --- | ---: | ---: | ---: |")
    for name, rate in rates.items():
        print(f"| {TITLES[name]} | {rate:,.0f} | {rates['dataprep'] / rate:.2f} | {apart[name]:.1e} |")
    print()
    faster = claim(
        "dataprep's tokens a second over TRL's", rates["dataprep"] / rates["trl"], 4, at_least=True
    )
    return claim("losses apart", apart["trl"], 1e-3, at_least=False) and faster


def _write_rows(data: Path, target: Path, count: int) -> None:
    """Write the first chat rows of GSM8K."""
    every = target.with_name("every.jsonl")
    command = [sys.executable, "-m", "dataprep", "convert", "gsm8k", "-q", "-o", str(every)]
    subprocess.run([*command, str(data / "gsm8k" / "train.jsonl")], check=True)
    with every.open("rb") as file:
        target.write_bytes(b"".join(islice(file, count)))


def _write_model(tokenizer_file: Path, target: Path) -> None:
    """Write random weights, a tokenizer and a chat template for `from_pretrained`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from dataprep.tokens.export import save_pretrained
    from dataprep.tokens.formats.loading import chat_format_of
    from dataprep.tokens.tokenizers.loading import load_tokenizer

    tokenizer = load_tokenizer(str(tokenizer_file))
    torch.manual_seed(SEED)
    ends = {"bos_token_id": 128_000, "eos_token_id": 128_009}
    config = LlamaConfig(vocab_size=tokenizer.vocab_size, tie_word_embeddings=True, **ends, **SHAPE, **HEADS)
    LlamaForCausalLM(config).save_pretrained(target)
    save_pretrained(tokenizer, chat_format_of("llama3"), target)


def _started(name: str, rows: Path, model: Path, errors: Any) -> Any:
    command = [sys.executable, "-m", "benchmarks.train_chat", name, str(rows), str(model)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)


def _line_of(process: Any, log: Path) -> str:
    """Return the next line of a process; end the benchmark with all output if it has failed."""
    line: str = process.stdout.readline()
    if not line:
        sys.exit(f"{process.args} failed:\n{log.read_text(errors='replace')}")
    return line


def _rate(run: Run) -> float:
    """Return tokens per second without padding, after the first step."""
    return sum(run["tokens"][1:]) / sum(run["seconds"][1:])


def _apart(ours: Run, theirs: Run) -> float:
    """Return the largest difference of a step's losses; all contenders must have had the same tokens."""
    assert ours["tokens"] == theirs["tokens"]
    return max(abs(own - other) for own, other in zip(ours["losses"], theirs["losses"], strict=True))


class Turns:
    """The turns of one contender's process: each step starts when it is its turn, and is timed."""

    def __init__(self, steps: int) -> None:
        self.seconds: list[float] = []
        self.steps = steps
        self._begin = 0.0
        self._answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what libraries print

    def wait(self) -> None:
        """Wait for the first step's turn."""
        self.say("ready")
        sys.stdin.readline()
        self._begin = time.perf_counter()

    def step_done(self) -> None:
        """Record the time of a step, and wait for the next turn."""
        self.seconds.append(time.perf_counter() - self._begin)
        if len(self.seconds) < self.steps:
            self.wait()

    def say(self, line: str) -> None:
        """Send a message to the parent process."""
        print(line, file=self._answers, flush=True)


def dataprep(rows: str, model: str, turns: Turns) -> Run:
    """Run the library's `train`; a step lasts from one line of metrics to the next."""
    from dataprep.train.options import TrainOptions
    from dataprep.train.run import train

    options = TrainOptions(
        model=model,
        chat_format="llama3",
        batch_size=BATCH,
        learning_rate=RATE,
        weight_decay=DECAY,
        clip=CLIP,
        seed=SEED,
        schedule="constant",
        warmup=0.0,
        device="cpu",
        save_every=0,
    )
    lines: list[dict[str, Any]] = []

    def on_metrics(line: dict[str, Any]) -> None:
        lines.append(line)
        turns.step_done()

    turns.wait()  # the first step, which is not timed, begins with reading the data
    with TemporaryDirectory() as folder:
        train(rows, output=Path(folder) / "run", options=options, on_metrics=on_metrics)
    return _run_of([line["tokens"] for line in lines], turns, [line["loss"] for line in lines])


def trl(rows: str, model: str, turns: Turns) -> Run:
    """Run `SFTTrainer` with the loss on assistants' tokens.

    Its gradient checkpointing, on by default, would cost it a second forward pass and is off.
    """
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.step_done()

    with TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            assistant_only_loss=True,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            learning_rate=RATE,
            lr_scheduler_type="constant",
            weight_decay=DECAY,
            adam_beta2=0.95,
            max_grad_norm=CLIP,
            optim="adamw_torch_fused",
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            logging_steps=1,
            disable_tqdm=True,
            report_to="none",
            save_strategy="no",
            seed=SEED,
        )
        trainer = SFTTrainer(
            AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
            settings,
            train_dataset=Dataset.from_list(list(_in_order(rows))),
            processing_class=AutoTokenizer.from_pretrained(model),
            callbacks=[Clock()],
        )
        trainer.train()
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    tokens = [sum(lengths[start : start + BATCH]) for start in range(0, len(lengths), BATCH)]
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return _run_of(tokens, turns, losses)


def _in_order(rows: str) -> Iterator[dict[str, Any]]:
    """Return the rows in the order in which `dataprep` trains on them."""
    from dataprep.core.sampling import shuffled_order

    lines = Path(rows).read_bytes().splitlines()
    return (json.loads(lines[number]) for number in shuffled_order(len(lines), SEED))


def full_logits(rows: str, model: str, turns: Turns) -> Run:
    """Run a plain loop with the logits of all positions, padding included."""
    from torch.nn import functional

    def loss_of(student: Any, batch: dict[str, Any], labels: Any) -> Any:
        logits = student(**batch, use_cache=False).logits[:, :-1]
        return functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())

    return _plain(rows, model, turns, loss_of)


def trained_logits(rows: str, model: str, turns: Turns) -> Run:
    """Run a plain loop with the logits of the positions before tokens in the loss, all at once."""
    from torch.nn import functional

    def loss_of(student: Any, batch: dict[str, Any], labels: Any) -> Any:
        hidden = student.model(**batch, use_cache=False).last_hidden_state[:, :-1]
        trained = labels[:, 1:] != -100
        return functional.cross_entropy(student.lm_head(hidden[trained]), labels[:, 1:][trained])

    return _plain(rows, model, turns, loss_of)


def _plain(rows: str, model: str, turns: Turns, loss_of: Callable[[Any, dict[str, Any], Any], Any]) -> Run:
    import torch
    from torch.nn.utils import clip_grad_norm_
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    student = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).train()
    matrices = [each for each in student.parameters() if each.ndim > 1]
    vectors = [each for each in student.parameters() if each.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), fused=True)
    documents = [
        tokenizer.apply_chat_template(
            row["messages"], return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
        )
        for row in _in_order(rows)
    ]
    tokens, losses = [], []
    turns.wait()
    for start in range(0, len(documents), BATCH):
        batch, labels = _padded(documents[start : start + BATCH])
        loss = loss_of(student, batch, labels)
        loss.backward()
        clip_grad_norm_(student.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        tokens.append(int(batch["attention_mask"].sum()))
        losses.append(loss.item())
        turns.step_done()
    return _run_of(tokens, turns, losses)


def _padded(documents: list[Any]) -> tuple[dict[str, Any], Any]:
    """Return a model's inputs for documents, and the labels: -100 outside the loss."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [each["input_ids"][0] for each in documents]
    labels = [each["input_ids"][0].masked_fill(each["assistant_masks"][0] == 0, -100) for each in documents]
    batch = {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(each) for each in ids], batch_first=True),
    }
    return batch, pad_sequence(labels, batch_first=True, padding_value=-100)


def _run_of(tokens: list[int], turns: Turns, losses: list[float]) -> Run:
    assert len(tokens) == len(turns.seconds) == len(losses) == turns.steps
    return {"tokens": [float(each) for each in tokens], "seconds": turns.seconds, "losses": losses}


TITLES = {
    "trl": "TRL's SFTTrainer, assistant-only loss",
    "full_logits": "a plain loop, logits of all positions",
    "trained_logits": "a plain loop, logits of trained positions",
    "dataprep": "dataprep train",
}
CONTENDERS: dict[str, Callable[[str, str, Turns], Run]] = {
    each.__name__: each for each in (trl, full_logits, trained_logits, dataprep)
}


def main() -> None:
    """Take the steps of one contender."""
    import torch

    name, rows, model = sys.argv[1:]
    torch.set_num_threads(os.cpu_count() or 1)
    turns = Turns(len(Path(rows).read_bytes().splitlines()) // BATCH)
    turns.say(json.dumps(CONTENDERS[name](rows, model, turns)))


if __name__ == "__main__":
    main()
