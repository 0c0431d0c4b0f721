"""The options of ``collect``, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprep.collect.answers import KEEPABLE, RunTests
from dataprep.core.errors import UsageError
from dataprep.core.options import check_whole
from dataprep.datasets.source_rows import KEPT, REASONING, Reasoning

FORMATS = ("rationale", "chat", "qa", "choice-probs", "preference")
CONVERSATIONS = ("chat", "preference")
# Statuses of answers that are wrong, and so can be rejected in a pair.
WRONG = ("answer_mismatch", "contradiction")


@dataclass(frozen=True)
class Settings:
    """The options by which answers become rows.

    Attributes:
        to: ``"rationale"`` rows with all teachers; one teacher's training rows: ``"chat"``, ``"qa"``,
            ``"choice-probs"``; or ``"preference"``, pairs of a better and a worse answer.
        keep: the statuses of answers that become training rows, or the better ones of pairs. Defaults to
            ``ok`` and ``unjudged``, for pairs without judgements to ``ok``.
        reject: the statuses of the worse answers of pairs. Defaults to the wrong ones.
        teacher: the teacher whose answers become training rows, required if there are several; for pairs
            all teachers are compared without it.
        template: the messages ``system``, ``user``, ``assistant`` of conversations in place of the default
            ones.
        sample: which of several samples of an answer, or ``"all"`` of them. Defaults to 0, for pairs to all.
        names: new names for teachers, by their names in the journals.
        run_tests: returns whether the program in a reply passes its tests. Without it code is not judged.
        reasoning: where teachers' thinking goes: ``"as-reasoning"`` (the default) beside the text,
            ``"as-rationale"`` before it, or ``"drop"``.
        split_thinking: keep thinking that stands in a reply apart from its text.
        tools: the tools that the teachers had, for conversations; a request's own win over them.
        judgements: a file of judgements, by which pairs are made.
        pairs: the most pairs of one request.

    Raises:
        UsageError: an option is wrong, or options exclude each other.
    """

    to: str = "rationale"
    keep: Sequence[str] | None = None
    reject: Sequence[str] | None = None
    teacher: str | None = None
    template: Mapping[str, str] | None = None
    sample: int | str | None = None
    names: Mapping[str, str] | None = None
    run_tests: RunTests | None = None
    reasoning: Reasoning | None = None
    split_thinking: bool = True
    tools: Sequence[Any] | None = None
    judgements: str | Path | None = None
    pairs: int = 1

    def __post_init__(self) -> None:
        if self.to not in FORMATS:
            raise UsageError(f"cannot collect to {self.to!r}: expected {', '.join(FORMATS)}")
        self._check_statuses()
        self._check_conversations()
        self._check_pairs()
        if self.teacher is not None and self.to == "rationale":
            raise UsageError("--teacher is for training rows: a rationale row holds every teacher and status")
        if self.sample == "all":
            if self.to not in ("chat", "qa", "preference"):
                what = f"{self.to} has one row for each Example"
                raise UsageError(f"--sample all is for --to chat, qa and preference: {what}")
        elif self.sample is not None and (type(self.sample) is not int or self.sample < 0):
            raise UsageError(f"--sample {self.sample}: expected a number from 0 on, or all")

    def _check_statuses(self) -> None:
        for flag, statuses in (("--keep", self.keep), ("--reject", self.reject)):
            for status in (statuses,) if isinstance(statuses, str) else statuses or ():
                if status not in KEEPABLE:
                    known = ", ".join(KEEPABLE)
                    raise UsageError(f"{flag} {status}: an answer with a text is one of {known}")
        if self.keep is not None and self.to == "rationale":
            raise UsageError("--keep is for training rows: a rationale row holds every teacher and status")
        if self.reject is not None and self.to != "preference":
            raise UsageError("--reject is for --to preference: other rows have one answer")

    def _check_conversations(self) -> None:
        if self.template and self.to not in CONVERSATIONS:
            raise UsageError(
                f"--template is for --to chat and preference: {self.to} rows have a wording of their own"
            )
        if self.tools and self.to not in CONVERSATIONS:
            raise UsageError(f"--tools is for --to chat and preference: {self.to} rows have no tools")
        if self.reasoning not in (None, *REASONING):
            raise UsageError(f"--reasoning {self.reasoning}: must be one of {', '.join(REASONING)}")
        if self.reasoning is not None and self.to not in ("rationale", *CONVERSATIONS):
            what = f"{self.to} rows have no thinking"
            raise UsageError(f"--reasoning is for --to rationale, chat and preference: {what}")

    def _check_pairs(self) -> None:
        check_whole("--pairs", self.pairs, 1)
        if self.to != "preference" and (self.judgements is not None or self.pairs != 1):
            flag = "--pairs" if self.judgements is None else "--judgements"
            raise UsageError(f"{flag} is for --to preference: other rows have one answer")

    @property
    def kept(self) -> Sequence[str]:
        """The statuses of answers that become rows, or the better ones of pairs."""
        if self.keep is not None:
            return (self.keep,) if isinstance(self.keep, str) else self.keep
        return ("ok",) if self.to == "preference" and self.judgements is None else KEPT

    @property
    def rejected(self) -> Sequence[str]:
        """The statuses of the worse answers of pairs."""
        if self.reject is not None:
            return (self.reject,) if isinstance(self.reject, str) else self.reject
        if self.judgements is None:
            return WRONG
        return tuple(status for status in KEEPABLE if status not in ("length", "unknown"))

    @property
    def number(self) -> int | None:
        """The number of the sample to collect; ``None`` for all."""
        if self.sample is None:
            return None if self.to == "preference" else 0
        return None if self.sample == "all" else int(self.sample)

    @property
    def place(self) -> Reasoning:
        """Where thinking goes."""
        return self.reasoning or "as-reasoning"
