"""What is said of a rationale: on which choice it concludes, whether it is whole, where it runs on."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.answers.conclusions import conclusion
from dataprep.answers.quality import STATUSES, reply_runaway_at, runaway_at, status_of, trim_runaway
from dataprep.answers.rationale import Teachers
from dataprep.answers.rationale_files import RationaleParser
from dataprep.datasets.source_rows import GoldRow
from tests import strategies as some
from tests.tables import table

CUE = "Let's think step by step."
METALS = ["wool", "tin", "a plant"]
BLOCK = "\n\nQ: Which melts?\nAnswer Choices:\n(a) wool\n(b) tin\n(c) a plant"
FIRST = "Tin melts. Thus, the answer is (b) tin"

# What rationales are made of, and what looks like another question.
PIECES = (
    "x", "Tin.", "What?", "\n", "\n", "\n", " ", "(a) y", "(b)", "a.", "24.", "# 1", "# 2", "# 14.", "#",
    "**", "> ", "Q:", "Question", "Question 2", "Options:", "Choices:", "Answer ", "Answer:",
    "the answer is (b).", "not ", "option (a) is correct", "it is a.", "?", ".", "!", "'", '"', "(", ")",
    "\t", "\u2028", "é", "if ", "nan",
)  # fmt: skip


def texts():
    """Rationales put together from such pieces and any characters."""
    piece = st.sampled_from(PIECES) | st.characters(codec="utf-8")
    return st.lists(piece, max_size=14).map(lambda found: "".join(found).strip())


def judged(head, more="", gold=1):
    """The row that `parse-rationales` makes of a string; the gold answer is (b), or none is known."""
    known = None if gold is None else [GoldRow(None, "Which melts?", METALS, gold)]
    return json.loads(RationaleParser(Teachers(), known)(head + BLOCK + more, "x_CoT_0.json", 1))


# Statuses


@table(
    ("status", "text"),
    [
        ("empty", ""),
        ("empty", " \n "),
        ("empty", "nan"),
        ("ok", "Wool burns. The answer is (b)."),
        ("ok", "So the answer is b"),
        ("ok", "Wool burns.\nAnswer: (b)"),
        ("ok", "Therefore, the answer is tin."),
        ("ok", "The correct answer is B."),
        ("ok", "The answer is \"tin\"."),
        ("ok", "Option (b) is correct."),
        ("ok", "Q stands for heat. The answer is (b)."),  # no question of its own
        ("ok", "Ask: Q: what melts? The answer is (b)."),  # not at the beginning of a line
        ("ok", "If the answer is (a), it burns.\nThe answer is (b)."),
        ("answer_mismatch", "Wool burns. The answer is (a)."),
        ("answer_mismatch", "The answer is wool."),
        ("answer_mismatch", "The answer is a."),
        ("answer_mismatch", "The answer is a plant."),  # the text of (c), not the letter a
        ("no_answer", "Wool burns and tin melts."),
        ("no_answer", "The answer is a metal."),  # neither the letter a nor a choice
        ("no_answer", "The answer is (a). The answer is (b)."),
        ("no_answer", "The answer is (z)."),
        ("no_answer", "It is not said that the answer is (b)."),
        ("truncated", "Wool burns and"),
        ("truncated", "Wool burns,"),
        ("truncated", "The answer is (b). And so on, since"),
        ("truncated", "Option (b"),
        ("truncated", "The answer is"),
        ("truncated", "Tin melts at 232"),
        ("truncated", "NaN"),
        ("runaway", "The answer is (b).\n\nQ: What burns?\nIt is wool."),
        ("runaway", "So it is.\nQuestion: What burns?"),
        ("runaway", "So it is.\n### Question 2: What burns"),
        ("runaway", "So it is.\n Q2. What burns?"),
        ("runaway", "Q: What burns?"),
    ],
)  # fmt: skip
def test_each_status_is_what_its_definition_says(status, text):
    """Every status, and texts that look like it and are not."""
    assert judged(FIRST, f" llama rationale: {CUE}\n{text}")["status"]["llama-2"] == status


@table(
    ("text", "statuses"),
    [
        ("The answer is (a). And so", ("answer_mismatch", "truncated")),
        ("The answer is (a).\n\nQ: What burns?\nThe answer is (b).", ("answer_mismatch", "runaway")),
        ("The answer is (b).\n\nQ: What burns?\nThe answer is (a).", ("runaway", "runaway")),
        ("The answer is (b). And so", ("truncated", "truncated")),
        ("Tin melts and\n\nQ: What burns", ("runaway", "runaway")),
        ("Tin melts and", ("truncated", "truncated")),
        ("The answer is (a).", ("answer_mismatch", "unjudged")),
    ],
)
def test_who_contradicts_the_gold_answer_is_called_so_before_all_else(text, statuses):
    """A wrong conclusion is no mere runaway or cut, which trimming would mend."""
    assert (status_of(text, METALS, 1)[0], status_of(text, METALS, None)[0]) == statuses


def test_a_conclusion_is_kept_whatever_the_status():
    """What a teacher concludes, before it runs on or is cut off, stands in the row."""
    for text in ("The answer is (a). And so", "The answer is (a).\n#\n# 14.\nWhich burns?\nAnswer: (c)"):
        row = judged(FIRST, f" llama rationale: {text}")
        assert row["teacher_answers"]["llama-2"] == {"label": "a", "text": "wool"}


def test_a_missing_value_is_kept_to_the_letter():
    """`nan` is what pandas writes where there was no text: empty, whichever teacher it stands for."""
    row = judged("nan Thus, the answer is (b) tin", " llama rationale: nan")
    assert row["status"] == {"flan-t5": "empty", "llama-2": "empty"}
    assert row["rationales"] == {"flan-t5": "nan", "llama-2": "nan"}


@table(
    ("status", "text", "sentence"),
    [
        ("ok", "Tin melts.", " Thus, the answer is (b) tin"),
        ("ok", "Tin melts.", " Thus, the answer is b"),
        ("answer_mismatch", "Tin melts.", " Thus, the answer is (a) wool"),
        ("answer_mismatch", "Tin melts and", " Thus, the answer is (a) wool"),
        ("no_answer", "Tin melts.", " Thus, the answer is (z) glass"),
        ("empty", "", "Thus, the answer is (b) tin"),
        ("runaway", "Tin melts.\nQ: Why?", " Thus, the answer is (b) tin"),
        ("truncated", "Tin melts and", " Thus, the answer is (b) tin"),
        ("truncated", "What melts is Martin", " Thus, the answer is (b) tin"),
        ("ok", "What melts is tin", " Thus, the answer is (b) tin"),
        ("ok", "To make it hot, you use wool, or Tin", " Thus, the answer is (b) tin"),
        ("ok", "In the garden there grows A  Plant", " Thus, the answer is (b) tin"),
    ],
)
def test_an_answer_sentence_is_the_first_teachers_conclusion(status, text, sentence):
    """The sentence says the answer, not that the text before it is whole: it follows a cut text as well."""
    row = judged(text + sentence)
    assert row["status"]["flan-t5"] == status
    assert row["answer"] == {"label": "b", "text": "tin"}


def test_a_letter_that_is_no_choice_is_no_answer():
    """A first teacher who names a choice that is not there has no answer, also where no gold one is known."""
    row = judged("Tin. Thus, the answer is (z) glass", gold=None)
    assert (row["status"], row["answer"]) == ({"flan-t5": "no_answer"}, None)
    assert row["teacher_answers"] == {"flan-t5": {"label": "z", "text": "glass"}}


def test_without_a_gold_answer_nothing_contradicts():
    """Where no gold answer is known, a conclusion is no mismatch."""
    assert status_of("The answer is (a).", METALS, None)[0] == "unjudged"
    assert status_of("The answer is (a).", METALS, 1)[0] == "answer_mismatch"


@pytest.mark.medium
@settings(max_examples=settings().max_examples * 3)
@given(st.lists(some.stripped_texts(5), min_size=1, max_size=5), texts())
def test_any_text_concludes_on_a_choice_or_none(choices, text):
    """Whatever the text, a conclusion is a choice that is there, and the status is one of those."""
    assert -1 <= conclusion(text, choices) < len(choices)
    status, place = status_of(text, choices, 0)
    assert status in STATUSES
    assert -1 <= place < len(choices)


# Cut off


@table(
    "text",
    [
        "Let'", "Steve's ears don'", "The word 'Jäger' and don'", "The word '", "so it means \"",
        'First "more", then "', "Tin melts.\n(d)", "Tin melts.\n10.", "Tin melts.\n 2)", "1.", "(d)",
        "Tin.\n**4.**", "Tin.\nOption (b)", "Answer: (b", "the answer is (b", "wool a), b)", "as he said”",
        "birds’", "he said 'so ", "Tin.\n#", "so _difference_", "**Tin** and **", "```\nx = 1\n```\n```",
        "Tin melts.\nQ", "the answer is",
    ],
)  # fmt: skip
def test_these_stop_in_mid_sentence(text):
    """A quote or bracket that nothing opened closes nothing, and a label alone begins what was not said."""
    assert status_of(text, METALS, None)[0] == "truncated"


@table(
    "text",
    [
        "Tin (a metal) melts (at 232 °C)", "f(g(x))", "a) wool (grey) b) tin (white)", "[tin]",
        "“Tin melts”", "it is ‘tin’", 'He said "tin"', "He said 'tin'", "Steve's word is 'tin'",
        'He said\n"tin\nmelts."', "So (tin.)", "**Tin melts.**", "so _tin_ melts._", "```\nx = 1\n```",
        r"so \strong{tin}", "«Tin»", "锡会熔化。", "Tin!", "Tin…", "the answer is b", "the answer is b)",
        "the answer is (b)", "the answer is **b**", "Answer:\nb", "Answer Key: b", "So the answer is\n(b)",
        "so the answer is (b) tin", "so the answer is tin",
    ],
)  # fmt: skip
def test_these_are_whole(text):
    """A text that ends as a sentence does, in what closes an open bracket or quote, or in its answer."""
    assert status_of(text, METALS, None)[0] in ("unjudged", "no_answer")


# Conclusions


@table(
    ("text", "place"),
    [
        ("The answer is (b).", 1),
        ("the answer is (B)", 1),
        ("Answer: b.", 1),
        ("Answer: (b)", 1),
        ("The correct option is 'c'.", 2),
        ("The best choice is [a].", 0),
        ("Answer is b\n", 1),
        ("So option (c) is correct.", 2),
        ("Answer a is the right one.", 0),
        ("the answer is tin", 1),
        ("the answer is Tin, of course", 1),
        ("the answer is a plant", 2),
        ("the answer is the tin.", 1),
        ("The answer is (b). Again, the answer is (b).", 1),
        ("So, (b) is the correct answer.", 1),
        ("(c) is right.", 2),
        ("the only answer that can be correct is (b).", 1),
        ("So, the only answer left is b.", 1),
        ("So, it is b.", 1),
        ("So it must be (b)", 1),
        ("It cannot be wool, so the answer is (b).", 1),
        ("The answer is (b), not (a).", 1),
        ("The answer is (b) because wool burns", 1),
        ('Therefore, the correct answer is "b"—tin.', 1),
        ("The answer is **b**.", 1),
        ("Answer:\nb\nRationale:", 1),
        ("**Answer:** b", 1),
        ("Answer Key: b", 1),
        ("Answer: tin", 1),
        ("Answer: (b) tin", 1),
        ("Answer: b) tin", 1),
        ("the answer is a tree", -1),
        ("the answer is a", 0),
        ("the answer is I think wool", -1),
        ("the answer is (d).", -1),
        ("the answer is (a) or (b).", -1),
        ("the answer is (a), (b), and (c).", -1),
        ("the answer is a, b and c.", -1),
        ("The answer is (a).\nNo, the answer is (b).", -1),
        ("If the answer is (a), it burns.", -1),
        ("If it melts, the answer is (b).", -1),
        ("the answer is not (a).", -1),
        ("I don't think the answer is (a).", -1),
        ("You might think that the answer is (a).", -1),
        ("the only option that can be eliminated is (a)", -1),
        ("Option (a) is incorrect.", -1),
        ("(a) is not the answer.", -1),
        ("Answer: (a) wool (b) tin (c) a plant", -1),
        ("Answer: a. wool burns\nb. tin melts\nc. a plant grows", -1),
        ("Answer: a) wool\n\nb) tin", -1),
        ("Tin is a metal, and it is a", -1),  # cut before its noun
        ("It is a. Tin melts.", -1),  # not at the end
        ("tin", -1),
        ("(b)", -1),
        ("", -1),
    ],
)
def test_a_conclusion_names_one_choice_or_none(text, place):
    """Letters in brackets or at an end and texts of choices count; suppositions, denials, lists do not."""
    assert conclusion(text, METALS) == place


def test_an_article_is_no_letter():
    """`the answer is a plant` names nothing where no choice is called so."""
    assert conclusion("the answer is a plant", ["wool", "tin"]) == -1
    assert conclusion("The answer is a plant.", ["wool", "tin"]) == -1


@table(
    "said",
    ["The answer is (b) tin.", "So the correct answer is (b) tin, as it melts.", "The answer is: (b)."],
)
def test_a_letter_with_its_text_is_a_conclusion(said):
    """The form that the prompts teach, letter and text together, names its choice."""
    assert conclusion(said, METALS) == 1


@table(
    ("said", "place"),
    [
        ("The answer is the tinfoil hat.", -1),
        ("The answer is the tin.", 1),
        ("If the answer is (b) tin, it would melt.", -1),
    ],
)
def test_only_a_whole_clause_names_a_choice(said, place):
    """A choice's text that is merely how a longer word begins is no answer, and a supposition is none."""
    assert conclusion(said, METALS) == place


