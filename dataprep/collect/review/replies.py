"""What teachers replied, out of a journal or of rows made from one, a reply at a time.

Of several lines about one question, the one that counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataprep.answers.letters import letter_of
from dataprep.core import io as files
from dataprep.core.errors import InputError, RowError, located
from dataprep.core.html import shortened
from dataprep.core.records import LETTERS, describe
from dataprep.datasets.converters.choices import choices_of, id_of
from dataprep.datasets.references import GoldRow
from dataprep.teacher.journal.current import CurrentLines, sample_of
from dataprep.teacher.journal.line import OUTCOMES, Outcome, check_response, outcome_of


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of a reply: no more than the figures need.

    Attributes:
        outcome: what came of the question; only ``ok`` is a reply.
        letter: the letter that the reply names; ``None`` for none, and where there is no reply.
        choices: how many choices there were; 0 where that is not known.
        excerpt: the beginning and the end of a reply that names none.
    """

    outcome: Outcome
    letter: str | None = None
    choices: int = 0
    excerpt: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A teacher's answer to one question, once asked.

    Attributes:
        teacher: who answered.
        id: the question's id; in rows without one the line's place, or the question itself.
        key: what was asked with; a later key takes an earlier one's place.
        sample: which of several answers to the same question it is, counted from 0.
        answer: what came of it.
    """

    teacher: str
    id: str
    key: str
    sample: int
    answer: Answer


Asked = tuple[str, int]
"""A question's id, and which of several answers to it."""


class CurrentReplies:
    """Take replies one by one and keep, for each teacher and question, the one that counts.

    ``journal.current`` decides which one that is.

    Attributes:
        lines: how many replies came, by teacher.
    """

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()
        self._current = CurrentLines[Answer]()
        self._known: dict[Answer, Answer] = {}

    def add(self, reply: Reply) -> None:
        """Take the next line."""
        self.lines[reply.teacher] += 1
        answer = reply.answer
        if not answer.excerpt:  # most answers are one of a few, and kept only once
            answer = self._known.setdefault(answer, answer)
        self._current.add(reply.teacher, reply.id, reply.key, reply.sample, answer.outcome, answer)

    def current(self) -> dict[str, dict[Asked, Answer]]:
        """Return the answers that count, by teacher."""
        answers: dict[str, dict[Asked, Answer]] = {}
        for teacher, identity, sample, answer in self._current.items():
            answers.setdefault(teacher, {})[identity, sample] = answer
        return answers


EXCERPT = 240
"""Characters that are kept of a reply from which no letter could be read."""


def read_replies(path: str, gold: Mapping[str, GoldRow]) -> Iterator[Reply]:
    """The replies in a journal, in labelled rows, or in rows ``{"Question", "Answer"}``; ``-`` is stdin.

    Args:
        path: the file; its rows may be of several kinds.
        gold: gold rows by id, whose choices tell which letters there were.

    Raises:
        InputError: a row is none of these, or the file has none.
        FileError: the file cannot be read.
    """
    name = "standard input" if path == files.STDIO else files.printable(path)
    asked: Counter[str] = Counter()
    where = None
    for where, row in files.read_rows(path):
        with located(where):
            if "rationales" in row or "teacher_answers" in row:
                yield from _labelled(row, files.printable(str(where)), gold)
            elif "Question" in row and "Answer" in row:
                yield _pair(row, name, asked, gold)
            else:
                yield _response(row, gold)
    if where is None:
        raise InputError(path, "the file is empty; expected teachers' responses")


def _response(row: dict[str, Any], gold: Mapping[str, GoldRow]) -> Reply:
    """A line of the journal."""
    if not {"key", "teacher", "response"} & row.keys():
        kinds = "a line of a journal (id, key, teacher, …), a row with rationales, or Question and Answer"
        found = ", ".join(map(repr, row)) or "none"
        raise RowError("not a teacher's response", f"the row's fields are {found}; expected {kinds}")
    check_response(row)
    sample = sample_of(row)
    texts = gold[row["id"]].choices if row["id"] in gold else ()
    answer = _answer(outcome_of(row), row["response"] or "", texts)
    return Reply(row["teacher"], row["id"], row["key"], sample, answer)


