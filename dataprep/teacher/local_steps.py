"""What happens at every token that ``generate`` of transformers makes: one is drawn, and others are noted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any


@dataclass
class Record:
    """Log-probabilities, a list a token of the answer.

    Attributes:
        chosen: of the token itself.
        top: of the likeliest tokens, as (token, log-probability), the likeliest first.
        watched: of the tokens that were to be watched, in their order.
    """

    chosen: list[float]
    top: list[list[tuple[int, float]]]
    watched: list[list[float]]


class Draw:
    """Leaves one token a row: drawn by its probability, with the row's own random numbers."""

    def __init__(self, seeds: Sequence[str | None]) -> None:
        self._random = [Random(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002 - as generate calls it
        """The scores with all but the drawn token at minus infinity."""
        import torch

        sums = scores.softmax(-1, dtype=torch.float64).cumsum(-1)
        turns = [[generator.random()] for generator in self._random]
        below = sums <= torch.tensor(turns, dtype=sums.dtype, device=sums.device) * sums[:, -1:]
        chosen = below.sum(-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


class Recorder:
    """Notes log-probabilities while ``generate`` runs: a hook of the model's, and a stopping criterion.

    Attributes:
        steps: how many tokens were chosen.
    """

    def __init__(self, top: int, watched: list[int] | None, stopped: Callable[[], bool]) -> None:
        """``top``: how many of the likeliest tokens; ``watched``: which others, ``None`` to note nothing."""
        self.steps = 0
        self._top = top
        self._watched = watched
        self._stopped = stopped
        self._scores: Any = None
        self._noted: list[list[Any]] = []

    def look(self, module: Any, inputs: Any, output: Any) -> None:  # noqa: ARG002 - as torch calls it
        """Take what the model gives for the next token."""
        self._scores = output.logits[:, -1].float()

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - as generate calls it
        """Note what was chosen; whether each row is to stop."""
        import torch

        self.steps += 1
        chosen = input_ids[:, -1:]
        noted = [self._scores.isnan().any(-1)]
        if self._watched is not None:
            likely = self._scores.log_softmax(-1)
            top = likely.topk(min(self._top, likely.shape[-1]))
            noted += [likely.gather(1, chosen)[:, 0], top.indices, top.values, likely[:, self._watched]]
        self._noted.append(noted)
        return torch.full((len(chosen),), self._stopped(), dtype=torch.bool, device=chosen.device)

    def broke(self, row: int) -> int:
        """The first step at which the model gave a row no numbers; past the last where it always did."""
        broken: list[bool] = self._stacked[0][:, row].tolist()
        return broken.index(True) if True in broken else self.steps

    def of(self, row: int, length: int) -> Record:
        """What was noted of a row whose answer has so many tokens."""
        chosen, tokens, values, watched = (part[:length, row].tolist() for part in self._stacked[1:])
        top = [list(zip(*pair, strict=True)) for pair in zip(tokens, values, strict=True)]
        return Record(chosen, top, watched)

    @cached_property
    def _stacked(self) -> tuple[Any, ...]:
        """What was noted, a tensor a kind, by step and row, where Python can read it at once."""
        import torch

        return tuple(torch.stack(part).cpu() for part in zip(*self._noted, strict=True))
