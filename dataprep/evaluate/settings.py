"""How rows are evaluated, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dataprep.core.ledger import Ledger
from dataprep.core.options import check, option, parse_size
from dataprep.datasets.templates import read_template
from dataprep.evaluate.metrics.kinds import METRICS, Metric

if TYPE_CHECKING:
    # Help texts read this module: numpy and the sandbox must not be imported for them.
    from dataprep.evaluate.metrics.scores import Result
    from dataprep.evaluate.sandbox.run import Guard, Limits

Watch = Callable[[str, int, int], None]
"""Told what is being done, how many more rows are done, and how many there are."""


@dataclass(frozen=True)
class Settings:
    """How rows are evaluated; each field has the help text of its flag.

    Raises:
        UsageError: a value is not accepted.
    """

    metric: Metric | None = option(
        None,
        "Metric of all rows; auto takes each row's own, by its source, task or wording.",
        choices=METRICS,
        kind=Literal["auto", "gsm8k", "squad", "choice", "mbpp", "loss"],
        shown="auto",
        parse=lambda name: None if name == "auto" else name,
    )
    dataset: str | None = option(None, "FILE holds raw rows of this dataset.", metavar="NAME")
    template: Mapping[str, str] = option(
        dict,
        "Wording of Examples: keys system, user, assistant.",
        metavar="FILE.toml",
        parse=read_template,
        kind=str,
    )
    teacher: str | None = option(
        None, "Teacher whose answers are the predictions, if a journal has several.", metavar="NAME"
    )
    max_tokens: int = option(512, "Maximum number of tokens per answer.", metavar="N", min=1)
    batch_size: int = option(16, "Rows per batch.", metavar="N", min=1)
    chat_format: str = option(
        "template",
        "loss: chat format: template (the model's own), llama3, chatml or llama2.",
        metavar="NAME",
    )
    allow_code: bool = option(False, "Run the programs in answers, confined (Linux only).")
    code_seconds: int = option(
        10, "Maximum processor time of a program and its tests, in seconds.", metavar="N", min=1
    )
    code_memory: int = option(
        512 << 20,
        "Maximum memory of a program.",
        metavar="SIZE",
        kind=str,
        shown="512M",
        parse=parse_size,
    )
    workers: int | None = option(
        None, "Programs that run at once. Defaults to one per core.", metavar="N", min=1
    )
    seed: int = option(0, "Seed of the bootstrap.", metavar="N", min=0)

    def __post_init__(self) -> None:
        check(self)

    @property
    def limits(self) -> Limits:
        """What a program may use."""
        from dataprep.evaluate.sandbox.run import Limits

        return Limits(self.code_seconds, self.code_memory)


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
