"""Metrics against their published definitions, and against plain ways to compute them."""

import collections
import json
import math
import re
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.answers.letters import letter_of
from dataprep.core.errors import DataprepError, RowError
from dataprep.core.records import LETTERS, Example
from dataprep.datasets.converters.squad import UNANSWERABLE
from dataprep.evaluate.metrics import extract
from dataprep.evaluate.metrics.extract import same_quantity
from dataprep.evaluate.metrics.programs import program_of, shown_tests
from dataprep.evaluate.metrics.references import (
    Reference,
    metric_of,
    reference_of_chat,
    reference_of_example,
    style_of,
)
from dataprep.evaluate.metrics.scores import (
    ACCURACY,
    EXACT,
    F1,
    FLEXIBLE,
    STRICT,
    VALUE,
    Row,
    Tally,
    bootstrap,
    exact_match,
    score,
    wilson,
)
from dataprep.evaluate.metrics.scores import f1 as word_f1
from tests.tables import table

TEXTS = st.text(max_size=60) | st.text("the an a. $#,1234567890-\n()ABCab", max_size=60)


def results(rows):
    """The figures of rows."""
    tally = Tally()
    for row in rows:
        tally.add(row)
    return tally.results()


def harness_number(reply, *, flexible):
    """The filters `strict-match` and `flexible-extract`: findall, one match, its first full group."""
    pattern = r"(-?[$0-9.,]{2,})|(-?[0-9]+)" if flexible else r"#### (\-?[0-9\.\,]+)"
    found = re.compile(pattern).findall(reply)
    if not found:
        return "[invalid]"
    chosen = found[-1 if flexible else 0]
    if isinstance(chosen, tuple):
        chosen = next(each for each in chosen if each)
    return chosen.strip()


def harness_match(prediction, reference):
    """The metric `exact_match` with the task's `regexes_to_ignore`, and case ignored."""
    for ignored in (",", r"\$", r"(?s).*#### ", r"\.$"):
        prediction, reference = re.sub(ignored, "", prediction), re.sub(ignored, "", reference)
    return prediction.lower() == reference.lower()