def test_choices_that_differ_by_case_only_are_not_named_in_words():
    """Where two choices are the same words, words name neither and the letter does."""
    assert conclusion("The answer is Tin.", ["tin", "Tin"]) == -1
    assert conclusion("The answer is (b) Tin.", ["tin", "Tin"]) == 1


# Running on


@table(
    "question",
    [
        "### Question 2\n\nWhat is…", "# Question 16", "### Q2", "##### **Question 17**\nThe",
        "#  **Q 26**\nWh", "### Q", "Question\nWhat", "#14. The largest known…\nOptions:\n(a) China",
        "# 14.\nWhich of", "# 14", "#363. Which", "# 2.2", "# 25\n# How much do you know?",
        "# 1.\nWhich melts?\n(a) wool", "## 1. What melts?\n\n### a. wool", "#1) It is\nOptions:\na.",
        "Which melts?\nOptions:\n(a) wool", "24.\nWhich melts?\n\nOptions:\na. wool",
        "It is\nAnswer Choices:\n(a) wool", "Which melts?\n**Options:**\n(a) wool",
        "Which melts?\nOptions: (a) wool", "Which burns?\nOptions:",
    ],
)  # fmt: skip
def test_other_questions_are_seen_in_every_form(question):
    """Headings with a number or 'Question', and a line before `Options:`, begin another question."""
    text = f"Tin melts. So the answer is (b).\n#\n{question}"
    assert status_of(text, METALS, 1) == ("runaway", 1)
    assert trim_runaway(text) == "Tin melts. So the answer is (b)."
    assert (runaway_at(question) >= 0, trim_runaway(question)) == (True, "")


