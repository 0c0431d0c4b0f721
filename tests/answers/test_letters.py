"""The letter that a reply names: only where it names one, and never out of a word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.answers.final_answers import letter_of, letter_place
from tests.tables import table

CHOICES = ["a plant", "tin", "wool"]


@table(
    "reply",
    [
        "B", "b", "b.", "(B)", "[b]", "B:", "b)", "B!", "- B", " B \n", '"B"', "**B**", "**(b)**", "`b`",
        "B) tin",
        "B. tin", "b: tin", "(B) tin", "(b) tin.", "**B.** tin", "B) tin\nIt melts at 232 °C.",
        "The answer is B",
        "The answer is (b).", "the correct answer is B.", "Answer: B", "Answer: (b)", "Option B is correct",
        "It melts.\n\nAnswer: B\n", "the correct choice is 'b'.", "The answer is tin.",
        "The answer is **B**.", "**Answer:** B", "Answer: **B**", "The correct answer is **B) tin**.",
        "Answer: (B) tin", "ANSWER: B", "It melts. ANSWER: B", "### Answer\nB", "B\n\nIt melts at 232 °C.",
        "Option B", "option (b)", r"\boxed{B}", r"It melts, so $\boxed{\text{B}}$.",
        r"The answer is $\boxed{B}$.",
        "Final answer: B. tin", "(b) tin. Therefore the answer is (b).",
        "(a) grows, (b) melts. The answer is (b).", "Answer: B\n\n(A) grows, (C) burns.",
        "__B__", "**B.**\n\nIt melts.",
    ],
)  # fmt: skip
def test_these_forms_name_the_letter(reply):
    """Every form that the documentation lists is read."""
    assert letter_of(reply, CHOICES) == "b"


@table(
    "reply",
    [
        "", " ", "A plant", "a plant", "A plant melts.", "I do not know.",
        "The answer is a plant of some kind",
        "B or C", "(B) or (C)", "B, C", "B) tin\nC) wool", "Both (b) and (c)", "d", "(D)", "The answer is D",
        "The answer is B. No, the answer is C.", "B. No, the answer is C.", r"\boxed{B} or \boxed{C}",
        r"The answer is C. \boxed{B}", "Answer: B\nC", "B\nC", "A\nB\nC", "Answer: (B) or (C)",
        "Option A plant", "Answer: A plant melts.", "Answer", "Answer:", "**", r"\boxed{}", r"\boxed{tin}",
        "Bee", "b tin", "If the answer is B, it melts", "7", "é", "e\u0301", "B?", "I'm",
    ],
)  # fmt: skip
def test_these_name_none(reply):
    """Neither an article, nor one of several letters, nor a letter without a choice is an answer."""
    assert letter_of(reply, CHOICES) is None


def test_without_choices_any_letter_may_be_one():
    """A review without requests does not know how many choices there were."""
    assert letter_of("F") == "f"
    assert letter_of("The answer is F.") == "f"


@given(st.text(), st.lists(st.text(min_size=1), max_size=5))
def test_any_reply_names_a_choice_or_none(reply, choices):
    """Whatever a teacher says, the letter is one of the choices' or none."""
    letter = letter_of(reply, choices)
    assert letter is None or letter in "abcdefghijklmnopqrstuvwxyz"[: len(choices) or 26]


@pytest.mark.medium
def test_a_long_reply_takes_linear_time():
    """Half a megabyte of a form's beginning are read at once."""
    for unit in (
        "(",
        "a) ",
        "(a) ",
        "*",
        "answer is ",
        "\n",
        "a.\n",
        '" ',
        "Answer: ",
        "# ",
        r"\boxed{a} ",
        "**",
    ):
        letter_of(unit * (500_000 // len(unit)), CHOICES)
    letter_of("a) x" + "\n" * 500_000 + "é", CHOICES)  # once a search from each of the newlines
    letter_of("a" + "\n" * 500_000 + "x" + " \n" * 250_000 + "é", CHOICES)


@table(
    ("reply", "place"),
    [
        ("B", 0), (" (b)", 2), ("**B.** tin", 2), ("The answer is (b).", 15),
        ("A plant? No.\n\nAnswer: B\n", 22),
        ("Option B is correct", 7),
        ("If the answer is (b), no. The answer is not (b).\nSo the answer is (b).", 67),
        ("The answer is (b) tin. Answer: b", 15), ("The answer is tin.", -1), ("tin", -1),
    ],
)  # fmt: skip
def test_the_place_of_the_letter(reply, place):
    """A reply's letter is found where the choice is first named by it, not where it is an article."""
    assert letter_place(reply, CHOICES) == place


@given(st.text(alphabet=st.sampled_from("aBb ().:\n*answer is")), st.lists(st.text(min_size=1), max_size=5))
def test_the_letter_stands_at_its_place(reply, choices):
    """What stands there is the letter that the reply names."""
    letter, place = letter_of(reply, choices), letter_place(reply, choices)
    assert letter is None or place < 0 or reply[place].lower() == letter


def test_more_choices_than_letters():
    """A choice named by its text has no letter where there are too few letters."""
    assert letter_of("The answer is 30.", [str(number) for number in range(40)]) is None