def official_normalise(text):
    """What SQuAD's script does to a text, a step at a time."""
    kept = "".join(each for each in text.lower() if each not in set(string.punctuation))
    return " ".join(re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", kept).split())


def official_scores(answer, golds):
    """Exact match and F1 by the steps of SQuAD's script: the best gold counts."""
    golds = [gold for gold in golds if official_normalise(gold)] or [""]
    exact, best = 0, 0.0
    for gold in golds:
        said, right = official_normalise(answer), official_normalise(gold)
        exact = max(exact, int(said == right))
        found, wanted = said.split(), right.split()
        common = sum((collections.Counter(wanted) & collections.Counter(found)).values())
        if not found or not wanted:
            each = int(found == wanted)
        elif not common:
            each = 0
        else:
            precision, recall = common / len(found), common / len(wanted)
            each = (2 * precision * recall) / (precision + recall)
        best = max(best, each)
    return exact, best


@table(
    ("reply", "strict", "flexible"),
    [
        ("So 3 + 4 = 7.\n#### 7", "7", "7"),
        ("#### 1,600", "1,600", "1,600"),
        ("#### $12", None, "$12"),
        ("#### -3\nand 8 more", "-3", "8"),
        ("####7", None, "7"),
        ("The answer is $1,600.50.", None, "$1,600.50."),
        ("none at all", None, None),
        ("", None, None),
        ("#### 5\n#### 6", "5", "6"),
    ],
)
def test_numbers_are_read_in_two_ways(reply, strict, flexible):
    """Strict reads after the mark only, flexible the last number."""
    assert (extract.strict_number(reply), extract.flexible_number(reply)) == (strict, flexible)


@given(TEXTS, st.sampled_from(["7", "1,600", "-3.", "$12", "0.5"]))
def test_gsm8k_is_what_the_evaluation_harness_computes(reply, gold):
    """On any text both ways of reading agree with the published filters and metric."""
    scores = score(reply, Reference("gsm8k", (gold,))).scores
    for name, flexible in ((STRICT, False), (FLEXIBLE, True)):
        assert scores[name] == harness_match(harness_number(reply, flexible=flexible), gold)


@table(
    ("reply", "gold", "right"),
    [
        ("So it costs $29.00", "29", True),
        ("The result is 16.0", "16", True),
        ("18 dollars", "18", True),
        ("x = 18kg", "18", True),
        ("#### 18 (= 2 * 9)", "18", True),
        ("The answer is **18** (9 × 2 = 18, as 20 - 2 = 18, not 16).", "18", True),
        ("#### 9 * 2 (= 18)", "18", True),
        (r"\boxed{\$9{,}500}", "9500", True),
        (r"Hence \(\boxed{x=\frac{7}{2}}\)", "3.5", True),
        ("The answer is −5", "-5", True),
        ("It fell by –5", "-5", True),
        ("-$5", "-5", True),
        ("pages 16-18", "18", True),
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("20 percent", "20", True),
        ("5000%", "50%", False),
        ("1/2", "0.5", True),
        ("2 1/2 hours", "2.5", True),
        ("1½", "1.5", True),
        (r"$\boxed{\dfrac{3}{4}}$", "0.75", True),
        ("2 dozen", "24", True),
        ("2 dozen", "2", True),
        ("$1.5 million", "1500000", True),
        ("50 cents", "0.50", True),
        ("1\u202f600", "1600", True),
        ("€1,234.50.", "1234.5", True),
        ("#### **18**", "18", True),
        ("####18", "18", True),
        ("#### 18\n\nHope this helps! Ask me 2 more.", "18", True),
        ("#### 5\n\nQuestion: another?\n#### 9", "5", True),
        ("Answer: 3 + 4 = 7 apples", "7", True),
        ("the answer is 60 dollars for 3 days", "60", True),
        ("Answer: In 3 days he earns $60.", "60", True),
        ("The answer is 18. That is 5 more.", "18", True),
        ("Final answer:\n\n18", "18", True),
        ("the 5th of 18 eggs", "18", True),
        ("17", "18", False),
        ("It is 1.80", "18", False),
        ("<think>#### 17</think>\n\n#### 18", "18", True),
        ("at 3:30", "30", None),
        ("5/0", "5", None),
        ("9" * 5000, "9", None),
        ("none", "1", None),
        ("", "1", None),
    ],
)
def test_a_number_is_compared_by_its_value(reply, gold, right):
    """Currency, units, notation and the place in the reply do not make a right answer wrong."""
    scored = score(reply, Reference("gsm8k", (gold,)))
    assert (scored.scores[VALUE], VALUE in scored.unread) == (float(bool(right)), right is None)


@given(TEXTS, st.sampled_from(["7", "1,600", "-3.", "$12", "0.5"]))
def test_the_value_is_right_wherever_the_text_is(reply, gold):
    """The third figure never counts less than the strict one, and fails for no text."""
    scores = score(reply, Reference("gsm8k", (gold,))).scores
    assert scores[VALUE] >= scores[STRICT]
    same_quantity(reply, reply)


@given(TEXTS, st.lists(TEXTS, max_size=4))
def test_squad_is_what_the_official_script_computes(answer, golds):
    """On any texts exact match and F1 are those of evaluate-v2.0.py."""
    exact, best = official_scores(answer, golds)
    assert exact_match(answer, golds) == exact
    assert word_f1(answer, golds) == pytest.approx(best, abs=1e-12)


@table(
    ("answer", "golds", "exact", "f1"),
    [
        ("The Cat!", ["cat"], 1, 1),
        ("a black cat", ["cat", "the black cat"], 1, 1),
        ("black cat", ["cat"], 0, 2 / 3),
        ("cat cat", ["cat"], 0, 2 / 3),
        ("", [], 1, 1),
        ("cat", [], 0, 0),
        ("the", [], 1, 1),
        ("", ["cat"], 0, 0),
        ("x", ["."], 0, 0),
    ],
)
def test_squad_by_hand(answer, golds, exact, f1):
    """Articles and punctuation do not count, the best gold does, and no answer is the empty one."""
    assert (exact_match(answer, golds), word_f1(answer, golds)) == (exact, pytest.approx(f1))


def test_a_sentence_for_no_answer_is_the_empty_answer():
    """A student that learned what `convert --unanswerable keep` writes is right where there is no answer."""
    right = score(UNANSWERABLE, Reference("squad"))
    assert (right.scores, right.extracted) == ({EXACT: 1.0, F1: 1.0}, "")
    assert score(UNANSWERABLE, Reference("squad", ("cat",))).scores == {EXACT: 0.0, F1: 0.0}


@table(
    ("reply", "letter"),
    [
        ("(b) sky", "b"),
        ("B", "b"),
        ("The answer is (c).", "c"),
        ("Grass is (a), but the sky is (b), I think.\n\n(b) sky", "b"),
        ("(a) grass\n(b) sky\n(c) sand", None),
        ("I cannot say.", None),
        ("", None),
        ("(z) moon", None),
        ("<think>The answer is (a).</think>\n\n(b) sky", "b"),
        ("sky", "b"),
    ],
)
def test_the_letter_of_a_reply(reply, letter):
    """A worked answer may speak of other choices before it ends with one; a list of choices names none."""
    assert letter_of(reply, ("grass", "sky", "sand")) == letter
    assert score(reply, Reference("choice", ("b",), ("grass", "sky", "sand"))).scores[ACCURACY] == (
        letter == "b"
    )


@table(
    ("reply", "style", "letter"),
    [
        ("sky", None, "b"),
        ("Sky.", None, "b"),
        ("sky", "text", "b"),
        ("B", "text", "c"),
        ("B", "letter", "b"),
        ("B", None, "b"),
        ("sky high", "text", None),
        ("<think>It is grass.</think>\n\nsky", "text", "b"),
    ],
)
def test_a_choice_can_be_named_by_its_text(reply, style, letter):
    """A student that was trained to say the text is read so, also if the text is a letter."""
    scored = score(reply, Reference("choice", ("b",), ("grass", "sky", "B")), style)
    assert (scored.extracted, scored.unread) == (letter, () if letter else (ACCURACY,))


@table(
    ("reply", "style"),
    [
        ("b", "letter"),
        ("(b)", "letter"),
        ("(b) sky", "both"),
        ("sky", "text"),
        ("Grass is green.\n\nsky", "text"),
        ("Grass is green.\n\n(b) sky", "both"),
        ("the sky", None),
        ("", None),
    ],
)
def test_the_style_of_an_answer(reply, style):
    """A prompt may be a text in a chat format; a prompt without choices has no style."""
    assert style_of("<|user|>Which?\n\n(a) grass\n(b) sky<|end|><|assistant|>", reply) == style
    assert style_of("Which?", reply) is None


def test_a_letter_with_another_choices_text_is_wrong_and_counted():
    """The letter alone would be right, and the text alone as well."""
    choices = ("grass", "sky", "sand")
    rows = []
    for reply in ("b) sand", "The answer is (c) sky.", "(b) sky", "who knows"):
        scored = score(reply, Reference("choice", ("b",), choices))
        assert scored.scores[ACCURACY] == (reply == "(b) sky")
        rows.append(Row(None, Reference("choice", ("b",), choices), scored))
    (result,) = results(rows)
    assert result.counts == {"unanswered": 1, "contradictions": 2}


@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=6, unique=True), st.data())
def test_a_gold_choice_as_convert_writes_it_is_read(choices, data):
    """What a perfect student says is right, whatever the choices are called."""
    texts = [text.strip().replace("\n", " ") or "x" for text in choices]
    place = data.draw(st.integers(0, len(texts) - 1))
    assert letter_of(f"({LETTERS[place]}) {texts[place]}", texts) == LETTERS[place]