@table(
    "text",
    [
        "# 1. Look at the metals.\nTin melts.\n# 2. Look at wool.\nIt burns.\n# 3. So it is tin.",
        "### 1.\nTin.\n#### 1.1\nIt melts.\n#### 1.2\nAt 232 °C.\n### 2.\nWool.",
        "# 1. What melts?\nTin does.\n# 2. What burns?\nWool does.",
        "# 5 reasons\nTin melts.",
        "#tin #14th",
        "It is 5.\n14. Tin.",
        "So these are the options.\nOptions:\n(a) wool: it burns.",
        "Options:\n(a) wool: it burns.\n(b) tin: it melts.",
        "There are more options: (a) wool.",
        "Question 2 asks what melts.",
        "Options (a) and (b) are wrong.",
        "Q\nis the heat.",
    ],
)
def test_what_looks_like_another_question_and_is_none(text):
    """A teacher's own headings, counted from 1, its own list of the options, and words of prose go on."""
    assert runaway_at(text) == -1


@table(
    ("text", "kept"),
    [
        ("So it is.\n\nQ: What burns?\nIt is wool.", "So it is."),
        ("So it is.\n\n### Question 2: What burns?", "So it is."),
        ("So it is. \n###\n Q: What?", "So it is."),
        ("It is C#\n#\n \n##\nQ: What?", "It is C#"),
        ("So it is.\nWhich?\nOptions:\nQ: What?", "So it is."),
        ("So it is.\n14.\nQuestion:\nWhat?", "So it is."),
        ("So it is\n42\nQ: What?", "So it is\n42"),
        ("Q: What burns?", ""),
        ("So it is: Q: no.", "So it is: Q: no."),
        ("So it is.", "So it is."),
        ("", ""),
    ],
)
def test_trimming_cuts_where_the_next_question_begins(text, kept):
    """`--trim-runaway` keeps what precedes the other question, and touches no other rationale."""
    assert trim_runaway(text) == kept


