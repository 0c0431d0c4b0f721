"""The options of ``dataprep convert``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dataprep.core.errors import UsageError
from dataprep.core.options import check, option, options_of, parse_delimiter
from dataprep.datasets import registry as converters
from dataprep.datasets.source_rows import REASONING, Reasoning
from dataprep.datasets.templates import read_template

# Names in place of a dataset's: Examples of any dataset, labelled rows with the rationales of teachers, and
# chat rows.
EXAMPLES, RATIONALES, CHAT = "examples", "rationales", "chat"


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert rows; each option has the help text of its flag.

    Attributes:
        dataset: the converter's name. ``"examples"`` are Examples of any dataset, each in its dataset's
            wording; ``"rationales"`` the same with a teacher's rationale as the answer. ``"chat"``
            are chat rows, whose system text or thinking moves.
        split: leave out rows of other splits, if one file holds several.
        options: the converter's own options.

    Raises:
        UsageError: a value is not accepted, or the dataset has no such option.
    """

    dataset: str
    split: str | None = None
    to: Literal["chat", "example"] = option(
        "chat", "Chat rows, or neutral Example rows.", choices=("chat", "example")
    )
    template: Mapping[str, str] = option(
        dict,
        "Wording of messages: keys system, user, assistant.",
        metavar="FILE.toml",
        parse=read_template,
        kind=str,
    )
    answer_style: Literal["letter", "text", "both"] | None = option(
        None,
        "Multiple choice: (c) text (both, the default), the letter, or the text.",
        choices=("letter", "text", "both"),
    )
    shuffle_choices: bool = option(
        False, "Multiple choice: put the choices in another order, by --seed and the row's id."
    )
    with_id: bool = option(False, "Add id and source to chat rows.")
    from_examples: bool = option(False, "Read every row as an Example, whatever its fields are.")
    teacher: str | None = option(
        None, "Labelled rows: this teacher's rationale is the answer of a chat row.", metavar="NAME"
    )
    system_into_user: bool = option(False, "Put the system text before the first user message.")
    reasoning: Reasoning = option(
        "as-reasoning", "Labelled rows: the place of the teacher's thinking.", choices=REASONING
    )
    split_thinking: bool = option(
        False, "Labelled and chat rows: move <think>…</think> that begins an answer out of its text."
    )
    delimiter: str | None = option(
        None, "CSV: character between cells, such as ';', or tab.", metavar="C", parse=parse_delimiter
    )
    sample: int | None = option(None, "Keep N rows, drawn with --seed.", metavar="N", min=1)
    seed: int = option(42, "Seed of Python's random generator.", metavar="N")
    options: Mapping[str, Any] = field(default_factory=dict)
    from_chat: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        for flag, value in (("DATASET", self.dataset), ("--split", self.split)):
            if not isinstance(value, str) and (value is not None or flag == "DATASET"):
                raise UsageError(f"{flag} {value!r}: expected a name")
        check(self)
        name = converters.canonical(self.dataset)
        if name in (EXAMPLES, RATIONALES):
            teacher = self.teacher or ("" if name == RATIONALES else None)
            # The class is frozen for its users.
            vars(self).update(dataset="qa", from_examples=True, teacher=teacher)
        elif name == CHAT:
            self._check_chat()
            vars(self).update(dataset="qa", from_examples=True, from_chat=True)
        if self.delimiter is not None:
            parse_delimiter(self.delimiter)
        if self.from_examples and self.options.get("columns"):
            raise UsageError("--map names fields of source rows: Examples have fields of their own")
        if self.teacher is not None and self.to != "chat":
            raise UsageError("--teacher is for chat rows: an Example holds every teacher's rationale")
        if self.shuffle_choices and self.teacher is not None:
            hint = "shuffle the choices before teachers are asked"
            raise UsageError(f"--shuffle-choices: rationales name choices by their letters; {hint}")
        if self.teacher is not None and self.answer_style is not None:
            raise UsageError("--answer-style is for gold answers, and --teacher writes a rationale")
        if self.teacher is None and self.reasoning != "as-reasoning":
            raise UsageError("--reasoning is for a teacher's rationales: use it with --teacher")
        if self.split_thinking and self.teacher is None and not self.from_chat:
            raise UsageError("--split-thinking is for labelled rows with --teacher, and for chat rows")
        if self.system_into_user and self.to != "chat":
            raise UsageError("--system-into-user is for chat rows: an Example has no messages")

    def _check_chat(self) -> None:
        if not (self.system_into_user or self.split_thinking):
            needed = "convert chat needs --system-into-user or --split-thinking"
            raise UsageError(f"{needed}: the rows are chat rows already")
        given = [found.flag for name, found, default in options_of(self) if getattr(self, name) != default]
        given += ["--split"] * (self.split is not None) + [f"--{name}" for name in self.options]
        for flag in given:
            if flag not in ("--system-into-user", "--split-thinking", "--delimiter", "--sample", "--seed"):
                named = "--template or --system" if flag == "--template" else flag.replace("_", "-")
                raise UsageError(f"{named} is for source rows and Examples: chat rows keep their texts")
