"""The strings in which teachers' rationales are published: parsed and rendered.

One string a row, as TinyLLM publishes them (Tian et al. 2024, "TinyLLM: Learning a Small Student from
Multiple Large Language Models")::

    <first rationale> Thus, the answer is (c) <its text>

    Q: <question>
    Answer Choices:
    (a) <choice>
    (b) <choice>
    A: Let's think step by step. llama rationale: Let's think step by step.
    <second rationale> mistral rationale: <third rationale>

The cue line ``A: …`` is not always there. Rationales are free text: they hold ``Q:``, parentheses, newlines
and the answer phrase too. So the parser anchors on what they do not hold, the block of question and
lettered choices, and works outwards from it with string searches only, which take linear time whatever the
text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dataprep.errors import RowError
from dataprep.records import LETTERS

FIRST_TEACHER = "flan-t5"
KNOWN_MARKERS: Mapping[str, str] = {"llama": "llama-2"}

CUE = "Let's think step by step."
ANSWER = "Thus, the answer is"
_QUESTION = "\n\nQ: "
_CHOICES = "\nAnswer Choices:\n"
_FIRST_CHOICE = _CHOICES + "(a) "
_MARK = " rationale:"
_AFTER_MARK = ("", " ", "\n")
_LONGEST_NAME = 64
_LABELS = [f"({letter}) " for letter in LETTERS]

# Words that come before "rationale:" in prose. With `--teachers` only the names given there are markers.
_ORDINARY = frozenset(
    """
    a an and another any as best brief complete correct detailed each either every final first full good her
    his incorrect its logical main my next no of one only or other our possible proper right same second
    short simple simplified some such that the their this third whose with your
    """.split()  # noqa: SIM905 - forty quoted words would fill a page
)

Status = Literal["ok", "empty", "truncated", "runaway", "answer_mismatch", "no_answer"]
STATUSES: tuple[Status, ...] = ("ok", "empty", "runaway", "truncated", "answer_mismatch", "no_answer")


class Teachers:
    """What the teachers are called.

    Attributes:
        first: the teacher that no marker names.
        markers: the further teachers by marker; where there are none, any word is a marker, apart from
            ordinary ones such as ``the``.
    """

    def __init__(self, first: str = FIRST_TEACHER, markers: Mapping[str, str] | None = None) -> None:
        self.first = first
        self.markers = markers
        self._known: dict[str, str | None] = {}

    @classmethod
    def named(cls, names: Sequence[str]) -> Teachers:
        """Teachers from a list of names: the first one, then markers as ``name`` or ``marker=name``."""
        first, *others = names
        if not others:
            return cls(first)
        pairs = [name.partition("=") for name in others]
        return cls(first, {marker: name or KNOWN_MARKERS.get(marker, marker) for marker, _, name in pairs})

    def of(self, marker: str) -> str | None:
        """The teacher that a marker names; ``None`` where the word is no marker."""
        if self.markers is not None:
            return self.markers.get(marker)
        if len(self._known) > 1000:  # an adversarial text could make it grow without end
            self._known.clear()
        if marker not in self._known:
            plain = marker.split() == [marker] and marker[0].isalpha() and marker[-1].isalnum()
            plain = plain and marker.lower() not in _ORDINARY
            self._known[marker] = KNOWN_MARKERS.get(marker, marker) if plain else None
        return self._known[marker]


@dataclass(slots=True)
class Parsed:
    """The fields of one string.

    Attributes:
        question: the question.
        choices: the choices' texts; their labels are the letters from ``a`` on.
        answer: the first teacher's own answer: its label and its text; ``None`` where it gives none.
        rationales: each teacher's rationale, without cue and answer sentence.
    """

    question: str
    choices: list[str]
    answer: tuple[str, str] | None
    rationales: dict[str, str]


def parse(text: str, teachers: Teachers | None = None) -> Parsed:
    """The fields of one published string.

    Raises:
        RowError: the string holds no block of question and choices, or text after the choices that is no
            teacher's.
    """
    teachers = teachers or Teachers()
    listed = text.find(_FIRST_CHOICE)
    asked = text.rfind(_QUESTION, 0, listed + 1)
    if listed < 0 or asked < 0:
        expected = "expected a blank line, 'Q: …', 'Answer Choices:' and '(a) …'"
        raise RowError("no question block", f"{expected}, found {_shown(text)}")
    choices, last, line_end = _parse_choices(text, listed + len(_CHOICES))
    rationales: dict[str, str] = {}
    rationales[teachers.first], answer = _parse_head(text, asked)
    place, teacher, begin = _next_marker(text, last, teachers, rationales)
    line_end = min(line_end, place)
    choices.append(text[last:line_end].strip())
    between = text[line_end:place].strip()
    if between and not _CUE_LINE.fullmatch(between):
        expected = "expected a cue line or a teacher's marker"
        raise RowError("text after the choices", f"{expected}, found {_shown(between)}")
    while teacher is not None:
        named, start = teacher, begin
        rationales[named] = ""  # a marker of the same teacher again is a part of its text
        place, teacher, begin = _next_marker(text, start, teachers, rationales)
        rationales[named] = without_cue(text[start:place])
    question = text[asked + len(_QUESTION) : listed].strip()
    return Parsed(question, choices, answer, rationales)


def _parse_head(text: str, end: int) -> tuple[str, tuple[str, str] | None]:
    """The first rationale, before ``end``, and the answer where it ends in an answer sentence."""
    found = text.rfind(ANSWER, 0, end)
    if found >= 0:
        sentence = text[found + len(ANSWER) : end].strip()
        label = sentence[1:2].lower()
        if label and label in LETTERS and sentence[0] == "(" and sentence[2:3] == ")":
            return without_cue(text[:found]), (label, sentence[3:].strip())
    return without_cue(text[:end]), None


def _parse_choices(text: str, begin: int) -> tuple[list[str], int, int]:
    """All choices but the last, where the last one's text begins, and where its line ends."""
    choices: list[str] = []
    find, width = text.find, len(_LABELS[0])
    begin += width
    for label in _LABELS[1:]:
        end = find("\n", begin)
        if end < 0:
            return choices, begin, len(text)
        following = end + 1 + width
        if text[end + 1 : following] != label:
            return choices, begin, end
        choices.append(text[begin:end].strip())
        begin = following
    end = find("\n", begin)
    return choices, begin, end if end >= 0 else len(text)