@table(
    ("task", "text"),
    [
        ("math", "So 18.\n#### 18."), ("math", "#### 18.00"), ("math", "So.\n#### **18**"),
        ("math", "So.\n####18"),
        ("math", "So.\n#### 18\n\nHope this helps!"), ("math", "#### $1,600.\nThat is all."),
        ("math", "So.\n#### 18 dollars"),
        ("math", "So.\n#### 18 eggs.\nI hope that this helps."), ("math", "So.\n#### −5"),
        ("", "So.\n#### 18\nDone."),
        ("math", "So.\n#### 18\n\nThe answer is 18.\n#### 18"), ("math", "So.\n#### $\\boxed{18}$\nBye!"),
        ("math", "```python\n# 2\nx = 2\n```\n#### 2"), ("choice", "~~~\n# 14.\n~~~\nB"),
        ("choice", "```\nQ: list = []\n```\nB"),
        ("code", "```python\ndef f():\n    # 2\n    Q: list = []\n```"), ("code", "def f():\n# 2\n    x = 1"),
        ("code", "Q: list = []\nQ.append(1)"),
        ("code", "# 5.\n# Question: what?\nx = 1"), ("code", "import heapq\n# 14.\nQ = []"),
        ("choice", "Question: Which melts?\n\nTin does. (b)"), ("choice", "**Question:** Which  melts?\nB"),
        ("choice", "Q: What melts, then?\nTin."),
        ("choice", "Q: Which melts?\nA: B"), ("math", "**Question:** Which melts?\n**Answer:** 48"),
        ("choice", "Let me read it.\n### Question 2\nWhich melts?\nAnswer: b"),
        ("choice", "Question:\nWhich melts?\nOptions:\n(a) wool\n(b) tin\n\nB"),
        ("choice", "Which melts?\nOptions:\n(a) wool\n(b) tin\n\nAnswer: b"),
    ],
)  # fmt: skip
def test_a_reply_that_ends_in_its_answer_runs_nowhere(task, text):
    """A marked number, a program's comments and the question itself are no other question."""
    assert reply_runaway_at(text, "Which melts?", task) == -1


