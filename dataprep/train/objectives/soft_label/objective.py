"""Soft labels: a classifier that learns from a teacher's probabilities and from gold labels.

``α·T²·KL(teacher ‖ student, both at temperature T) + (1 − α)·CE(gold)``, after Hinton, Vinyals and Dean,
"Distilling the Knowledge in a Neural Network" (2015, arXiv 1503.02531), section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from dataprep.core import io as files
from dataprep.core.errors import InputError, RowError, UsageError, located
from dataprep.tokens.shards.manifest import sha256_of
from dataprep.train.objective import Job, Setup
from dataprep.train.objectives.soft_label.classes import Classes, classes_of, metrics_of, name_of
from dataprep.train.objectives.soft_label.loading import is_tiny, new_scorer
from dataprep.train.objectives.soft_label.rows import (
    GOLD,
    NO_GOLD,
    SOFT,
    Examples,
    Judged,
    judged_rows,
    usual_fields,
)
from dataprep.train.objectives.soft_label.scorers import Scorer, limit_of, logits_of
from dataprep.train.objectives.soft_label.tiny import SIZES

if TYPE_CHECKING:
    from torch import Tensor, nn

NETWORK_RATE, NEW_RATE, PRETRAINED_RATE = 5e-3, 3e-4, 2e-5
_TARGETS = ("gold", "teacher", "taught")


class SoftLabel:
    """Both parts of the loss, summed over the rows that have them.

    Args:
        alpha: the teacher's share.
        temperature: what both logits are divided by; ``T²`` keeps the gradients' size as it was at 1.
    """

    def __init__(self, alpha: float, temperature: float) -> None:
        self.weights: Mapping[str, float] = {SOFT: alpha, GOLD: 1 - alpha}
        self.temperature = temperature

    def sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``T²·KL`` over rows with probabilities, cross-entropy over rows with a label."""
        read = {name: each for name, each in tensors.items() if name not in _TARGETS}
        logits, taught, heat = logits_of(model, read), tensors["taught"], self.temperature
        student = (logits[taught] / heat).log_softmax(-1)
        # A teacher's log-probabilities are its logits but for a constant, which softmax does not see.
        teacher = (tensors["teacher"][taught] / heat).softmax(-1)
        soft = heat**2 * functional.kl_div(student, teacher, reduction="sum")
        gold = functional.cross_entropy(logits, tensors["gold"], ignore_index=NO_GOLD, reduction="sum")
        return {SOFT: soft, GOLD: gold}


def setup(job: Job) -> Setup:
    """A run on rows with labels, probabilities, or both.

    Raises:
        InputError: a row is no such row, or too long for the model.
        UsageError: an option that does nothing here, or a share that the data cannot serve.
    """
    options = job.options
    refuse_foreign(job)
    fields = options.fields or fields_of(job.data)
    rows = list(judged_rows(job.data, fields, options.label))
    classes = chosen_classes(rows, options.classes, ", ".join(job.data))
    alpha = alpha_for(rows, options.alpha)
    scorer = new_scorer(options.model, (row.texts for row in rows), fields, classes, options.tokenizer)
    if options.classes and scorer.classes != classes:
        names = ",".join(scorer.classes.names)
        raise UsageError(
            f"--classes: --model {options.model} has them in another order: give --classes {names}"
        )
    limit = limit_of(scorer, options.max_length)
    training = Examples(scorer, rows, limit, options.truncation)
    held_out = None
    if job.held_out:
        others = judged_rows(job.held_out, fields, options.label)
        held_out = Examples(scorer, others, limit, options.truncation)
    for name, each in (("training", training), ("held-out", held_out)):
        if each is not None and each.dropped:
            job.tell(f"{each.dropped:,} {name} rows were too long and left out")
    return Setup(
        objective_name="soft-label",
        model=scorer.model,
        objective=SoftLabel(alpha, options.temperature),
        training=training,
        held_out=held_out,
        learning_rate=rate_for(options.model),
        save=scorer.save,
        results=lambda: {} if held_out is None else {"metrics": measure(scorer, held_out)},
        facts=facts_of(job, scorer, alpha, {"train": training, "eval": held_out}),
    )


