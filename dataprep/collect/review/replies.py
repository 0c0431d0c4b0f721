"""Read teachers' replies from journals or from rows made from one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import orjson

from dataprep.answers.final_answers import said_of
from dataprep.answers.letters import Choice, choice_of
from dataprep.answers.quality import by_teacher
from dataprep.core import io as files
from dataprep.core.conversations import REASONING_FIELDS
from dataprep.core.errors import InputError, Location, RowError, located, shortened
from dataprep.core.io.tables.scratch import packed, scratch_database, unpacked
from dataprep.core.records import LETTERS, describe
from dataprep.datasets.converters.choices import choices_of, id_of
from dataprep.datasets.source_rows import GoldRow
from dataprep.teacher.journal.current import CurrentLines
from dataprep.teacher.journal.line import OUTCOMES, Outcome, check_response, outcome_of, sample_of


@dataclass(frozen=True, slots=True)
class Answer:
    """The part of a reply that the figures need.

    Attributes:
        outcome: the outcome of the question; only ``ok`` is a reply.
        letter: the letter that the reply names, if it names one.
        choices: number of choices; 0 if that is not known.
        excerpt: beginning and end of a reply that names no letter.
        reason: why no letter could be read from it, in a few words.
    """

    outcome: Outcome
    letter: str | None = None
    choices: int = 0
    excerpt: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A teacher's answer to one question.

    Attributes:
        teacher: the teacher.
        id: the id of the question; in rows without one the place of the row, or the question itself.
        key: identifies the prompt; the answers to a later prompt replace those to an earlier one.
        sample: which of several answers to the same question it is, from 0.
        answer: the answer.
    """

    teacher: str
    id: str
    key: str
    sample: int
    answer: Answer


LocatedRows = Iterator[tuple[Location, dict[str, Any]]]
# A place in `CurrentLines` is the number of the reply, and in so many bits the number of its `Answer`.
_ANSWER_BITS = 16


class References:
    """The reference rows of questions, by id; none by default."""

    def __init__(self, rows: Iterable[GoldRow] = (), path: str = "") -> None:
        self.database = scratch_database("gold (id BLOB PRIMARY KEY, place INT, row BLOB) WITHOUT ROWID")
        for row in rows:
            if row.id is not None:
                self._add(row.id, orjson.dumps([row.question, row.choices, row.place]), row.place, path)

    def _add(self, identity: str, held: bytes, place: int, path: str) -> None:
        added = self.database.execute(
            "INSERT OR IGNORE INTO gold VALUES (?, ?, ?)", (packed(identity), place, held)
        )
        # The same row twice is harmless; two rows under one id would make the figures depend on their order.
        if not added.rowcount and self._row(identity) != held:
            raise InputError(path, f"the id {identity!r} has two different rows; expected one row per id")

    def _row(self, identity: str) -> bytes | None:
        found = self.database.execute("SELECT row FROM gold WHERE id = ?", (packed(identity),)).fetchone()
        return None if found is None else found[0]

    def choices(self, identity: str) -> list[str] | None:
        """Return the choices of a question; ``None`` if it has no reference."""
        row = self._row(identity)
        return None if row is None else orjson.loads(row)[1]

    def __len__(self) -> int:
        return int(self.database.execute("SELECT count(*) FROM gold").fetchone()[0])