def _pair(row: dict[str, Any], name: str, asked: Counter[str], gold: Mapping[str, GoldRow]) -> Reply:
    """A row of two fields: the file's name stands for its teacher; a question asked again is a sample."""
    question, text = row["Question"], row["Answer"]
    if type(question) is not str or type(text) is not str:
        found = f"found {describe(question)} and {describe(text)}"
        raise RowError("'Question' and 'Answer' are not texts", found)
    own = id_of(row) or shortened(question, EXCERPT)
    sample = asked[own]
    asked[own] += 1
    texts = gold[own].choices if own in gold else ()
    answer = _answer("ok" if text.strip() else "empty", text, texts)
    return Reply(name, own, "", sample, answer)


def _labelled(row: dict[str, Any], place: str, gold: Mapping[str, GoldRow]) -> Iterator[Reply]:
    """A row with a rationale, a status and an answer a teacher."""
    rationales, statuses, answers = (
        _by_teacher(row, name) for name in ("rationales", "status", "teacher_answers")
    )
    own = id_of(row) or place
    texts = _choices(row, own, gold)
    for teacher in dict.fromkeys((*rationales, *statuses, *answers)):
        text, status, given = (each.get(teacher) for each in (rationales, statuses, answers))
        if text is None and status is None and given is None:
            continue  # a table has a column for every teacher in every row
        for value in (text, status):
            if value is not None and type(value) is not str:
                raise RowError(f"what {teacher!r} said is not a text", f"found {describe(value)}")
        if "teacher_answers" in row:
            yield Reply(teacher, own, "", 0, _judged(status, text or "", given, len(texts)))
        else:
            yield Reply(teacher, own, "", 0, _answer(_outcome(status, text or ""), text or "", texts))


def _by_teacher(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = row.get(name)
    if value is not None and type(value) is not dict:
        raise RowError(
            f"field {name!r} is not an object", f"expected one value a teacher, found {describe(value)}"
        )
    return value or {}


def _choices(row: Mapping[str, Any], own: str, gold: Mapping[str, GoldRow]) -> list[str]:
    """The choices' texts, from the row or its gold row; if both have them, they must be the same."""
    texts = choices_of(row["choices"])[0] if row.get("choices") else []
    if len(texts) > len(LETTERS):
        raise RowError("too many choices", f"found {len(texts)}; there are {len(LETTERS)} letters")
    if own not in gold:
        return texts
    theirs = gold[own].choices
    if texts and texts != theirs:
        found = f"its choices are {describe(texts, 200)}, those of gold row {own!r} {describe(theirs, 200)}"
        raise RowError("not the gold row", found)
    return theirs


def _judged(status: str | None, text: str, given: Any, count: int) -> Answer:
    """The answer of a row that says itself which one it is."""
    if given is None:
        return _unread(_outcome(status, text), text, count)
    label = given.get("label") if type(given) is dict else None
    if type(label) is not str:
        raise RowError("malformed teacher's answer", f"expected {{'label', 'text'}}, found {describe(given)}")
    place = LETTERS.find(label.strip().lower()) if len(label.strip()) == 1 else -1
    if status in OUTCOMES and status not in {"ok", "empty"}:
        return Answer(status, choices=count)
    if 0 <= place < (count or len(LETTERS)):
        return Answer("ok", LETTERS[place], count)
    return Answer("ok", None, count, shortened(f"({label}) {given.get('text') or ''}", EXCERPT))


def _outcome(status: str | None, text: str) -> Outcome:
    """The outcome that a rationale's status stands for: one that stops in mid-sentence was cut off."""
    if status == "truncated":
        return "length"
    for outcome in OUTCOMES[1:]:
        if status == outcome:
            return outcome
    return "ok" if text.strip() else "empty"


def _answer(outcome: Outcome, text: str, texts: Sequence[str]) -> Answer:
    """What a reply amounts to; only a whole one is read."""
    letter = letter_of(text, texts) if outcome == "ok" else None
    return Answer(outcome, letter, len(texts)) if letter else _unread(outcome, text, len(texts))


def _unread(outcome: Outcome, text: str, count: int) -> Answer:
    return Answer(outcome, None, count, shortened(text, EXCERPT) if outcome == "ok" else None)
