"""Options of training and of scoring, and the optimizer with its learning rate.

This module imports nothing heavy: `dataprep train --help` reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import UsageError
from dataprep.core.io import printable
from dataprep.core.options import canonical_date, check, option, options_of, parse_names, to_config
from dataprep.tokens.options import LOSS, SPLIT_THINKING, TEMPLATE_ARG, TRUNCATIONS
from dataprep.train.recipes import RECIPES, with_recipes

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import AdamW

SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
QAT = ("int8-dynamic-int4", "int4-weight")

LANGUAGE_MODELS = ("llama-tiny", "llama-30m", "llama-1b", "t5-tiny", "t5-small")
CLASSIFIERS = ("tiny", "wide", "bert-tiny", "bert-base")

_NAMES: dict[str, Any] = {"metavar": "NAME,...", "parse": parse_names}
_PATH: dict[str, Any] = {"metavar": "PATH", "is_path": True}
# A resumed run can have other values of these: they change how it is shown and saved, not its result.
_FREE = ("save_every", "keep", "keep_checkpoints", "tensorboard")


def _parse_weights(texts: list[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            name = ""
        if not name:
            raise UsageError(f"--teacher-weight {text}: expected NAME=NUMBER")
    return weights


@with_recipes
@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of a training run; each field has the help text of its flag."""

    objective: str = option(
        "auto",
        "Training objective: auto (detected from the rows), sft, distillation, rationale or soft-label.",
        metavar="NAME",
    )
    model: str = option(
        "auto",
        f"A directory, a name on the hub, or a preset: {', '.join(LANGUAGE_MODELS)}; soft labels: "
        f"{', '.join(CLASSIFIERS)}. auto is the objective's smallest preset.",
        metavar="MODEL",
        is_path=True,
        names=("auto", *LANGUAGE_MODELS, *CLASSIFIERS),
    )
    tokenizer: str | None = option(
        None,
        "Tokenizer's file or model directory. Defaults to the model's own; for a preset, to one that is "
        "trained on the data.",
        **_PATH,
    )
    chat_format: str | None = option(
        None,
        "Chat format: llama3, chatml, llama2, plain or template. Defaults to the template of the model or "
        "the tokenizer, else to llama3.",
        metavar="NAME",
    )
    strip: bool = option(False, "Strip white space around contents.")
    date: str | None = option(
        None, "Date that the chat format writes, such as 2024-07-26 or '26 Jul 2024'.", metavar="DATE"
    )
    template_args: Mapping[str, Any] = option(dict, **TEMPLATE_ARG)
    loss: str = option("all", **LOSS)
    split_thinking: bool = option(False, SPLIT_THINKING)
    max_length: int | None = option(
        None, "Maximum number of tokens per row. Defaults to the model's context length.", metavar="N", min=2
    )
    truncation: str = option("error", "What to do with longer rows.", choices=TRUNCATIONS)
    pack: int | None = option(None, "Pack rows into sequences of N tokens.", metavar="N", min=2)
    epochs: float | None = option(
        None,
        "Number of passes over the rows. Defaults to 1; for soft labels, fewer rows get more.",
        above=0,
        instead_of="steps",
    )
    steps: int | None = option(
        None, "Number of steps, instead of epochs.", metavar="N", min=1, instead_of="epochs"
    )
    batch_size: int = option(8, "Rows or packed sequences per batch, in each process.", metavar="N", min=1)
    accumulate: int = option(1, "Batches per step.", metavar="N", min=1)
    learning_rate: float | None = option(
        None,
        "Peak learning rate. Defaults to 1e-3 for a preset, 2e-5 otherwise, 2e-4 with --lora; for soft "
        "labels, it depends on model and rows.",
        above=0,
    )
    schedule: str = option("cosine", "How the learning rate falls after its peak.", choices=SCHEDULES)
    warmup: float = option(0.05, "Share of the steps in which the learning rate rises.", min=0, max=1)
    adam_beta2: float = option(0.95, "AdamW's decay of squared gradients.", above=0, max=0.99999)
    adam_epsilon: float | None = option(
        None,
        "AdamW's addition to the root of the squared gradients. Defaults to 1e-8; 0.01 for tiny.",
        above=0,
    )
    weight_decay: float | None = option(
        None, "Weight decay of matrices; biases and norms have none. Defaults to 0.01; 0.03 for tiny.", min=0
    )
    clip: float = option(1.0, "Maximum norm of the gradient; 0 for no limit.", min=0)
    seed: int = option(42, "Seed of the rows' order, new weights and dropout.", metavar="N")
    eval_every: int = option(
        0,
        "Steps between evaluations; 0 evaluates only before and after, or with --keep-best after each epoch, "
        "and at least about 10 times.",
        metavar="N",
        min=0,
    )
    keep_best: str | None = option(
        None,
        "Save the weights of the step with the best METRIC on the evaluation rows: loss, or what the "
        "objective measures, such as accuracy. Defaults to the last step's.",
        metavar="METRIC",
    )
    measure: int = option(
        0,
        "Evaluation rows that the student answers at each evaluation, for figures such as accuracy.",
        metavar="N",
        min=0,
    )
    patience: int | None = option(
        None, "End the run after N evaluations without a better METRIC.", metavar="N", min=1
    )
    save_every: int = option(
        500, "Steps between checkpoints; 0 writes one after the last step only.", metavar="N", min=0
    )
    keep: int = option(2, "Number of checkpoints to keep.", metavar="N", min=1)
    keep_checkpoints: bool = option(False, "Keep the checkpoints when the run is finished.")
    recipe: str | None = option(
        None,
        "rationale: take defaults from a published trainer; options that are given win.",
        choices=tuple(RECIPES),
    )
    gamma: float = option(1.0, "rationale: weight of the answers.", min=0)
    alpha: float | None = option(
        None,
        "rationale: weight of the first teacher (1); soft labels: the teacher's share of the loss (0.5 "
        "if there are probabilities).",
        min=0,
    )
    beta: float | None = option(None, "rationale: weight of the second teacher (1).", min=0)
    teacher_weights: Mapping[str, float] = option(
        dict,
        "rationale: weight of a teacher by name; can be repeated.",
        flag="--teacher-weight",
        metavar="NAME=W",
        parse=_parse_weights,
    )
    keep_status: tuple[str, ...] = option(
        # Neither those that say something wrong, nor those that run on into another question.
        ("ok", "unjudged", "no_answer", "truncated", "length", "unknown"),
        "rationale: statuses of the rationales to train on, or all.",
        metavar="STATUS,...",
        parse=parse_names,
    )
    cue: bool = option(
        False, 'rationale: put "Let\'s think step by step." before rationales of teachers after the first.'
    )
    max_target_length: int | None = option(
        None,
        "rationale: maximum number of tokens in a target. Defaults to --max-length.",
        metavar="N",
        min=2,
    )
    keep_end: bool = option(False, "rationale: end a target that is cut with the token that ends texts.")
    temperature: float = option(
        2.0, "Divisor of student's and teacher's logits before they are compared.", above=0
    )
    fields: tuple[str, ...] = option(
        (), "soft labels: fields with the text. Defaults to text, or to question and answer.", **_NAMES
    )
    label: str | None = option(
        None, "soft labels: field with the correct label. Defaults to label, or to score.", metavar="NAME"
    )
    classes: tuple[str, ...] = option(
        (), "soft labels: classes in their order. Defaults to those in the rows.", **_NAMES
    )
    cross_fit: int | None = option(
        None,
        "soft labels: train K teachers, each without the rows of one fold.",
        metavar="K",
        min=2,
    )
    fold_by: str | None = option(
        None, "soft labels: field whose equal values are in the same fold.", metavar="NAME"
    )
    teacher_model: str | None = option(
        None, "Directory of a larger model with the same tokenizer, to learn its distributions.", **_PATH
    )
    teacher_logits: str | None = option(
        None, "Directory of `dataprep capture`: the distributions of a teacher that is not loaded.", **_PATH
    )
    teacher_share: float = option(0.5, "Share of the teacher in the loss.", min=0, max=1)
    lora: int | None = option(None, "Train low-rank updates of rank R, not the weights.", metavar="R", min=1)
    qat: str | None = option(None, "Train for this quantization.", choices=QAT)
    device: str = option("auto", "Device; auto takes a GPU if there is one.", choices=DEVICES)
    precision: str = option(
        "auto", "Number format; auto is bfloat16 on a GPU that has it, else float32.", choices=PRECISIONS
    )
    compile: bool = option(False, "Compile the model with torch.compile.")
    gradient_checkpointing: bool = option(
        False, "Compute activations twice instead of keeping them: less memory, more work."
    )
    fsdp: bool = option(False, "Divide the model among torchrun's processes.")
    tensorboard: bool = option(False, "Also write metrics for TensorBoard, in DIR/tensorboard.")

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "date", canonical_date(self.date))
        for teacher, weight in self.teacher_weights.items():
            if not 0 <= weight < float("inf"):
                raise UsageError(f"--teacher-weight {teacher}={weight}: must be a number of 0 or more")
        for name in ("fields", "classes"):
            if len(set(values := getattr(self, name))) < len(values):
                raise UsageError(f"--{name} {','.join(values)}: a name is repeated; give each one once")
        if self.teacher_logits is not None and self.teacher_model is not None:
            raise UsageError("--teacher-logits and --teacher-model: expected one of them")
        if self.steps is not None and self.epochs is not None:
            raise UsageError(f"--steps {self.steps} and --epochs {self.epochs:g}: expected one of them")
        if len(self.classes) == 1:
            raise UsageError(f"--classes {self.classes[0]}: expected two or more")
        if not 0 <= self.seed < 1 << 63:
            raise UsageError(f"--seed {self.seed}: must be a number from 0 to 2^63 - 1")
        if self.patience is not None and self.keep_best is None:
            raise UsageError(f"--patience {self.patience} needs --keep-best METRIC, which it waits for")
        if self.fold_by is not None and self.cross_fit is None:
            raise UsageError(f"--fold-by {self.fold_by}: only --cross-fit divides the rows; leave it out")
        if self.fsdp and self.measure:
            raise UsageError("--measure needs the whole model in each process: leave --fsdp out")
        if self.fsdp and self.lora is not None:
            raise UsageError("--lora needs the whole model in each process: leave --fsdp out")

    def to_json(self) -> dict[str, Any]:
        """Return the options as a JSON object."""
        tuples = {name: list(getattr(self, name)) for name in ("fields", "classes", "keep_status")}
        mappings = {name: dict(getattr(self, name)) for name in ("teacher_weights", "template_args")}
        return asdict(self) | mappings | tuples

    def differences(self, recorded: Mapping[str, Any]) -> list[str]:
        """Return the flags that differ from a run's recorded options and change its result."""
        # A run of a version that lacked an option was begun with its default.
        now, recorded = to_config(self), to_config(TrainOptions()) | dict(recorded)
        options = [found for _, found, _ in options_of(self) if found.key not in _FREE]
        return [found.flag for found in options if not _same(now[found.key], recorded.get(found.key))]


