"""Settings and results of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataprep.core.errors import UsageError
from dataprep.core.ledger import Ledger
from dataprep.evaluate.metrics.references import METRICS, Metric
from dataprep.evaluate.metrics.scores import Result
from dataprep.evaluate.sandbox.run import Guard, Limits

Watch = Callable[[str, int, int], None]
"""Called with the name of a task, the number of further rows that are done, and the number of all."""


@dataclass(frozen=True)
class Settings:
    """How rows are evaluated: the options of ``dataprep evaluate``.

    Attributes:
        metric: the metric of all rows. Defaults to each row's own.
        dataset: the dataset whose raw rows the file holds.
        template: messages in place of the default wording, for rows that are not chat rows.
        teacher: the teacher whose answers in a journal are the predictions.
        max_tokens: maximum number of tokens per answer.
        batch_size: number of answers that are generated at once.
        chat_format: the chat format of conversations, for the loss.
        allow_code: run programs that the model wrote, confined.
        limits: limits of each program.
        workers: number of programs that run at once. Defaults to the number of cores.
        seed: seed of the bootstrap.
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
    """The result of an evaluation.

    Attributes:
        ledger: the rows of the file.
        results: the figures, by metric and source.
        cut: number of a model's answers that were cut off at ``max_tokens`` or the end of its context.
        unknown: number of predictions whose id no row has.
        guard: the guard that kept programs from files; ``None`` if none was run.
    """

    ledger: Ledger
    results: list[Result]
    cut: int = 0
    unknown: int = 0
    guard: Guard | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return {
            "command": "evaluate",
            **self.ledger.to_json(),
            "results": [result.to_json() for result in self.results],
            "answers_cut_off": self.cut,
            "predictions_of_no_row": self.unknown,
            "confined_by": self.guard,
        }
