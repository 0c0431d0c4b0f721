"""One call of ``train``, as the rooms that set it up see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataprep.train import presets
from dataprep.train.options import TrainOptions
from dataprep.train.run_folder import RunFolder

if TYPE_CHECKING:
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
