r"""The letter that a reply to a multiple-choice question names.

These forms are read, in either case, with quotes or Markdown's ``**`` around them or not::

    A       a.       (A)       [a]       A:       B!        a letter with punctuation and nothing else
    A) text      A. text      A: text      (A) text         a letter that opens the reply
    A                                                       alone on the first line, more below
    Answer: A      Answer: (A) text      ANSWER: A. text    the same after "Answer:"
    Option A      choice (a)                                the same after the bare word
    The answer is A      Option A is correct      the correct choice is 'a'      The answer is **A**
    \boxed{A}      $\boxed{\text{A}}$                       LaTeX's box

A letter is never taken out of a word: ``A`` in ``A plant`` is an article. A reply that names two letters
names none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataprep.answers.conclusions import conclusion, letter_of_conclusion
from dataprep.core.records import LETTERS

_QUOTES = "\"'“”‘’`*_ \t\n"
_EMPHASIS = re.compile(r"\*\*|__")
_CUE = re.compile(r"[#>\s]*(?:(?:(?:the|my) )?(?:(?:final|correct|best|right) )?answer\s*[:\n]\s*)", re.I)
_BARE = re.compile(r"(?:option|choice|answer) (?=\(?[A-Za-z]\)?\.?$)", re.I)
_BOXED = re.compile(r"\$?\\boxed\{(?:\\text(?:bf)?\{)?\(?([A-Za-z])\)?\}{1,2}\$?")
_OPENING = re.compile(
    r"(?:([A-Za-z])[).:]|\(([A-Za-z])\)[.:]?|\[([A-Za-z])\][.:]?|([A-Za-z])[ \t\r]*(?=\n))\s+\S"
)
_LETTERED = re.compile(r"\n[^\w\n]*([A-Za-z])(?:[).:]\s|[ \t\r]*(?:\n|$))|\(([A-Za-z])\)|\[([A-Za-z])\]")
_ONLY_LETTERS = re.compile(r"(?:[^\w?\u0300-\u036f]*+[A-Za-z]\b)++[^\w?\u0300-\u036f]*+")
_ANY = [""] * len(LETTERS)


def letter_of(reply: str, choices: Sequence[str] = ()) -> str | None:
    """The label of the one choice that a reply names, from ``a`` on; ``None`` where it names none or several.

    Args:
        reply: what the teacher said.
        choices: the choices' texts; without them, any letter may be one.
    """
    boxed = {letter.lower() for letter in _BOXED.findall(reply)}
    if len(boxed) > 1:
        return None
    text = _EMPHASIS.sub("", _BOXED.sub(r"(\1)", reply)).strip(_QUOTES)
    texts = [_EMPHASIS.sub("", each) for each in choices] or _ANY
    place = conclusion(text.replace("ANSWER", "Answer"), texts)
    concluded = {LETTERS[place]} if 0 <= place < len(LETTERS) else set()
    # What a reply opens with, what it puts into a box and what it concludes on must be the same.
    named = _opening_letter(text) | boxed | concluded
    letter = named.pop() if len(named) == 1 else ""
    return letter if letter and LETTERS.find(letter) < (len(choices) or len(LETTERS)) else None


def _opening_letter(text: str) -> set[str]:
    """The letter that a text is, or opens with; none where others follow it like choices in a list.

    A text of several letters and nothing else gives them all.
    """
    cue = _CUE.match(text) or _BARE.match(text)
    begin = cue.end() if cue else 0
    if _ONLY_LETTERS.fullmatch(text, begin):
        return {letter.lower() for letter in text[begin:] if letter.isalpha()}
    match = _OPENING.match(text, begin)
    if match is None:
        return set()
    letter = _label(match)
    others = _LETTERED.finditer(text, match.end(match.lastindex or 1))
    return {letter} if all(_label(other) == letter for other in others) else set()


def letter_place(reply: str, choices: Sequence[str] = ()) -> int:
    """Where in a reply the letter stands by which it names its choice; -1 where it names it otherwise.

    Meant for a reply of which ``letter_of`` gives a letter.
    """
    if boxed := _BOXED.search(reply):
        return boxed.start(1)
    emphasis = [match.start() for match in _EMPHASIS.finditer(reply)]
    plain = _EMPHASIS.sub("", reply)
    text = plain.strip(_QUOTES)
    place = _opening_place(text)
    if place < 0:
        place = letter_of_conclusion(text, choices or _ANY)
    if place < 0:
        return -1
    place += len(plain) - len(plain.lstrip(_QUOTES))
    for mark in emphasis:  # back to where it stands between the marks
        place += 2 if mark <= place else 0
    return place


def _opening_place(text: str) -> int:
    """Where the letter stands that a text is, or opens with; -1 where it names none that way."""
    if len(_opening_letter(text)) != 1:
        return -1
    cue = _CUE.match(text) or _BARE.match(text)
    begin = cue.end() if cue else 0
    if (match := _OPENING.match(text, begin)) and not _ONLY_LETTERS.fullmatch(text, begin):
        return match.start(match.lastindex or 1)
    return next(place for place in range(begin, len(text)) if text[place].isalpha())


def _label(match: re.Match[str]) -> str:
    return match[match.lastindex or 1].lower()