def _same(value: Any, recorded: Any) -> bool:
    if isinstance(value, str):
        value = printable(value)  # as it is recorded
    if isinstance(value, str) and isinstance(recorded, str) and not Path(value).is_absolute():
        # A path is recorded as an absolute one. After a project was moved, the same relative path is its end.
        parts = Path(value).parts
        return value == recorded or (bool(parts) and Path(recorded).parts[-len(parts) :] == parts)
    return bool(value == recorded)


def flag_of(name: str) -> str:
    """Return the flag of a field of ``TrainOptions``."""
    return next(found.flag for field, found, _ in options_of(TrainOptions) if field == name)


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """Options of scoring files with a classifier; each field has the help text of its flag."""

    fields: tuple[str, ...] = option(
        (), "Fields with the text. Defaults to those that the model was trained on.", **_NAMES
    )
    prediction: str = option("prediction", "Field for the most probable class.", metavar="NAME")
    probs: str = option("probs", "Field for the probabilities of the classes.", metavar="NAME")
    max_length: int | None = option(
        None,
        "Maximum number of tokens per text. Defaults to that of the training, else to the model's context "
        "length.",
        metavar="N",
        min=2,
    )
    truncation: str | None = option(
        None,
        "What to do with longer texts. Defaults to that of the training, else to error.",
        choices=TRUNCATIONS,
    )
    batch_size: int = option(64, "Rows per batch.", metavar="N", min=1)
    device: str = option("cpu", "Device.", choices=("cpu", "cuda"))
    cross_fit: bool = option(
        False, "MODEL is a run of `train --cross-fit`: score each row with the teacher that has not seen it."
    )

    def __post_init__(self) -> None:
        check(self)
        if self.prediction == self.probs:
            name = self.prediction
            raise UsageError(f"--prediction {name}: the probabilities go there; name another field")


