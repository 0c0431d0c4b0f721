"""The letter that a reply names: only where it names one, and never out of a word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.answers.letters import choice_of, letter_of
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
        # an opening, and then what is wrong with the others
        "(B) tin\n\nWhy not the others:\n(A) grows in soil.\n(C) burns.", "B.\n\nA. is alive",
        "B\n\nA) a plant\nB) tin\nC) wool",
        "(B) tin\n\nWhy not the others:\n(C) wool", "B) tin melts, unlike (A) and (C).",
        "Answer: B) tin\n\nC) wool burns.", "(b) tin\nReasons:\ni. It melts.\nii. It is a metal.",
        "**(B) tin**\n\n- (A) a plant: it grows.\n- (C) wool: it burns.", "B\nC is wool, which burns.",
        # in other words
        "The correct answer is (b) tin.", "The correct answer is (b) the metal.", "B is correct.",
        "B is the correct answer.",
        "(B) is the right answer", "B is the best choice.", "So B is correct.", "I think that B is right.",
        "b) tin is correct.",
        "Option B, tin, is correct.", "Choice (b) tin is the best one.", "tin is the correct answer.",
        "Tin is correct.",
        "The answer is B: tin", "The answer is B - tin", "The answer is B tin.", "The answer is tin (b).",
        "The answer is: B) tin",
        "The answer is option B.", "My answer is B", "The answer would most likely be B.",
        "the correct letter is: b. Answer = B",
        "I choose B.", "I would choose (b).", "I'd go with B because it melts.", "I pick option B",
        "I select B: tin", "We choose tin.",
        "Option B: tin", "Option B - tin", "Choice B. tin", "B - tin", "B – tin", "B tin", "B (tin)",
        "b, tin", "B because it melts",
        "Ans: B", "Correct answer: B", "Correct: B", "Final: no.\nSolution: B", "It melts. Therefore, B.",
        "So it's (b).", "Wool burns → B.",
        "It is b", "It's (b).", "It is tin.", "I'd say B.", "I would say (b) tin.",
        "The answer to this question is (b) tin.",
        "Based on this, B is the most suitable answer.", "The correct one is B.", "The letter is B",
        "Letter B",
        "Tin (option B)", "B → tin", "B = tin", "Q: which?\nA: B", "Output: B", "The answer is definitely B.",
        "The answer is B rather than A.", "A is incorrect. B is correct.",
        "(c) wool is not right.\n\nThe correct answer is: (b) tin",
        "Both A and C are wrong, so B is correct.",
        "(a) a plant: no.\n(b) tin: yes.\n(c) wool: no.\n\nSo the answer is B.",
        "The only correct answer is B.",
        # in a form for programs
        "<answer>B</answer>", "Wool (C) burns.\n<answer>\nB\n</answer>", "<answer>(B) tin</answer>",
        "<answer>tin</answer>", "<final_answer>B",
        r"\boxed{B. tin}", r"\boxed{tin}", r"\boxed{\text{(B) tin}}", r"So $\boxed{\mathbf{B}}$",
        r"Answer: $\boxed{\text{B}}$ as (A) grows.",
        '{"answer": "B"}', '{"reasoning": "(A) grows", "answer": "b"}', "{'answer': 'B'}",
        '```json\n{"final_answer": "(B) tin"}\n```',
        '{"answer": {"label": "B", "text": "tin"}}', '{"choice": "tin"}', '{"correctAnswer": "B"}',
        '{"answer": ["B"]}', '{"answer": B}',
        # the choice's text
        "tin", "Tin", "tin.", "**Tin**", '"tin"', "the tin", "Tin\n\nIt melts at 232 °C.", "Tin. It melts.",
        "Answer: tin", "It melts.\n\ntin",
        "It melts, and wool burns.\n\nB", "It melts.\n**B**", "First (a), then (c).\n\n(b) tin", "tin (b)",
        # beside thinking
        "<think>The answer is A. Wait, no.</think>\n\nB", "<think></think>\n\nThe answer is B.",
        "A? No.</think>B", "[THINK]A[/THINK]tin", 'It says "A"</think>\nB',
        # text and letter in other words, an arrow, and a server's stop tokens
        "The answer is tin, which is option B.", "The answer is B, which is tin.",
        "Answer -> B", "Answer → B",
        '{"answer": "B", "text": "Tin."}', '{"answer": "B", "text": "It melts, unlike wool."}',
        '{"text": "tin", "answer": "B"}',
        '{"choices": [{"label": "A", "text": "a plant"}, {"label": "C", "text": "wool"}], "answer": "B"}',
        "B.\n\nExplanation:\n- A: a plant grows\n- B: tin melts\n- C: wool",
        "B<|im_end|>", "B</s>", "The answer is B.<|eot_id|>\n", "<think>A</think>B<|endoftext|>",
    ],
)  # fmt: skip
def test_these_forms_name_the_letter(reply):
    """Every form that the documentation lists is read."""
    assert letter_of(reply, CHOICES) == "b"


@table(
    "reply",
    [
        "", " ", "A plant melts.", "A tinfoil hat", "tinfoil", "It is a metal", "It is a", "Plan B is ready",
        "Grade A quality", "Dear B,", "A/B",
        "A and B are correct.", "Neither A nor B", "It is not B.", "One might choose B.",
        "The answer is between B and C.",
        "Options:\n(a) a plant", "Options:\n(a) a plant\n(b) tin", "The options are A, B and C.",
        "A plant\nIt grows.\nTin\nIt melts.", "Tin and wool", "tin or wool",
        "a plant\ntin\nwool", "tin\nwool",
        "A) a plant\nB) tin\nC) wool", "(a) a plant grows.\n\n(b) tin melts.\n\n(c) wool burns.",
        "(A) a plant\nIt grows.\n\n(B) tin\nIt melts.",
        "Option A: a plant\nOption B: tin", "Let's look at each option:\n\n(a) A plant that grows",
        "Every possible answer: (b) tin melts", "B is wrong.", "B) is not correct.", "(b) tin is incorrect.",
        "(b) tin does not melt.", "(a) or (b) is correct",
        "Is the answer (b)?", "I would not choose B.",
        "If you choose B, it melts", "Some choose B", "Vitamin B is correct", "I chose tinfoil.",
        "<answer>A or B</answer>", '{"choices": ["tin"]}',
        "<think>The answer is B.", "<think>B</think>", "The answer is B or C.",
        "C is the answer. B is the answer.", "I do not know.",
        "The answer is a plant of some kind",
        "B or C", "(B) or (C)", "B, C", "B) tin\nC) wool", "Both (b) and (c)", "d", "(D)", "The answer is D",
        "The answer is B. No, the answer is C.", "B. No, the answer is C.", r"\boxed{B} or \boxed{C}",
        r"The answer is C. \boxed{B}", "Answer: B\nC", "B\nC", "A\nB\nC", "Answer: (B) or (C)",
        "Option A plant", "Answer: A plant melts.", "Answer", "Answer:", "**", r"\boxed{}", r"\boxed{lead}",
        "Bee", "If the answer is B, it melts", "7", "é", "e\u0301", "B?", "I'm",
    ],
)  # fmt: skip
def test_these_name_none(reply):
    """Neither an article, nor one of several letters, nor a letter without a choice is an answer."""
    assert letter_of(reply, CHOICES) is None


@table(
    "reply",
    [
        "c) tin", "(c) tin", "C. tin", "C: tin", "C - tin", "C\ntin", "The correct answer is (c) tin.",
        "The answer is C: tin.",
        "The answer is (c) tin, because it melts.", "The answer is tin (c).", "tin (c)", "Answer: C\ntin",
        "I choose (c) tin.",
        "Option C: tin", r"\boxed{C. tin}", "<answer>C. tin</answer>", '{"answer": "C) tin"}',
        "It melts.\n\n(c) tin", "(c) tin is correct.",
        "**C) Tin**", "C (tin)", "<think>B</think>C) tin", "Answer: (A) tin",
        "The answer is tin, which is option C.", "The answer is C, which is tin.", "It is tin, which is C.",
        '{"text": "tin", "answer": "C"}', '{"answer": {"label": "C", "text": "tin"}}',
        '{"letter": "C", "answer": "tin"}',
        '{"answer": "C", "choice_text": "tin"}', "The correct answer is tin, option (C).",
        '{"answer": "C", "text": "tin"}', '{"choice": "C", "text": "Tin."}',
    ],
)  # fmt: skip
def test_a_letter_with_the_text_of_another_choice_contradicts_itself(reply):
    """Neither the letter nor the text is taken for the answer."""
    assert choice_of(reply, CHOICES) == (None, -1, True)


@table(
    ("reply", "letter"),
    [("c) tinfoil", "c"), ("c) it is soft", "c"), ("B) tin", "b"), ("(b) tin, not wool", "b"),
        ("B. Wool burns.", "b"),
        ("A tin", "b")],
)  # fmt: skip
def test_a_letter_with_other_words_contradicts_nothing(reply, letter):
    """Only the whole text of another choice does."""
    assert choice_of(reply, CHOICES).letter == letter


def test_a_choice_that_begins_as_an_adverb_does():
    """`Family` and `supply food` are no `clearly`."""
    for reply in ("The answer is family.", "The answer is family (b).", "The answer is clearly family."):
        assert letter_of(reply, ["friends", "family", "supply food"]) == "b"
    assert choice_of("The answer is supply food, which is option B.", ["a", "b", "supply food"]).contradicts


def test_words_that_deny_in_a_choice():
    """A choice's own words do not deny it; words before it do."""
    choices = ["gas", "not hungry", "unlikely"]
    for reply in ("The answer is (b) not hungry.", "(b) not hungry"):
        assert letter_of(reply, choices) == "b"
    for reply in ("The answer is not (b) not hungry.", "If it is cold, the answer is (b) not hungry."):
        assert letter_of(reply, choices) is None
    assert choice_of("The answer is (c) not hungry.", choices).contradicts


