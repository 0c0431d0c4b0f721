"""Values of another JSON type with the same meaning, in the fields of every converter."""

import json

import pytest

import dataprep
from dataprep.core import io as files
from dataprep.core.errors import DataprepError, RowDropped, RowError
from dataprep.core.records import Example, from_cell, is_true, number_text, whole_of
from dataprep.datasets import registry as converters
from tests import strategies as some
from tests.tables import table

CHOICES = {"label": ["A", "B"], "text": ["wool", "tin"]}
CHOICE_SETS = ("arc", "commonsense_qa", "openbookqa", "riddlesense")
SOUND = {
    **{name: {"id": "7", "question": "Which?", "choices": CHOICES, "answerKey": "B"} for name in CHOICE_SETS},
    "piqa": {"id": "7", "goal": "To melt tin,", "sol1": "20", "sol2": "heat it", "label": 1},
    "pubmedqa": {"pubid": "7", "QUESTION": "Is it?", "CONTEXTS": ["We saw."], "final_decision": "no"},
    "bioasq": {"id": "7", "type": "yesno", "body": "Is it?", "snippets": [{"text": "We saw."}],
               "exact_answer": "no", "ideal_answer": ["It is not."]},
    "aqua_rat": {"id": "7", "question": "1+1?", "options": ["A)1", "B)2"], "correct": "B"},
    "gsm8k": {"question": "1+1?", "answer": "1+1=2\n#### 2"},
    "mbpp": {"text": "Add.", "code": "def f(n):\n    return n", "task_id": 600, "test_setup_code": "",
             "test_list": ["assert f(1) == 1"]},
    "squad": {"id": "7", "context": "It was in 1872.", "question": "When?",
              "answers": {"text": ["1872"], "answer_start": [10]}, "is_impossible": False},
    "qa": {"id": "7", "question": "How many?", "choices": ["2", "4"], "answer": "4", "context": "20",
           "solution": "4"},
}  # fmt: skip
SNIPPETS = [{"text": "We saw."}]
CELL = '{"A": "wool", "B": "tin"}'
# Fields, and other ways to write the value that `SOUND` has in them.
SAME = [
    *((name, "answerKey", ("b", " B ", "(B)", "'B'", "2", "2.0", 1, 1.0, "tin")) for name in CHOICE_SETS),
    *((name, "id", (7, 7.0)) for name in ("arc", "piqa", "bioasq", "aqua_rat", "squad", "qa")),
    ("arc", "choices", (json.dumps(CHOICES), str(CHOICES), {"A": "wool", "B": "tin"}, CELL)),
    ("arc", "choices", ({"A": "wool", "B": "tin", "C": None, "D": None},)),
    ("piqa", "label", ("1", " 1 ", 1.0, "1.0")),
    ("piqa", "sol1", (20, 20.0)),
    ("pubmedqa", "pubid", (7, 7.0)),
    ("pubmedqa", "CONTEXTS", ('["We saw."]', "['We saw.']")),
    ("pubmedqa", "final_decision", ("No", " NO. ", False, "false")),
    ("pubmedqa", "choices", (None, "", [], ["yes", "no", "maybe"], '["yes", "no", "maybe"]')),
    ("bioasq", "type", ("YesNo", " yesno ")),
    ("bioasq", "exact_answer", (["no"], "No.", False, "false", [False], '["no"]', "['no']")),
    ("bioasq", "snippets", (json.dumps(SNIPPETS), str(SNIPPETS), ["We saw."], "We saw.")),
    ("bioasq", "ideal_answer", ("It is not.", '["It is not."]')),
    ("bioasq", "choices", (None, "", [], ["yes", "no"])),
    ("aqua_rat", "options", ('["A)1", "B)2"]', "['A)1', 'B)2']", {"A": "1", "B": 2})),
    ("aqua_rat", "options", ({"label": ["A", "B"], "text": [1, 2.0]},)),
    ("aqua_rat", "correct", (" b ", "(B)", "B)")),
    ("aqua_rat", "rationale", (None, "", " ")),
    ("gsm8k", "answer", (" 1+1=2\r\n#### 2 ",)),
    ("mbpp", "task_id", (600.0, "600", "600.0", " 600 ")),
    ("mbpp", "test_setup_code", (None,)),
    ("mbpp", "test_list", ('["assert f(1) == 1"]', "['assert f(1) == 1']")),
    ("mbpp", "test_imports", (None, "", [], "[]")),
    ("squad", "answers", ([{"text": "1872"}], ["1872"], '{"text": ["1872"]}', "{'text': ['1872']}")),
    ("squad", "answers", ({"text": '["1872"]'}, '[{"text": "1872", "answer_start": 10}]')),
    ("squad", "is_impossible", (None, 0, 0.0, "0", "false", "False", "")),
    ("qa", "answer", (4, 4.0, "4.0", " 4 ", "(4)", [4], ["4", 4.0], {"label": "b", "text": "4"})),
    ("qa", "choices", ([2, 4], [2.0, 4.0], "[2, 4]", {"A": 2, "B": 4})),
    ("qa", "choices", ({"label": ["A", "B"], "text": ["2", "4"]},)),
    ("qa", "context", (20, 20.0)),
    ("qa", "solution", (4, 4.0)),
]
HIDDEN = {**dict.fromkeys(CHOICE_SETS, "answerKey"), "piqa": "label", "pubmedqa": "final_decision",
          "bioasq": "exact_answer", "aqua_rat": "correct", "qa": "answer"}  # fmt: skip


