"""A probability for each choice, out of the log-probabilities of a reply's tokens."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from dataprep.errors import RowDropped, RowError
from dataprep.letters import letter_of, letter_place
from dataprep.rationales import without_cue
from dataprep.records import LETTERS, describe

# A token that is a letter, whatever stands around it: `A`, ` a`, `(a`, `a)`, `A.`, `**A`; `Ġ` and `Ċ` are a
# space and a newline as some tokenizers spell them.
_NAMED = re.compile(r"[\W_ĠĊ]*([A-Za-z])[\W_ĠĊ]*")
_ROUNDING = 0.01  # servers that round may give a logarithm slightly above 0


def choice_probs(line: Mapping[str, Any], choices: Sequence[str]) -> tuple[dict[str, float], float]:
    """The probabilities that a teacher gave to the choices where its reply names one by letter.

    At the token that holds that letter, the probabilities of all tokens that name a letter are added up by
    letter, and divided by their sum over the row's choices.

    Args:
        line: a line of a journal; ``logprobs`` has one entry for each generated token,
            ``{"token", "logprob", "top": {token: logprob}}``, natural logarithms.
        choices: the choices' texts, 26 at most.

    Returns:
        a probability for each letter, together 1, and the probability that fell on no choice's letter.

    Raises:
        RowDropped: the line has no log-probabilities, the reply names no choice by letter, or no
            probability fell on one.
        RowError: the field is malformed.
    """
    entries = _entries(line)
    place = _letter_token([entry["token"] for entry in entries], line["response"] or "", choices)
    if place is None:
        raise RowDropped("no letter among the tokens")
    masses: dict[str, list[float]] = {letter: [] for letter in LETTERS[: len(choices)]}
    for token, value in _candidates(entries[place]).items():
        match = _NAMED.fullmatch(token)
        if match and match[1].lower() in masses:
            masses[match[1].lower()].append(_probability(value))
    sums = {letter: math.fsum(mass) for letter, mass in masses.items()}
    total = math.fsum(sums.values())
    if not total:
        raise RowDropped("no probability on a letter")
    return {letter: mass / total for letter, mass in sums.items()}, max(0.0, 1.0 - total)


def _entries(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = line.get("logprobs")
    if not entries:
        raise RowDropped("no log-probabilities")
    if not isinstance(entries, list):
        raise RowError("malformed log-probabilities", f"expected a list, found {describe(entries)}")
    for entry in entries:
        if type(entry) is not dict or type(entry.get("token")) is not str:
            raise RowError("malformed log-probabilities", f"expected {{'token', …}}, found {describe(entry)}")
    return entries


def _letter_token(tokens: Sequence[str], reply: str, choices: Sequence[str]) -> int | None:
    """Which token holds the letter by which the reply names its choice; ``None`` where none does."""
    reply = without_cue(reply)
    letter = letter_of(reply, choices)
    if letter is None:
        return None
    # Before the reply may stand the reasoning, after it a token that ends it; and characters that were
    # divided between tokens are not the reply's.
    text = "".join(tokens)
    opening = len(text) - len(text.lstrip())
    begin = opening if text.startswith(reply, opening) else text.rfind(reply)
    if begin < 0:
        begin, reply = 0, text
    at = letter_place(reply, choices)
    if at < 0:
        return None
    place = bisect_right(list(accumulate(map(len, tokens), initial=0)), begin + at) - 1
    match = _NAMED.fullmatch(tokens[place])
    return place if match and match[1].lower() == letter else None


def _candidates(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens that could have stood there; the one that does need not be among the likeliest."""
    top = entry.get("top") or {}
    if not isinstance(top, Mapping):
        raise RowError("malformed log-probabilities", f"expected an object in 'top', found {describe(top)}")
    return {**top, entry["token"]: entry.get("logprob")}


def _probability(value: Any) -> float:
    if value is None:  # some servers' spelling of a probability of 0
        return 0.0
    if type(value) not in (int, float) or value > _ROUNDING:
        expected = "expected a natural logarithm, at most 0"
        raise RowError("malformed log-probabilities", f"{expected}, found {describe(value)}")
    return math.exp(value)
