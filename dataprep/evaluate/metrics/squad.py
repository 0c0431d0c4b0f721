"""Score SQuAD answers: exact match and F1, as the official script of version 2.0 computes them.

Texts are compared in lower case, without ASCII punctuation, without the articles a, an and the, and with
single spaces. The best of several accepted answers counts. A question that the passage does not answer has
the empty answer, and is right or wrong as a whole.

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
    """Return a text as it is compared."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def accepted(answers: Sequence[str]) -> tuple[str, ...]:
    """Return the answers of which something is left once normalised, or else the empty answer."""
    return tuple(answer for answer in answers if normalised(answer)) or ("",)


def exact_match(answer: str, references: Sequence[str]) -> float:
    """Return 1.0 if an answer is one of the accepted ones, else 0.0."""
    plain = normalised(answer)
    return float(any(plain == normalised(reference) for reference in accepted(references)))


def f1(answer: str, references: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall in words, for the best accepted answer."""
    words = normalised(answer).split()
    return max(_f1(words, normalised(reference).split()) for reference in accepted(references))


def _f1(answer: list[str], reference: list[str]) -> float:
    # Without words precision and recall are not defined: the official script asks for equality.
    if not answer or not reference:
        return float(answer == reference)
    shared = (Counter(answer) & Counter(reference)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(answer), shared / len(reference)
    return 2 * precision * recall / (precision + recall)