def test_one_text_inside_another():
    """The longest text that stands beside the letter counts."""
    choices = ["iron", "iron, and tin", "iron and steel", "12", "12.5"]
    for number, choice in enumerate(choices):
        letter = "abcde"[number]
        for reply in (
            f"{letter}) {choice}",
            f"The answer is ({letter}) {choice}.",
            choice,
            f"The answer is {choice}.",
        ):
            assert choice_of(reply, choices).letter == letter, reply
    assert choice_of("12. First, add", choices).letter is None


def test_without_choices_any_letter_may_be_one():
    """A review without requests does not know how many choices there were."""
    assert letter_of("F") == "f"
    assert letter_of("The answer is F.") == "f"


@given(st.text(), st.lists(st.text(min_size=1), max_size=5))
def test_any_reply_names_a_choice_or_none(reply, choices):
    """Whatever a teacher says, the letter is one of the choices' or none."""
    letter = letter_of(reply, choices)
    assert letter is None or letter in "abcdefghijklmnopqrstuvwxyz"[: len(choices) or 26]


@pytest.mark.slow
def test_a_long_reply_takes_linear_time():
    """A form's beginning, many times over, is read at once."""
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
        "tin\n",
        "tin (b) ",
        "B tin ",
        "is correct",
        " right",
        "I choose ",
        "B - ",
        "<answer>",
        "<answer>B",
        "{'answer': ",
        r"\boxed{",
        "option ",
        "Option B: ",
        "(b) is correct. ",
        "<think>",
        "x</think>",
        " is the best",
        "\nB. ",
        "C) tin\n",
    ):
        letter_of(unit * (200_000 // len(unit)), CHOICES)
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
        ("<think>A</think>\n\n**B**", 20), (r"So \boxed{\text{B}}", 16), ("<answer>(B)</answer>", 9),
        ('{"answer": "B"}', 12), ("I choose B.", 9),
        ("tin (b)", 5), ("It melts.\n\n(b) tin", 12), ("It melts.\n\n**B**", 13), ("B is correct.", 0),
    ],
)  # fmt: skip
def test_the_place_of_the_letter(reply, place):
    """A reply's letter is found where the choice is first named by it, not where it is an article."""
    assert choice_of(reply, CHOICES).place == place


@given(st.text(alphabet=st.sampled_from("aBb ().:\n*answer is")), st.lists(st.text(min_size=1), max_size=5))
def test_the_letter_stands_at_its_place(reply, choices):
    """What stands there is the letter that the reply names."""
    letter, place, _ = choice_of(reply, choices)
    assert letter is None or place < 0 or reply[place].lower() == letter


def test_more_choices_than_letters():
    """A choice named by its text has no letter where there are too few letters."""
    assert letter_of("The answer is 30.", [str(number) for number in range(40)]) is None
