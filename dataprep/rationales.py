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
# The choices, from the first one's text on: a line lettered (b) is looked for only after (a), and so on.
_LISTED = re.compile(
    "(.*)" + "".join(rf"(?:\n\({letter}\) (.*)" for letter in LETTERS[1:]) + ")?" * len(LETTERS[1:])
)

# Words that come before "rationale:" in prose. With `--teachers` only the names given there are markers.
_ORDINARY = frozenset(
    """
    a an and another any as best brief complete correct detailed each either every final first full good her
    his incorrect its logical main my next no of one only or other our possible proper right same second
    short simple simplified some such that the their this third whose with your
    """.split()  # noqa: SIM905 - forty quoted words would fill a page
)


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
    lines = _LISTED.match(text, listed + len(_FIRST_CHOICE))
    assert lines is not None
    count = lines.lastindex or 1
    last, line_end = lines.span(count)
    choices = list(map(str.strip, lines.groups()[:count]))
    rationales: dict[str, str] = {}
    rationales[teachers.first], answer = _parse_head(text, asked)
    place, teacher, begin = _next_marker(text, last, teachers, rationales)
    if place < line_end:
        line_end = place
        choices[-1] = text[last:place].strip()
    between = text[line_end:place].strip()
    if between and not _CUE_LINE.fullmatch(between):
        expected = "expected a cue line or a teacher's marker"
        raise RowError("text after the choices", f"{expected}, found {_shown(between)}")
    while teacher is not None:
        named, start = teacher, begin
        rationales[named] = ""  # a marker of the same teacher again is a part of its text
        place, teacher, begin = _next_marker(text, start, teachers, rationales)
        rationales[named] = _rationale(text, start, place)
    question = text[asked + len(_QUESTION) : listed].strip()
    return Parsed(question, choices, answer, rationales)


def _parse_head(text: str, end: int) -> tuple[str, tuple[str, str] | None]:
    """The first rationale, before ``end``, and the answer where it ends in an answer sentence."""
    found = text.rfind(ANSWER, 0, end)
    if found >= 0:
        sentence = text[found + len(ANSWER) : end].strip()
        label = sentence[1:2].lower()
        if label and label in LETTERS and sentence[0] == "(" and sentence[2:3] == ")":
            return _rationale(text, 0, found), (label, sentence[3:].strip())
    return _rationale(text, 0, end), None


def _next_marker(
    text: str, begin: int, teachers: Teachers, seen: Mapping[str, str]
) -> tuple[int, str | None, int]:
    """The next marker of a teacher not seen yet: where it begins, the teacher, where its text begins.

    Without one: the end of the text, ``None``, and the end of the text again.
    """
    found = text.find(_MARK, begin)
    while found >= 0:
        after = found + len(_MARK)
        earliest = found - _LONGEST_NAME - 1
        space = text.rfind(" ", begin if begin > earliest else earliest, found)
        if space >= 0 and text[after : after + 1] in _AFTER_MARK:
            teacher = teachers.of(text[space + 1 : found])
            if teacher is not None and teacher not in seen:
                return space, teacher, after
        found = text.find(_MARK, after)
    return len(text), None, len(text)


def _rationale(text: str, begin: int, end: int) -> str:
    """What stands there, without outer white space and the words that a teacher was asked with."""
    opening = _OPENING.match(text, begin, end)
    return text[opening.end() if opening else begin : end].rstrip()


def without_cue(text: str) -> str:
    """A rationale without the words that a teacher was asked with, and without outer white space."""
    return _rationale(text, 0, len(text))


_OPENING = re.compile(r"\s*(?:Let['’]s think step by step[.:]?\s*)?")
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
