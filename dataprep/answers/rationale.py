"""Parse and render the strings in which teachers' rationales are published.

There is one string per row, as TinyLLM publishes them (Tian et al. 2024, "TinyLLM: Learning a Small Student
from Multiple Large Language Models")::

    <first rationale> Thus, the answer is (c) <its text>

    Q: <question>
    Answer Choices:
    (a) <choice>
    (b) <choice>
    A: Let's think step by step. llama rationale: Let's think step by step.
    <second rationale> mistral rationale: <third rationale>

The cue line ``A: …`` may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataprep.core.errors import RowError, UsageError
from dataprep.core.records import LETTERS

# Rationales are free text: they contain `Q:`, parentheses, newlines and the answer phrase too. So the parser
# anchors on the block of question and lettered choices, which they do not contain, and works outwards with
# string searches only, which take linear time for any text.

FIRST_TEACHER = "flan-t5"
KNOWN_MARKERS: Mapping[str, str] = {"llama": "llama-2"}

CUE = "Let's think step by step."
ANSWER = "Thus, the answer is"
_QUESTION = "\n\nQ: "
_CHOICES = "\nAnswer Choices:\n"
_FIRST_CHOICE = _CHOICES + "(a) "
_FURTHER_CHOICES = tuple(f"\n({letter}) " for letter in LETTERS[1:])
_MARK = " rationale:"
_AFTER_MARK = ("", " ", "\n")
_BEFORE_MARK = " \n"
_LONGEST_NAME = 64

# Words before "rationale:" in prose, which are no teachers. `--teachers` allows only the names given there.
_ORDINARY = frozenset(
    """
    1st 2nd 3rd 4th 5th a an and another any as best brief complete correct detailed each either every final
    first full good her his incorrect its logical main my next no of one only or other our possible proper
    right same second short simple simplified some such that the their this third whose with your
    """.split()  # noqa: SIM905 - forty quoted words would fill a page
)


class Teachers:
    """The names of the teachers: the first one, which has no marker, and the others by marker."""

    def __init__(self, first: str = FIRST_TEACHER, markers: Mapping[str, str] | None = None) -> None:
        self.first = first
        # Without markers any word is one, except ordinary words such as `the`.
        self.markers = markers
        self._longest_first = sorted(markers or (), key=len, reverse=True)
        self._endings = tuple(space + marker for space in _BEFORE_MARK for marker in self._longest_first)
        self._known: dict[str, str | None] = {}

    @classmethod
    def named(cls, names: Sequence[str]) -> Teachers:
        """Return the teachers in a list: the first one, then the others as ``name`` or ``marker=name``."""
        first, *others = (name.strip() for name in names)
        if not first or "=" in first:
            raise UsageError(f"--teachers: expected the first teacher's name, found {first!r}")
        if not others:
            return cls(first)
        markers: dict[str, str] = {}
        for given in others:
            marker, equals, name = (part.strip() for part in given.partition("="))
            teacher = name if equals else KNOWN_MARKERS.get(marker, marker)
            if not marker or not teacher:
                raise UsageError(f"--teachers: expected NAME or MARKER=NAME, found {given!r}")
            if marker in markers or teacher in (first, *markers.values()):
                raise UsageError(f"--teachers: {given!r} names a marker or teacher for the second time")
            markers[marker] = teacher
        # A teacher whose name is not its marker (`llama-2`) may be given by either.
        for marker, teacher in KNOWN_MARKERS.items():
            if markers.get(teacher) == teacher:
                markers.setdefault(marker, teacher)
        return cls(first, markers)

    def before(self, text: str, begin: int, mark: int) -> tuple[str | None, int]:
        """Return the teacher whose name ends where a mark begins, and where the space before the name is."""
        if self.markers is None:
            space = text.rfind(" ", begin, mark)
            word = text[space + 1 : mark] if space >= 0 else text[begin:mark]
            if "\n" in word:
                space = text.rfind("\n", begin, mark)
                word = text[space + 1 : mark]
            return (self._of_word(word) if space >= 0 else None), space
        if text.endswith(self._endings, begin, mark):
            for marker in self._longest_first:  # one may be the end of another: `2`, `llama 2`
                space = mark - len(marker) - 1
                if space >= begin and text[space] in _BEFORE_MARK and text.startswith(marker, space + 1):
                    return self.markers[marker], space
        return None, -1

    def _of_word(self, word: str) -> str | None:
        if word in self._known:
            return self._known[word]
        if len(self._known) > 1000:  # an adversarial text could make it grow forever
            self._known.clear()
        self._known[word] = teacher = KNOWN_MARKERS.get(word, word) if _is_name(word) else None
        return teacher


def _is_name(word: str) -> bool:
    if len(word) > _LONGEST_NAME or word.split() != [word] or word.lower() in _ORDINARY:
        return False
    return word[0].isalnum() and word[-1].isalnum() and any(map(str.isalpha, word))


@dataclass(slots=True)
class Parsed:
    """The fields of one string."""

    question: str
    choices: list[str]  # their labels are the letters from `a` on
    answer: tuple[str, str] | None  # label and text of the first teacher's answer, if it gives one
    rationales: dict[str, str]  # by teacher, without cue and answer sentence


def parse(text: str, teachers: Teachers | None = None) -> Parsed:
    """Return the fields of one published string."""
    teachers = teachers or Teachers()
    listed = text.find(_FIRST_CHOICE)
    asked = text.rfind(_QUESTION, 0, listed + 1)
    if listed < 0 or asked < 0:
        expected = "expected a blank line, 'Q: …', 'Answer Choices:' and '(a) …'"
        raise RowError("no question block", f"{expected}, found {_shown(text)}")
    rationales: dict[str, str] = {}
    rationales[teachers.first], answer = _parse_head(text, asked)
    question = text[asked + len(_QUESTION) : listed].strip()
    choices, last = _parse_choices(text, listed + len(_FIRST_CHOICE))
    place, teacher, begin = _next_marker(text, last, teachers, rationales)
    line, newline, between = text[last:place].partition("\n")
    choices.append(line.strip())
    if _MARK in line or _MARK in between:
        _check_markers(text, last, place, teachers)
    if newline and not _CUE_LINE.fullmatch(between):
        expected = "expected a cue line or a teacher's marker"
        raise RowError("text after the choices", f"{expected}, found {_shown(between.strip())}")
    while teacher is not None:
        named, start = teacher, begin
        rationales[named] = ""  # a second marker of the same teacher is part of its text
        place, teacher, begin = _next_marker(text, start, teachers, rationales)
        rationales[named] = _rationale(text, start, place)
    return Parsed(question, choices, answer, rationales)


def _parse_choices(text: str, begin: int) -> tuple[list[str], int]:
    """Return all choices but the last, and where the text of the last one begins."""
    choices = []
    for following in _FURTHER_CHOICES:  # a line lettered (b) is looked for only after (a), and so on
        end = text.find("\n", begin)
        if end < 0 or not text.startswith(following, end):
            break
        choices.append(text[begin:end].strip())
        begin = end + len(following)
    return choices, begin


def _parse_head(text: str, end: int) -> tuple[str, tuple[str, str] | None]:
    """Return the first rationale, which ends at ``end``, and its answer if an answer sentence ends it."""
    found = text.rfind(ANSWER, 0, end)
    if found >= 0 and (match := _ANSWERED.match(text, found + len(ANSWER), end)):
        label = match[1] or match[2]
        return _rationale(text, 0, found), (label.lower(), text[match.end() : end].strip())
    return _rationale(text, 0, end), None


def _next_marker(
    text: str, begin: int, teachers: Teachers, seen: Mapping[str, str]
) -> tuple[int, str | None, int]:
    """Return the place of the next marker of a new teacher, the teacher, and where its text begins."""
    found, any_word = text.find(_MARK, begin), teachers.markers is None
    known = _MARK  # the last word of a teacher that was seen, with the space before it; at first none
    while found >= 0:
        after = found + len(_MARK)
        # Cheaper than to look for a name: one that is any word ends in a letter or digit, and the same word
        # names the same teacher. An adversarial text repeats it a hundred thousand times.
        named = not any_word or text[found - 1].isalnum()
        if (
            named
            and text[after : after + 1] in _AFTER_MARK
            and not text.startswith(known, found - len(known))
        ):
            teacher, space = teachers.before(text, begin, found)
            if teacher is not None and teacher not in seen:
                return space, teacher, after
            if any_word and space >= 0:
                known = text[space:found]
        found = text.find(_MARK, after)
    return len(text), None, len(text)


def _check_markers(text: str, begin: int, end: int, teachers: Teachers) -> None:
    # A marker after the choices that names no known teacher: with it, its rationale would be lost.
    found = text.find(_MARK, begin, end)
    while found >= 0:
        after = found + len(_MARK)
        words = text[max(begin, found - _LONGEST_NAME) : found].split()
        if text[after : after + 1] in _AFTER_MARK and words and words[-1].lower() not in _ORDINARY:
            marker = " ".join(words[-1:] if _is_name(words[-1]) else words[-2:])
            if marker == teachers.first:
                hint = "it names the first teacher, which has no marker: call that otherwise in --teachers"
            else:
                hint = f"list the teacher in --teachers, such as '{teachers.first},{marker}'"
            raise RowError("unknown teacher", f"found {marker + _MARK!r} after the choices; {hint}")
        found = text.find(_MARK, after, end)


def _rationale(text: str, begin: int, end: int) -> str:
    if text[begin : begin + 1].isalpha() and text[begin] != "L":
        return text[begin:end].rstrip()  # most texts have neither
    opening = _OPENING.match(text, begin, end)
    return text[opening.end() if opening else begin : end].rstrip()


def without_cue(text: str) -> str:
    """Return a rationale without outer white space and without the cue that a teacher was asked with."""
    return _rationale(text, 0, len(text))


_ANSWERED = re.compile(r"\s*+(?:\(([a-zA-Z])\)|([a-zA-Z])(?:\)(?=\s)|[.)]?(?=\s*$)))")
_ASKED_WITH = "et['’]s +think +step +by +step[.:]?"
_OPENING = re.compile(rf"\s*(?:L{_ASKED_WITH}\s*)?")
_CUE_LINE = re.compile(rf"\s*(?:(?:[Aa]|[Aa]nswer)\s*:\s*)?(?:[Ll]{_ASKED_WITH})?\s*")


def render(parsed: Parsed, teachers: Teachers | None = None) -> str:
    """Return the string that ``parse`` reads as these fields."""
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
    # Whatever the format cannot carry is found by reading the string again; no list of cases is complete.
    try:
        read = parse(text, teachers)
    except RowError as error:
        raise RowError("the format cannot carry this row", f"it would be read as: {error}") from None
    pairs = [(name, getattr(read, name), getattr(parsed, name)) for name in ("question", "choices", "answer")]
    expected = {teachers.first: "", **parsed.rationales}
    for teacher in {**expected, **read.rationales}:
        said = read.rationales.get(teacher)
        pairs.append((f"the rationale of {teacher}", said or "", expected.get(teacher, "")))
    for name, found, wanted in pairs:
        if found != wanted:
            raise RowError(
                "the format cannot carry this row", f"{name} would be read as {_shown(str(found))}"
            )


def _shown(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
