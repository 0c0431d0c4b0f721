"""Examples: their JSON, their ids, and the fields of raw rows."""

import copy
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import DataprepError, RowError
from dataprep.core.records import Example, describe, optional_text, text_of, texts_of
from tests import strategies as some


@given(some.examples())
def test_an_example_survives_its_json(example):
    """from_json gives back what to_json wrote, through real JSON."""
    written = json.loads(json.dumps(example.to_json()))
    assert Example.from_json(written) == example


@given(some.examples())
def test_json_holds_the_present_fields_only(example):
    """An absent field is left out of the JSON, and nothing in it is null or an empty list."""
    row = example.to_json()
    assert all(value is not None and value not in ([], {}) for value in row.values())
    for name in ("id", "source", "context", "solution", "answer"):
        assert (name in row) == (getattr(example, name) is not None)
    assert ("choices" in row, "tests" in row) == (bool(example.choices), bool(example.tests))


def test_the_answer_of_a_choice_has_label_and_text():
    """A multiple-choice answer is written with its letter; other answers are plain texts."""
    example = Example("Which?", "choice", choices=("iron", "tin"), answer="tin", answer_label="b")
    assert example.to_json()["answer"] == {"label": "b", "text": "tin"}
    assert replace(example, answer_label=None).to_json()["answer"] == "tin"


@given(some.json_objects(("question", "task", "answer", "choices", "tests", "rationales", "label", "text")))
def test_any_object_is_an_example_or_a_row_error(row):
    """No JSON object in an Example file ends in anything but an Example or dataprep's own error."""
    found = some.result_or_error(Example.from_json, row)
    assert str(found) if isinstance(found, DataprepError) else found.question


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "missing field 'question'"),
        ({"question": "q", "answer": 7}, "field 'answer' is not a string"),
        ({"question": "q", "answer": {"label": "a"}}, "missing field 'text'"),
        ({"question": "q", "choices": ["a", 1]}, "field 'choices' holds a non-string"),
        ({"question": "q", "tests": "assert"}, "field 'tests' is not a list"),
        ({"question": "q", "rationales": ["x"]}, "field 'rationales' is not an object of texts"),
        ({"question": "q", "rationales": {"llama": 1}}, "field 'rationales' is not an object of texts"),
    ],
)
def test_a_bad_example_says_why(row, reason):
    """A malformed Example row is named by the reason that rejects are counted under."""
    with pytest.raises(RowError) as caught:
        Example.from_json(row)
    assert caught.value.reason == reason


def test_a_teacher_that_a_table_shows_as_null_gave_no_rationale():
    """Parquet has every teacher's column in every row: null is an absent rationale, no malformed one."""
    row = {"question": "q", "rationales": {"llama": None, "gpt": "Because."}}
    assert Example.from_json(row).rationales == {"gpt": "Because."}


@pytest.mark.parametrize(
    ("answer", "label", "text"),
    [
        ("tin", "b", "tin"),
        (" tin ", "b", "tin"),
        ("b", "b", "tin"),
        ("(B)", "b", "tin"),
        ({"label": "B", "text": "tin"}, "b", "tin"),
    ],
)
def test_an_answer_among_choices_has_its_other_half(answer, label, text):
    """In the flat layout the answer is a text or a letter; an Example always has both."""
    row = {"id": 7, "question": "Which?", "choices": ["iron", "tin "], "answer": answer}
    example = Example.from_json(row)
    assert (example.answer_label, example.answer, example.id) == (label, text, "7")
    assert (example.task, example.choices) == ("choice", ("iron", "tin"))


def test_an_answer_that_is_spelled_as_a_letter_is_a_text_first():
    """Where the choices are themselves letters, the answer is the text, as it is for the converters."""
    row = {"question": "Which?", "choices": ["b", "a"], "answer": "a"}
    assert Example.from_json(row).answer_label == "b"


@pytest.mark.parametrize(
    "answer",
    ["zinc", "Z", "c", "2", {"label": "Z", "text": "tin"}, {"label": "a", "text": "tin"},
     {"label": "b", "text": "zinc"}, {"label": "ab", "text": "tin"}],
)  # fmt: skip
def test_an_answer_that_is_none_of_the_choices_is_a_row_error(answer):
    """Neither a label beyond the choices, nor a text that is none of them, nor two that differ, pass."""
    with pytest.raises(RowError, match=r"none of the choices: .*the choices are \(a\) iron \(b\) tin"):
        Example.from_json({"question": "Which?", "choices": ["iron", "tin"], "answer": answer})


