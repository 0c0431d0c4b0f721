"""Judge a rationale by its row alone: whether it is whole, and what it concludes on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dataprep.answers.conclusions import concluded
from dataprep.answers.runaway import runaway_at, text_before
from dataprep.core.errors import RowError
from dataprep.core.records import describe

_STOPS = frozenset(".!?…。！？")
_OPENED_BY = {")": "(", "]": "[", "}": "{", "”": "“", "’": "‘", "»": "«"}
_CLOSING = frozenset("\"'").union(_OPENED_BY)
_SINGLE_OPENED = re.compile(r"(?:^|(?<=[\s(\[\"“*_]))'(?=\S)")
_SINGLE_CLOSED = re.compile(r"(?<=\S)'(?!\w)")
_EMPHASIS = "*_`"
# Only so many characters of the last line and of a choice are read, so that all of this takes linear time.
_LOOKED_AT = 2_000

# A line that is only the label of something that never followed: `(d)`, `10.`, `Option (b)`, `**4.**`.
_LONGEST_LABEL = 20
_ONLY_A_LABEL = re.compile(
    r"[ \t#*_>-]*(?:(?:[Oo]ption|[Cc]hoice|[Ss]tep) )?[(\[]?(?:[A-Za-z]|\d{1,3}(?:\.\d{1,3})*|[ivx]{1,5})"
    r"[.):\]]*[*_]*"
)


def _is_cut(text: str) -> bool:
    # A whole text ends in a full stop or the like, or in a bracket or quote that closes an open one.
    last = text[-1]
    if last.isalnum():
        return True
    line = text.rfind("\n") + 1
    if len(text) - line <= _LONGEST_LABEL and _ONLY_A_LABEL.fullmatch(text, line):
        return True
    return last not in _STOPS and not _closes(text, line)


def _closes(text: str, begin: int) -> bool:
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
    # These quotes look alike on both sides, so they are counted; an apostrophe is not a quote.
    if text[-1] == '"':
        return line.count('"') % 2 == 1 or text.count('"') % 2 == 0
    opened = [match.start() for match in _SINGLE_OPENED.finditer(line)]
    return bool(opened) and _SINGLE_CLOSED.search(line, opened[-1] + 1) is None


def _ends_in_a_choice(text: str, choices: Sequence[str]) -> bool:
    end = _plain(text[-2 * _LOOKED_AT :])
    for choice in choices:
        words = _plain(choice[-_LOOKED_AT:])
        if words and end.endswith(words) and not end[: -len(words)][-1:].isalnum():
            return True
    return False


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(" .,;").lower()


# In this order: no text, another choice than the right one, a text that runs on into another question, or
# stops in the middle of a sentence, no choice or several, and none of these.
Status = Literal["empty", "answer_mismatch", "runaway", "truncated", "no_answer", "ok"]
STATUSES: tuple[Status, ...] = ("ok", "empty", "answer_mismatch", "runaway", "truncated", "no_answer")
# Statuses of answers with a text, which can become training rows.
KEEPABLE = ("ok", "answer_mismatch", "no_answer", "runaway", "truncated", "length")
_MISSING = "nan"  # pandas writes this for a missing value


def status_of(
    text: str, choices: Sequence[str], gold: int | None, sentence: int | None = None, *, trimmed: bool = False
) -> tuple[Status, int]:
    """Return the first status that applies to a rationale, and the choice that it concludes on, or -1.

    Args:
        text: the rationale without cue and answer sentence.
        choices: the texts of the choices.
        gold: the right choice, from 0; ``None`` if it is not known.
        sentence: the choice in the answer sentence after the text, from 0; -1 if that names no choice,
            ``None`` if there is no such sentence.
        trimmed: the text is known not to run on into another question.
    """
    if sentence is not None and not 0 <= sentence < len(choices):
        sentence = -1
    if not text or text == _MISSING:
        return "empty", -1 if sentence is None else sentence
    # A text that runs on concludes before the place where it does.
    place = -1 if trimmed else runaway_at(text)
    if sentence is None:
        named, whole = concluded(text if place < 0 else text_before(text, place), choices)
    else:
        named, whole = sentence, False
    # A wrong answer comes first: trimming or cutting would not fix it.
    if gold is not None and named != gold and named >= 0:
        return "answer_mismatch", named
    if place >= 0:
        return "runaway", named
    if not whole and _is_cut(text) and (sentence is None or not _ends_in_a_choice(text, choices)):
        return "truncated", named
    return ("ok" if named >= 0 else "no_answer"), named


def by_teacher(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the values by teacher in a field of a row, for example its statuses; nulls are left out."""
    values = row.get(name)
    if values is None or values == "":  # an empty cell of a table
        return {}
    if not isinstance(values, Mapping):
        problem = f"expected one value per teacher, found {describe(values)}"
        raise RowError(f"field {name!r} is not an object", problem)
    # A table has a column for every teacher, and so a null for each one that a row lacks.
    return {teacher: value for teacher, value in values.items() if value is not None}
