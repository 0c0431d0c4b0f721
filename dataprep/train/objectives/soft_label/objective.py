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

from dataprep.answers.baselines import Baselines, baselines_of
from dataprep.core.errors import InputError, Location, RowError, UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.sampling import shuffled_order
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
from dataprep.train.objectives.soft_label.ngrams import GramScorer
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
_ADVICE = "try more --epochs, a learning rate 3 times as high or as low, more rows, or"
# Without labelled evaluation rows, a sample of so many rows shows whether the student tells classes apart.
_SAMPLED_ROWS = 1000


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
        rows = list(judged_rows(context.data, fields, options.label, **settings, labelled=True))
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
        scorer.reads_lists = scorer.classes == classes
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
        gold, predicted = self._answers(self.data.eval, _labelled(self.data.eval), processes)
        figures: dict[str, Any] = dict(metrics_of(gold, predicted, self.student.classes))
        if not gold:
            return figures
        without_skill = baselines_of(gold, predicted, self.student.classes.names)
        return figures | {"chance": without_skill.chance, "majority": without_skill.majority}

    @torch.no_grad()
    def _answers(
        self, dataset: JudgedDataset, items: list[int], processes: World | None = None
    ) -> tuple[list[int], list[int]]:
        """Return the classes of rows by their labels, or else by the teacher, and the predicted classes."""
        model = self.student.model.eval()
        device = next(model.parameters()).device
        items = by_length(items, dataset.lengths).tolist()
        shard = processes.shard(items) if processes else items
        predicted: list[int] = []
        for start in range(0, len(shard), _MEASURED_AT_ONCE):
            tensors = dataset.batch(shard[start : start + _MEASURED_AT_ONCE]).tensors
            inputs = {name: tensor.to(device) for name, tensor in tensors.items() if name not in _TARGETS}
            predicted += logits_of(model, inputs).argmax(-1).tolist()
        if processes:
            predicted = [number for part in processes.gather(predicted) for number in part]
        gold = torch.where(dataset.gold != NO_GOLD, dataset.gold, dataset.teacher.argmax(-1))
        return gold[items].tolist(), predicted

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
        dataset: JudgedDataset | None = self.data.eval
        if dataset is None:
            return {"warnings": self._of_sample("training rows", self.data.train)}
        if not (items := _labelled(dataset)):
            return {"metrics": {"rows": 0}, "warnings": self._of_sample("evaluation rows", dataset)}
        gold, predicted = self._answers(dataset, items)
        baselines = baselines_of(gold, predicted, self.student.classes.names)
        metrics = metrics_of(gold, predicted, self.student.classes)
        warnings = self._warnings("accuracy", baselines)
        return {"metrics": metrics, "baselines": baselines.to_json(), "warnings": warnings}

    def _of_sample(self, about: str, dataset: JudgedDataset) -> list[str]:
        """Return the warnings of a sample of rows, which can have a teacher's probabilities only."""
        items = [] if self.weights[SOFT] else _labelled(dataset)
        items = items or list(range(len(dataset)))
        # Not the first ones: files are often sorted by class.
        drawn = shuffled_order(len(items), self.context.options.seed)[:_SAMPLED_ROWS]
        sample = [items[number] for number in drawn.tolist()]
        labelled = int((dataset.gold[sample] != NO_GOLD).sum())
        kinds = ["gold answers"] if labelled else []
        kinds += ["teacher's most probable classes"] if labelled < len(sample) else []
        gold, predicted = self._answers(dataset, sample)
        baselines = baselines_of(gold, predicted, self.student.classes.names)
        return self._warnings(about, baselines, " and the ".join(kinds))

    def _warnings(self, about: str, baselines: Baselines, kind: str = "gold answers") -> list[str]:
        """Log and return warnings of a student that names one class, or is not above the majority."""
        is_tiny = isinstance(self.student, GramScorer)
        other = "a pretrained classifier as --model" if is_tiny else "--model tiny"
        sentences = [baselines.collapse("predictions", kind), baselines.below(kind)]
        warnings = [f"{about}: {found}; {_ADVICE} {other}" for found in sentences if found]
        for warning in warnings:
            self.context.log(f"warning: {warning}")
        return warnings

    def facts(self) -> dict[str, Any]:
        """Return the teacher's weight that was used, and the options that depend on the rows."""
        options = self.context.options
        names = ("epochs", "learning_rate", "adam_epsilon", "weight_decay")
        return {"alpha": self.weights[SOFT]} | {name: getattr(options, name) for name in names}


def _labelled(dataset: JudgedDataset) -> list[int]:
    """Return the rows that have a label."""
    return (dataset.gold != NO_GOLD).nonzero().flatten().tolist()


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
