"""The contenders of `train_chat`, each in a process of its own.

``python -m benchmarks.chat_contenders NAME CASE`` says when it is ready for a step, waits for a line, and in
the end prints tokens, seconds and loss of each step, and its memory, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dataprep.core.sampling import shuffled_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DECAY, CLIP, SEED = 0.1, 1.0, 0
BETAS = (0.9, 0.95)

# Lists of tokens, seconds and losses by step, and `memory` in MB.
Run = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison.

    Attributes:
        title: for the table.
        shards: token shards of the rows, in the files' order.
        model: directory for ``from_pretrained``.
        rate: learning rate.
        batch: rows of a step.
        lora: rank of the updates, or None for all weights.
        precision: ``float32``, or ``bfloat16`` for autocast.
    """

    title: str
    shards: str
    model: str
    rate: float
    batch: int
    lora: int | None = None
    precision: str = "float32"


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


def dataprep(case: Case, turns: Turns) -> Run:
    """Run the library's `train`; a step lasts from one line of metrics to the next."""
    from dataprep.train.options import TrainOptions
    from dataprep.train.run import train

    options = TrainOptions(
        model=case.model,
        lora=case.lora,
        precision=case.precision,
        batch_size=case.batch,
        learning_rate=case.rate,
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
        train(case.shards, output=Path(folder) / "run", options=options, on_metrics=on_metrics)
    return _run_of([line["tokens"] for line in lines], turns, [line["loss"] for line in lines])


def trl(case: Case, turns: Turns) -> Run:
    """Run `SFTTrainer` with the loss on assistants' tokens.

    Its gradient checkpointing, on by default, would cost it a second forward pass and is off.
    """
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.step_done()

    rows = [{"input_ids": ids.tolist(), "assistant_masks": mask.tolist()} for ids, mask in _documents(case)]
    with TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            max_length=None,
            per_device_train_batch_size=case.batch,
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            learning_rate=case.rate,
            lr_scheduler_type="constant",
            weight_decay=DECAY,
            adam_beta2=BETAS[1],
            max_grad_norm=CLIP,
            optim="adamw_torch_fused",
            bf16=case.precision == "bfloat16",
            use_cpu=True,
            gradient_checkpointing=False,
            logging_steps=1,
            disable_tqdm=True,
            report_to="none",
            save_strategy="no",
            seed=SEED,
        )
        trainer = SFTTrainer(
            _model(case),
            settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(case.model),
            callbacks=[Clock()],
        )
        trainer.train()
    lengths = [len(row["input_ids"]) for row in rows]
    tokens = [sum(lengths[start : start + case.batch]) for start in range(0, len(lengths), case.batch)]
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return _run_of(tokens, turns, losses)


def _documents(case: Case) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Yield the ids and the loss mask of each row, in the order in which `dataprep` trains on them."""
    from dataprep.tokens.shards.reading import Shards

    shards = Shards.open(case.shards)
    for number in shuffled_order(shards.documents, SEED):
        yield shards.document(int(number))


def _model(case: Case) -> Any:
    """Return the student, with low-rank updates as `dataprep` makes them if the case has a rank."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(case.model, dtype=torch.float32)
    if case.lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(SEED)
    settings = {"lora_alpha": 2 * case.lora, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    return get_peft_model(model, LoraConfig(r=case.lora, **settings))


Labelled = tuple[dict[str, Any], Any]


def full_logits(case: Case, turns: Turns) -> Run:
    """Run a plain loop with the logits of all positions, padding included."""
    from torch.nn import functional

    def loss_of(student: Any, batch: dict[str, Any], labels: Any) -> Any:
        logits = student(**batch, use_cache=False).logits[:, :-1]
        return functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())

    return _plain(case, turns, _padded, loss_of)


def trained_logits(case: Case, turns: Turns) -> Run:
    """Run a plain loop with the logits of the positions before tokens in the loss, all at once."""
    return _plain(case, turns, _padded, _loss_of_trained)