# Where neither the user nor the objective chose others.
EPOCHS, WEIGHT_DECAY = 1.0, 0.01
ADAM_EPSILON = 1e-8
ADAM_BETA1 = 0.9


def learning_rate_factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """Return the factor of the peak learning rate in a step, from 0 to `steps` - 1.

    It rises linearly over the first `warmup * steps` steps. Then it falls along half a cosine or a line, and
    would be 0 in the step after the last; or it stays constant.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        # From step 0 on it is above 0: a step at rate 0 would be wasted.
        return (step + 1) / (rising + 1)
    if schedule == "constant":
        return 1.0
    progress = (step - rising) / max(steps - rising, 1)
    return 1 - progress if schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(model: nn.Module, options: TrainOptions, learning_rate: float) -> AdamW:
    """Return AdamW over the weights that require gradients."""
    from torch.optim import AdamW

    trained = [weights for weights in model.parameters() if weights.requires_grad]
    # Only matrices decay: pulling biases and the scales of norms towards 0 would change what they scale.
    matrices, others = [w for w in trained if w.ndim > 1], [w for w in trained if w.ndim <= 1]
    decay = WEIGHT_DECAY if options.weight_decay is None else options.weight_decay
    pairs = ((matrices, decay), (others, 0.0))
    groups = [{"params": weights, "weight_decay": decay} for weights, decay in pairs if weights]
    # The fused kernel does not read FSDP's sharded tensors.
    betas = (ADAM_BETA1, options.adam_beta2)
    epsilon = ADAM_EPSILON if options.adam_epsilon is None else options.adam_epsilon
    return AdamW(groups, lr=learning_rate, betas=betas, eps=epsilon, fused=not options.fsdp)
