"""Find a teacher's answers in journals: the lines that count, and what was paid for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import Location
from dataprep.teacher.journal.current import current_lines
from dataprep.teacher.journal.line import JournalReader, outcome_of, sample_of


@dataclass(frozen=True, slots=True)
class Answer:
    """The line of a journal that counts for one teacher, id and sample.

    Attributes:
        where: its place.
        line: the line.
        paid: the line with the usage, which is an earlier one if this one was repeated.
        lines: the number of lines for the same id and teacher, earlier attempts and prompts too.
        tokens: tokens of prompts and answers in all these lines, as far as servers counted them.
    """

    where: Location
    line: Mapping[str, Any]
    paid: Mapping[str, Any]
    lines: int
    tokens: tuple[int, int]

    def facts(self, prices: tuple[float, float] | None = None) -> dict[str, Any]:
        """Return what is known of the answer; ``prices`` are dollars for a million tokens in and out."""
        usage = self.paid.get("usage") or {}
        tokens = _tokens(self.paid)
        cost = usage.get("cost")
        if type(cost) not in (int, float):
            known = prices is not None and bool(usage)
            cost = (tokens[0] * prices[0] + tokens[1] * prices[1]) / 1e6 if known and prices else None
        line = self.line
        facts = {
            "teacher": line["teacher"],
            "model": line.get("model"),
            "sample": sample_of(line),
            "outcome": outcome_of(line),
            "response": line["response"],
            "prompt_tokens": tokens[0] if usage else None,
            "completion_tokens": tokens[1] if usage else None,
            "cost": cost,
            "attempts": line.get("attempts"),
            "time": self.paid.get("time"),
            "key": line["key"],
            "lines": self.lines,
            "tokens_of_all_lines": sum(self.tokens),
        }
        return {name: value for name, value in facts.items() if value is not None}


def _tokens(line: Mapping[str, Any]) -> tuple[int, int]:
    usage = line.get("usage")
    counts = [
        usage.get(name) if isinstance(usage, Mapping) else 0
        for name in ("prompt_tokens", "completion_tokens")
    ]
    first, second = (count if type(count) is int else 0 for count in counts)
    return first, second


def answers_to(journals: Sequence[tuple[str, int | None]], identity: str) -> list[Answer]:
    """Return the lines that count for an id, of every teacher and sample, in the order of the journals.

    ``teacher.journal.current`` has the rule.

    Args:
        journals: their paths, each with the number of bytes that it had (``None`` for all), as it grows.
        identity: the id.
    """
    reader = JournalReader([(path, _opened(path, size)) for path, size in journals])
    lines = dict(each for each in reader.lines() if each[1]["id"] == identity)
    found = []
    for teacher, _, _, place in current_lines(lines.items()):
        line = lines[place]
        of_teacher = [each for each in lines.values() if each["teacher"] == teacher]
        tokens = [_tokens(each) for each in of_teacher]
        total = sum(each[0] for each in tokens), sum(each[1] for each in tokens)
        path, _, number = reader.where(place).rpartition(":")
        found.append(
            Answer(Location(path, int(number)), line, _paid(line, of_teacher), len(of_teacher), total)
        )
    return found


def _opened(path: str, size: int | None) -> files.FileBytes | bytes:
    data = files.open_whole(path)
    return data if size is None or size >= len(data) else data[:size]


def _paid(line: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    # A repeated line has no usage, because nobody paid again.
    if not line.get("repeated"):
        return line
    same = ("key", "sample", "response")
    return next(
        (
            each
            for each in lines
            if each.get("usage") and all(each.get(name) == line.get(name) for name in same)
        ),
        line,
    )


def answers_of_row(
    row: Mapping[str, Any],
    answers: Sequence[Answer],
    *,
    renamed: Mapping[str, str],
    teacher: str | None = None,
    sample: int | None = 0,
) -> list[Answer]:
    """Return the answers that are in a row which ``collect`` made.

    Args:
        row: the row. A pair names its two answers, other rows at most their teachers.
        answers: all answers to the row's id.
        renamed: new names of teachers, by their names in the journals.
        teacher: the teacher of all rows, if they have one.
        sample: the sample of all rows; ``None`` for any.
    """
    pairs = [each for name in ("chosen_by", "rejected_by") if isinstance(each := row.get(name), Mapping)]
    named = {(each.get("teacher"), each.get("sample")) for each in pairs}
    teachers = {teacher} if teacher is not None else _teachers_of(row)
    found = []
    for answer in answers:
        name = renamed.get(answer.line["teacher"], answer.line["teacher"])
        number = sample_of(answer.line)
        if named:
            is_in = (name, number) in named
        else:
            is_in = (teachers is None or name in teachers) and sample in (None, number)
        if is_in:
            found.append(answer)
    return found


def _teachers_of(row: Mapping[str, Any]) -> set[str] | None:
    """Return the teachers that a row names; ``None`` if it names none, and all can be meant."""
    if isinstance(row.get("teacher"), str):
        return {row["teacher"]}
    by_teacher = [row[name] for name in ("rationales", "status") if isinstance(row.get(name), Mapping)]
    return {name for each in by_teacher for name in each} or None
