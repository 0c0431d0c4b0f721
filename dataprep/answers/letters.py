r"""Extract the letter of the choice that a reply names.

These forms are read, in either case, with quotes or Markdown's ``**`` around them or not::

    A       a.       (A)       [a]       A:       B!        a letter with punctuation and nothing else
    A) text      A. text      A: text      (A) text         a letter that opens the reply
    A                                                       alone on the first line, more below
    Answer: A      Answer: (A) text      ANSWER: A. text    the same after "Answer:"
    Option A      choice (a)                                the same after the bare word
    The answer is A      Option A is correct      the correct choice is 'a'      The answer is **A**
    \boxed{A}      $\boxed{\text{A}}$                       LaTeX's box

A letter is never taken from a word: ``A`` in ``A plant`` is an article. A reply that names two letters names
none.
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
    """Return the letter of the one choice that a reply names; ``None`` if it names none or several."""
    boxed = {letter.lower() for letter in _BOXED.findall(reply)}
    if len(boxed) > 1:
        return None
    text = _EMPHASIS.sub("", _BOXED.sub(r"(\1)", reply)).strip(_QUOTES)
    texts = [
        _EMPHASIS.sub("", choice) for choice in choices
    ] or _ANY  # without choices, any letter may be one
    place = conclusion(text.replace("ANSWER", "Answer"), texts)
    concluded = {LETTERS[place]} if 0 <= place < len(LETTERS) else set()
    # The opening, the box and the conclusion must agree: `B. No, the answer is C.` names no choice.
    named = _opening_letter(text) | boxed | concluded
    letter = named.pop() if len(named) == 1 else ""
    return letter if letter and LETTERS.find(letter) < (len(choices) or len(LETTERS)) else None


def _opening_letter(text: str) -> set[str]:
    """Return the letter that a text opens with, or all letters of a text of nothing else."""
    cue = _CUE.match(text) or _BARE.match(text)
    begin = cue.end() if cue else 0
    if _ONLY_LETTERS.fullmatch(text, begin):
        return {letter.lower() for letter in text[begin:] if letter.isalpha()}
    match = _OPENING.match(text, begin)
    if match is None:
        return set()
    letter = _label(match)
    # A list of choices opens with the letter of the first one, so other letters after it leave none.
    others = _LETTERED.finditer(text, match.end(match.lastindex or 1))
    return {letter} if all(_label(other) == letter for other in others) else set()


def letter_place(reply: str, choices: Sequence[str] = ()) -> int:
    """Return the position of the letter that ``letter_of`` reads; -1 if a reply names its choice in words."""
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
    for mark in emphasis:  # back to the position in the text with its `**`
        place += 2 if mark <= place else 0
    return place


def _opening_place(text: str) -> int:
    if len(_opening_letter(text)) != 1:
        return -1
    cue = _CUE.match(text) or _BARE.match(text)
    begin = cue.end() if cue else 0
    if (match := _OPENING.match(text, begin)) and not _ONLY_LETTERS.fullmatch(text, begin):
        return match.start(match.lastindex or 1)
    return next(place for place in range(begin, len(text)) if text[place].isalpha())


def _label(match: re.Match[str]) -> str:
    return match[match.lastindex or 1].lower()