def _next_marker(
    text: str, begin: int, teachers: Teachers, seen: Mapping[str, str]
) -> tuple[int, str | None, int]:
    """The next marker of a teacher not seen yet: where it begins, the teacher, where its text begins.

    Without one: the end of the text, ``None``, and the end of the text again.
    """
    found = text.find(_MARK, begin)
    while found >= 0:
        after = found + len(_MARK)
        space = text.rfind(" ", max(begin, found - _LONGEST_NAME - 1), found)
        if space >= 0 and text[after : after + 1] in _AFTER_MARK:
            teacher = teachers.of(text[space + 1 : found])
            if teacher is not None and teacher not in seen:
                return space, teacher, after
        found = text.find(_MARK, after)
    return len(text), None, len(text)


def without_cue(text: str) -> str:
    """A rationale without the words that a teacher was asked with, and without outer white space."""
    text = text.strip()
    if text.startswith(CUE):
        return text[len(CUE) :].lstrip()
    if text.startswith("Let") and (cue := _CUE.match(text)):
        return text[cue.end() :].lstrip()
    return text


_CUE = re.compile(r"Let['’]s think step by step[.:]?")
_CUE_LINE = re.compile(r"(?:A|Answer)\s*:\s*(?:Let['’]s think step by step[.:]?)?")