@table(
    ("task", "text", "kept"),
    [
        ("math", "So.\n#### 18\n\nQuestion: How many?\n#### 20", "So.\n#### 18"),
        ("math", "So.\n#### 18\nTom has 3.\n#### 3", "So.\n#### 18"),
        ("math", "So.\n#### 18\n\n# 14.\nHow many?", "So.\n#### 18"),
        ("code", "def f(): pass\n\nQuestion: Write g.", "def f(): pass"),
        ("code", "```\nx = 1\n```\nQuestion 2: Write g.", "```\nx = 1\n```"),
        ("choice", "B\n#### 14.\nWhich burns?", "B"),
        ("choice", "Question: Which melts?\nB\n\nQuestion: Which burns?\nA", "Question: Which melts?\nB"),
        ("choice", "Q: Which melts?\nB\nQ: Which burns?", "Q: Which melts?\nB"),
    ],
)
def test_a_reply_still_runs_on(task, text, kept):
    """After its answer, another question ends it, in every task."""
    assert text[: reply_runaway_at(text, "Which melts?", task)].rstrip() == kept


@settings(max_examples=settings().max_examples * 5)
@given(texts())
def test_trimming_keeps_a_beginning_that_runs_nowhere(text):
    """What is kept is a beginning of the text that runs on no more and ends in no white space."""
    kept = trim_runaway(text)
    assert text.startswith(kept)
    assert runaway_at(kept) == -1
    assert kept == kept.rstrip()
    assert (kept == text) == (runaway_at(text) < 0)