@table(
    ("reply", "program"),
    [
        ("```python\ndef f():\n    return 1\n```", "def f():\n    return 1\n"),
        ("Here:\n```\nx = 1\n```\nand\n```python\ny = 2\n```", "x = 1\n"),
        ("```sh\nls\n```\n```py\nx = 1\n```", "x = 1\n"),
        ("def f(): return 1", "def f(): return 1"),
        ("```python\nx = 1", "x = 1"),
        ("```python\r\nx = 1\r\n```", "x = 1\n"),
        ("", ""),
    ],
)
def test_the_program_of_a_reply(reply, program):
    """A block of Python is run, also where its end was cut off; without one the whole reply is."""
    assert program_of(reply) == program


def test_tests_are_read_out_of_a_prompt():
    """A chat row of `convert mbpp` needs no second file: its prompt shows the tests."""
    prompt = "Add.\n\nYour code should pass these tests:\n```python\nassert f(1) == 2\nassert f(2) == 3\n```"
    assert shown_tests(prompt) == ("assert f(1) == 2\nassert f(2) == 3",)
    assert shown_tests("```python\nx = 1\n```") == ()
    assert shown_tests("no block") == ()


def chat(user, assistant, **fields):
    """The metric and gold of a chat row."""
    return reference_of_chat([{"role": "user", "content": user}], assistant, fields)


