"""A reply and what is right: what was read from the reply, and what it scores."""

from __future__ import annotations

from dataclasses import dataclass

from dataprep.metrics import gsm8k, squad
from dataprep.metrics.choice import chosen_letter
from dataprep.metrics.kinds import Gold, Metric, is_no_answer

STRICT, FLEXIBLE = "exact match (strict)", "exact match (flexible)"
EXACT, F1 = "exact match", "F1"
ACCURACY, PASS = "accuracy", "pass@1"

NAMES: dict[Metric, tuple[str, ...]] = {
    "gsm8k": (STRICT, FLEXIBLE),
    "squad": (EXACT, F1),
    "choice": (ACCURACY,),
    "mbpp": (PASS,),
}
"""The figures of each metric; the loss has its own."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a reply is worth.

    Attributes:
        extracted: what was taken for its answer; ``None`` where nothing could be.
        scores: by the names in ``NAMES``.
        detail: for a program, what came of it.
    """

    extracted: str | None
    scores: dict[str, float]
    detail: str | None = None


def score(reply: str, gold: Gold) -> Scored:
    """What a reply scores; programs are run elsewhere."""
    if gold.metric == "gsm8k":
        strict, flexible = gsm8k.strict_number(reply), gsm8k.flexible_number(reply)
        found = strict if strict is not None else flexible
        scores = {
            STRICT: float(gsm8k.same_number(strict, gold.answers[0])),
            FLEXIBLE: float(gsm8k.same_number(flexible, gold.answers[0])),
        }
        return Scored(found, scores)
    if gold.metric == "squad":
        answer = "" if is_no_answer(reply) else reply.strip()
        both = {EXACT: squad.exact_match(answer, gold.answers), F1: squad.f1(answer, gold.answers)}
        return Scored(answer, both)
    if gold.metric == "choice":
        letter = chosen_letter(reply, gold.choices)
        return Scored(letter, {ACCURACY: float(letter == gold.answers[0])})
    raise ValueError(f"a reply alone has no {gold.metric}")
