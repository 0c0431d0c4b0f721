"""The options of a training run, its learning rate schedule and its optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import AdamW

SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
QAT = ("int8-dynamic-int4", "int4-weight")

# What may be another when a run is resumed: how it is shown and saved, never what comes out.
_FREE = ("save_every", "keep", "tensorboard")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What becomes of data and model in a run.

    Attributes:
        objective: one of ``OBJECTIVES``; ``auto`` reads it off the rows.
        model: a preset's name, a directory as ``transformers`` saves a model, or a name on the hub; ``auto``
            is the objective's own default.
        tokenizer: a tokenizer's file or model directory. Default: the model's own; for a preset, one that
            is trained on the data.
        chat_format: how conversations are written: ``llama3``, ``chatml``, ``llama2`` or ``template``.
        max_length: tokens that a row may have. Default: what the model has room for.
        truncation: what becomes of longer rows: ``error``, ``drop`` or ``truncate``.
        pack: rows are packed into sequences of so many tokens.
        epochs: how often all rows are seen; fractions are allowed.
        steps: how many steps there are, in place of ``epochs``.
        batch_size: rows (or packed sequences) that are worked on at once, in each process.
        accumulate: batches to a step, in each process.
        learning_rate: at its highest.
        schedule: how it falls once it is there: one of ``SCHEDULES``.
        warmup: the share of all steps in which it rises from 0.
        weight_decay: of AdamW; matrices only, neither biases nor norms.
        clip: the gradient's norm is cut to this; 0 leaves it.
        seed: of the rows' order, of new weights and of dropout.
        device: one of ``DEVICES``; ``auto`` is a GPU where there is one.
        precision: one of ``PRECISIONS``; ``auto`` is bfloat16 on a GPU that has it, else float32.
        compile: the model is compiled by ``torch.compile``.
        gradient_checkpointing: activations are computed twice instead of kept.
        fsdp: weights, gradients and optimizer state are divided among the processes.
        eval_every: steps between two measurements of the loss on the held-out rows; 0 measures it before
            the first and after the last step only.
        save_every: steps between two checkpoints; 0 writes none.
        keep: checkpoints that are kept.
        tensorboard: metrics are written for TensorBoard as well.
        gamma: ``rationale``: the weight of the answers.
        alpha: ``rationale``: the weight of the first teacher; ``soft-label``: the teacher's share.
        beta: ``rationale``: the weight of the second teacher.
        teacher_weights: ``rationale``: weights by teacher's name.
        keep_status: ``rationale``: the statuses of the rationales that are learned.
        temperature: ``soft-label`` and a teacher model: what both logits are divided by.
        fields: ``soft-label``: the fields that hold a row's text; none: ``text``, or question and answer.
        label: ``soft-label``: the field of the gold label. Default: ``label``, or a numeric ``score``.
        classes: ``soft-label``: the classes in their order. Default: those that occur in the rows.
        teacher_model: a directory of a larger model with the same tokenizer, whose distributions are learned.
        teacher_share: the share that these have in the loss.
        lora: the rank of low-rank updates that are trained in place of the weights.
        qat: one of ``QAT``: weights are trained as they will be once they are quantized.
    """

    objective: str = "auto"
    model: str = "auto"
    tokenizer: str | None = None
    chat_format: str | None = None
    max_length: int | None = None
    truncation: str = "error"
    pack: int | None = None
    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 42
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    gradient_checkpointing: bool = False
    fsdp: bool = False
    eval_every: int = 0
    save_every: int = 500
    keep: int = 2
    tensorboard: bool = False
    gamma: float = 1.0
    alpha: float | None = None
    beta: float | None = None
    teacher_weights: Mapping[str, float] = field(default_factory=dict)
    keep_status: tuple[str, ...] = ("ok",)
    temperature: float = 2.0
    fields: tuple[str, ...] = ()
    label: str | None = None
    classes: tuple[str, ...] = ()
    teacher_model: str | None = None
    teacher_share: float = 0.5
    lora: int | None = None
    qat: str | None = None

    def __post_init__(self) -> None:
        self._check_names()
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("device", DEVICES)):
            if getattr(self, name) not in known:
                raise UsageError(f"--{name} {getattr(self, name)}: expected one of {', '.join(known)}")
        if self.qat is not None and self.qat not in QAT:
            raise UsageError(f"--qat {self.qat}: expected one of {', '.join(QAT)}")
        for name in ("batch_size", "accumulate", "steps", "lora", "keep", "max_length", "pack"):
            self._at_least(name, 2 if name in ("max_length", "pack") else 1)
        for name in ("warmup", "weight_decay", "clip", "gamma", "alpha", "beta", "eval_every", "save_every"):
            self._at_least(name, 0)
        self._at_least("teacher_share", 0)
        for name in ("epochs", "learning_rate", "temperature"):
            if (value := getattr(self, name)) is not None and not 0 < value < float("inf"):
                raise UsageError(f"{flag_of(name)} {value}: expected a number above 0")
        for name in ("warmup", "teacher_share"):
            if getattr(self, name) > 1:
                raise UsageError(f"{flag_of(name)} {getattr(self, name)}: expected a share, from 0 to 1")
        if not 0 <= self.seed < 1 << 63:
            raise UsageError(f"--seed {self.seed}: expected a number from 0 to 2^63 - 1")
        if self.fsdp and self.lora is not None:
            raise UsageError("--lora needs the whole model in each process: leave --fsdp out")

    def _check_names(self) -> None:
        for teacher, weight in self.teacher_weights.items():
            if not 0 <= weight < float("inf"):
                raise UsageError(f"--teacher-weight {teacher}={weight}: expected a number of 0 or more")
        for name in ("fields", "classes"):
            if len(set(names := getattr(self, name))) < len(names):
                raise UsageError(f"{flag_of(name)} {','.join(names)}: expected each once")
        if len(self.classes) == 1:
            raise UsageError(f"--classes {self.classes[0]}: expected two or more")

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is not None and not least <= value < float("inf"):
            raise UsageError(f"{flag_of(name)} {value}: expected {least} or more")

    def to_json(self) -> dict[str, Any]:
        """The options, as they are recorded."""
        tuples = {name: list(getattr(self, name)) for name in ("fields", "classes", "keep_status")}
        return asdict(self) | {"teacher_weights": dict(self.teacher_weights)} | tuples

    def differences(self, recorded: Mapping[str, Any]) -> list[str]:
        """The flags that differ from a run's recorded options and change what comes out."""
        own = self.to_json()
        return [flag_of(name) for name in own if name not in _FREE and own[name] != recorded.get(name)]


def flag_of(name: str) -> str:
    """An attribute's name as a flag."""
    return "--" + name.removesuffix("s" if name == "teacher_weights" else "").replace("_", "-")


BETAS = (0.9, 0.95)


def learning_rate_factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """Return the factor of the peak learning rate in a step, from 0 to `steps` - 1.

    It rises linearly over the first `warmup * steps` steps. Then it falls along half a cosine or a line, and
    would be 0 in the step after the last; or it stays constant.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule == "constant":
        return 1.0
    passed = (step - rising) / max(steps - rising, 1)
    return 1 - passed if schedule == "linear" else (1 + math.cos(math.pi * passed)) / 2


def make_optimizer(model: nn.Module, options: TrainOptions, learning_rate: float) -> AdamW:
    """Return AdamW over the weights that require gradients; only matrices decay."""
    from torch.optim import AdamW

    trained = [weights for weights in model.parameters() if weights.requires_grad]
    # Decay pulls weights towards 0, which is right for matrices and wrong for the scales of norms.
    matrices, vectors = ([w for w in trained if (w.ndim > 1) == is_matrix] for is_matrix in (True, False))
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=learning_rate, betas=BETAS, fused=not options.fsdp)
