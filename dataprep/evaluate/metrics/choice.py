"""Multiple choice: which choice a reply names."""

from __future__ import annotations

from collections.abc import Sequence

from dataprep.answers.letters import letter_of
from dataprep.core.records import LETTERS


def chosen_letter(reply: str, choices: Sequence[str]) -> str | None:
    """The letter of the choice that a reply names; ``None`` where it names none or several.

    The whole reply is read first. Where no single letter can be read from it, its last line is: a worked
    solution may speak of several choices before it ends with one. A last line that is a choice as the
    question lists it names that choice, whatever letters are in its text. Of a reply that repeats several
    choices like this, the last line says nothing.
    """
    lines = [line.strip() for line in reply.strip().split("\n")]
    listed = {f"({letter}) {text}": letter for letter, text in zip(LETTERS, choices, strict=False)}
    repeated = listed.keys() & set(lines)
    if len(repeated) > 1:
        return letter_of(reply, choices)
    return listed.get(lines[-1]) or letter_of(reply, choices) or letter_of(lines[-1], choices)