def test_every_converter_has_its_rows_here():
    """A new converter comes with the other ways to write its fields."""
    assert set(SOUND) == set(converters.names()) == {name for name, *_ in SAME}


def test_the_same_meaning_gives_the_same_example():
    """Numbers, texts, lists as text, words for truth and nulls are read as what they mean."""
    faults = []
    for name, field, values in SAME:
        module = converters.load(name)
        expected = module.convert(SOUND[name])
        for value in values:
            found = some.result_or_error(module.convert, SOUND[name] | {field: value})
            if found != expected:
                faults.append(f"{name}.{field} = {value!r}: {found}")
    assert not faults, "\n".join(faults)


def test_a_hidden_label_is_none_in_every_shape():
    """-1 in any notation, null or blank: the row is dropped, or kept without an answer."""
    faults = []
    for name, field in HIDDEN.items():
        module = converters.load(name)
        for value in (-1, -1.0, "-1", "-1.0", None, ""):
            row = SOUND[name] | {field: value}
            dropped = some.result_or_error(module.convert, row)
            kept = some.result_or_error(module.convert, row, unlabelled="keep")
            if (
                not isinstance(dropped, RowDropped)
                or not isinstance(kept, Example)
                or kept.answer is not None
            ):
                faults.append(f"{name}.{field} = {value!r}: {dropped}, {kept}")
    assert not faults, "\n".join(faults)


def test_minus_one_is_an_answer_where_it_is_a_choice():
    """A choice that is the number -1 can be right; an open question can have it as its answer."""
    row = {"question": "Which?", "choices": ["1", "-1"], "answer": -1}
    assert converters.load("arc").convert(row).answer_label == "b"
    assert converters.load("qa").convert(row).answer_label == "b"
    assert converters.load("qa").convert({"question": "0 - 1?", "answer": -1}).answer == "-1"


def test_a_number_in_a_table_is_not_another_choice():
    """Where choices are numbers, 2.0 is the choice 2 and not the second one."""
    row = {"question": "Which?", "choices": ["1", "3", "2"]}
    for answer in ("2.0", 2.0, "2", "(2)"):
        found = some.result_or_error(
            converters.load("qa").convert, row | {"answer": answer}, answers_from=None
        )
        assert found.answer == "2", answer
    assert converters.load("arc").convert(row | {"answer": "2.0"}).answer == "2"


