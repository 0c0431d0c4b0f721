"""Choices in another order: reproducible, with the gold label behind its choice, and letters never wrong."""

import json
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataprep
from dataprep.core.errors import RowError, UsageError
from dataprep.core.records import Example
from dataprep.datasets.choice_order import LAST, LEFT, SHUFFLED, label_of, one_label, shuffle_choices
from tests.helpers import read_jsonl, run_here, write_jsonl

ROWS = [
    {"id": f"q{n}", "question": f"Q{n}?", "choices": [f"w{n}", f"x{n}", f"y{n}", f"z{n}"], "answer": "a"}
    for n in range(60)
]


def example(choices, label="a", **fields):
    """Return an Example with the right answer under a letter."""
    answer = choices[string.ascii_lowercase.index(label)]
    return Example(
        "Which?", "choice", id="1", choices=tuple(choices), answer=answer, answer_label=label, **fields
    )


def test_the_order_is_that_of_the_published_code(tmp_path):
    """Source rows, and Examples that were made before, have the order that the docs' plain Python gives."""
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    run_here(["convert", "qa", "rows.jsonl", "--to", "example", "-o", "plain.jsonl"], cwd=tmp_path)
    flags = ["--shuffle-choices", "--seed", "7", "--to", "example"]
    run_here(["convert", "qa", "rows.jsonl", *flags, "-o", "shuffled.jsonl", "--workers", "2"], cwd=tmp_path)
    run_here(["convert", "examples", "plain.jsonl", *flags, "-o", "adopted.jsonl"], cwd=tmp_path)
    found = read_jsonl(tmp_path / "shuffled.jsonl")
    assert read_jsonl(tmp_path / "adopted.jsonl") == found
    for row, source in zip(found, ROWS, strict=True):
        order = list(range(4))
        random.Random(f"7:{source['id']}").shuffle(order)
        assert row["choices"] == [source["choices"][place] for place in order]
        assert row["answer"] == {"label": "abcd"[order.index(0)], "text": source["choices"][0]}
    assert {row["answer"]["label"] for row in found} == set("abcd")
    chat = next(iter(dataprep.convert("qa", path, shuffle_choices=True, seed=7)))["messages"]
    label = found[0]["answer"]["label"]
    assert chat[-1]["content"] == f"({label}) w0"
    assert f"({label}) w0" in chat[-2]["content"]


@pytest.mark.parametrize(
    ("choices", "done"),
    [
        (["w", "x", "y", "All of the above"], LAST),
        (["w", "x", "none of these"], LAST),
        (["w", "x", "y", "None"], LAST),
        (["w", "x", "both of the above", "none of the above."], LAST),
        (["all of the above", "x", "y"], LEFT),
        (["w", "x", "both A and B"], LEFT),
        (["w", "x", "(a) or (b)"], LEFT),
        (["w", "x", "A only"], LEFT),
        (["w", "x", "Neither A nor B"], LEFT),
        (["w", "x", "both a and b"], LEFT),
        (["w", "x", "choices b, c"], LEFT),
        (["a dog and a cat", "both sides", "none left", "all day"], SHUFFLED),
        (["I and II", "II only", "a", "b"], SHUFFLED),
    ],
)
def test_choices_that_mean_other_choices(choices, done):
    """`all of the above` stays last; a row stays as it is if a choice names another by its letter."""
    orders = set()
    for seed in range(12):
        row = example(choices, "b")
        assert shuffle_choices(row, seed) == done
        assert row.choices[string.ascii_lowercase.index(row.answer_label)] == row.answer == choices[1]
        assert sorted(row.choices) == sorted(choices)
        orders.add(row.choices)
        if done == LAST:
            assert row.choices[-1] == choices[-1]
    assert (len(orders) > 1) is (done != LEFT)