# Ids


@given(some.examples())
def test_an_id_is_kept_and_made_only_once(example):
    """Identify leaves the dataset's id alone, and gives the same one again."""
    given = example.id
    made = example.identify()
    assert made == (given or made) == example.identify() == example.id


@given(some.examples())
def test_equal_examples_get_equal_ids(example):
    """An id depends on the content alone, not on the object or the order of work."""
    one, other = copy.deepcopy(replace(example, id=None)), replace(example, id=None)
    assert one.identify() == other.identify()
    prefix = re.escape(example.source or example.task)
    assert re.fullmatch(f"{prefix}-[0-9a-f]{{16}}", one.identify())


@pytest.mark.parametrize(
    "changes",
    [
        {"question": "Which one?"},
        {"context": "Metals."},
        {"choices": ("iron", "zinc")},
        {"choices": ()},
        {"answer": "iron"},
        {"answer_label": "a"},
        {"solution": "Try."},
        {"tests": ("assert True",)},
        {"source": "other"},
    ],
)
def test_another_content_gets_another_id(changes):
    """Two rows share an id only when they are the same row."""
    example = Example("Which?", "choice", source="own", choices=("iron", "tin"), answer="tin")
    assert replace(example, **changes).identify() != replace(example).identify()


@given(some.stripped_texts(), some.stripped_texts(), some.stripped_texts())
def test_moving_a_text_to_another_field_changes_the_id(question, first, second):
    """The fields are told apart in the hash: a context is no choice and no solution."""
    ids = {
        Example(question, "math", context=first, choices=(second,)).identify(),
        Example(question, "math", context=first, solution=second).identify(),
        Example(question, "math", context=first, answer=second).identify(),
        Example(question, "math", choices=(first, second)).identify(),
        Example(question, "math", choices=(first,), answer=second).identify(),
        Example(question, "math", solution=first, answer=second).identify(),
    }
    assert len(ids) == 6


# Fields of raw rows


@given(some.texts())
def test_texts_are_stripped_or_refused(text):
    """A field's text comes stripped; a blank one is an error, or absent where it is optional."""
    row = {"name": text}
    assert optional_text(row, "name") == (text.strip() or None)
    if text.strip():
        assert text_of(row, "name") == text.strip()
    else:
        with pytest.raises(RowError, match="field 'name' is empty"):
            text_of(row, "name")


@given(some.json_values().filter(lambda value: not isinstance(value, str)))
def test_only_strings_are_texts(value):
    """A value of another type is never turned into a text."""
    with pytest.raises(RowError, match="field 'name' is not a string"):
        text_of({"name": value}, "name")
    if value is None:
        assert optional_text({"name": value}, "name") is None
    else:
        with pytest.raises(RowError, match="field 'name' is not a string"):
            optional_text({"name": value}, "name")


@given(some.json_values())
def test_only_lists_of_strings_are_texts(value):
    """A list of texts is taken as it is, null for none, and anything else is refused."""
    if value is None:
        assert texts_of({"name": value}, "name") == texts_of({}, "name") == ()
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        assert texts_of({"name": value}, "name") == tuple(value)
    else:
        with pytest.raises(RowError, match="field 'name'"):
            texts_of({"name": value}, "name")


def test_a_missing_field_is_answered_with_the_fields_there_are():
    """The error about a missing field shows what the row has instead."""
    with pytest.raises(RowError, match="missing field 'question': the row's fields are 'query', 'answer'"):
        text_of({"query": "?", "answer": "!"}, "question")
    with pytest.raises(RowError, match="the row's fields are none"):
        text_of({}, "question")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "a boolean True"),
        (7, "a number 7"),
        (0.5, "a number 0.5"),
        ("x", "the string 'x'"),
        ([1], "a list [1]"),
        ({"a": 1}, "an object {'a': 1}"),
    ],
)
def test_values_are_described_by_their_json_type(value, shown):
    """Error messages speak of JSON's types, and show what was found."""
    assert describe(value) == shown


@given(some.json_values(), st.integers(5, 80))
def test_descriptions_are_short(value, limit):
    """A long value does not fill the screen."""
    assert len(describe(value, limit)) <= limit + len("the string ")


@pytest.mark.parametrize("depth", [100, 1000])
def test_a_deep_value_can_be_described(depth):
    """A value nested deeper than Python's own stack goes into an error message all the same."""
    value = []
    for _ in range(depth):
        value = [value]
    assert describe(value).startswith("a list")
