r"""Extract the number that a reply to a math question states as its answer.

It is read after the last of these marks, if it ends its line and no further number follows::

    #### 1,600      The answer is $1,600.      **Answer:** 1600 gold coins      \boxed{1600}

A number after which a comparison could go wrong (``3/4``, ``50%``, ``2 dozen``, ``16 or 18``) is not read.
"""

from __future__ import annotations

import re
from decimal import Decimal

# An answer is at the end of a reply, so only its last characters are read.
_LOOKED_AT = 20_000
_LOOK_AROUND = 200
_MARK = re.compile(r"####|\\boxed\s?\{|[Aa]nswer(?: is\b| equals\b)?\s?:|[Aa]nswer is\b")
_NUMBER = r"([-−–]?)[$€£]?([-−–]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?![\d,]*\d|[A-Za-z_])"
_WHOLE = re.compile(_NUMBER + r"\.?")
_BEFORE, _AFTER, _LINE_END = r"[^\w+.\n]{0,20}?", r"[}$*\\]{0,8}", r"[.!*)\]}$\\ \t\"'”’]{0,20}(?:\n|$)"
_SAME_LINE = re.compile(_BEFORE + _NUMBER + _AFTER + r"((?: [A-Za-z]+){0,3})" + _LINE_END)
# On a line of its own, only without words: `1. First …` after `Answer:` begins a list.
_NEXT_LINE = re.compile(r"[*: \t]{0,8}\n\s{0,8}" + _BEFORE + _NUMBER + _AFTER + "()" + _LINE_END)
# Words that change the value of the number before them.
_SCALES = re.compile(
    r"\b(?:percent|cents?|dozens?|hundreds?|thousands?|millions?|billions?|trillions?|half|halves|thirds?|"
    r"quarters?|fourths?|fifths?|tenths?|squared|cubed|factorial|or|and|to|plus|minus|times)\b"
)
_UNSURE = re.compile(r"\b(?:[Ii]f|not|wrong|incorrect|isn't|cannot|can't)\b")


def number_of(text: str) -> Decimal | None:
    """Return the number in a text of nothing else, for example ``$1,600.50``; otherwise ``None``."""
    match = _WHOLE.fullmatch(text.strip())
    return _value(match) if match else None


def stated_number(reply: str) -> Decimal | None:
    """Return the number that a reply states as its answer; ``None`` if that is not certain."""
    text, mark = reply[-_LOOKED_AT:], None
    for mark in _MARK.finditer(text):  # noqa: B007 - the last one
        pass
    if mark is None:
        return None
    before = text[max(mark.start() - _LOOK_AROUND, text.rfind("\n", 0, mark.start()) + 1) : mark.start()]
    match = _SAME_LINE.match(text, mark.end()) or _NEXT_LINE.match(text, mark.end())
    # A number after the answer may correct it.
    if match is None or _UNSURE.search(before) or re.search(r"\d", text[match.end() :]):
        return None
    words = match[5].lower()
    if _SCALES.search(words) or (words and mark[0] == "####"):  # `#### 2 Solve it` is a heading
        return None
    return _value(match)


def _value(match: re.Match[str]) -> Decimal:
    # A minus stands before the currency or after it: -$5, $-5.
    before, after, whole, fraction = match.groups()[:4]
    value = Decimal(whole.replace(",", "") + (fraction or ""))
    return -value if before or after else value