def render(parsed: Parsed, teachers: Teachers | None = None) -> str:
    """The string that ``parse`` reads as these fields.

    Raises:
        RowError: the format cannot carry the fields: a rationale holds a block of question and choices or
            a teacher's marker, a field holds newlines where a line is expected, and the like.
    """
    teachers = teachers or Teachers()
    if not 1 <= len(parsed.choices) <= len(LETTERS):
        raise RowError("the format cannot carry this row", f"found {len(parsed.choices)} choices")
    first = parsed.rationales.get(teachers.first, "")
    pieces = [CUE + " " if without_cue(first) != first else "", first]
    if parsed.answer is not None:
        label, answer = parsed.answer
        pieces.append(f"{' ' if first else ''}{ANSWER} ({label}) {answer}")
    pieces += [_QUESTION, parsed.question, _CHOICES]
    pieces.append("\n".join(f"({LETTERS[n]}) {choice}" for n, choice in enumerate(parsed.choices)))
    marker_of = {name: marker for marker, name in (teachers.markers or KNOWN_MARKERS).items()}
    for teacher, rationale in parsed.rationales.items():
        if teacher != teachers.first:
            pieces.append(f" {marker_of.get(teacher, teacher)}{_MARK} {CUE}\n{rationale}")
    text = "".join(pieces)
    _check_same(parsed, text, teachers)
    return text


def _check_same(parsed: Parsed, text: str, teachers: Teachers) -> None:
    expected = {teachers.first: "", **parsed.rationales}
    try:
        read = parse(text, teachers)
    except RowError as error:
        raise RowError("the format cannot carry this row", f"it would be read as: {error}") from None
    for name in ("question", "choices", "answer"):
        if getattr(read, name) != getattr(parsed, name):
            found = f"{name} would be read as {_shown(str(getattr(read, name)))}"
            raise RowError("the format cannot carry this row", found)
    if read.rationales != expected:
        teacher = next(
            name
            for name in {**expected, **read.rationales}
            if read.rationales.get(name) != expected.get(name)
        )
        found = f"the rationale of {teacher} would be read as {_shown(read.rationales.get(teacher, ''))}"
        raise RowError("the format cannot carry this row", found)