@table(
    ("name", "choices", "expected"),
    [
        ("bioasq", None, None),
        ("pubmedqa", None, None),
        ("arc", ["True", "False"], None),
        ("arc", ["False", "True"], "True"),
        ("arc", ["no", "yes"], "yes"),
    ],
)
def test_one_that_can_be_true_or_an_index(name, choices, expected):
    """1 is "yes" as a truth and "no" as an index: an error where the two differ."""
    row = SOUND[name] | {HIDDEN[name]: 1} | ({"choices": choices} if choices else {})
    found = some.result_or_error(converters.load(name).convert, row)
    if expected:
        assert found.answer == expected
    else:
        assert isinstance(found, RowError)
        assert found.reason == "the answer names two choices"


def test_null_lists_have_no_answers():
    """Tables have null for SQuAD's empty lists: such a question has no answer."""
    for answers in (None, {"text": None, "answer_start": None}, {"text": [], "answer_start": []}, "", []):
        with pytest.raises(RowDropped, match="unanswerable"):
            converters.load("squad").convert(SOUND["squad"] | {"answers": answers})
    for impossible in (True, 1, 1.0, "true", "True", "1"):
        with pytest.raises(RowDropped, match="unanswerable"):
            converters.load("squad").convert(SOUND["squad"] | {"is_impossible": impossible})
    with pytest.raises(RowError, match="neither true nor false"):
        converters.load("squad").convert(SOUND["squad"] | {"is_impossible": "perhaps"})


def test_a_table_of_two_layouts_has_nulls_for_the_other_one(tmp_path):
    """Parquet fills the columns of the other layout with null, and each row is read in its own."""
    official = {"goal": "To melt tin,", "sol1": "chill it", "sol2": "heat it", "label": 1}
    flat = {"question": "Which?", "choices": ["a", "b"], "answer": "b"}
    mixed = [official | dict.fromkeys(flat), flat | dict.fromkeys(official)]
    files.write_rows(mixed, str(tmp_path / "t.parquet"))
    rows = dataprep.convert("piqa", tmp_path / "t.parquet", to="example")
    assert [row["answer"]["text"] for row in rows] == ["heat it", "b"]
    both = [
        {"text": "Add.", "prompt": None, "code": "x = 1", "task_id": 1.0},
        {"text": None, "prompt": "Add.", "code": "x = 1", "task_id": 2.0},
    ]
    files.write_rows(both, str(tmp_path / "m.parquet"))
    rows = list(dataprep.convert("mbpp", tmp_path / "m.parquet", with_id=True))
    assert [row["id"] for row in rows] == ["mbpp-1", "mbpp-2"]


def test_rows_of_pandas_are_read():
    """Rows given by a program can hold numpy's arrays and numbers, and a missing value that is no JSON."""
    import numpy as np

    class NAType:  # the type of `pandas.NA`
        pass

    row = {
        "id": np.int64(7),
        "question": "Which?",
        "choices": {
            "label": np.array(["A", "B"], dtype=object),
            "text": np.array(["wool", "tin"], dtype=object),
        },
        "answerKey": "B",
        "more": NAType(),
    }
    (found,) = dataprep.convert("arc", [row, row | {"answerKey": NAType()}], to="example")
    assert (found["id"], found["choices"], found["answer"]["text"]) == ("7", ["wool", "tin"], "tin")


def test_truth_is_an_answer_of_yes_and_no():
    """True names the choice `yes` or `true`; a row without such a choice is an error."""
    for texts in (["no", "yes"], ["False", "True"], ["No", "Yes", "Maybe"]):
        row = {"question": "Is it?", "choices": texts}
        for answer in (True, "true", "yes", "TRUE"):
            assert converters.load("arc").convert(row | {"answer": answer}).answer_label == "b"
            assert converters.load("qa").convert(row | {"answer": answer}).answer_label == "b"
    with pytest.raises(RowError, match="none of the choices"):
        converters.load("arc").convert({"question": "Is it?", "choices": ["wool", "tin"], "answer": True})


