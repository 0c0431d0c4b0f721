"""What a model generated, as an answer of the journal: text, finish reason, log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from dataprep.letters import letter_of
from dataprep.records import LETTERS
from dataprep.teacher.local_decoding import Row
from dataprep.teacher.local_model import Model
from dataprep.teacher.protocol import Answer

_DIGITS = 6
_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Answers:
    """Makes answers of rows, with the texts of a model's tokens."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._letters: dict[str, list[int]] = {}

    def watched(self, count: int) -> list[int]:
        """The tokens that name one of so many choices."""
        return list(dict.fromkeys(token for letter in LETTERS[:count] for token in self.naming(letter)))

    def naming(self, letter: str) -> list[int]:
        """The tokens that are a letter: in either case, and bare, after a space or after a bracket."""
        if letter not in self._letters:
            forms = [before + each for each in (letter, letter.upper()) for before in ("", " ", "(")]
            self._letters[letter] = self._model.tokens_of(forms)
        return self._letters[letter]

    def answer(self, row: Row, choices: Sequence[str], watched: Sequence[int]) -> Answer:
        """The answer that a row has become.

        Its log-probabilities are a list with an entry a token, but for the one that ended it. Where the
        request has choices, the first entry has the letters' tokens among its alternatives, and so has
        every further one where the letter stands that the answer names.
        """
        model, tokens = self._model, row.tokens
        ended = bool(tokens) and tokens[-1] in model.ends
        if ended:
            tokens = tokens[:-1]
        text = model.decode(tokens)
        reason = "stop" if ended else "length"
        if row.recorded is None:
            return Answer(text, reason)
        lettered = self._lettered(tokens, letter_of(text, choices)) if choices else set()
        pieces = pieces_of(model, tokens)
        entries = []
        for place in range(len(tokens)):
            wanted = list(row.recorded.top[place])
            if place in lettered:
                wanted.append((tokens[place], row.recorded.chosen[place]))
                wanted += zip(watched, row.recorded.watched[place], strict=True)
            top = self._top(wanted, place == 0, tokens[place], pieces[place])
            chosen = round(row.recorded.chosen[place], _DIGITS)
            entries.append({"token": pieces[place], "logprob": chosen, "top": top})
        return Answer(text, reason, None, entries)

    def _lettered(self, tokens: Sequence[int], letter: str | None) -> set[int]:
        naming = set(self.naming(letter)) if letter else set()
        return {0, *(place for place, token in enumerate(tokens) if token in naming)}

    def _top(
        self, wanted: Iterable[tuple[int, float]], first: bool, chosen: int, piece: str
    ) -> dict[str, float]:
        """Alternatives by their text, the likeliest first; tokens that read the same are one."""
        found: dict[str, float] = {}
        for token, value in dict(wanted).items():
            if math.isfinite(value):
                text = piece if token == chosen and piece else self._model.text_of(token, first)
                found[text] = _sum(found[text], value) if text in found else value
        ordered = sorted(found.items(), key=lambda each: -each[1])
        return {text: round(value, _DIGITS) for text, value in ordered}


def _sum(first: float, second: float) -> float:
    """The logarithm of the sum of two probabilities, given theirs."""
    low, high = sorted((first, second))
    return high + math.log1p(math.exp(low - high))


def pieces_of(model: Model, tokens: Sequence[int]) -> list[str]:
    """The text that each token adds to an answer; joined they are the answer.

    A character whose bytes are spread over several tokens comes with the last of them.
    """
    pieces, begin, read = [], 0, 0
    for end in range(1, len(tokens) + 1):
        before, now = model.decode(tokens[begin:read]), model.decode(tokens[begin:end])
        if now.endswith(_BROKEN) and end < len(tokens):
            pieces.append("")
            continue
        pieces.append(now[len(before) :])
        begin, read = read, end
    return pieces
