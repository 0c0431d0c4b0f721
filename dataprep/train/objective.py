"""What the loop is given: batches out of a training set, a model, and an objective that puts them together.

An objective gives *sums*, never means: of each part of the loss, over all its tokens (or rows) in a batch.
How many there are, a batch says beforehand. So the loop divides by the tokens of the whole step, and
gradient accumulation or further processes change nothing about the loss.

One call of ``train``, as the rooms that set it up see it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dataprep.models import presets
from dataprep.train.options import TrainOptions
from dataprep.train.run_dir import RunFolder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dataprep.train.distributed import World

NEW_RATE, PRETRAINED_RATE, LORA_RATE = 1e-3, 2e-5, 2e-4


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be trained on what.

    Attributes:
        data: files of rows, or a directory of shards.
        held_out: what the loss is measured on; may be empty.
        options: what was chosen.
        folder: the run's directory.
        world: the processes of the run.
        tell: says something in one line, beside the metrics.
    """

    data: list[str]
    held_out: list[str]
    options: TrainOptions
    folder: RunFolder
    world: World
    tell: Callable[[str], None]

    @property
    def learning_rate(self) -> float:
        """What it is without a word: high for new weights, low for weights that know something."""
        if self.options.lora is not None:
            return LORA_RATE
        return NEW_RATE if presets.is_preset(self.options.model) else PRETRAINED_RATE


@dataclass(slots=True)
class Batch:
    """Some items of a training set, ready for the model.

    Attributes:
        tensors: what the objective reads, by name; moved to the model's device by the loop.
        counts: of each part of the loss, how many tokens (or rows) its sum is over.
        tokens: positions that hold a token, for the rate that is shown.
    """

    tensors: dict[str, Tensor]
    counts: dict[str, int]
    tokens: int


class TrainingSet(Protocol):
    """Items to train on, by number: documents, packed sequences or rows."""

    def __len__(self) -> int:
        """How many items there are."""

    def batch(self, items: Sequence[int]) -> Batch:
        """A batch of the items with these numbers; the same numbers, the same batch."""

    def where(self, item: int) -> str:
        """The row that an item is, for messages: ``row 17``."""


class Objective(Protocol):
    """What is minimised: ``Σ weight · sum / count`` over the parts of the loss.

    Attributes:
        weights: the weight of each part, by name.
    """

    weights: Mapping[str, float]

    def sums(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum of each part over the batch, each of shape ``()`` and differentiable.

        A part that the batch holds nothing of may be left out.
        """


@dataclass(slots=True)
class Setup:
    """Everything that one run needs; what makes one objective's run unlike another's.

    Attributes:
        objective_name: ``sft``, ``rationale``, ``soft-label`` or ``logits``.
        model: the student.
        objective: what it is trained for.
        training: what it is trained on.
        held_out: what its loss is measured on.
        learning_rate: what ``--learning-rate`` is without a word.
        save: writes the trained student into a directory, so that what is there loads on its own.
        adopt: puts whole weights, by name, in place of those that were divided among processes
            (``--fsdp``); without it, this objective cannot be trained so.
        results: measured once the weights are final, beside the loss: metrics, a sample answer.
        facts: what the run's records say of data and student: files, SHA-256, tokenizer, sizes.
        branch: the step at whose end a checkpoint is written into ``branch/`` of the run's directory, for
            another run to go on from; ``None`` for none.
        start: another run's checkpoint to begin with.
    """

    objective_name: str
    model: nn.Module
    objective: Objective
    training: TrainingSet
    held_out: TrainingSet | None
    learning_rate: float
    save: Callable[[Path], None]
    adopt: Callable[[dict[str, Any]], None] | None = None
    results: Callable[[], dict[str, Any]] = dict
    facts: dict[str, Any] = field(default_factory=dict)
    branch: int | None = None
    start: Path | None = None
