"""Compare supervised fine-tuning on chat rows with TRL's `SFTTrainer` and with plain loops, on the CPU.

The cases are a small Llama with random weights, and SmolLM2-135M-Instruct, which is looked for in the folder
that ``DATAPREP_REAL_MODELS`` names (default ``../models``): rows of GSM8K and of CommonsenseQA, all weights
and LoRA, float32 and bfloat16. In a case, all contenders take the same steps: the same weights, token ids and
masks in the same order, AdamW with the same settings, and as many threads. Each is a process of its own, and
they take turns step by step, so that a slow minute of the machine hits all alike.
`chat_contenders` has their code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.chat_contenders import SEED, Case, Run
from benchmarks.measure import claim

STEPS = 4  # in a round, after one that warms up and is not timed
REAL_STEPS = 2  # the same, of a real model
BATCH = 8
REAL_BATCH = 4
SHAPE = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}
REAL_MODEL = "smollm2-135m-instruct"
LORA = 16


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Compare the contenders on random weights, and on a real model if it is there."""
    steps = 1 + STEPS * rounds
    model = folder / "student"
    _write_model(data / "tokenizers" / "llama3.model", model)
    gsm8k = ("gsm8k", data / "gsm8k" / "train.jsonl")
    shards = _tokenized(gsm8k, model, folder / "tokens", steps * BATCH)
    title = "Llama of hidden size 128 with 4 layers and 128,256 tokens, rows of GSM8K"
    case = Case(title, shards, str(model), 1e-3, BATCH)
    found = _compared(case, ("trl", "full_logits", "trained_logits", "dataprep"), steps, folder)
    print(f"\nchat rows, {BATCH} a step\n\n{_HEAD}")
    _print(case, found)
    print()
    met = claim("dataprep's tokens a second over TRL's", _ratio(found, "trl"), 4, at_least=True)
    met &= claim("losses apart", _apart(found, "trl"), 1e-3, at_least=False)
    return _real(data, folder, rounds) and met


def _real(data: Path, folder: Path, rounds: int) -> bool:
    """Compare the contenders on SmolLM2, in each case."""
    model = Path(os.environ.get("DATAPREP_REAL_MODELS", "../models")).absolute() / REAL_MODEL
    if not model.is_dir():
        print(f"\nSmolLM2: not measured, since there is no {model}")
        return True
    steps, met = 1 + REAL_STEPS * rounds, True
    results: list[tuple[Case, dict[str, Run]]] = []
    for name, file in (("gsm8k", "train.jsonl"), ("commonsense_qa", "train_rand_split.jsonl")):
        shards = _tokenized((name, data / name / file), model, folder / f"{name}-tokens", steps * REAL_BATCH)
        for lora, precision in ((lora, kind) for lora in (None, LORA) for kind in ("float32", "bfloat16")):
            title = f"{name}, {'all weights' if lora is None else 'LoRA'}, {precision}"
            case = Case(
                title, shards, str(model), 2e-5 if lora is None else 2e-4, REAL_BATCH, lora, precision
            )
            results.append((case, _compared(case, ("trl", "flattened", "dataprep"), steps, folder)))
    print(f"\nSmolLM2-135M-Instruct, {REAL_BATCH} rows a step\n\n{_HEAD}")
    for case, found in results:
        _print(case, found)
    print()
    for case, found in results:
        name = f"{case.title}: tokens a second over TRL's"
        met &= claim(name, _ratio(found, "trl"), 2, at_least=True)
        memory = found["dataprep"]["memory"] / found["flattened"]["memory"]
        met &= claim(f"{case.title}: memory over the plain loop's", memory, 1, at_least=False)
    return met


def _compared(case: Case, names: tuple[str, ...], steps: int, folder: Path) -> dict[str, Run]:
    """Let contenders take turns, and return what they measured."""
    log = folder / "train_chat.log"
    found: dict[str, Run] = {}
    with log.open("wb") as errors:
        running = {name: _started(name, case, errors) for name in names}
        for process in running.values():
            _line_of(process, log)
        for number in range(steps):
            for name, process in running.items():
                print(f"  {case.title}: step {number + 1}/{steps}: {name} …", file=sys.stderr)
                process.stdin.write("go\n")
                process.stdin.flush()
                answer = _line_of(process, log)  # the last is what was measured
                if number == steps - 1:
                    found[name] = json.loads(answer)
    return found


TITLES = {
    "trl": "TRL's SFTTrainer",
    "full_logits": "a plain loop, logits of all positions",
    "trained_logits": "a plain loop, logits of trained positions",
    "flattened": "a plain loop without padding, logits of trained positions",
    "dataprep": "dataprep train",
}
_HEAD = (
    "| | tokens a second | dataprep's over it | loss apart, at most | memory |\n"
    "| --- | ---: | ---: | ---: | ---: |"
)


def _print(case: Case, found: dict[str, Run]) -> None:
    """Print the rows of a case."""
    print(f"| **{case.title}** | | | | |")
    for name, run in found.items():
        cells = f"{_rate(run):,.0f} | {_ratio(found, name):.2f} | {_apart(found, name):.1e}"
        print(f"| {TITLES[name]} | {cells} | {run['memory']:,.0f} MB |")


def _tokenized(source: tuple[str, Path], tokenizer: Path, target: Path, count: int) -> str:
    """Tokenize the first chat rows of a published set, and return the shards' path."""
    name, file = source
    every, rows = target.with_name(f"{name}-every.jsonl"), target.with_name(f"{name}-rows.jsonl")
    program = [sys.executable, "-m", "dataprep"]
    subprocess.run([*program, "convert", name, "-q", "-o", str(every), str(file)], check=True)
    with every.open("rb") as lines:
        rows.write_bytes(b"".join(islice(lines, count)))
    words = [*program, "tokenize", str(rows), "-q", "--tokenizer", str(tokenizer), "-o", str(target)]
    subprocess.run(words, check=True)
    return str(target)


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


def _started(name: str, case: Case, errors: Any) -> Any:
    command = [sys.executable, "-m", "benchmarks.chat_contenders", name, json.dumps(asdict(case))]
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
    return float(sum(run["tokens"][1:]) / sum(run["seconds"][1:]))


def _ratio(found: dict[str, Run], name: str) -> float:
    """Return dataprep's tokens per second over a contender's."""
    return _rate(found["dataprep"]) / _rate(found[name])


def _apart(found: dict[str, Run], name: str) -> float:
    """Return the largest difference of a step's losses; all contenders must have had the same tokens."""
    ours, theirs = found["dataprep"], found[name]
    assert ours["tokens"] == theirs["tokens"]
    pairs = zip(ours["losses"], theirs["losses"], strict=True)
    return float(max(abs(own - other) for own, other in pairs))
