"""The optimizer and how its learning rate rises and falls."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dataprep.train.options import TrainOptions

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import AdamW

BETAS = (0.9, 0.95)


def factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """What the highest learning rate is multiplied by in ``step``, from 0, of ``steps``.

    It rises linearly over the first ``warmup * steps`` steps; then it falls to 0 along half a cosine or a
    line, so that the step after the last would have 0, or stays.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule == "constant":
        return 1.0
    passed = (step - rising) / max(steps - rising, 1)
    return 1 - passed if schedule == "linear" else (1 + math.cos(math.pi * passed)) / 2


def make_optimizer(model: nn.Module, options: TrainOptions, learning_rate: float) -> AdamW:
    """AdamW over the weights that are trained; only matrices decay."""
    from torch.optim import AdamW

    trained = [each for each in model.parameters() if each.requires_grad]
    groups = [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=learning_rate, betas=BETAS, fused=not options.fsdp)
