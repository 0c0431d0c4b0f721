"""What can be said of a teacher's rationale: on which choice it concludes, and whether it is whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from dataprep.records import LETTERS

Status = Literal["ok", "empty", "truncated", "runaway", "answer_mismatch", "no_answer"]
STATUSES: tuple[Status, ...] = ("ok", "empty", "runaway", "truncated", "answer_mismatch", "no_answer")


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
    if not sentence and text[-1] not in _ENDS and not _ends_in_letter(text):
        return "truncated", own
    concluded = own if own >= 0 else conclusion(text, choices)
    if concluded < 0:
        return "no_answer", -1
    return ("ok" if gold is None or concluded == gold else "answer_mismatch"), concluded


# What begins another question at the beginning of a line: `Question:`, `### Q2:`, `Q.1)`, `Q: `.
_NEXT_QUESTION = re.compile(r"Q(?:uestion)?[ .]?\d*+ ?[:.)]")


def runaway_at(text: str) -> int:
    """Where a rationale runs on into another question; -1 where it does not."""
    if "Q" not in text:
        return -1
    looked_at = 0  # what precedes it has a question's letters in it, so no line that is blank begins there
    for match in _NEXT_QUESTION.finditer(text):
        begin = text.rfind("\n", looked_at, match.start()) + 1
        if (begin or not looked_at) and not text[begin : match.start()].strip(" \t#*"):
            return begin
        looked_at = match.end()
    return -1


def trim_runaway(text: str) -> str:
    """The rationale up to where it runs on into another question."""
    place = runaway_at(text)
    return text if place < 0 else text[:place].rstrip().rstrip("#*").rstrip()


_ENDS = frozenset(".!?)]\"'”’…。！？»")
_LAST_WORDS = re.compile(r"nswer(?: [Kk]ey)?\s?:\s\(?[A-Za-z]$")


def _ends_in_letter(text: str) -> bool:
    """Whether the last words are an answer by letter, such as ``the answer is b`` or ``Answer Key: d``."""
    if text[-2:-1].isalnum() or not text[-1].isalpha():
        return False  # most rationales end here
    line = text[max(text.rfind("\n") + 1, len(text) - _LOOK_AROUND) :]
    if any(match.end() == len(line) for place in _mentions(line) if (match := _LETTER.match(line, place))):
        return True
    return _LAST_WORDS.search(text[-20:]) is not None


# A conclusion stands at the end of a text: what precedes its last characters is not looked at. These bounds
# keep the time linear whatever the text.
_LOOKED_AT = 20_000
_LOOK_AROUND = 200
_LONGEST_CHOICE = 2_000

_WORDS = ("nswer", "ption", "hoice")  # answer, option, choice: what a conclusion is said with
_IS = r" (?:is|will be|would be|must be|should be)"
# `answer is (b)`, `Answer: b.`, `option is 'c'`. A bare letter counts only before punctuation or at the end,
# since `the answer is a plant` names no choice, and so does a letter in brackets, since a list of all choices
# may follow `Answer:`.
_LETTER = re.compile(
    rf"(?:{_IS}(?: (?:option|choice|answer))?:?| ?:) ?+"
    r"(?:[(\[\"'“‘]+([a-zA-Z])[)\]\"'”’]+|([a-zA-Z]))(?=[.,;)\n]|$)"
)
_CALLED_RIGHT = re.compile(r" ?:? ?\(?([a-zA-Z])\)? is (?:the |)(?:correct|right|best)\b")
_WITH_TEXT = re.compile(rf"{_IS}:? \(([a-zA-Z])\) ")  # `answer is (b) tin`: followed by its own text
_IN_WORDS = re.compile(r" is (?:the )?([^.,;\n]{1,2000}+)(?:[.,;\n]|$)")
# A line with one of these supposes or denies: `If the answer were (b)`, `so answer (b) is not right`.
_UNSURE = re.compile(r"\b(?:[Ii]f|not|wrong|incorrect|isn't|cannot|can't)\b")


def conclusion(text: str, choices: Sequence[str]) -> int:
    """Which choice a rationale concludes on, counted from 0; -1 where it names none, or several.

    A choice is named by its letter (``the answer is (b)``, ``Answer: b.``, ``option (b) is correct``), or
    by its text after ``answer is``. Lines that suppose or deny are passed over.
    """
    text = text[-_LOOKED_AT:]
    named: set[int] = set()
    for place in _mentions(text):
        said = _said_at(text, place, choices)
        if said and not _UNSURE.search(_line_around(text, place)):
            named |= said
    return named.pop() if len(named) == 1 else -1


def _mentions(text: str) -> Iterator[int]:
    """Where the words end that a conclusion is said with."""
    for word in _WORDS:
        found = text.find(word)
        while found >= 0:
            yield found + len(word)
            found = text.find(word, found + len(word))


def _said_at(text: str, place: int, choices: Sequence[str]) -> set[int]:
    """The choices that the words at this place name, by letter or by text."""
    said = set()
    if match := _LETTER.match(text, place) or _CALLED_RIGHT.match(text, place):
        said.add(LETTERS.find((match[1] or match[match.lastindex or 1]).lower()))
    elif match := _WITH_TEXT.match(text, place):
        number = LETTERS.find(match[1].lower())
        if number < len(choices) and text.startswith(_opening_of(choices[number]), match.end()):
            said.add(number)
    if text.startswith("nswer is ", place - len("nswer")) and (match := _IN_WORDS.match(text, place)):
        words = match[1].strip(" \"'").lower()
        said.update(n for n, choice in enumerate(choices) if choice.strip(" .").lower() == words)
    return {number for number in said if 0 <= number < len(choices)}


def _opening_of(choice: str) -> str:
    return choice[:_LONGEST_CHOICE].rstrip(".")


def _line_around(text: str, place: int) -> str:
    begin = max(place - _LOOK_AROUND, text.rfind("\n", max(place - _LOOK_AROUND, 0), place) + 1, 0)
    end = text.find("\n", place, place + _LOOK_AROUND)
    return text[begin : end if end >= 0 else place + _LOOK_AROUND]
