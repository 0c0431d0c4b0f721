"""Extract the answer from a reply: a choice, or a number in three ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from dataprep.core.records import LETTERS

# GSM8K: as the task `gsm8k` (version 3) of EleutherAI's lm-evaluation-harness defines both ways of reading,
# so that scores can stand beside published ones (lm_eval/tasks/gsm8k/gsm8k.yaml, filters `strict-match` and
# `flexible-extract`, metric `exact_match`; https://github.com/EleutherAI/lm-evaluation-harness).
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_DRESS = " .\"'“”‘’`*_"
_IGNORED = re.compile(r"[,$]")
_SOLUTION = re.compile(r"(?s).*#### ")


def choice_alone(reply: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the one choice whose text is the whole reply, or ``None``."""
    said = _compared(reply)
    named = [letter for letter, text in zip(LETTERS, choices, strict=False) if _compared(text) == said]
    return named[0] if said and len(named) == 1 else None


def _compared(text: str) -> str:
    return " ".join(text.split()).strip(_DRESS).casefold()


def strict_number(reply: str) -> str | None:
    """Return the number after the first ``#### ``; ``None`` if there is none."""
    match = _STRICT.search(reply)
    return match[1] if match else None


def flexible_number(reply: str) -> str | None:
    """Return the last number of a reply, or text that looks like one (``..``); ``None`` if there is none."""
    last = None
    for last in _FLEXIBLE.finditer(reply):  # noqa: B007 - the last one
        pass
    return last[0] if last else None


def same_number(number: str | None, reference: str) -> bool:
    """Check that a number is the reference, which may come with its solution before it."""
    # Texts are compared without `,`, `$` and a full stop at the end: `1,600.` is `1600`, but `16.0` is not
    # `16`. That is strict, and it is how the score is defined.
    return number is not None and _plain(number) == _plain(reference)


def _plain(text: str) -> str:
    plain = _SOLUTION.sub("", _IGNORED.sub("", text))
    # Python's `$` also matches before a newline at the end, which numbers do not have.
    return re.sub(r"\.$", "", plain).lower()


