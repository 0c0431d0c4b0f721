"""Rows with rationales: questions, targets by part, and the parts' weights.

The wording of questions and the first three prefixes are those of TinyLLM's published trainer (Tian et al.,
"Beyond Answers", arXiv 2402.04616).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprep.answers.quality import KEEPABLE
from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, RowError, UsageError, located
from dataprep.core.ledger import Ledger
from dataprep.core.records import Example, describe
from dataprep.datasets.templates import FIELDS
from dataprep.train.options import TrainOptions

ANSWER = "answer"
"""The part of the loss for answers; the other parts have their teachers' names."""

_PREFIXES = ("predict: ", "explain: ", "rationale: ")


def prefix_of(part: int) -> str:
    """Return the prefix of a question for a part: 0 for the answer, then teachers."""
    return _PREFIXES[part] if part < len(_PREFIXES) else f"rationale {part}: "


def question_of(example: Example) -> str:
    """Return the question without its prefix: context, question and lettered choices."""
    choices = FIELDS["choices"](example)
    lines = (example.context, example.question, "Answer Choices:" if choices else None, choices)
    return "\n".join(line for line in lines if line)


@dataclass(slots=True)
class RationaleRow:
    """One row."""

    where: Location
    question: str
    targets: dict[str, str]
    missing: dict[str, str]


@dataclass(slots=True)
class RationaleRows:
    """The rows of some files."""

    rows: list[RationaleRow] = field(default_factory=list)
    teachers: list[str] = field(default_factory=list)

    def ledger(self, part: str) -> Ledger:
        """Return what became of all rows in one part of the loss."""
        reasons = Counter(row.missing.get(part, "missing") for row in self.rows if part not in row.targets)
        ledger = Ledger(len(self.rows), sum(part in row.targets for row in self.rows), Counter(reasons))
        ledger.check()
        return ledger


def check_statuses(kept: Collection[str]) -> None:
    """Check `--keep-status`."""
    for status in kept:
        if status not in KEEPABLE:
            known = ", ".join(KEEPABLE)
            raise UsageError(f"--keep-status {status}: a rationale with a text is one of {known}")


def read_rows(paths: Iterable[str], kept: Collection[str]) -> RationaleRows:
    """Read rows with the rationales whose status is kept; the default is `ok`."""
    found = RationaleRows()
    for path in paths:
        for where, raw in files.read_rows(path):
            with located(where):
                row, teachers = _parse_row(raw, where, kept)
            found.rows.append(row)
            found.teachers += [name for name in teachers if name not in found.teachers]
    if not found.rows:
        raise InputError(", ".join(paths), "the file is empty; expected rows with rationales")
    if ANSWER in found.teachers:
        name = f"a teacher is called {ANSWER!r}, as the part of the loss for answers"
        raise InputError(", ".join(paths), f"{name}: give it another name")
    return found


def _parse_row(
    raw: Mapping[str, Any], where: Location, kept: Collection[str]
) -> tuple[RationaleRow, list[str]]:
    example = Example.from_json(raw)
    statuses = raw.get("status") or {}
    if not isinstance(statuses, Mapping):
        raise RowError("field 'status' is not an object", f"found {describe(statuses)}")
    row = RationaleRow(where, question_of(example), {}, {})
    if example.answer:
        row.targets[ANSWER] = example.answer
    else:
        row.missing[ANSWER] = "no answer"
    rationales = example.rationales or {}
    # A teacher whose rationale failed can be in `status` only.
    teachers = list(dict.fromkeys((*rationales, *statuses)))
    for teacher in teachers:
        text = rationales.get(teacher, "").strip()
        status = statuses.get(teacher) or ("ok" if text else "missing")
        if not text or status not in kept:
            row.missing[teacher] = f"status: {status}" if status != "ok" else "empty"
        else:
            row.targets[teacher] = text
    return row, teachers


def weights_of(options: TrainOptions, teachers: Sequence[str]) -> dict[str, float]:
    """Return the weight of each part of the loss; it defaults to 1."""
    known = ", ".join(teachers) or "none"
    # By name first: --alpha and --beta count teachers by their order in the data.
    weights = dict.fromkeys(teachers, 1.0)
    for name, weight in options.teacher_weights.items():
        if name not in weights:
            raise UsageError(f"--teacher-weight {name}: no such teacher in the data; it has {known}")
        weights[name] = weight
    for index, (flag, weight_or_none) in enumerate((("--alpha", options.alpha), ("--beta", options.beta))):
        if weight_or_none is None:
            continue
        if index >= len(teachers):
            ordinal = ("first", "second")[index]
            raise UsageError(f"{flag} is the {ordinal} teacher's weight; the data's teachers: {known}")
        if teachers[index] in options.teacher_weights:
            raise UsageError(f"{flag} and --teacher-weight both weigh {teachers[index]}: give one of them")
        weights[teachers[index]] = weight_or_none
    weights = {ANSWER: options.gamma, **weights}
    if not any(weights.values()):
        raise UsageError(f"every weight is 0: there is nothing to learn; the data's teachers: {known}")
    return weights
