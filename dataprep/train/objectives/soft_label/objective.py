"""Soft labels: learn from a teacher's probabilities and from gold labels.

`α·T²·KL(teacher ‖ student, both at temperature T) + (1 − α)·CE(gold)`, after Hinton, Vinyals and Dean,
"Distilling the Knowledge in a Neural Network" (2015, arXiv 1503.02531), section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from dataprep.answers.baselines import baselines_of
from dataprep.core.errors import InputError, Location, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.train.objective import (
    Objective,
    SkippedRows,
    TrainContext,
    TrainData,
    by_length,
    check_max_length,
    file_facts,
    read_with,
)
from dataprep.train.objectives.soft_label.classes import (
    Classes,
    classes_of,
    metrics_of,
    name_of,
)
from dataprep.train.objectives.soft_label.classifier import new_scorer
from dataprep.train.objectives.soft_label.defaults import defaults_for
from dataprep.train.objectives.soft_label.rows import (
    GOLD,
    NO_GOLD,
    SOFT,
    JudgedDataset,
    Scorer,
    judged_rows,
    logits_of,
    usual_fields,
)
from dataprep.train.options import flag_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataprep.train.hardware.distributed import World

# Tensors of a batch that the model does not read.
_TARGETS = ("gold", "teacher", "has_teacher")
# Not --batch-size: without gradients, more rows fit into memory.
_MEASURED_AT_ONCE = 64
# Advice of the warnings about a student that has learned little.
_ADVICE = "try more --epochs, a learning rate 3 times as high or as low, more rows, or --model tiny"
# Without evaluation rows, so many training rows show whether the student tells classes apart.
_MOST_TRAINING_ROWS = 1000


class SoftLabelObjective(Objective):
    """Both parts of the loss, each summed over the rows that have it."""

    measures_quickly = True

    def __init__(self, student: Any, data: TrainData, context: TrainContext) -> None:
        super().__init__(student, data, context)
        alpha = alpha_for(data.train, context.options.alpha)
        self.weights = {SOFT: alpha, GOLD: 1 - alpha}
        self.temperature = context.options.temperature

    @classmethod
    def load_model(cls, context: TrainContext) -> Scorer:
        """Create or load the classifier; its classes come from the rows."""
        options = context.options
        _check_options(context)
        fields = _fields_of(context)
        # Read here for vocabulary and classes, and again as the dataset: rows cannot be encoded before.
        classes = Classes(tuple(map(name_of, options.classes)))
        # Bad rows are written when they are read as the dataset.
        skipped = context.rejects if context.rejects.raises else SkippedRows()
        settings: dict[str, Any] = {"known": classes.names, "rejects": skipped}
        rows = list(judged_rows(context.data, fields, options.label, **settings))
        if not rows:
            raise InputError(", ".join(context.data), "no row is left to train on")
        if not options.classes:
            try:
                classes = classes_of((row.gold, row.teacher) for row in rows)
            except RowError as error:
                raise InputError(", ".join(context.data), str(error)) from None
        scorer = new_scorer(options.model, rows, fields, classes, options.tokenizer)
        # A saved model's order decides what its outputs mean.
        if options.classes and scorer.classes != classes:
            names = ",".join(scorer.classes.names)
            raise UsageError(
                f"--classes: --model {options.model} has them in another order: give --classes {names}"
            )
        return scorer

    @classmethod
    def load_dataset(cls, context: TrainContext, student: Scorer) -> TrainData:
        """Read and encode the rows."""
        options = context.options
        limit = check_max_length(options.max_length, student.context_length)
        # A saved classifier may have been trained on other fields than these rows have.
        fields = _fields_of(context)

        def load(paths: list[str]) -> JudgedDataset:
            shared: dict[str, Any] = {"rejects": context.rejects, "ledger": Ledger()}
            rows = judged_rows(paths, fields, options.label, known=known, **shared)
            dataset = JudgedDataset(student, rows, limit, options.truncation, **shared)
            dataset.ledger.check()
            dataset.files = file_facts(paths)
            context.log(f"{', '.join(paths)}: {dataset.ledger}")
            context.log(f"  {dataset.describe_classes()}")
            return dataset

        known = student.classes.names if options.classes else ()
        return TrainData(load(context.data), load(context.eval_data) if context.eval_data else None)

    def loss_sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums of `T²·KL` and of the cross-entropy with gold labels."""
        inputs = {name: tensor for name, tensor in tensors.items() if name not in _TARGETS}
        logits, has_teacher = logits_of(model, inputs), tensors["has_teacher"]
        student = (logits[has_teacher] / self.temperature).log_softmax(-1)
        # Log-probabilities are logits minus a constant, which softmax ignores: they can be divided by T too.
        teacher = (tensors["teacher"][has_teacher] / self.temperature).softmax(-1)
        # T² gives the gradients the size that they have at T = 1.
        soft = self.temperature**2 * functional.kl_div(student, teacher, reduction="sum")
        gold = functional.cross_entropy(logits, tensors["gold"], ignore_index=NO_GOLD, reduction="sum")
        return {SOFT: soft, GOLD: gold}

    def figures(self) -> tuple[str, ...]:
        """Return the metrics of the classes, if evaluation rows have a gold label."""
        dataset: JudgedDataset | None = self.data.eval
        if dataset is None or not bool((dataset.gold != NO_GOLD).any()):
            return ()
        return tuple(name for name in metrics_of([0], [0], self.student.classes) if name != "rows")

    def measure(self, processes: World | None = None) -> dict[str, Any]:
        """Return metrics over the evaluation rows that have a gold label, and what no skill reaches."""
        gold, predicted = self._answers(processes)
        figures: dict[str, Any] = dict(metrics_of(gold, predicted, self.student.classes))
        if not gold:
            return figures
        without_skill = baselines_of(gold, predicted, self.student.classes.names)
        return figures | {"chance": without_skill.chance, "majority": without_skill.majority}

    @torch.no_grad()
    def _answers(
        self, processes: World | None = None, data: JudgedDataset | None = None
    ) -> tuple[list[int], list[int]]:
        """Return the gold classes of the rows that have one, and the predicted classes."""
        dataset: JudgedDataset = data or self.data.eval
        model = self.student.model.eval()
        device = next(model.parameters()).device
        labelled = (dataset.gold != NO_GOLD).nonzero().flatten().tolist()
        if dataset is self.data.train:
            labelled = labelled[:_MOST_TRAINING_ROWS]
        labelled = by_length(labelled, dataset.lengths).tolist()
        shard = processes.shard(labelled) if processes else labelled
        predicted: list[int] = []
        for start in range(0, len(shard), _MEASURED_AT_ONCE):
            tensors = dataset.batch(shard[start : start + _MEASURED_AT_ONCE]).tensors
            inputs = {name: tensor.to(device) for name, tensor in tensors.items() if name not in _TARGETS}
            predicted += logits_of(model, inputs).argmax(-1).tolist()
        if processes:
            predicted = [number for part in processes.gather(predicted) for number in part]
        return dataset.gold[labelled].tolist(), predicted

    def settle(self) -> None:
        """Choose epochs and the optimizer's options by model and number of rows."""
        options, rows = self.context.options, len(self.data.train)
        chosen = defaults_for(self.student, options.model, rows)
        # A number of steps stands in place of epochs.
        given = {"epochs"} if options.steps is not None else set()
        missing: dict[str, Any] = {
            name: value
            for name, value in chosen.items()
            if name not in given and getattr(options, name) is None
        }
        if missing:
            listed = " ".join(f"{flag_of(name)} {value:g}" for name, value in missing.items())
            self.context.log(f"{rows:,} rows: {listed}, unless you give others")
            self.context = replace(self.context, options=replace(options, **missing))

    def results(self) -> dict[str, Any]:
        """Return the metrics over the evaluation rows, if there are any, and what no skill reaches."""
        on_training_rows = self.data.eval is None
        # Without evaluation rows, the training rows still show a student that names one class for all.
        gold, predicted = self._answers(data=self.data.train if on_training_rows else self.data.eval)
        results: dict[str, Any] = {"metrics": metrics_of(gold, predicted, self.student.classes)}
        if gold:
            baselines = baselines_of(gold, predicted, self.student.classes.names)
            results["baselines"] = baselines.to_json()
            sentences = [baselines.collapse("predictions"), baselines.below()]
            about = "training rows" if on_training_rows else "accuracy"
            results["warnings"] = [f"{about}: {found}; {_ADVICE}" for found in sentences if found]
            for warning in results["warnings"]:
                self.context.log(f"warning: {warning}")
        return {"warnings": results.get("warnings", [])} if on_training_rows else results

    def facts(self) -> dict[str, Any]:
        """Return the teacher's weight that was used, and the options that depend on the rows."""
        options = self.context.options
        names = ("epochs", "learning_rate", "adam_epsilon", "weight_decay")
        return {"alpha": self.weights[SOFT]} | {name: getattr(options, name) for name in names}