def test_a_chat_row_tells_its_metric_by_source_or_task_or_wording():
    """A merged file without sources can be evaluated as `convert` worded it."""
    choices = "Which?\n\n(a) grass\n(b) sky"
    assert chat("q", "w\n\n#### 7", source="gsm8k") == Reference("gsm8k", ("7",))
    assert chat("q", "w\n\n#### 7") == Reference("gsm8k", ("7",))
    assert chat(choices, "(b) sky") == Reference("choice", ("b",), ("grass", "sky"))
    assert chat(choices, "sky", source="commonsense_qa") == Reference("choice", ("b",), ("grass", "sky"))
    assert chat("Q", "cat", task="reading") == Reference("squad", ("cat",))
    assert chat("Q", UNANSWERABLE, source="squad") == Reference("squad")
    prompt = "Do.\n\nYour code should pass these tests:\n```python\nassert f()\n```"
    assert chat(prompt, "```python\n```") == Reference("mbpp", tests=("assert f()",))


@table(
    ("user", "assistant", "fields", "reason"),
    [
        ("Hello", "Hi", {}, "no metric"),
        ("q", "seven", {"source": "gsm8k"}, "no gold number"),
        ("q", "b", {"task": "choice"}, "no choices"),
        ("q\n(a) x\n(b) y", "neither", {"task": "choice"}, "no gold choice"),
        ("q", "code", {"source": "mbpp"}, "no tests"),
    ],
)
def test_a_chat_row_that_does_not_say_what_is_right_is_an_error(user, assistant, fields, reason):
    """No row is scored against a guess."""
    with pytest.raises(RowError, match=reason):
        chat(user, assistant, **fields)


def test_an_example_says_what_is_right():
    """Examples carry all accepted answers, letters, numbers and tests."""
    several = Example("q", "reading", source="squad", answer="cat", answers=("cat", "the cat, Tom"))
    assert reference_of_example(several) == Reference("squad", ("cat", "the cat, Tom"))
    assert reference_of_example(Example("q", "math", answer="7")) == Reference("gsm8k", ("7",))
    assert reference_of_example(Example("q", "code", tests=("assert f()",))) == Reference(
        "mbpp", tests=("assert f()",)
    )
    for bare in (Example("q", "code"), Example("q", "math"), Example("q", "poem"), Example("q", "choice")):
        with pytest.raises(RowError):
            reference_of_example(bare)


def test_every_converter_with_a_known_task_has_a_metric():
    """A new dataset can be evaluated as soon as it can be converted."""
    from dataprep.datasets import registry as converters

    assert all(metric_of(name, None) for name in converters.names())


