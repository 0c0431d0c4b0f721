"""How rows are evaluated, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataprep.core.errors import UsageError
from dataprep.core.ledger import Ledger
from dataprep.evaluate.metrics.kinds import METRICS, Metric
from dataprep.evaluate.metrics.scores import Result
from dataprep.evaluate.sandbox.run import Guard, Limits

Watch = Callable[[str, int, int], None]
"""Told what is being done, how many more rows are done, and how many there are."""


@dataclass(frozen=True)
class Settings:
    """How rows are evaluated; what ``dataprep evaluate`` takes as flags.

    Attributes:
        metric: of all rows; ``None`` for each row's own.
        dataset: FILE holds raw rows of this set.
        template: messages in place of the default wording, for rows that are not chat rows.
        teacher: whose answers of a journal are the predictions.
        max_tokens: tokens of an answer at most.
        batch_size: answers that are generated at once.
        chat_format: how conversations are laid out for the loss.
        allow_code: programs of the model's may be run, confined.
        limits: what each of them may use.
        workers: programs that run at once; ``None``: one a core.
        seed: of the bootstrap.
    """

    metric: Metric | None = None
    dataset: str | None = None
    template: Mapping[str, str] = field(default_factory=dict)
    teacher: str | None = None
    max_tokens: int = 512
    batch_size: int = 16
    chat_format: str = "template"
    allow_code: bool = False
    limits: Limits = field(default_factory=Limits)
    workers: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metric is not None and self.metric not in METRICS:
            raise UsageError(f"there is no metric {self.metric!r}; expected auto, {', '.join(METRICS)}")


@dataclass
class Evaluation:
    """What came of a file.

    Attributes:
        ledger: its rows.
        results: the figures, by metric and source.
        cut: how many answers of a model were cut off at their longest.
        unknown: how many predictions have an id that no row has.
        guard: what kept programs from files; ``None`` where none was run.
    """

    ledger: Ledger
    results: list[Result]
    cut: int = 0
    unknown: int = 0
    guard: Guard | None = None

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object."""
        return {
            "command": "evaluate",
            **self.ledger.to_json(),
            "results": [each.to_json() for each in self.results],
            "answers_cut_off": self.cut,
            "predictions_of_no_row": self.unknown,
            "confined_by": self.guard,
        }
