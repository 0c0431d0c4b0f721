"""Metrics of predicted classes beside plain ways to compute them, and their bootstrap."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.evaluate.metrics.agreement import (
    ACCURACY,
    KAPPA,
    MACRO_F1,
    WEIGHTED_KAPPA,
    is_ordered,
    measure,
    metrics_of_pairs,
)

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def plain(rows, classes):
    """Every metric by its definition, row by row."""
    found = {ACCURACY: sum(gold == answer for gold, answer in rows) / len(rows)}
    scores = []
    for each in range(classes):
        hits = sum(gold == answer == each for gold, answer in rows)
        occur = sum((gold == each) + (answer == each) for gold, answer in rows)
        scores += [2 * hits / occur] if occur else []
    found[MACRO_F1] = sum(scores) / len(scores)
    for name, weigh in ((KAPPA, lambda a, b: a != b), (WEIGHTED_KAPPA, lambda a, b: (a - b) ** 2)):
        observed = sum(weigh(*row) for row in rows) / len(rows)
        # Every gold class with every prediction: what two independent raters would give.
        chance = sum(weigh(gold, answer) for gold, _ in rows for _, answer in rows) / len(rows) ** 2
        found[name] = 1 - observed / chance if chance else None
    return found


@given(PAIRS)
def test_metrics_are_their_definitions(rows):
    """Accuracy, macro F1 and both kappas, whichever classes occur."""
    expected = plain(rows, 5)
    for ordered in (True, False):
        found = metrics_of_pairs(Counter(rows), 5, ordered=ordered)
        assert found == pytest.approx({name: expected[name] for name in found})


def test_intervals_are_those_of_drawn_rows():
    """The bootstrap over pairs has the percentiles of one that draws rows one by one."""
    made = np.random.default_rng(1)
    rows = [
        (int(gold), int(gold if made.random() < 0.6 else made.integers(3)))
        for gold in made.integers(3, size=150)
    ]
    found = measure(Counter(rows), 3, ordered=True)
    samples = [Counter(rows[n] for n in made.integers(150, size=150)) for _ in range(600)]
    drawn = [metrics_of_pairs(sample, 3, ordered=True) for sample in samples]
    for name, measured in found.items():
        low, high = np.percentile([each[name] for each in drawn], [2.5, 97.5])
        assert (measured.low, measured.high) == pytest.approx((low, high), abs=0.03)
        assert measured.low < measured.value < measured.high
    assert found == measure(Counter(reversed(rows)), 3, ordered=True), "in any order"


def test_what_no_skill_reaches():
    """Chance and majority: of the accuracy as counted; of the others from the expected counts."""
    found = measure(Counter({(0, 0): 50, (1, 0): 10, (1, 1): 20, (2, 2): 20}), 3, ordered=True)
    assert (found[ACCURACY].chance, found[ACCURACY].majority) == pytest.approx((1 / 3, 0.5))
    # F1 of a class in a share p of the rows that guesses name in a third of them: 2p/3 / (p + 1/3).
    guesses = [2 * p / 3 / (p + 1 / 3) for p in (0.5, 0.3, 0.2)]
    assert found[MACRO_F1].chance == pytest.approx(sum(guesses) / 3)
    assert found[MACRO_F1].majority == pytest.approx(2 * 50 / 150 / 3)
    assert (found[WEIGHTED_KAPPA].chance, found[WEIGHTED_KAPPA].majority) == pytest.approx((0, 0))


def test_one_class_for_all_has_no_kappa():
    """If all rows have one class and are predicted as it, chance cannot disagree."""
    for ordered in (True, False):
        *_, kappa = measure(Counter({(1, 1): 5}), 3, ordered=ordered).values()
        assert (kappa.value, kappa.chance, kappa.majority) == (None, 0, 0)
    collapsed = measure(Counter({(0, 1): 5, (1, 1): 5}), 2, ordered=True)
    assert collapsed[WEIGHTED_KAPPA].value == 0


def test_many_classes_need_little_memory_and_time():
    """A thousand classes and as many pairs take parts of the resamples at a time."""
    pairs = Counter({(n, (n * 7) % 1000): 2 for n in range(1000)})
    found = measure(pairs, 1000, ordered=False)
    assert found[ACCURACY].value == pytest.approx(sum((n * 7) % 1000 == n for n in range(1000)) / 1000)


def test_classes_are_ordered_if_all_are_numbers():
    """As in training: errors have a size then."""
    assert is_ordered(("0", "1.5", "-2"))
    assert not is_ordered(("0", "low"))