def test_a_figure_that_could_not_read_the_replies_says_so():
    """A warning names the figure, the source and the number of replies; one that read some has none."""
    gold = Reference("choice", ("a",), ("x", "y"))
    rows = [Row("csqa", gold, score("who knows", gold))] * 9 + [Row("csqa", gold, score("(a)", gold))]
    (result,) = results(rows)
    assert result.warnings() == [
        "accuracy of csqa: no answer could be read from 9 of 10 replies, so the figure says little about the "
        "student; look at replies with `evaluate -o OUT`"
    ]
    assert results(rows[1:])[0].warnings() == []
    number = Reference("gsm8k", ("7",))
    (result,) = results([Row(None, number, score("It is 7.", number))])
    assert [warning.partition(" of ")[0] for warning in result.warnings()] == [STRICT]


@given(TEXTS, st.sampled_from(["gsm8k", "squad", "choice"]), st.lists(TEXTS, min_size=2, max_size=4))
def test_any_text_gets_a_score(reply, metric, texts):
    """No reply makes a metric fail, and every score lies between 0 and 1."""
    golds = {"gsm8k": ("7",), "squad": tuple(texts), "choice": ("a",)}
    found = score(reply, Reference(metric, golds[metric], tuple(texts)))
    assert all(0 <= value <= 1 for value in found.scores.values())
    program_of(reply)


@given(TEXTS, TEXTS, st.sampled_from([None, "gsm8k", "squad", "choice", "mbpp", "loss"]))
def test_any_chat_row_has_a_gold_or_an_error_of_ours(user, assistant, metric):
    """Whatever a row says, nothing but a DataprepError comes out."""
    try:
        gold = reference_of_chat([{"role": "user", "content": user}], assistant, {}, metric)
    except DataprepError:
        return
    assert metric in (None, gold.metric)


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_solves_its_equation(right, extra):
    """The ends of the interval are the shares from which the one found is 1.96 standard errors away."""
    rows = right + extra
    low, high = wilson(right, rows)
    assert 0 <= low <= right / rows <= high <= 1
    for end in {low, high} - {0.0, 1.0}:
        z = (right / rows - end) / math.sqrt(end * (1 - end) / rows)
        assert abs(z) == pytest.approx(1.959964, abs=1e-4)


def test_wilson_has_known_values():
    """The interval of 8 in 10, and of all and of none."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 10)[0] == 0.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_bootstrap_is_near_the_normal_interval_and_the_same_each_time():
    """On many values it is the mean and 1.96 standard errors; a seed gives the same figures."""
    values = np.random.default_rng(3).random(4000)
    error = values.std() / math.sqrt(len(values))
    low, high = bootstrap(values.tolist(), seed=1)
    assert (low, high) == bootstrap(values.tolist(), seed=1) != bootstrap(values.tolist(), seed=2)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    assert bootstrap([0.5]) == (0.5, 0.5)


def test_a_weighted_bootstrap_is_of_the_ratio_of_sums():
    """A loss is a mean over tokens, not over rows."""
    assert bootstrap([2.0, 20.0], [1.0, 10.0]) == pytest.approx((2.0, 2.0))


def test_results_are_by_source_and_of_all_together():
    """Two sets with one metric have a line each, and one of both; losses weigh by tokens."""
    gold = Reference("choice", ("a",), ("x", "y"))
    rows = [Row("csqa", gold, score(reply, gold)) for reply in ("(a)", "(b)", "who knows")]
    rows.append(Row("arc", gold, score("a", gold)))
    first, second, both = results(rows)
    assert [(each.source, each.rows) for each in (first, second, both)] == [
        ("csqa", 3),
        ("arc", 1),
        ("all", 4),
    ]
    assert [each.figures[0].value for each in (first, second, both)] == pytest.approx([1 / 3, 1, 0.5])
    assert first.counts == {"unanswered": 1}
    losses = [Row(None, Reference("loss"), loss=pair) for pair in ((3.0, 1), (1.0, 3))]
    (result,) = results(losses)
    assert [each.value for each in result.figures] == pytest.approx([1.0, math.e])
    assert json.loads(json.dumps(result.to_json()))["counts"] == {"tokens": 4}
