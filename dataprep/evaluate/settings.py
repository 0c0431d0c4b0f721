"""Settings and results of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dataprep.core.errors import UsageError
from dataprep.core.ledger import Ledger
from dataprep.core.options import canonical_date, check, option, parse_names, parse_size
from dataprep.datasets.templates import read_template
from dataprep.evaluate.metrics.references import METRICS, Metric
from dataprep.tokens.formats.base import check_date
from dataprep.tokens.options import TEMPLATE_ARG, TRUNCATIONS

if TYPE_CHECKING:
    # Help texts read this module: numpy and the sandbox must not be imported for them.
    from dataprep.evaluate.metrics.scores import Result
    from dataprep.evaluate.sandbox.run import Guard, Limits

# Called with the name of a task, the number of further rows that are done, and the number of all.
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """The options of an evaluation; each field has the help text of its flag."""

    metric: Metric | None = option(
        None,
        "Metric of all rows; auto takes each row's own, by its source, task or wording, and classes for a "
        "classifier or rows with a label.",
        choices=METRICS,
        kind=Literal["auto", "gsm8k", "squad", "choice", "mbpp", "classes", "loss"],
        shown="auto",
        parse=lambda name: None if name == "auto" else name,
    )
    by: Literal["answer", "likelihood"] = option(
        "answer",
        "Score choices by the answer that the model gives, or by the likelihood of each choice.",
        choices=("answer", "likelihood"),
    )
    dataset: str | None = option(None, "FILE holds source rows of this dataset.", metavar="NAME")
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
    fields: tuple[str, ...] = option(
        (),
        "classes: fields with the text. Defaults to those that the classifier was trained on.",
        metavar="NAME,...",
        parse=parse_names,
    )
    label: str | None = option(
        None,
        "classes: field with the correct label. Defaults to that of the training, else to label or score.",
        metavar="NAME",
    )
    classes: tuple[str, ...] = option(
        (),
        "classes: names of the classes in their order, for predictions. Defaults to those in the rows.",
        metavar="NAME,...",
        parse=parse_names,
    )
    truncation: str | None = option(
        None,
        "classes: what to do with texts longer than the classifier reads. Defaults to that of the training, "
        "else to error.",
        choices=TRUNCATIONS,
    )
    max_tokens: int = option(512, "Maximum number of tokens per answer.", metavar="N", min=1)
    batch_size: int = option(16, "Rows per batch.", metavar="N", min=1)
    chat_format: str = option(
        "template",
        "loss: chat format: template (the model's own), llama3, chatml, llama2 or plain.",
        metavar="NAME",
    )
    strip: bool = option(False, "Strip white space around contents, as the student's training did.")
    date: str | None = option(
        None,
        "Date for a chat template that writes one, such as 2024-07-26 or '26 Jul 2024'. Defaults to that of "
        "the student's training.",
        metavar="DATE",
    )
    template_args: Mapping[str, Any] = option(dict, **TEMPLATE_ARG)
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
    contaminated: str | None = option(
        None,
        "Report the figures also without the rows in FILE, which `decontaminate --found` wrote.",
        metavar="FILE",
        is_path=True,
    )
    seed: int = option(0, "Seed of the bootstrap.", metavar="N", min=0)

    def __post_init__(self) -> None:
        check(self)
        if self.by == "likelihood" and self.metric not in (None, "choice"):
            raise UsageError(f"--by likelihood is for rows with choices: leave out --metric {self.metric}")
        object.__setattr__(self, "date", canonical_date(self.date))
        check_date(self.date)

    @property
    def limits(self) -> Limits:
        """Return the limits of each program."""
        # Imported here for the same reason as above.
        from dataprep.evaluate.sandbox.run import Limits

        return Limits(self.code_seconds, self.code_memory)


@dataclass
class Evaluation:
    """The result of an evaluation."""

    ledger: Ledger
    results: list[Result]  # by metric and source
    cut: int = 0  # answers of a model that were cut off at `max_tokens` or the end of its context
    unknown: int = 0  # predictions whose id no row has
    # The results without the rows that stand in the training data, and their number; `None` if not asked for.
    clean: list[Result] | None = None
    contaminated: int = 0
    named: int = 0  # entries of the file of --contaminated; none if no test row was found
    guard: Guard | None = None  # kept programs from files; `None` if none was run

    @property
    def readable(self) -> str | None:
        """The files that programs could read under the guard; ``None`` if none was run."""
        from dataprep.evaluate.sandbox.run import readable

        return None if self.guard is None else readable(self.guard)

    def warnings(self) -> list[str]:
        """Return a sentence for each figure that says little because nearly no reply could be read."""
        warnings = [warning for result in self.results for warning in result.warnings()]
        if self.named and not self.contaminated:
            warnings.append("no row is one of those that --contaminated names: was it made from these rows?")
        return warnings

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        clean = [result.to_json() for result in self.clean or ()]
        return {
            "command": "evaluate",
            **self.ledger.to_json(),
            "results": [result.to_json() for result in self.results],
            **(
                {}
                if self.clean is None
                else {"contaminated_rows": self.contaminated, "results_without": clean}
            ),
            "answers_cut_off": self.cut,
            "predictions_of_no_row": self.unknown,
            "confined_by": self.guard,
            "programs_could_read": self.readable,
            "warnings": self.warnings(),
        }
