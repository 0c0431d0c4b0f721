"""Shuffle the choices of multiple-choice rows, and count their gold labels.

In some sets the right answer always stands first, or nearly always. A student then learns the letter.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import LETTERS, Example

LEAST_ROWS = 20  # fewer rows can have the same label by chance
SHUFFLED, LAST, LEFT = "shuffled", "last one kept", "left as they were (letters are named)"

# `all of the above` must stand behind the choices that it means.
_OF_ALL = re.compile(
    r"(?:all|any|both|each|either|neither|none|some|two or more|more than one)(?: of)?(?: the)?"
    r" (?:above|these|those|them|choices|options|answers|others?)\b.*|(?:all|none|both|neither)",
    re.IGNORECASE | re.DOTALL,
)
# `both A and B`, `(a) or (c)`, `A only`, `option B`. Capital letters alone, because "a" is an article.
_LETTERED = re.compile(
    r"(?<![^\W_])\(?[A-H]\)?,?\s*(?:and|or|nor|&|,)\s*\(?[A-H]\)?(?![^\W_])"
    r"|\([a-hA-H]\)"
    r"|(?<![^\W_])[A-H]\s+only(?![^\W_])|(?<![^\W_])only\s+[A-H](?![^\W_])"
    r"|(?<![^\W_])(?i:(?:choice|option|answer)s?\s*:?\s+(?:is\s+)?\(?[a-h1-8])(?![^\W_])"
    r"|^(?i:(?:both\s+|neither\s+|either\s+)?[a-h]\s+(?:and|or|nor|&)\s+[a-h])$"
)
# `Answer: C`, `the answer is (C)`, `option C`: in a solution these letters change with the order.
_CONCLUSION = re.compile(
    r"(?<![^\W_])((?i:choices?|options?|answers?)\W{0,3}(?:(?i:is)\W{1,3})?)([A-H]|(?<=\()[a-h](?=\)))(?![^\W_])"
)
# Any other letter from B on is enough. If it is a variable, the row stays as it is.
_NAMED_IN_SOLUTION = re.compile(
    r"\([a-hA-H]\)|(?<![^\W_])[B-H](?![^\W_])|^\W*A\W*$"
    r"|(?<![^\W_])(?i:(?:choice|option|answer)s?\W{0,3}(?:is\W{1,3})?[a-h])(?![^\W_])",
    re.MULTILINE,
)
_CHAT_CHOICES = re.compile(r"^\(?[aA][).:] ", re.MULTILINE)
_CHAT_LABEL = re.compile(r"\(([a-z])\)(?: .*)?|([A-Za-z])")


def shuffle_choices(example: Example, seed: int) -> str | None:
    """Put the choices of an Example in another order; the gold label follows its choice.

    Returns:
        The kind of the row, for the summary; ``None`` for an Example without choices.

    Raises:
        RowError: the row has rationales, which name choices by their letters.
    """
    choices = example.choices
    if not choices:
        return None
    if example.rationales:
        hint = "shuffle the choices before teachers are asked"
        raise RowError("choices with rationales", f"rationales name choices by their letters; {hint}")
    name = example.identify()  # before, because an id that is made from the content must stay
    last = _kept_last(choices)
    if last is None or _NAMED_IN_SOLUTION.search(_CONCLUSION.sub("", example.solution or "")):
        return LEFT
    order = list(range(len(choices) - last))
    random.Random(f"{seed}:{name}").shuffle(order)
    order += range(len(order), len(choices))
    try:
        letters = {LETTERS[place]: LETTERS[order.index(place)] for place in range(len(choices))}
        solution = _CONCLUSION.sub(lambda match: match[1] + _moved(match[2], letters), example.solution or "")
    except KeyError:  # the solution names a choice that there is not
        return LEFT
    example.choices = tuple(choices[place] for place in order)
    example.solution = solution or example.solution
    if example.answer_label is not None:
        example.answer_label = letters[example.answer_label]
    return LAST if last else SHUFFLED


def _moved(letter: str, letters: Mapping[str, str]) -> str:
    moved = letters[letter.lower()]
    return moved.upper() if letter.isupper() else moved


def _kept_last(choices: Sequence[str]) -> int | None:
    """Return how many choices must stay at the end; ``None`` if no choice may move."""
    if any(_LETTERED.search(choice) for choice in choices):
        return None
    places = [place for place, text in enumerate(choices) if _OF_ALL.fullmatch(text.strip(" .!"))]
    if places != list(range(len(choices) - len(places), len(choices))):
        return None
    return len(places)


def label_of(row: Mapping[str, Any]) -> str | None:
    """Return the letter of the right answer in an Example's row or a chat row; ``None`` without one."""
    answer = row.get("answer")
    if answer is not None and isinstance(answer, Mapping):
        label = answer.get("label")
        return label if isinstance(label, str) else None
    messages = row.get("messages")
    if not isinstance(messages, list) or len(messages) < 2:
        return None
    asked, said = map(_content_of, messages[-2:])
    if not (isinstance(asked, str) and isinstance(said, str)):
        return None
    # A solution can stand before the answer.
    match = _CHAT_LABEL.fullmatch(said.rstrip().rpartition("\n")[2])
    return (match[1] or match[2]).lower() if match and _CHAT_CHOICES.search(asked) else None


def _content_of(message: Any) -> Any:
    # To ask first whether it is a dict takes a third of the time.
    return message.get("content") if type(message) is dict or isinstance(message, Mapping) else None


def one_label(labels: Mapping[str, int], rows: int | None = None) -> str:
    """Return a warning if all gold labels are one, else an empty text.

    Args:
        labels: number of rows by label.
        rows: number of rows of the file, if it can have rows of other tasks.
    """
    if len(labels) != 1:
        return ""
    ((label, count),) = labels.items()
    # A letter at the end of a few answers is no multiple-choice set.
    if count < LEAST_ROWS or (rows is not None and count < rows / 2):
        return ""
    hint = "a student learns the letter: shuffle them with `dataprep convert --shuffle-choices`"
    return f"the right answer of all {count:,} multiple-choice rows is ({label}); {hint}"