@pytest.mark.parametrize(
    ("solution", "ends"),
    [
        ("2 + 2 = 4\nAnswer: {}", True),
        ("So the answer is ({}).", True),
        ("CORRECT OPTION: {}", True),
        ("Not B, since it is odd.\nAnswer: {}", False),
        ("4\n{}", False),
        ("A car and a bus take 4 hours.", True),
    ],
)
def test_letters_in_solutions_follow_or_the_row_stays(solution, ends):
    """A solution never names the letter of another choice."""
    for seed in range(8):
        row = example(["4", "5", "6"], "a", solution=solution.format("A"))
        done = shuffle_choices(row, seed)
        assert (done == SHUFFLED) is ends
        assert row.solution == solution.format(row.answer_label.upper())


def test_rationales_are_refused(tmp_path):
    """Teachers' answers name letters, so choices are shuffled before teachers are asked."""
    with pytest.raises(RowError, match="before teachers are asked"):
        shuffle_choices(example(["w", "x"], rationales={"t": "It is (a)."}), 1)
    with pytest.raises(UsageError, match="before teachers are asked"):
        dataprep.Plan("rationales", teacher="t", shuffle_choices=True)
    row = {
        **ROWS[0],
        "source": "qa",
        "task": "choice",
        "teacher_answers": {"t": {"label": "a", "text": "w0"}},
    }
    write_jsonl(tmp_path / "rows.jsonl", [row])
    ran = run_here(["convert", "examples", "rows.jsonl", "--shuffle-choices"], cwd=tmp_path)
    assert (ran.code, "choices with rationales" in ran.err) == (1, True)
    with pytest.raises(UsageError, match="gsm8k have no choices"):
        dataprep.Plan("gsm8k", shuffle_choices=True)


@given(st.lists(st.text(max_size=12), min_size=2, max_size=8), st.integers(), st.data())
def test_the_answer_follows_its_choice(choices, seed, data):
    """For any texts, also equal ones, the label is that of the same choice."""
    label = data.draw(st.sampled_from(string.ascii_lowercase[: len(choices)]))
    row = example(choices, label)
    shuffle_choices(row, seed)
    assert row.choices[string.ascii_lowercase.index(row.answer_label)] == row.answer
    assert sorted(row.choices) == sorted(choices)


def test_one_gold_label_is_a_warning(tmp_path):
    """`convert` and `stats` warn of a file whose right answer is always one letter; shuffling mends it."""
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    ran = run_here(["convert", "qa", "rows.jsonl", "-o", "a.jsonl"], cwd=tmp_path)
    assert "warning: the right answer of all 60 multiple-choice rows is (a); a student learns" in ran.err
    ran = run_here(["stats", "a.jsonl"], cwd=tmp_path)
    assert "warning: the right answer of all 60" in ran.out.decode().replace("\n", " ")
    ran = run_here(
        ["convert", "qa", "rows.jsonl", "-o", "b.jsonl", "--shuffle-choices", "--json"], cwd=tmp_path
    )
    (step,) = json.loads(ran.err)["outputs"]
    assert step["choices"] == {"shuffled": 60}
    assert sum(step["labels"].values()) == 60
    assert "warning" not in run_here(["stats", "b.jsonl"], cwd=tmp_path).out.decode()
    write_jsonl(tmp_path / "few.jsonl", ROWS[:19])
    assert "warning" not in run_here(["convert", "qa", "few.jsonl", "-o", "c.jsonl"], cwd=tmp_path).err
    assert one_label({"a": 30}, rows=100) == ""


@pytest.mark.parametrize(
    ("said", "label"),
    [("(c) tin", "c"), ("B", "b"), ("because\n(a) w", "a"), ("tin", None), ("(c)tin", None), ("18", None)],
)
def test_the_label_of_a_chat_row(said, label):
    """The letter is read from the last line of the answer, if the question has lettered choices."""
    row = {
        "messages": [
            {"role": "user", "content": "Q?\n\n(a) w\n(b) x"},
            {"role": "assistant", "content": said},
        ]
    }
    assert label_of(row) == label
    row["messages"][0]["content"] = "Solve for x."
    assert label_of(row) is None