def _shown(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


# A line that begins another question: `Question:`, `### Q2:`, `Q.1)`, `Q: `.
_NEXT_QUESTION = re.compile(r"^[ \t#*]*+Q(?:uestion)?[ .]?\d*+ ?[:.)]", re.MULTILINE)


def runaway_at(text: str) -> int:
    """Where a rationale runs on into another question; -1 where it does not."""
    found = _NEXT_QUESTION.search(text) if "Q" in text else None
    return found.start() if found else -1


def trim_runaway(text: str) -> str:
    """The rationale up to where it runs on into another question."""
    place = runaway_at(text)
    return text if place < 0 else text[:place].rstrip().rstrip("#*").rstrip()


# `… answer is (b)`, `Answer: b.`, `the correct option is 'c'`. A bare letter counts only before punctuation
# or at the end, since `the answer is a plant` names no choice, and so does a letter in brackets, since a
# list of all choices may follow `Answer:`.
_NAMED = re.compile(
    r"(?:nswer|ption|hoice)"
    r"(?: (?:is|will be|would be|must be|should be)(?: (?:option|choice|answer))?:?| ?:) ?+"
    r"(?:[(\[\"'“‘]+([a-zA-Z])[)\]\"'”’]+|([a-zA-Z]))(?=[.,;)\n]|$)"
)
_CALLED_RIGHT = re.compile(
    r"(?:ption|nswer|hoice) ?:? ?\(?([a-zA-Z])\)? is (?:the |)(?:correct|right|best)\b"
)
_IN_WORDS = "nswer is "
# A line with one of these supposes or denies: `If the answer were (b)`, `so answer (b) is not right`.
_UNSURE = re.compile(r"\b(?:[Ii]f|not|wrong|incorrect|isn't|cannot|can't)\b")


def conclusion(text: str, choices: Sequence[str]) -> int:
    """Which choice a rationale concludes on, counted from 0; -1 where it names none, or several.

    A choice is named by its letter (``the answer is (b)``, ``Answer: b.``, ``option (b) is correct``), or
    by its text after ``answer is``. Lines that suppose or deny are passed over.
    """
    text = text[-_LOOKED_AT:]
    if "nswer" not in text and "ption" not in text and "hoice" not in text:
        return -1  # said by no pattern below; most rationales end here
    named = {
        LETTERS.find((match[1] or match[match.lastindex or 1]).lower())
        for pattern in (_NAMED, _CALLED_RIGHT)
        for match in pattern.finditer(text)
        if not _UNSURE.search(_line_around(text, match.start()))
    }
    for match in _WITH_TEXT.finditer(text):
        place = LETTERS.find(match[1].lower())
        if place < len(choices) and text.startswith(
            choices[place][:_LONGEST_CHOICE].rstrip("."), match.end()
        ):
            named.add(place)
    plain = [choice[:_LONGEST_CHOICE].strip(" .").lower() for choice in choices]
    longest = max(map(len, plain), default=0) + len("the ")
    found = text.find(_IN_WORDS)
    while found >= 0:
        begin = found + len(_IN_WORDS)
        said = _CLAUSE.match(text[begin : begin + longest].removeprefix("the "))
        if said and not _UNSURE.search(_line_around(text, found)):
            words = said[0].strip(" \"'").lower()
            named.update(n for n, choice in enumerate(plain) if choice == words)
        found = text.find(_IN_WORDS, begin)
    inside = {place for place in named if 0 <= place < len(choices)}
    return inside.pop() if len(inside) == 1 else -1


# `the answer is (b) tin.`: a letter followed by its own text.
_WITH_TEXT = re.compile(r"(?:nswer|ption|hoice) (?:is|will be|would be|must be|should be):? \(([a-zA-Z])\) ")
_LOOKED_AT = (
    20_000  # a conclusion stands at the end of a text: what precedes its last characters is not looked at
)
_LONGEST_CHOICE = 2_000
_CLAUSE = re.compile(r"[^.,;\n]+")
_LOOK_BACK = (
    200  # characters of a line that are looked at: a bound, so that no text takes more than linear time
)


def _line_around(text: str, place: int) -> str:
    begin = max(place - _LOOK_BACK, text.rfind("\n", max(place - _LOOK_BACK, 0), place) + 1)
    end = text.find("\n", place, place + _LOOK_BACK)
    return text[max(begin, 0) : end if end >= 0 else place + _LOOK_BACK]


_ENDS = frozenset(".!?)]\"'”’…。！？»")


def status_of(
    text: str, choices: Sequence[str], gold: int | None, own: int = -1, *, sentence: bool = False
) -> tuple[Status, int]:
    """What can be said of a teacher's rationale without knowing more than its row.

    Args:
        text: the rationale without cue and answer sentence.
        choices: the choices' texts.
        gold: the gold choice, counted from 0; ``None`` where it is not known.
        own: the choice that the answer sentence names, counted from 0; -1 where there is none.
        sentence: whether an answer sentence followed the text, so that it was not cut off.

    Returns:
        the choice that it concludes on, counted from 0 (-1 where it names none or is not whole), and the
        status, the first that holds of: ``empty`` (no text), ``runaway`` (it runs on into another question),
        ``truncated`` (it stops in the middle of a sentence), ``no_answer`` (it names no choice, or more than
        one, as its answer), ``answer_mismatch`` (it concludes on another choice than the gold one), ``ok``.
    """
    if not text:
        return "empty", own
    if runaway_at(text) >= 0:
        return "runaway", own
    if not sentence and text[-1] not in _ENDS and not _ends_in_answer(text):
        return "truncated", own
    concluded = own if own >= 0 else conclusion(text, choices)
    if concluded < 0:
        return "no_answer", -1
    return ("ok" if gold is None or concluded == gold else "answer_mismatch"), concluded


_LAST_WORDS = re.compile(r"nswer(?: [Kk]ey)?\s?:\s\(?[A-Za-z]\)?$")


def _ends_in_answer(text: str) -> bool:
    """Whether the last words are an answer by letter, such as ``the answer is b`` or ``Answer Key: d``."""
    begin = text.rfind("\n") + 1
    if any(match.end() == len(text) - begin for match in _NAMED.finditer(text[begin:])):
        return True
    return _LAST_WORDS.search(text[-20:]) is not None