def refuse_foreign(job: Job) -> None:
    """Raise ``UsageError`` for options that would do nothing, or something else, to a classifier."""
    options = job.options
    foreign = {
        "--lora": options.lora, "--qat": options.qat, "--chat-format": options.chat_format,
        "--gradient-checkpointing": options.gradient_checkpointing or None,
    }  # fmt: skip
    if given := [flag for flag, value in foreign.items() if value is not None]:
        raise UsageError(f"{', '.join(given)}: not for soft labels; leave it out")
    if options.alpha is not None and options.alpha > 1:
        raise UsageError(f"--alpha {options.alpha:g}: for soft labels a share, from 0 to 1")


def fields_of(paths: Sequence[str]) -> tuple[str, ...]:
    """The fields that hold the text, by the first row.

    Raises:
        InputError: there are none of the usual ones.
    """
    where, row = next(iter(files.read_rows(paths[0])))
    with located(where):
        return usual_fields(row)


def chosen_classes(rows: Sequence[Judged], named: Sequence[str], where: str) -> Classes:
    """The classes that were named, or those that occur in the rows."""
    if named:
        return Classes(tuple(map(name_of, named)))
    try:
        return classes_of((row.gold, row.teacher) for row in rows)
    except RowError as error:
        raise InputError(where, str(error)) from None


def alpha_for(rows: Sequence[Judged], wanted: float | None) -> float:
    """The teacher's share: what was chosen, or one half where rows have labels and rows have probabilities.

    Raises:
        UsageError: all that is left of the loss is a part that no row has.
    """
    soft, gold = any(row.teacher for row in rows), any(row.gold is not None for row in rows)
    if wanted is None:
        return 0.5 if soft and gold else float(soft)
    if wanted > 0 and not soft:
        raise UsageError(f"--alpha {wanted:g}: no row has a teacher's probabilities; leave it out")
    if wanted == 0 and not gold:
        raise UsageError("--alpha 0: no row has a label to learn from")
    return wanted


def rate_for(model: str) -> float:
    """The learning rate without a word: high for a small new network, low for weights that know something."""
    if model in SIZES or is_tiny(model):
        return NETWORK_RATE
    return PRETRAINED_RATE if Path(model).is_dir() else NEW_RATE


@torch.no_grad()
def measure(scorer: Scorer, held_out: Examples, size: int = 64) -> dict[str, Any]:
    """Metrics over the held-out rows that have a gold label."""
    scorer.model.eval()
    device = next(scorer.model.parameters()).device
    labelled = (held_out.gold != NO_GOLD).nonzero().flatten().tolist()
    predicted: list[int] = []
    for start in range(0, len(labelled), size):
        tensors = held_out.batch(labelled[start : start + size]).tensors
        read = {name: each.to(device) for name, each in tensors.items() if name not in _TARGETS}
        predicted += logits_of(scorer.model, read).argmax(-1).tolist()
    return metrics_of(held_out.gold[labelled].numpy(), predicted, scorer.classes)


def facts_of(job: Job, scorer: Scorer, alpha: float, data: Mapping[str, Examples | None]) -> dict[str, Any]:
    """What a run's records say of data and student."""
    paths = {"train": job.data, "eval": job.held_out}
    return {
        "model": job.options.model,
        "class": type(scorer.model).__name__,
        "parameters": sum(each.numel() for each in scorer.model.parameters()),
        "fields": list(scorer.fields),
        "classes": list(scorer.classes.names),
        "alpha": alpha,
        "data": {
            name: [{"name": Path(path).name, "sha256": sha256_of(path)} for path in paths[name]]
            for name, each in data.items()
            if each is not None
        },
        "rows": {name: len(each) for name, each in data.items() if each is not None},
    }