# Linear time

MEGABYTES, MOST_SECONDS = 4_000_000, 0.4  # a text of quadratic cost would take minutes
UNITS = [
    "\nAnswer Choices:\n(a) ", " rationale:", "llama rationale: ", " llama rationale: ",
    "\nllama rationale: ", "answer is (a)", "answer is (a). ", "The answer is (a).\n", "answer is ",
    "answer: (", "answer: a. x\nb. ", "option (a) is correct. ", "(a) is right. ", ") is ", " is (",
    "answer it is (a). ", "not the answer is (a), ", "Thus, the answer is", "Thus, the answer is (a) ",
    "Thus, the answer is a", "\n\nQ: ", "\nQ", "\nx Question", " Q:", "#", "\n#", "\n# 1", "\n# 1.1",
    "\n#1. x?\n", "\nx\nOptions:", "\nx\nOptions:\n", "x\nOptions:(a", ".\nOptions:\n(a)", "(", "'", '"',
    "**", " '", "w", " ", "\n", "a)", CUE,
]  # fmt: skip


def seconds(call):
    """The processor time of a call that may end in dataprep's own error: the best of six."""
    best = float("inf")
    for _ in range(6):  # another process on the same core makes one slower
        begin = time.process_time()
        some.result_or_error(call)
        best = min(best, time.process_time() - begin)
        if not MOST_SECONDS <= best < 3 * MOST_SECONDS:  # beyond that it is no busy machine
            break
    return best


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("place", ["first", "second", "choice"])
@table("unit", UNITS)
def test_adversarial_text_takes_a_second_for_ten_megabytes(place, unit):
    """Parts of the grammar, repeated wherever they may stand, cost linear time."""
    text = unit * (MEGABYTES // len(unit))
    text = {
        "first": text + BLOCK,
        "second": f"{FIRST}{BLOCK} llama rationale: {text}",
        "choice": f"{FIRST}{BLOCK} {text}",
    }[place]
    parser = RationaleParser(Teachers(), trim=True)
    assert seconds(lambda: parser(text, "x.json", 1)) < MOST_SECONDS


@pytest.mark.slow
@table("end", ["\n# 14.", "\nQ: x", '"', ")", "'", "*"])
@table("unit", ["\n#", "x\nOptions:\n", "\n", "\u2028#", "'x", '"x', "(x", "*"])
def test_trimming_and_ends_take_linear_time(unit, end):
    """Whatever precedes the place of a cut, or the last quote, is gone over once."""
    text = f"Tin{unit * (MEGABYTES // len(unit))}{end}"
    assert seconds(lambda: status_of(trim_runaway(text), METALS, 1, 1)) < MOST_SECONDS


def test_a_long_choice_and_many_answers_take_linear_time():
    """Each mention of an answer costs the same, however long the choices are that it could name."""
    half = 200_000
    text = f"{FIRST}{BLOCK}{'x' * half} llama rationale: {'answer is x ' * (half // 12)}."
    parser = RationaleParser(Teachers())
    assert seconds(lambda: parser(text, "x.json", 1)) < 1


def test_many_listed_teachers_take_linear_time():
    """Markers of several words are looked for at each mark, not all over the text."""
    names = ["t5", *(f"llama {number}=l{number}" for number in range(20))]
    text = f"{FIRST}{BLOCK} llama 3 rationale: {' llama 99 rationale: x' * (MEGABYTES // 22)}"
    parser = RationaleParser(Teachers.named(names))
    assert seconds(lambda: parser(text, "x.json", 1)) < MOST_SECONDS