def test_the_readers_of_values():
    """Each helper reads what means the same, and nothing else."""
    assert [whole_of(value) for value in (7, 7.0, "7", " 7.0 ", "-1.", "+3")] == [7, 7, 7, 7, -1, 3]
    nothing = (None, True, 7.5, "7.5", "", "x", "1e3", "٧", [7], 1e300, float("inf"), "9" * 30)
    assert [whole_of(value) for value in nothing] == [None] * len(nothing)
    assert [number_text(value) for value in (7, 7.0, 0.5, -1.0, 1e300)] == ["7", "7", "0.5", "-1", "1e+300"]
    assert from_cell('["a", 1]') == from_cell(" ['a', 1]") == ["a", 1]
    texts = ("[x]", "{1, 2}", "[" * 100_000, "3", '"a"', "(1, 2)", "[1] + [2]", "['\\d']x")
    assert [from_cell(text) for text in texts] == list(texts)
    assert from_cell(r"['\d']") == [r"\d"]
    assert [is_true({"x": value}, "x") for value in (True, "yes", 1, "1.0", None, "no", 0)] == [True] * 4 + [
        False
    ] * 3


def test_answers_that_are_sets_or_lists_in_a_text_stay_texts():
    """An answer such as `[1, 2]` or `{1, 2}` is a text: only a field of choices is read as a list."""
    for text in ("[1, 2]", "{1, 2}", '["a", "b"]', '{"label": "a"}'):
        row = {"id": "x", "question": "Which set?", "task": "qa", "answer": text}
        assert Example.from_json(row).answer == text
        assert converters.load("qa").convert(row).answer == text


def test_values_in_an_example_are_read_alike():
    """Examples in a table have ids as numbers, lists and objects in cells, and nulls for what they lack."""
    cells = {
        "id": 7.0,
        "question": "Which?",
        "choices": '["wool", "tin"]',
        "answer": '{"label": "b", "text": "tin"}',
    }
    example = Example.from_json(cells | {"tests": "", "answers": None, "rationales": '{"t": "Tin."}'})
    assert (example.id, example.choices, example.answer_label) == ("7", ("wool", "tin"), "b")
    assert (example.tests, example.answers, example.rationales) == ((), (), {"t": "Tin."})
    empty = {"question": "Which?", "choices": ["a", "b"], "answer": {"label": None, "text": None}}
    assert Example.from_json(empty).answer is None


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json", ".jsonl"])
def test_a_table_written_by_pandas_gives_the_same_rows(tmp_path, suffix):
    """Whole numbers that became floats, lists in cells and hidden labels are the same in every format."""
    rows = [
        {"id": "1.0", "question": "Which?", "choices": "['wool', 'tin']", "answer": "1.0"},
        {"id": "2.0", "question": "Which?", "choices": "['wool', 'tin']", "answer": "-1"},
    ]
    if suffix != ".csv":
        rows = [row | {"answer": float(row["answer"]), "choices": ["wool", "tin"]} for row in rows]
        rows = [row | {"id": float(row["id"])} for row in rows]
    files.write_rows(rows, str(tmp_path / f"t{suffix}"))
    options = {"answers_from": 0, "unlabelled": "keep"}
    found = list(dataprep.convert("qa", tmp_path / f"t{suffix}", to="example", options=options))
    assert [row.get("answer") for row in found] == [{"label": "b", "text": "tin"}, None]
    if suffix != ".csv":  # a text is kept as an id
        assert [row["id"] for row in found] == ["1", "2"]


def test_an_error_about_a_value_is_no_traceback():
    """Every field of every converter takes any JSON value, or names it in an error."""
    values = (
        None,
        True,
        0,
        -1,
        2.0,
        1e300,
        "",
        " ",
        "2",
        "[",
        "{}",
        [],
        [None],
        [[]],
        {},
        {"text": 1},
        {"a": [1]},
    )
    for name, row in SOUND.items():
        module = converters.load(name)
        for field in row:
            for value in values:
                found = some.result_or_error(module.convert, row | {field: value})
                assert isinstance(found, Example | DataprepError), (name, field, value)
