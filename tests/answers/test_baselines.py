"""Chance, majority and distributions of answers, and when a figure or a system is marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.answers.baselines import ENOUGH_ROWS, Baselines, baselines_of

LETTERS = ("a", "b", "c", "d")


def letters(gold, answered, count=4):
    """Baselines of rows that offer the first `count` letters."""
    found = Baselines(letters=True)
    for right, answer in zip(gold, answered, strict=True):
        found.add(right, answer, LETTERS[:count])
    return found


def test_chance_is_the_mean_of_one_in_the_number_of_choices():
    """Questions with two and with four choices: guesses get (1/2 + 1/4 + 1/4) / 3 right."""
    found = letters("a", "a", 2)
    found.update(letters("ab", "ba", 4))
    assert found.chance == pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3)
    assert (found.majority, found.most_frequent, found.right, found.rows) == (2 / 3, "a", 1, 3)
    assert found.classes == list(LETTERS)


def test_a_system_that_answers_one_letter_is_named():
    """198 of 200 replies are (a), and 50 of the gold answers."""
    gold = "abcd" * 50
    found = letters(gold, "a" * 198 + "bc")
    assert found.only_answer == "a"
    assert found.collapse() == "198 of 200 replies are (a), and 50 of the gold answers"
    assert not found.is_above
    assert "is not above 25.00%, the share of (a) in the gold answers" in found.below()


@pytest.mark.parametrize(
    ("gold", "answered"),
    [
        ("abcd" * 50, "abcd" * 50),  # all right
        ("a" * 95 + "b" * 5, "a" * 100),  # one answer is nearly always right
        ("ab" * 2, "aaaa"),  # too few rows to say so
        ("abcd" * 5, "ab" * 10),
        ("abcd" * 5, [None] * 20),
        ("abcd" * 50, ["a", *[None] * 199]),
    ],
)
def test_other_systems_are_not_said_to_give_one_answer(gold, answered):
    """Neither a right system nor one whose rows are too few or have one answer."""
    assert letters(gold, answered).collapse() is None


def test_a_figure_is_above_the_majority_only_with_its_whole_interval():
    """55 of 100 right is not above a majority of 50, since the interval begins at 45 %."""
    half = ["a"] * 50 + ["b"] * 50
    near = letters(half, half[:55] + ["a"] * 45, 2)
    assert (near.right, near.is_above) == (55, False)
    assert letters(half, half[:80] + ["a"] * 20, 2).is_above
    # With choices of different numbers, guesses can be better than the majority.
    mixed = letters("a" * 5 + "b" * 5, "a" * 5 + "b" * 5, 2)
    assert mixed.is_above


def test_guesses_can_be_the_higher_bar():
    """Half of the questions have two choices, and no letter is right for more than a quarter."""
    found = letters("ab" * 5, "ba" * 5, 2)
    found.update(letters("cd" * 5, "dc" * 5, 4))
    assert (found.chance, found.majority) == (0.375, 0.25)
    assert found.below().endswith("is not above 37.50%, the share that guesses get right")


def test_classes_are_named_in_quotation_marks():
    """A class is a text from the data."""
    found = baselines_of([0, 1] * ENOUGH_ROWS, [1, 1] * ENOUGH_ROWS, ("bad", "good"))
    assert found.collapse("predictions") == "20 of 20 predictions are 'good', and 10 of the gold answers"
    assert found.to_json() == {
        "chance": 0.5,
        "majority": 0.5,
        "most_frequent": "bad",
        "gold": {"bad": 10, "good": 10},
        "answered": {"bad": 0, "good": 20},
        "unread": 0,
        "only_answer": "good",
        "is_above": False,
    }


@given(st.integers(1, 5), st.integers(1, 60), st.randoms())
def test_indices_and_rows_give_the_same_counts(classes, rows, made):
    """Both ways to count agree, whatever the answers are."""
    names = [chr(ord("a") + number) for number in range(classes)]
    gold = [made.randrange(classes) for _ in range(rows)]
    answers = [made.choice([None, *range(classes)]) for _ in range(rows)]
    added = Baselines()
    for right, answer in zip(gold, answers, strict=True):
        added.add(names[right], None if answer is None else names[answer], names)
    assert added == baselines_of(gold, answers, names)
    assert added.majority >= added.chance > 0
    assert added.right <= added.answered.total() == rows - added.unread
