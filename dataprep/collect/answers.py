"""Find teachers' current answers by teacher, id and sample, and judge them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dataprep.answers.final_answers import (
    begins_in_thinking,
    divided,
    number_of,
    stated_number,
    without_stop_tokens,
)
from dataprep.answers.letters import choice_of
from dataprep.answers.quality import KEEPABLE as WITH_TEXT
from dataprep.answers.quality import by_teacher, reply_runaway_at, text_before
from dataprep.answers.rationale import without_cue
from dataprep.core import io as files
from dataprep.core.errors import InputError, RowError, UsageError
from dataprep.core.records import LETTERS, Example, describe, from_cell
from dataprep.teacher.journal.current import current_lines
from dataprep.teacher.journal.line import JournalReader, outcome_of

KEEPABLE = (*WITH_TEXT, "tool_calls")  # statuses of answers that can become training rows
STATUSES = (*KEEPABLE, "empty", "refused", "failed", "missing")
RunTests = Callable[[str, Sequence[str]], bool]  # whether the program in a reply passes its tests


@dataclass(frozen=True, slots=True)
class Judged:
    """A teacher's answer to one Example."""

    status: str  # one of `STATUSES`
    rationale: str | None = None  # what it says without cue and outer white space, if any text came
    reply: str | None = None  # what it says as it came, without outer white space
    reasoning: str | None = None  # its thinking, if it shows any
    letter: str | None = None  # the choice that it concludes on, if it is whole
    place: int | None = None  # of its line in the journals; `None` if it is from the Example's row
    tool_calls: list[Any] | None = None  # as the teacher's server wrote them


MISSING = Judged("missing")


def judge(
    example: Example,
    line: Mapping[str, Any],
    place: int | None = None,
    run_tests: RunTests | None = None,
    *,
    split_thinking: bool = True,
    opened: bool = False,
) -> Judged:
    """Judge a line of a journal as an answer to an Example.

    Args:
        example: the Example.
        line: the line.
        place: its place in the journals.
        run_tests: judges programs; without it they are not judged.
        split_thinking: keep the thinking in a reply apart from its text.
        opened: whether the prompt opens the thinking, so that a reply without marks is thinking only.
    """
    # The first status that applies: an outcome that is no whole answer, then `tool_calls`, `empty`,
    # `contradiction`, `answer_mismatch` (another choice or number, or a program that fails), `runaway`,
    # `no_answer`, and `ok` or `unjudged`.
    status = outcome_of(line)
    if status in {"failed", "refused"}:
        return Judged(status, place=place)
    said, thinking, cut = divided(line["response"] or "")
    if opened and status in {"length", "unknown"} and not (thinking or cut or line.get("reasoning")):
        said, thinking, cut = "", said, True
    kept = reply = said.strip()
    text = without_cue(reply)
    reasoning = "\n\n".join(each for each in (line.get("reasoning"), thinking) if each) or None
    if thinking and not (split_thinking or cut):
        kept, reasoning = line["response"].strip(), line.get("reasoning") or None
    if status == "ok" and (calls := line.get("tool_calls")):
        # Words beside a call announce it. The answer comes after the tool's, so these are not compared.
        return Judged("tool_calls", without_cue(kept), kept, reasoning, place=place, tool_calls=calls)
    # Nothing follows thinking that was cut off, whatever the server calls the end of such an answer.
    status = "length" if cut else status
    # An answer that was or may be cut off is kept as text, but its last words are no conclusion.
    if status in {"length", "unknown"} or not text:
        status = "empty" if status == "ok" else status
        return Judged(status, without_cue(kept) if text else text, kept, reasoning, place=place)
    # An answer that runs on is read up to where the next question begins.
    end = reply_runaway_at(text, example.question, "choice" if example.choices else example.task)
    said, letter = without_stop_tokens(text if end < 0 else text_before(text, end)), None
    if len(example.choices) > len(LETTERS):  # some could not be named, and would count as wrong
        found = f"found {len(example.choices)}; there are letters for {len(LETTERS)}"
        raise RowError("too many choices", found)
    if example.choices:
        letter, _, contradicts = choice_of(said, example.choices)
        verdict = "contradiction" if contradicts else status_of_letter(letter, gold_letter(example))
    else:
        verdict = _of_open(example, said, run_tests)
    # A wrong answer stays a mismatch: as a runaway it could be trimmed and kept.
    if end >= 0 and verdict not in {"answer_mismatch", "contradiction"}:
        verdict = "runaway"
    return Judged(verdict, without_cue(kept), kept, reasoning, letter, place)


def status_of_letter(letter: str | None, gold: str | None) -> str:
    """Return the status of an answer that names the choice with a letter, if any."""
    if letter is None:
        return "no_answer"
    return "unjudged" if gold is None else "ok" if letter == gold else "answer_mismatch"


def _of_open(example: Example, text: str, run_tests: RunTests | None) -> str:
    if example.task == "code":
        if run_tests is None or not example.tests:
            return "unjudged"
        return "ok" if run_tests(text, example.tests) else "answer_mismatch"
    gold = number_of(example.answer) if example.task == "math" and example.answer else None
    if gold is not None:
        # Only a number that is certain can agree or contradict.
        stated = stated_number(text)
        stated = number_of(text) if stated is None else stated
        return "unjudged" if stated is None else "ok" if stated == gold else "answer_mismatch"
    # Other words than those of a right answer may say the same.
    right = example.answers or ((example.answer,) if example.answer else ())
    return "ok" if _words(text) in map(_words, right) else "unjudged"


