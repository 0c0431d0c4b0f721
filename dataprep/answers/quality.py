"""Whether a rationale was cut off: whether its end is the end of a sentence.

What can be said of a teacher's rationale without knowing more than its row.

``conclusions`` reads on which choice a text concludes, ``ending`` whether it was cut off, and ``runaway``
where it runs on into another question. All of it takes linear time, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from dataprep.answers.conclusions import concluded, conclusion, letter_of_conclusion
from dataprep.answers.runaway import runaway_at, text_before, trim_runaway

_STOPS = frozenset(".!?…。！？")
_OPENED_BY = {")": "(", "]": "[", "}": "{", "”": "“", "’": "‘", "»": "«"}
_CLOSING = frozenset("\"'").union(_OPENED_BY)
_SINGLE_OPENED = re.compile(r"(?:^|(?<=[\s(\[\"“*_]))'(?=\S)")
_SINGLE_CLOSED = re.compile(r"(?<=\S)'(?!\w)")
_EMPHASIS = "*_`"
_LOOKED_AT = 2_000  # characters of the last line, and of a choice

# A line that is only the label of what was to follow: `(d)`, `10.`, `Option (b)`, `**4.**`.
_LONGEST_LABEL = 20
_ONLY_A_LABEL = re.compile(
    r"[ \t#*_>-]*(?:(?:[Oo]ption|[Cc]hoice|[Ss]tep) )?[(\[]?(?:[A-Za-z]|\d{1,3}(?:\.\d{1,3})*|[ivx]{1,5})"
    r"[.):\]]*[*_]*"
)


def is_cut(text: str) -> bool:
    """Whether a text stops in the middle of a sentence.

    It is whole where it ends in a full stop or the like, or in a bracket or quote that closes an open one. It
    is cut where its last line is only a label, such as ``(d)`` or ``10.``.
    """
    last = text[-1]
    if last.isalnum():
        return True
    line = text.rfind("\n") + 1
    if len(text) - line <= _LONGEST_LABEL and _ONLY_A_LABEL.fullmatch(text, line):
        return True
    return last not in _STOPS and not _closes(text, line)


def _closes(text: str, begin: int) -> bool:
    """Whether a text's last mark closes what was opened before it; ``begin``: where its last line begins."""
    last = text[-1]
    if text.endswith("```"):
        return text.count("```") % 2 == 0
    if last in _EMPHASIS:
        plain = text.rstrip(_EMPHASIS)
        return plain[-1:] in _STOPS or (plain != "" and _closes(plain, plain.rfind("\n") + 1))
    line = text[max(begin, len(text) - _LOOKED_AT) : -1]
    if last not in _CLOSING or not line or line[-1].isspace():
        return False
    if line[-1] in _STOPS:
        return True
    if last in _OPENED_BY:
        opening = _OPENED_BY[last]
        return line.rfind(opening) > line.rfind(last) or line.count(opening) > line.count(last)
    return _closes_quote(text, line)


def _closes_quote(text: str, line: str) -> bool:
    """The same of a quote that looks alike on both sides; ``line``: what precedes it on its line."""
    if text[-1] == '"':
        return line.count('"') % 2 == 1 or text.count('"') % 2 == 0
    opened = [match.start() for match in _SINGLE_OPENED.finditer(line)]
    return bool(opened) and _SINGLE_CLOSED.search(line, opened[-1] + 1) is None


def ends_in_a_choice(text: str, choices: Sequence[str]) -> bool:
    """Whether a text's last words are a choice's, case, white space and final dots aside."""
    end = _plain(text[-2 * _LOOKED_AT :])
    for choice in choices:
        words = _plain(choice[-_LOOKED_AT:])
        if words and end.endswith(words) and not end[: -len(words)][-1:].isalnum():
            return True
    return False


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(" .,;").lower()


__all__ = [
    "STATUSES",
    "Status",
    "conclusion",
    "letter_of_conclusion",
    "runaway_at",
    "status_of",
    "text_before",
    "trim_runaway",
]

Status = Literal["ok", "empty", "answer_mismatch", "runaway", "truncated", "no_answer"]
STATUSES: tuple[Status, ...] = ("ok", "empty", "answer_mismatch", "runaway", "truncated", "no_answer")

_MISSING = "nan"  # what pandas writes for a value that is not there


def status_of(
    text: str,
    choices: Sequence[str],
    gold: int | None,
    sentence: int | None = None,
    *,
    trimmed: bool = False,
) -> tuple[Status, int]:
    """A rationale's status, and the choice that it concludes on.

    Args:
        text: the rationale without cue and answer sentence.
        choices: the choices' texts.
        gold: the gold choice, counted from 0; ``None`` where it is not known.
        sentence: the choice that the answer sentence after the text names, counted from 0; -1 where it
            names none of them, ``None`` where no such sentence follows.
        trimmed: whether it is known that the text runs on into no other question.

    Returns:
        the status, the first that holds of: ``empty`` (no text), ``answer_mismatch`` (it concludes on
        another choice than the gold one), ``runaway`` (it runs on into another question), ``truncated`` (it
        stops in the middle of a sentence), ``no_answer`` (it names no choice, or more than one, as its
        answer), ``ok``; and the choice, counted from 0, or -1 where it names none. A text that runs on
        concludes before the place where it does.
    """
    if sentence is not None and not 0 <= sentence < len(choices):
        sentence = -1
    if not text or text == _MISSING:
        return "empty", -1 if sentence is None else sentence
    place = -1 if trimmed else runaway_at(text)
    if sentence is None:
        named, whole = concluded(text if place < 0 else text_before(text, place), choices)
    else:
        named, whole = sentence, False
    if gold is not None and named != gold and named >= 0:
        return "answer_mismatch", named
    if place >= 0:
        return "runaway", named
    if not whole and is_cut(text) and (sentence is None or not ends_in_a_choice(text, choices)):
        return "truncated", named
    return ("ok" if named >= 0 else "no_answer"), named


KEEPABLE = ("ok", "answer_mismatch", "no_answer", "runaway", "truncated", "length")
"""Statuses of answers with a text, which can become training rows."""
