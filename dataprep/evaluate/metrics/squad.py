"""SQuAD: exact match and F1 of an answer, as the official script of version 2.0 computes them.

Texts are compared in lower case, without ASCII punctuation, without the articles a, an and the, and with
single spaces. Of several accepted answers the best one counts. A question that the passage does not answer
has the empty answer, and is right or wrong as a whole.

Source: Rajpurkar et al. 2018, and ``evaluate-v2.0.py`` on https://rajpurkar.github.io/SQuAD-explorer/.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """A text as it is compared."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def accepted(answers: Sequence[str]) -> tuple[str, ...]:
    """The answers that one is held against: those of which something is left, else the empty one."""
    return tuple(answer for answer in answers if normalised(answer)) or ("",)


def exact_match(answer: str, golds: Sequence[str]) -> float:
    """1.0 where an answer is one of the accepted ones, else 0.0."""
    plain = normalised(answer)
    return float(any(plain == normalised(gold) for gold in accepted(golds)))


def f1(answer: str, golds: Sequence[str]) -> float:
    """The harmonic mean of precision and recall in words, against the accepted answer where it is highest."""
    words = normalised(answer).split()
    return max(_f1(words, normalised(gold).split()) for gold in accepted(golds))


def _f1(found: list[str], gold: list[str]) -> float:
    if not found or not gold:
        return float(found == gold)
    shared = (Counter(found) & Counter(gold)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(found), shared / len(gold)
    return 2 * precision * recall / (precision + recall)