def _words(text: str) -> str:
    return " ".join(text.split()).rstrip(".!").lower()


def gold_letter(example: Example) -> str | None:
    """Return the letter of the right answer; ``None`` if it is not among the Example's choices."""
    letters = LETTERS[: len(example.choices)]
    label = (example.answer_label or "").lower()
    # The label comes first: two choices may have the same text.
    if len(label) == 1 and label in letters:
        return label
    return letters[example.choices.index(example.answer)] if example.answer in example.choices else None


@dataclass(frozen=True, slots=True)
class Labels:
    """The statuses, answers and thinking of teachers that the row of an Example already has, by teacher.

    ``request`` is the row itself if it is a request to teachers, and no Example.
    """

    status: Mapping[str, str]
    answers: Mapping[str, Any]
    reasoning: Mapping[str, Any]
    request: Mapping[str, Any] | None = None

    def judged(self, example: Example, teacher: str) -> Judged | None:
        """Return the answer of a teacher in the Example itself; ``None`` if it has none."""
        text = (example.rationales or {}).get(teacher)
        if text is None:
            return Judged(self.status[teacher]) if teacher in self.status else None
        # Rationales without a status come from other tools, and are taken as they are.
        status = self.status.get(teacher, "unjudged")
        return Judged(status, text.strip(), text.strip(), self.reasoning.get(teacher))


NO_LABELS = Labels({}, {}, {})


def labels_of(row: Mapping[str, Any]) -> Labels:
    """Return the labels in an Example's row."""
    statuses = by_teacher(row, "status")
    if not all(type(status) is str for status in statuses.values()):
        raise RowError("field 'status' is not an object of texts", f"found {describe(row['status'])}")
    # Another tool's rows may have one text of this name, which belongs to no teacher.
    thinking = from_cell(row.get("reasoning"))
    reasoning = by_teacher({"reasoning": thinking}, "reasoning") if isinstance(thinking, Mapping) else {}
    return Labels(statuses, by_teacher(row, "teacher_answers"), reasoning)


class Answers:
    """The current lines of journals, the earlier journals first; `teacher.journal.current` has the rule."""

    def __init__(
        self,
        paths: Sequence[str],
        names: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
        run_tests: RunTests | None = None,
        *,
        split_thinking: bool = True,
    ) -> None:
        self._judge = partial(judge, run_tests=run_tests, split_thinking=split_thinking)
        # The teachers whose prompts open the thinking: a reply of theirs has its end without its beginning.
        self._opened: set[str] = set()
        for path in paths:
            # Lines are found again by their byte offset, which other formats do not have.
            if files.format_of(path).kind != "jsonl":
                raise UsageError(f"{path}: a journal of responses is JSON Lines; expected a .jsonl file")
        # Only the places of the lines are kept in memory.
        self.journals = JournalReader([(path, files.open_whole(path)) for path in paths])
        self.current = current_lines(self._lines(progress))
        teachers = self.current.teachers
        if not teachers:
            raise InputError(self.journals.torn[0], "the only line broke off; expected responses")
        # A name under which only failures came, such as a mistyped one, is no teacher if another answered.
        answered = self.current.answered
        self.silent = [name for name in teachers if answered and name not in answered]
        # The teachers' names in the journals, by the names that they get.
        self._names = _renamed(teachers, names or {})
        for name in self.silent:
            self.current.forget(name)
            del self._names[(names or {}).get(name, name)]
        self.teachers = list(self._names)

    def _lines(self, progress: Callable[[int], None] | None) -> Iterator[tuple[int, dict[str, Any]]]:
        for place, row in self.journals.lines(progress):
            if row["teacher"] not in self._opened and begins_in_thinking(row["response"] or ""):
                self._opened.add(row["teacher"])
            yield place, row

    def judged(self, example: Example, labels: Labels, teacher: str, sample: int) -> Judged:
        """Return a teacher's answer to an Example: from the journals, or else from the Example's row."""
        # A journal is newer than the rows that were made from an earlier one.
        name = self._names.get(teacher, "")
        place = self.current.find(name, example.identify(), sample)
        if place is not None:
            return self._judge(example, self.journals.row(place), place, opened=name in self._opened)
        return labels.judged(example, teacher) or MISSING

    def samples(self, example: Example, teacher: str) -> list[int]:
        """Return the numbers of a teacher's samples for an Example, in ascending order."""
        return self.current.samples(self._names.get(teacher, ""), example.identify())


def _renamed(teachers: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    found = ", ".join(teachers)
    for name in names:
        if name not in teachers:
            raise UsageError(f"no teacher is called {name!r}: the journals' teachers are {found}")
    # Two teachers under one name would silently replace each other's answers.
    renamed = {names.get(teacher, teacher): teacher for teacher in teachers}
    if len(renamed) < len(teachers):
        raise UsageError(f"two teachers would have one name: the journals' teachers are {found}")
    return renamed
