"""The letter that a reply to a multiple-choice question names.

These forms are read, in either case, with quotes or Markdown's ``*`` around them or not::

    A       a.       (A)       [a]       A:                 a letter and nothing else
    A) text      A. text      A: text      (A) text         a letter that opens the reply
    The answer is A      Answer: (a)      Option A is correct      the correct choice is 'a'

A letter is never taken out of a word: ``A`` in ``A plant`` is an article. A reply that names two letters
names none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataprep.rationale_status import conclusion, letter_of_conclusion
from dataprep.records import LETTERS

_QUOTES = "\"'“”‘’`*_ \t\n"
_ALONE = re.compile(r"(?:([A-Za-z])|\(([A-Za-z])\)|\[([A-Za-z])\])[.:)]?")
_OPENING = re.compile(r"(?:([A-Za-z])[).:]|\(([A-Za-z])\)[.:]?|\[([A-Za-z])\][.:]?)[*_]*\s+\S")
_LETTERED = re.compile(r"(?:^|\n)\W*[A-Za-z][).:]\s|\([A-Za-z]\)|\[[A-Za-z]\]")
_ANY = [""] * len(LETTERS)


def letter_of(reply: str, choices: Sequence[str] = ()) -> str | None:
    """The label of the one choice that a reply names, from ``a`` on; ``None`` where it names none or several.

    Args:
        reply: what the teacher said.
        choices: the choices' texts; without them, any letter may be one.
    """
    count = len(choices) or len(LETTERS)
    text = reply.strip(_QUOTES)
    match = _opening(text)
    if match is not None:
        letter = match[match.lastindex or 1].lower()
        return letter if LETTERS.find(letter) < count else None
    place = conclusion(text, choices or _ANY)
    return LETTERS[place] if 0 <= place < len(LETTERS) else None


def letter_place(reply: str, choices: Sequence[str] = ()) -> int:
    """Where in a reply the letter stands by which it names its choice; -1 where it names it otherwise.

    Meant for a reply of which ``letter_of`` gives a letter.
    """
    text = reply.strip(_QUOTES)
    skipped = len(reply) - len(reply.lstrip(_QUOTES))
    match = _opening(text)
    if match is not None:
        return skipped + match.start(match.lastindex or 1)
    place = letter_of_conclusion(text, choices or _ANY)
    return skipped + place if place >= 0 else -1


def _opening(text: str) -> re.Match[str] | None:
    """The letter that is all of a reply or opens it; ``None`` where there is none, or another one follows."""
    match = _ALONE.fullmatch(text)
    if match is None and (match := _OPENING.match(text)) and _LETTERED.search(text, match.end() - 1):
        match = None
    return match