def _check_options(context: TrainContext) -> None:
    options = context.options
    not_supported = {
        "--lora": options.lora is not None,
        "--qat": options.qat is not None,
        "--chat-format": options.chat_format is not None,
        "--strip": options.strip,
        "--date": options.date is not None,
        "--template-arg": bool(options.template_args),
        "--loss": options.loss != "all",
        "--split-thinking": options.split_thinking,
        "--gradient-checkpointing": options.gradient_checkpointing,
    }
    if flags := [flag for flag, is_given in not_supported.items() if is_given]:
        raise UsageError(f"{', '.join(flags)}: not for soft labels; leave it out")
    if options.alpha is not None and options.alpha > 1:
        raise UsageError(f"--alpha {options.alpha:g}: for soft labels a share, from 0 to 1")


def _fields_of(context: TrainContext) -> tuple[str, ...]:
    """Return the fields with the text: as chosen, else the usual ones of the first row."""
    if context.options.fields:
        return context.options.fields
    # The first row that has them, if bad rows are set aside.
    rejects = context.rejects if context.rejects.raises else SkippedRows()

    def read(_where: Location, row: dict[str, Any], _text: bytes) -> tuple[str, ...]:
        return usual_fields(row)

    fields = next(read_with(read, context.data[:1], rejects, Ledger()), None)
    if fields is None:
        raise InputError(context.data[0], "no row is left to train on")
    return fields


def alpha_for(data: JudgedDataset, alpha: float | None) -> float:
    """Return the teacher's weight: as chosen, else 0.5 if the rows have both parts."""
    soft, gold = bool(data.has_teacher.any()), bool((data.gold != NO_GOLD).any())
    if alpha is None:
        return 0.5 if soft and gold else float(soft)
    # A weight on a part without rows would make the loss 0, and nothing would be learned.
    if alpha > 0 and not soft:
        raise UsageError(f"--alpha {alpha:g}: no row has a teacher's probabilities; leave it out")
    if alpha == 0 and not gold:
        raise UsageError("--alpha 0: no row has a label to learn from")
    return alpha