class CurrentReplies:
    """Take replies one by one and count those that count for each teacher and question.

    ``journal.current`` decides which one that is. Memory is bounded.

    Attributes:
        lines: how many replies came, by teacher.
        references: the questions' references.
    """

    def __init__(self, references: References | None = None) -> None:
        self.lines: Counter[str] = Counter()
        self.references = references or References()
        # In one database, so that they can be joined.
        self._current = CurrentLines(self.references.database)
        self._database = self.references.database
        self._database.execute("CREATE TABLE unread (number INTEGER PRIMARY KEY, excerpt BLOB, reason BLOB)")
        # Most answers are one of a few.
        self._answers: dict[Answer, int] = {}

    def add(self, reply: Reply) -> None:
        """Take the next line."""
        self.lines[reply.teacher] += 1
        number, answer = self.lines.total(), replace(reply.answer, excerpt=None, reason="")
        if reply.answer.excerpt is not None:
            texts = (packed(reply.answer.excerpt), packed(reply.answer.reason))
            self._database.execute("INSERT INTO unread VALUES (?, ?, ?)", (number, *texts))
        place = (number << _ANSWER_BITS) + self._answers.setdefault(answer, len(self._answers))
        self._current.add(reply.teacher, reply.id, reply.key, reply.sample, answer.outcome, place)

    @property
    def teachers(self) -> list[str]:
        """The teachers, in order of appearance."""
        return self._current.teachers

    def _rows(self, query: str, *teachers: str) -> Iterator[tuple[Any, ...]]:
        self._current.settle()
        return self._database.execute(query, [self.teachers.index(teacher) for teacher in teachers])

    def counts(self, teacher: str) -> Counter[tuple[Answer, int | None]]:
        """Count a teacher's answers that count, each with the place of the right choice, if it is known."""
        answers = list(self._answers)
        rows = self._rows(
            "SELECT lines.place & 65535, gold.place, count(*) FROM lines LEFT JOIN gold USING (id) "
            "WHERE teacher = ? GROUP BY 1, 2",
            teacher,
        )
        return Counter({(answers[answer], right): count for answer, right, count in rows})

    def pairs(self, first: str, second: str) -> Counter[tuple[Answer, Answer]]:
        """Count the answers of two teachers to the same question."""
        answers = list(self._answers)
        rows = self._rows(
            "SELECT one.place & 65535, other.place & 65535, count(*) FROM lines AS one JOIN lines AS other "
            "USING (id, sample) WHERE one.teacher = ? AND other.teacher = ? GROUP BY 1, 2",
            first,
            second,
        )
        return Counter({(answers[one], answers[other]): count for one, other, count in rows})

    def unread(self, teacher: str, limit: int) -> list[tuple[str, str, str]]:
        """Return id, excerpt and reason of a teacher's first replies that name no letter."""
        rows = self._rows(
            "SELECT id, excerpt, reason FROM lines JOIN unread ON number = place >> 16 WHERE teacher = ? "
            "ORDER BY first",
            teacher,
        )
        return [(unpacked(row[0]), unpacked(row[1]), unpacked(row[2])) for row in islice(rows, limit)]

    def questions(self) -> int:
        """Return the number of questions that were asked."""
        (count,) = next(self._rows("SELECT count(*) FROM (SELECT DISTINCT id FROM lines)"))
        return int(count)

    def without_reference(self, limit: int) -> tuple[int, list[str]]:
        """Return the number of questions without a reference, and the first ids of them."""
        rows = self._rows(
            "SELECT lines.id FROM lines LEFT JOIN gold USING (id) WHERE row IS NULL GROUP BY lines.id "
            "ORDER BY min((teacher << 48) + first)"
        )
        first = [unpacked(identity) for (identity,) in islice(rows, limit)]
        return len(first) + sum(1 for _ in rows), first


EXCERPT = 240
"""Number of characters that are kept of a reply without a readable letter."""


def read_replies(path: str, rows: LocatedRows, gold: References) -> Iterator[Reply]:
    """Yield the replies in a journal, in labelled rows, or in rows ``{"Question", "Answer"}``.

    Args:
        path: the file, or ``-``.
        rows: its rows with their places; they may be of several kinds.
        gold: references by id; their choices decide which letters a reply can name.

    Raises:
        InputError: a row is of another kind, or the file has no rows.
        FileError: the file cannot be read.
    """
    # Rows of two fields name no teacher: the file stands for one.
    name = "standard input" if path == files.STDIO else files.printable(path)
    asked: Counter[str] = Counter()
    where = None
    for where, row in rows:
        with located(where):
            if "rationales" in row or "teacher_answers" in row:
                yield from _labelled(row, files.printable(str(where)), gold)
            elif "Question" in row and "Answer" in row:
                yield _pair(row, name, asked, gold)
            else:
                yield _response(row, gold)
    if where is None:
        raise InputError(path, "the file is empty; expected teachers' responses")


def _response(row: dict[str, Any], gold: References) -> Reply:
    if not {"key", "teacher", "response"} & row.keys():
        kinds = "a line of a journal (id, key, teacher, …), a row with rationales, or Question and Answer"
        found = ", ".join(map(repr, row)) or "none"
        raise RowError("not a teacher's response", f"the row's fields are {found}; expected {kinds}")
    check_response(row)
    sample = sample_of(row)
    # A journal has no choices: only the reference tells which letters the question has.
    texts = gold.choices(row["id"]) or ()
    outcome, text = outcome_of(row), row["response"] or ""
    answer = _answer(outcome, text, texts)
    if row.get("tool_calls"):  # words beside a call announce it
        answer = _unread(outcome, text, len(texts), "it calls a tool")
    return Reply(row["teacher"], row["id"], row["key"], sample, answer)


def _pair(row: dict[str, Any], name: str, asked: Counter[str], gold: References) -> Reply:
    # Such a row names no teacher, so the file stands for one; a question asked again is another sample.
    question, text = row["Question"], row["Answer"]
    if text is None and any(row.get(name) for name in REASONING_FIELDS):
        text = ""  # nothing was said after the thinking
    if type(question) is not str or type(text) is not str:
        found = f"found {describe(question)} and {describe(text)}"
        raise RowError("'Question' and 'Answer' are not texts", found)
    identity = id_of(row) or shortened(question, EXCERPT)
    sample = asked[identity]
    asked[identity] += 1
    texts = gold.choices(identity) or ()
    answer = _answer("ok" if text.strip() else "empty", text, texts)
    return Reply(name, identity, "", sample, answer)