def flattened(case: Case, turns: Turns) -> Run:
    """Run a plain loop without padding: the rows of a step are one sequence, with positions of each."""
    return _plain(case, turns, _flattened, _loss_of_trained)


def _loss_of_trained(student: Any, batch: dict[str, Any], labels: Any) -> Any:
    from torch.nn import functional

    # peft's wrapper holds the model, whose inner part ends before the output layer.
    causal = student.get_base_model() if hasattr(student, "peft_config") else student
    hidden = causal.model(**batch, use_cache=False).last_hidden_state[:, :-1]
    trained = labels[:, 1:] != -100
    return functional.cross_entropy(causal.lm_head(hidden[trained]).float(), labels[:, 1:][trained])


def _plain(
    case: Case,
    turns: Turns,
    collate: Callable[[list[Any]], Labelled],
    loss_of: Callable[[Any, dict[str, Any], Any], Any],
) -> Run:
    import torch
    from torch.nn.utils import clip_grad_norm_

    student = _model(case).train()
    trained = [each for each in student.parameters() if each.requires_grad]
    matrices = [each for each in trained if each.ndim > 1]
    vectors = [each for each in trained if each.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=case.rate, betas=BETAS, fused=True)
    documents = list(_documents(case))
    autocast = torch.autocast("cpu", torch.bfloat16) if case.precision == "bfloat16" else nullcontext()
    tokens, losses = [], []
    turns.wait()
    for start in range(0, len(documents), case.batch):
        rows = documents[start : start + case.batch]
        batch, labels = collate(rows)
        with autocast:
            loss = loss_of(student, batch, labels)
        loss.backward()
        clip_grad_norm_(trained, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        tokens.append(sum(ids.size for ids, _ in rows))
        losses.append(loss.item())
        turns.step_done()
    return _run_of(tokens, turns, losses)


def _labels(ids: NDArray[Any], mask: NDArray[np.bool_]) -> Any:
    import torch

    labels = torch.from_numpy(ids.astype("int64")).masked_fill(~torch.from_numpy(mask.copy()), -100)
    labels[0] = -100  # no position predicts a document's first token
    return labels


def _padded(rows: list[Any]) -> Labelled:
    """Return a model's inputs for documents, and the labels: -100 outside the loss."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = [torch.from_numpy(ids.astype("int64")) for ids, _ in rows]
    batch = {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(each) for each in ids], batch_first=True),
    }
    labels = pad_sequence([_labels(*row) for row in rows], batch_first=True, padding_value=-100)
    return batch, labels


def _flattened(rows: list[Any]) -> Labelled:
    """Return the same in one row, whose positions begin again with each document."""
    import torch

    ids = torch.cat([torch.from_numpy(ids.astype("int64")) for ids, _ in rows])
    positions = torch.cat([torch.arange(ids.size) for ids, _ in rows])
    labels = torch.cat([_labels(*row) for row in rows])
    return {"input_ids": ids[None], "position_ids": positions[None]}, labels[None]


def _run_of(tokens: list[int], turns: Turns, losses: list[float]) -> Run:
    assert len(tokens) == len(turns.seconds) == len(losses) == turns.steps
    # Linux counts in KiB.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"tokens": tokens, "seconds": turns.seconds, "losses": losses, "memory": memory}


CONTENDERS: dict[str, Callable[[Case, Turns], Run]] = {
    contender.__name__: contender for contender in (trl, full_logits, trained_logits, flattened, dataprep)
}


def main() -> None:
    """Take the steps of one contender."""
    import torch

    from dataprep.tokens.shards.reading import Shards

    name, case = sys.argv[1], Case(**json.loads(sys.argv[2]))
    torch.set_num_threads(os.cpu_count() or 1)
    turns = Turns(Shards.open(case.shards).documents // case.batch)
    turns.say(json.dumps(CONTENDERS[name](case, turns)))


if __name__ == "__main__":
    main()
