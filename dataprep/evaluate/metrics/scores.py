"""A reply and what is right: what was read from the reply, and what it scores.

Scores of many rows as figures: by metric and source, each with its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprep.evaluate.metrics import gsm8k, squad
from dataprep.evaluate.metrics.choice import chosen_letter
from dataprep.evaluate.metrics.intervals import bootstrap, wilson
from dataprep.evaluate.metrics.kinds import METRICS, Gold, Metric, is_no_answer

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


ALL = "all"
LOSS, PERPLEXITY = "loss", "perplexity"
_LARGEST = 700.0  # exp of more is no float


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, between 0 and 1 but for the loss, and the interval that holds it in 95 of 100 samples."""

    name: str
    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one source's rows.

    Attributes:
        source: the set; ``None`` where rows name none, ``"all"`` for all sets of this metric together.
        metric: what was measured.
        rows: how many rows.
        figures: in the order of ``NAMES``.
        counts: what else is to be known: unanswered ones, tokens, programs by what came of them.
    """

    source: str | None
    metric: Metric
    rows: int
    figures: tuple[Figure, ...]
    counts: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        figures = {each.name: each.to_json() for each in self.figures}
        return {
            "source": self.source,
            "metric": self.metric,
            "rows": self.rows,
            "figures": figures,
            "counts": self.counts,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """A row that has a score: its source, what was right, and what came of it (a loss: sum and tokens)."""

    source: str | None
    gold: Gold
    scored: Scored | None = None
    loss: tuple[float, int] | None = None


def results_of(rows: Sequence[Row], seed: int = 0) -> list[Result]:
    """Figures by metric and source; where a metric has several sources, those of all of them as well."""
    found = []
    for metric in METRICS:
        groups: dict[str | None, list[Row]] = {}
        for row in rows:
            if row.gold.metric == metric:
                groups.setdefault(row.source, []).append(row)
        results = [_result(source, metric, group, seed) for source, group in groups.items()]
        if len(results) > 1:
            results.append(_result(ALL, metric, [row for group in groups.values() for row in group], seed))
        found += results
    return found


def _result(source: str | None, metric: Metric, rows: Sequence[Row], seed: int) -> Result:
    if metric == "loss":
        return _loss(source, [row.loss for row in rows if row.loss is not None], seed)
    scored = [row.scored for row in rows if row.scored is not None]
    figures = tuple(_figure(name, [each.scores[name] for each in scored], seed) for name in NAMES[metric])
    counts: dict[str, int] = {}
    if metric in ("choice", "gsm8k"):
        counts["unanswered"] = sum(each.extracted is None for each in scored)
    elif metric == "squad":
        impossible = sum(not row.gold.answers for row in rows)
        counts = {"without an answer": impossible} if impossible else {}
    else:
        for each in scored:
            outcome = (each.detail or "passed").partition(":")[0]
            counts[outcome] = counts.get(outcome, 0) + 1
    return Result(source, metric, len(rows), figures, counts)


def _figure(name: str, values: Sequence[float], seed: int) -> Figure:
    """A mean; of what is only 0 or 1 with Wilson's interval, else with the bootstrap's."""
    mean = math.fsum(values) / len(values)
    if name != "F1":
        return Figure(name, mean, *wilson(round(math.fsum(values)), len(values)))
    return Figure(name, mean, *bootstrap(values, seed=seed))


def _loss(source: str | None, losses: Sequence[tuple[float, int]], seed: int) -> Result:
    sums, tokens = [total for total, _ in losses], [count for _, count in losses]
    value = math.fsum(sums) / sum(tokens)
    low, high = bootstrap(sums, tokens, seed=seed)
    loss = Figure(LOSS, value, low, high)
    perplexity = Figure(PERPLEXITY, *(math.exp(min(each, _LARGEST)) for each in (value, low, high)))
    return Result(source, "loss", len(losses), (loss, perplexity), {"tokens": sum(tokens)})