def _labelled(row: dict[str, Any], place: str, gold: References) -> Iterator[Reply]:
    rationales, statuses, answers = (
        by_teacher(row, name) for name in ("rationales", "status", "teacher_answers")
    )
    identity = id_of(row) or place
    texts = _choices(row, identity, gold)
    for teacher in dict.fromkeys((*rationales, *statuses, *answers)):
        text, status, given = (each.get(teacher) for each in (rationales, statuses, answers))
        for value in (text, status):
            if value is not None and type(value) is not str:
                raise RowError(f"what {teacher!r} said is not a text", f"found {describe(value)}")
        # Rows with `teacher_answers` were judged already; in others the letters are read from the rationales.
        if "teacher_answers" in row:
            yield Reply(teacher, identity, "", 0, _judged(status, text or "", given, len(texts)))
        else:
            yield Reply(teacher, identity, "", 0, _answer(_outcome(status, text or ""), text or "", texts))


def _choices(row: Mapping[str, Any], identity: str, gold: References) -> list[str]:
    """Return the texts of the choices, from the row or its reference; if both have them, they must agree."""
    texts = choices_of(row["choices"])[0] if row.get("choices") else []
    if len(texts) > len(LETTERS):
        raise RowError("too many choices", f"found {len(texts)}; there are {len(LETTERS)} letters")
    theirs = gold.choices(identity)
    if theirs is None:
        return texts
    if texts and texts != theirs:
        found = (
            f"its choices are {describe(texts, 200)}, those of gold row {identity!r} {describe(theirs, 200)}"
        )
        raise RowError("not the gold row", found)
    return theirs


def _judged(status: str | None, text: str, given: Any, count: int) -> Answer:
    if given is None:
        return _unread(_outcome(status, text), text, count, f"its row has no answer ({status})")
    label = given.get("label") if type(given) is dict else None
    if type(label) is not str:
        raise RowError("malformed teacher's answer", f"expected {{'label', 'text'}}, found {describe(given)}")
    # The label may come from another tool: `B`, ` b `; a longer one is no letter of a choice.
    place = LETTERS.find(label.strip().lower()) if len(label.strip()) == 1 else -1
    if status in OUTCOMES and status not in {"ok", "empty"}:
        return Answer(status, choices=count)
    if 0 <= place < (count or len(LETTERS)):
        return Answer("ok", LETTERS[place], count)
    reason = f"{shortened(label, 20)!r} is not one of the choices {_range(count)}"
    return Answer("ok", None, count, shortened(f"({label}) {given.get('text') or ''}", EXCERPT), reason)


def _outcome(status: str | None, text: str) -> Outcome:
    # A rationale that stops in mid-sentence was cut off, whatever the teacher's finish reason was.
    if status == "truncated":
        return "length"
    for outcome in OUTCOMES[1:]:
        if status == outcome:
            return outcome
    return "ok" if text.strip() else "empty"


def _answer(outcome: Outcome, text: str, texts: Sequence[str]) -> Answer:
    # Only a whole answer is read: the last words of one that was cut off may contradict it.
    if outcome != "ok":
        return Answer(outcome, None, len(texts))
    choice = choice_of(text, texts)
    if choice.letter:
        return Answer(outcome, choice.letter, len(texts))
    return _unread(outcome, text, len(texts), why_unread(text, texts, choice))


def _unread(outcome: Outcome, text: str, count: int, reason: str) -> Answer:
    if outcome != "ok":
        return Answer(outcome, None, count)
    return Answer(outcome, None, count, shortened(text, EXCERPT), reason)


# A letter that may be that of a choice: `(b)`, `[b]`, `B.`, `B is`, `B` at the end; not the `A` of `A plant`.
_LABEL = re.compile(
    r"(?<!\w)(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Z])(?=[.):,*]|$| (?:is|was|or|and)\b))", re.MULTILINE
)


def why_unread(text: str, choices: Sequence[str] = (), choice: Choice | None = None) -> str:
    """Return why a reply names no single letter, in a few words, for a person who looks at it.

    ``choice`` is what was read from it, if that is known.
    """
    said = said_of(text)[0]
    if not said.strip():
        return "nothing is said after the thinking"
    if (choice or choice_of(text, choices)).contradicts:
        return "a letter beside the text of another choice"
    count = len(choices) or len(LETTERS)
    letters = sorted({match[match.lastindex or 1].lower() for match in _LABEL.finditer(said)})
    known = [letter for letter in letters if LETTERS.find(letter) < count]
    if len(known) > 1:
        return f"several letters: {', '.join(known)}"
    if known:
        return f"{known[0]} is mentioned, but it is not clear that it is the answer"
    if letters:
        return f"{', '.join(letters)} is not one of the choices {_range(count)}"
    words = said.lower()
    named = [LETTERS[n] for n, choice in enumerate(choices) if choice.strip() and choice.lower() in words]
    return f"no letter, but the words of {', '.join(named)}" if named else "no letter"


def _range(count: int) -> str:
    return f"a to {LETTERS[(count or len(LETTERS)) - 1]}"
