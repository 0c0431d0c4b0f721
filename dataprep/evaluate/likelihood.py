"""Score the choices of a question by how likely a model finds each of them as its answer.

The figures are those of lm-evaluation-harness for tasks of type ``multiple_choice``: ``acc`` takes the
choice with the largest log-likelihood, ``acc_norm`` the one with the largest log-likelihood per character.
The first choice wins a tie. The log-likelihood does not contain the token that ends an answer.

Source: ``process_results`` in ``lm_eval/api/task.py``, version 0.4.9,
https://github.com/EleutherAI/lm-evaluation-harness
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dataprep.core.records import LETTERS
from dataprep.evaluate.items import Item, Training
from dataprep.evaluate.metrics.references import Style
from dataprep.evaluate.metrics.scores import Scored
from dataprep.models.likelihood import Candidates, Likelihoods
from dataprep.models.loading import GenerationError, Model

BY_TEXT = "accuracy by text"
BY_LENGTH = "accuracy by text per character"
BY_LETTER = "accuracy by letter"
NAMES = (BY_TEXT, BY_LENGTH, BY_LETTER)


@dataclass(frozen=True, slots=True)
class ChoiceScores:
    """The log-likelihoods of a row's choices in nats, each in the order of the choices."""

    texts: tuple[float, ...]
    letters: tuple[float, ...]
    lengths: tuple[int, ...]  # characters of each text

    @property
    def chosen(self) -> dict[str, str]:
        """The letter of the choice that each figure takes."""
        by_length = [value / length for value, length in zip(self.texts, self.lengths, strict=True)]
        scores = zip(NAMES, (self.texts, by_length, self.letters), strict=True)
        return {name: LETTERS[values.index(max(values))] for name, values in scores}

    def scored(self, right: str) -> Scored:
        """Return the scores of a row whose right choice has the letter ``right``."""
        chosen = self.chosen
        scores = {name: float(letter == right) for name, letter in chosen.items()}
        return Scored(chosen[BY_LENGTH], scores, answers=chosen)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of a row of the output."""
        return {"chosen": self.chosen, "log_likelihoods": {"text": self.texts, "letter": self.letters}}


def score_choices(
    model: Model,
    items: Sequence[Item],
    *,
    training: Training,
    batch_size: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> list[ChoiceScores | GenerationError]:
    """Return the log-likelihoods of each item's choices, or why there are none, in the order of the items.

    Args:
        model: a causal or encoder-decoder model.
        items: rows with choices, of ``read_items``.
        training: how the student was trained: by it the question is asked and the choices are written.
        batch_size: number of prompts at once.
        on_rows: called with the number of further rows that are done.
    """
    results: list[ChoiceScores | GenerationError | None] = [None] * len(items)
    numbers, rows = [], []
    for number, item in enumerate(items):
        try:
            rows.append(_candidates(model, item, training))
            numbers.append(number)
        except GenerationError as error:  # for example a prompt longer than the model's context
            results[number] = error
    on_rows(len(items) - len(rows))
    found = Likelihoods(model, batch_size).of(rows, on_rows) if rows else []
    for number, values in zip(numbers, found, strict=True):
        if isinstance(values, GenerationError):
            results[number] = values
            continue
        texts = answers_of(items[number].reference.choices, training.style)
        half, lengths = len(texts), tuple(map(len, texts))
        results[number] = ChoiceScores(tuple(values[:half]), tuple(values[half:]), lengths)
    return [result for result in results if result is not None]


def _candidates(model: Model, item: Item, training: Training) -> Candidates:
    choices = item.reference.choices
    if not all(choices):
        raise GenerationError("empty choice", "a choice has no text; expected a character or more in each")
    answers = [*answers_of(choices, training.style), *letters_of(choices, training.style)]
    plain = training.prefix is not None
    return Candidates(*model.answers(training.given(item.asked), answers, plain=plain, **item.context))


def answers_of(choices: Sequence[str], style: Style | None) -> list[str]:
    """Return each choice as an answer in words, as the student was trained to give it."""
    if style == "both":
        return [f"({letter}) {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    return list(choices)


def letters_of(choices: Sequence[str], style: Style | None) -> list[str]:
    """Return the letter of each choice as an answer."""
    letters = LETTERS[: len(choices)]
    return [f"({letter})" for letter in letters] if style == "both" else list(letters)
