"""The number that a reply states: only where it can be told for sure."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from dataprep.answers.final_answers import number_of, stated_number
from tests.tables import table


@table(
    "reply",
    [
        "#### 1600", "So 1 + 1.\n#### 1,600", "####1600", "#### $1,600.00", "The answer is 1600",
        "The answer is 1600.",
        "the final answer is **$1,600**.", "Answer: 1600 gold coins", "Q: How many?\nA: 1,600",
        "**Answer:** 1600", "**Answer: 1600**",
        "The final answer is:\n\n1600", "Answer:\n**1,600**\n", r"The answer is $\boxed{1600}$.",
        r"\boxed{1600} eggs",
        r"\[\boxed{1600}\]", "The answer is 3.\nThe answer is 1600.", "#### 1600\n\n", "Final Answer: 1600.0",
        "The answer is 1600 eggs.", "The answer is 1600.\nThat is all.",
    ],
)  # fmt: skip
def test_these_forms_state_the_number(reply):
    """Every form that the documentation lists is read, commas, currencies and units beside it or not."""
    assert stated_number(reply) == 1600


@table(
    "reply",
    [
        "", "1600", "She has 1600 eggs.", "The answer is 3/4", "The answer is 50%", "The answer is 2 dozen.",
        "Answer: 16 or 18", "The answer is 16 to 18", "The answer is between 16 and 18", "Answer: 75 cents",
        "Answer:\n1. First, she buys eggs.", "Answer: 1) add them", "#### 2 Solve it", "#### Step 2: add",
        "The answer is 16 - 3 = 13", "The answer is x = 16", "The answer is 16.\nNo, it is 18.",
        "Answer: 16k",
        "If the answer is 16", "The answer is not 16", r"\boxed{\frac{1}{2}}", r"\boxed{x}",
        "The answer is 3:30",
        "The answer is 1,60", "The answer is 2^3", "answer is", "The answer is 1.600.000",
    ],
)  # fmt: skip
def test_these_state_none_for_sure(reply):
    """A number that only may be the answer is not compared with the gold one."""
    assert stated_number(reply) is None


@table(
    ("text", "value"),
    [
        ("16", "16"), (" 1,600 ", "1600"), ("-5", "-5"), ("−5", "-5"), ("$-5", "-5"), ("-$5.50", "-5.5"),
        ("7.", "7"),
        ("1/2", None), ("", None), ("sixteen", None), ("1,60", None), ("5 eggs", None),
    ],
)  # fmt: skip
def test_a_text_is_a_number_or_none(text, value):
    """A gold answer is compared only where it is one number."""
    assert number_of(text) == (None if value is None else Decimal(value))


def test_a_negative_answer_and_a_listed_one_differ():
    """The sign stands at the number; a dash before a space begins a list."""
    assert stated_number("The answer is -16.") == -16
    assert stated_number("Answer:\n- 16") == 16


@given(
    st.integers(-(10**12), 10**12), st.sampled_from(["#### {}", "The answer is {}.", "x\n\nAnswer: ${}\n"])
)
def test_any_number_is_read_back(number, form):
    """However large, with commas or without."""
    assert stated_number(form.format(number)) == number
    assert stated_number(form.format(f"{number:,}")) == number


@given(st.text(alphabet=st.sampled_from("#### answer is: 16,.-$\\boxed{}\n*eggs")))
def test_any_reply_states_a_number_or_none(reply):
    """Nothing that a teacher says ends in an error."""
    value = stated_number(reply)
    assert value is None or isinstance(value, Decimal)


def test_a_long_reply_takes_linear_time():
    """Megabytes of a form's beginning are read at once."""
    for unit in ("#### ", "answer is ", "answer is 1", "1,", "\\boxed{", "$", "\n", "answer: \n"):
        stated_number(unit * (2_000_000 // len(unit)))
