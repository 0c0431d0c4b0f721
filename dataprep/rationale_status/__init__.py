"""What can be said of a teacher's rationale without knowing more than its row.

``conclusions`` reads on which choice a text concludes, ``ending`` whether it was cut off, and ``runaway``
where it runs on into another question. All of it takes linear time, whatever the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dataprep.rationale_status.conclusions import concluded, conclusion, letter_of_conclusion
from dataprep.rationale_status.ending import ends_in_a_choice, is_cut
from dataprep.rationale_status.runaway import runaway_at, text_before, trim_runaway

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