# By value: what a reader takes for the answer, whatever its notation.
_MARKED = re.compile(r"####+[ \t]*")
_BOXED = re.compile(r"\\boxed\s*\{")
_ANSWER = re.compile(r"answer\**\s{0,3}(?:is\b|equals\b|[:=])", re.IGNORECASE)
_NEXT_QUESTION = re.compile(r"\n[#* \t]*(?:Question|Problem|Q)[ \d]{0,5}\**[:.]")
_LATEX = (
    (re.compile(r"\\[dt]?frac\s{0,3}\{([^{}]{1,60})\}\s{0,3}\{([^{}]{1,60})\}"), r" \1/\2"),
    (re.compile(r"\\[dt]?frac(\d)(\d)"), r" \1/\2"),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s{0,3}\{([^{}]{0,60})\}"), r" \1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<=\d)(?:\\[,;:! ]|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"(?<![\w)])[–—](?=[$€£¥]?\d)"), "-"),
)
_VULGAR = re.compile(r"(\d?) ?([¼-¾⅐-⅞])")
_MINUS = str.maketrans(dict.fromkeys("\u2212\ufe63\uff0d", "-"))
# A number may have a sign, a currency, a fraction, and a word or sign that scales it.
_VALUE = re.compile(
    r"(?<![\w.])(?<!\d:)(?P<sign>(?<![)])-)?[$€£¥]?(?P<inner>-)?"
    r"(?P<whole>\d{1,3}(?:,\d{3})++(?:\.\d+)?|\d++(?:\.\d++)?|\.\d++)"
    r"(?:/(?P<over>\d++)(?![\d/])|[ ](?P<top>\d++)/(?P<bottom>\d++)(?![\d/]))?"
    r"(?!:\d|\d|,\d{3}|(?:st|nd|rd|th)\b|[²³⁴])"
    r"\s{0,2}(?P<scale>%|¢|(?:percent|per\s?cent|cents?|dozens?|hundred|thousand|million|billion|trillion)\b)?",
    re.IGNORECASE,
)
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_SCALES |= {"trillion": 10**12}
_DIGITS, _LOOKED_AT = 100, 20_000


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number, and the factor of the word or sign behind it: 1/100 for ``%``, 12 for ``dozen``, else 1."""

    value: Fraction
    scale: Fraction = Fraction(1)

    def means(self, other: Quantity) -> bool:
        """Check that two quantities can be the same: ``50%`` is both 50 and 0.5, as the reference has it."""
        if self.scale == other.scale:
            return self.value == other.value
        mine, theirs = {self.value, self.value * self.scale}, {other.value, other.value * other.scale}
        return not mine.isdisjoint(theirs)


def stated_quantity(reply: str) -> Quantity | None:
    r"""Return the quantity that a reply gives as its answer; ``None`` if it has no number.

    It is read after the last ``####``, else in the last ``\boxed{}``, else after the last "answer is" or
    "answer:", else it is the last one. After a mark, a number behind ``=`` is preferred, then one directly
    after the mark, then the last one on the line.
    """
    text = _plain_notation(reply)
    # A base model continues with questions of its own. The text before them counts if it states an answer.
    own = _NEXT_QUESTION.split(text, maxsplit=1)[0]
    for told in dict.fromkeys((own[-_LOOKED_AT:], text[-_LOOKED_AT:])):
        for part in _answer_parts(told):
            if (quantity := _quantity_in(part)) is not None:
                return quantity
    return _last_quantity(text[-_LOOKED_AT:])


def _plain_notation(text: str) -> str:
    text = text.translate(_MINUS)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return _VULGAR.sub(_vulgar, text)


def _vulgar(match: re.Match[str]) -> str:
    value = Fraction(unicodedata.numeric(match[2])).limit_denominator(10)
    return f"{match[1]}{' ' if match[1] else ''}{value}"


def _answer_parts(text: str) -> list[str]:
    """Return the texts in which a reply states its answer, the most explicit first."""
    parts = []
    for mark in (_MARKED, _BOXED, _ANSWER):
        if ends := [match.end() for match in mark.finditer(text)]:
            rest = text[ends[-1] :].lstrip(" \t*:\n")
            parts.append(_braced(rest) if mark is _BOXED else rest.partition("\n")[0])
    return parts


def _braced(text: str) -> str:
    depth = 1
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if not depth:
            return text[:place]
    return text


def _quantity_in(part: str) -> Quantity | None:
    first = _VALUE.search(part)
    opens = first is not None and not re.search(r"\w", part[: first.start()])
    # `18 (= 9 * 2)` explains in its brackets, and `9 * 2 (= 18)` concludes in them.
    if first is not None and opens and part[first.end() :].lstrip(" *$").startswith("("):
        return _quantity(first)
    if (equals := part.rpartition("="))[1] and (found := _VALUE.search(equals[2])):
        return _quantity(found)
    if first is not None and opens:
        return _quantity(first)
    return _last_quantity(part)


def _last_quantity(text: str) -> Quantity | None:
    last = None
    for last in _VALUE.finditer(text):  # noqa: B007 - the last one
        pass
    return _quantity(last) if last else None


def _quantity(match: re.Match[str]) -> Quantity | None:
    # Python refuses to read a number of thousands of digits, and no answer has one.
    if len(match[0]) > _DIGITS:
        return None
    value, scale = Fraction(match["whole"].replace(",", "")), (match["scale"] or "").lower().rstrip("s")
    below = int(match["over"] or match["bottom"] or 1)
    if not below:
        return None
    value = value + Fraction(int(match["top"]), below) if match["top"] else value / below
    factor = Fraction(_SCALES.get(scale, 1)) if scale in _SCALES or not scale else Fraction(1, 100)
    return Quantity(-value if match["sign"] or match["inner"] else value, factor)


def same_quantity(reply: str, reference: str) -> bool | None:
    """Check that a reply states the reference's value; ``None`` if no value can be read from the reply."""
    found, expected = stated_quantity(reply), _quantity_in(_plain_notation(_SOLUTION.sub("", reference)))
    if found is None or expected is None:
        return None if found is None else same_number(flexible_number(reply), reference)
    return found.means(expected)
