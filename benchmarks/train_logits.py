"""Compare training on a teacher's captured logits with plain fine-tuning, and with the teacher in memory.

SmolLM2 is student and teacher, on rows of GSM8K, in one process; it is looked for in the folder that
``DATAPREP_REAL_MODELS`` names (default ``../models``). The contenders take turns step by step with the same
rows, model and optimizer. The processor time of their steps is compared: other work disturbs it less.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.measure import claim

STEPS = 4  # in a round, after one that warms up and is not timed
BATCH, K = 2, 64
MODEL = "smollm2-135m-instruct"
PLAIN, HOT, MEMORY = "plain fine-tuning", "captured logits, T = 2", "the teacher in memory, T = 2"
CONTENDERS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "captured logits, T = 1": {"teacher_logits": "logits", "temperature": 1.0},
    HOT: {"teacher_logits": "logits", "temperature": 2.0},
    MEMORY: {"temperature": 2.0},
}


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Let all contenders take turns, and compare tokens per second."""
    model = Path(os.environ.get("DATAPREP_REAL_MODELS", "../models")) / MODEL
    if not model.is_dir():
        print(f"\ncaptured logits: not measured, since there is no {model}")
        return True
    steps = 1 + STEPS * rounds
    lines = _made(data, folder, model, steps * BATCH)
    tokens, seconds = _times(folder, model, steps)
    print(f"\ncaptured logits: SmolLM2-135M, K = {K}, {BATCH} rows of GSM8K a step, {steps - 1} steps\n")
    print(*lines, sep="\n")
    print("\n| | tokens a second | of plain fine-tuning |\n| --- | ---: | ---: |")
    for name, used in seconds.items():
        print(f"| {name} | {tokens / used:,.0f} | {seconds[PLAIN] / used:.1%} |")
    print()
    slowest = max(used for name, used in seconds.items() if name not in (PLAIN, MEMORY))
    return claim(
        "share of plain fine-tuning's tokens a second", seconds[PLAIN] / slowest, 0.95, at_least=True
    )


def _made(data: Path, folder: Path, model: Path, count: int) -> list[str]:
    """Capture the logits of the first rows, and return what the command says."""
    every, rows, said = folder / "every.jsonl", folder / "rows.jsonl", ""
    for words in (
        ("convert", "gsm8k", data / "gsm8k" / "train.jsonl", "-o", every),
        ("tokenize", rows, "-o", folder / "tokens", "--tokenizer", model),
        ("capture", folder / "tokens", "-o", folder / "logits", "--teacher-model", model, "--top-k", K),
    ):
        command = [sys.executable, "-m", "dataprep", *map(str, words)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        if not rows.exists():
            with every.open("rb") as file:
                rows.write_bytes(b"".join(islice(file, count)))
    return [line.strip() for line in said.splitlines() if "bytes a token" in line]


def _times(folder: Path, model: Path, steps: int) -> tuple[int, dict[str, float]]:
    """Return the tokens of all steps but the first, and each contender's processor time for them."""
    from dataprep.train.options import TrainOptions, make_optimizer

    objectives = _objectives(folder, model)
    student = objectives[PLAIN].student.model.train()
    optimizer = make_optimizer(student, TrainOptions(), 1e-6)
    tokens, seconds = 0, dict.fromkeys(CONTENDERS, 0.0)
    for step in range(steps):
        items = range(step * BATCH, (step + 1) * BATCH)
        for name, objective in objectives.items():
            print(f"  step {step + 1}/{steps}: {name} …", file=sys.stderr)
            begin = time.process_time()
            batch = objective.data.train.batch(items)
            sums = objective.loss_sums(student, batch.tensors)
            sum(objective.weights[part] * value for part, value in sums.items()).backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds[name] += (time.process_time() - begin) * bool(step)
        tokens += batch.tokens * bool(step)
    return tokens, seconds


def _objectives(folder: Path, model: Path) -> dict[str, Any]:
    import torch

    from dataprep.core.optional import quiet
    from dataprep.models.loading import load_weights
    from dataprep.tokens.shards.reading import Shards
    from dataprep.train.layers.packed_attention import use_packed_attention
    from dataprep.train.objective import TrainData
    from dataprep.train.objectives.captured import with_logits
    from dataprep.train.objectives.distillation import DistillationObjective, DocumentsWithTeacher
    from dataprep.train.objectives.sft import Documents, SftObjective
    from dataprep.train.options import TrainOptions

    with quiet():
        weights, teacher = (load_weights(str(model), torch.float32) for _ in range(2))
    for each in (weights, teacher):
        use_packed_attention(each)
    student, shards = SimpleNamespace(model=weights), Shards.open(folder / "tokens")
    made: dict[str, Any] = {}
    for name, settings in CONTENDERS.items():
        paths = {key: str(folder / "logits") for key in ("teacher_logits",) if key in settings}
        options = TrainOptions(**settings | paths)
        context: Any = SimpleNamespace(options=options, data=[str(folder / "tokens")], log=print)
        data = TrainData(DocumentsWithTeacher(shards) if name == MEMORY else Documents(shards))
        if paths:
            data = with_logits(data, context)
        made[name] = (SftObjective if name == PLAIN else DistillationObjective)(student, data, context)
    made[MEMORY].use_teacher(teacher)
    return made
