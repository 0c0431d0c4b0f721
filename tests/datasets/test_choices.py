"""Choices and gold answers in all the shapes that sets are published in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import DataprepError, RowDropped, RowError
from dataprep.datasets.converters.choices import (
    choice_example,
    choices_of,
    gold_of,
    id_of,
    place_of,
    question_and_choices,
)
from tests import strategies as some

LETTERS = "abcdefghijklmnopqrstuvwxyz"
METALS = ["tin", "iron", "zinc", "lead"]


# place_of


@pytest.mark.parametrize(
    ("answer", "labels", "place"),
    [
        (0, "", 0),
        (3, "", 3),
        ("1", "", 0),
        ("4", "", 3),
        ("a", "", 0),
        ("d", "", 3),
        ("C", "", 2),
        ("(b)", "", 1),
        ("(B).", "", 1),
        (" b ", "", 1),
        ("zinc", "", 2),
        ("  zinc\n", "", 2),
        ("3", "1234", 2),
        ("C", "1234", 2),
        ("2", "ABCD", 1),
        ("b", "ABCD", 1),
        ("Q", "PQRS", 1),
        ("q", "PQRS", 1),
        ("(q)", "PQRS", 1),
        ("2", "PQRS", 1),
        ("a", "1234", 0),
    ],
)
def test_an_answer_is_found_in_every_published_shape(answer, labels, place):
    """Index from 0, number from 1 as a text, letter in any dress, label as published, text."""
    assert place_of(answer, METALS, list(labels)) == place


@pytest.mark.parametrize(
    ("answer", "texts", "labels", "place"),
    [
        ("1", ["2", "1"], [], 1),  # a text before a number
        ("1", ["2", "1"], ["1", "2"], 0),  # a label before a text
        ("a", ["b", "a"], [], 1),  # a text before a letter
        ("B", ["B", "A"], ["A", "B"], 1),  # a label before a text
        ("b", ["x", "y", "z"], ["c", "b", "a"], 1),  # a label before a letter
        ("2", ["x", "y", "z"], ["3", "1", "2"], 2),  # a label before a number
        ("Q", ["x", "y", "z"], ["q", "Q", "r"], 1),  # a label in its own case before one in another
    ],
)
def test_labels_go_before_texts_before_letters_before_numbers(answer, texts, labels, place):
    """Where an answer could be read in two ways, the published label wins, then the text."""
    assert place_of(answer, texts, labels) == place


@pytest.mark.parametrize(
    "answer",
    [4, -1, 1.5, 4.0, True, None, "", " ", "0", "5", "-1", "1.5", "e", "z", "Tin", "tin iron", "²", "()",
     "A B", ["a"], {"label": "a"}, "0x1", "١٢", "9" * 30],
)  # fmt: skip
def test_an_answer_that_is_none_of_them_shows_the_choices(answer):
    """An answer that names no choice is an error in which the user can read all choices."""
    with pytest.raises(RowError, match="none of the choices") as caught:
        place_of(answer, METALS)
    assert str(caught.value).endswith("the choices are (a) tin (b) iron (c) zinc (d) lead")


@pytest.mark.parametrize(("answer", "labels"), [("a", "BCDE"), ("A", "PQRS"), ("1", "0234"), ("4", "0123")])
def test_labels_that_begin_elsewhere_are_not_counted_from_a_or_1(answer, labels):
    """Beside published letters a letter that is none of them is an error, never the choice at its place."""
    with pytest.raises(RowError, match="none of the choices"):
        place_of(answer, METALS, list(labels))


def test_a_letter_that_two_labels_share_but_for_case_is_none():
    """Where labels differ in case alone, a letter in brackets does not choose between them."""
    with pytest.raises(RowError, match="none of the choices"):
        place_of("(a)", ["tin", "iron"], ["A", "a"])


@pytest.mark.parametrize(
    ("number", "texts", "labels", "place"),
    [
        (1, ["x", "y"], [], 1),
        (20, ["10", "20"], [], 1),  # no index: the text
        (3, ["x", "y", "z"], ["1", "2", "3"], 2),  # no index: the label
        (1, ["0", "1"], [], 1),  # index and text agree
    ],
)
def test_a_number_is_an_index_or_the_label_or_text_that_it_spells(number, texts, labels, place):
    """A number in JSON counts from 0; one beyond the choices can still be a choice that is a number."""
    assert place_of(number, texts, labels) == place


@pytest.mark.parametrize(
    ("number", "texts", "labels"),
    [(1, ["1", "2"], []), (1, ["x", "y"], ["1", "2"]), (2, ["2", "1", "0"], ["0", "1", "2"])],
)
def test_a_number_that_names_two_choices_is_not_guessed(number, texts, labels):
    """Index and label, or index and text, of different choices: an error that shows them."""
    with pytest.raises(RowError, match="names two choices") as caught:
        place_of(number, texts, labels)
    assert f") {texts[1]}" in str(caught.value)


def test_the_published_labels_are_shown():
    """The choices in the error have the labels that stand in the user's file."""
    with pytest.raises(RowError, match=r"found the string 'E'; the choices are \(1\) tin \(2\) iron$"):
        place_of("E", ["tin", "iron"], ["1", "2"])


def test_a_number_of_many_digits_is_no_choice():
    """Python refuses to read numbers of more than 4,300 digits; that is no crash here."""
    with pytest.raises(RowError, match="none of the choices"):
        place_of("9" * 5000, METALS)


@given(st.lists(some.stripped_texts(6), min_size=2, max_size=26, unique=True), st.data())
def test_every_shape_of_the_same_answer_names_the_same_choice(texts, data):
    """Label, text and index of any choice give its place, whatever the texts are."""
    labels = [f"{letter}:" for letter in LETTERS[: len(texts)]]
    place = data.draw(st.integers(0, len(texts) - 1))
    if str(place) not in texts:
        assert place_of(place, texts) == place
    assert place_of(labels[place], texts, labels) == place
    if texts[place] not in labels:
        assert place_of(data.draw(some.padded(texts[place])), texts, labels) == place


@given(some.json_values(), st.lists(some.texts(3), max_size=4), st.lists(some.texts(3), max_size=4))
def test_any_answer_names_a_choice_or_raises_a_row_error(answer, texts, labels):
    """No answer, whatever its type, ends in a crash or in a place that is not there."""
    found = some.result_or_error(place_of, answer, texts, labels[: len(texts)])
    assert isinstance(found, RowError) or 0 <= found < len(texts)


# choices_of


@pytest.mark.parametrize(
    ("value", "texts", "labels"),
    [
        (["tin", "iron"], ["tin", "iron"], []),
        ([" tin ", "iron\n"], ["tin", "iron"], []),
        ([{"label": "A", "text": "tin"}, {"label": "B", "text": "iron"}], ["tin", "iron"], ["A", "B"]),
        ([{"text": "tin", "label": " 1"}, {"text": "iron", "label": "2"}], ["tin", "iron"], ["1", "2"]),
        ({"label": ["A", "B"], "text": ["tin", "iron"]}, ["tin", "iron"], ["A", "B"]),
        ({"text": ["tin"], "label": [], "more": 1}, ["tin"], []),
        ([], [], []),
        ([10, 20.5, "tin"], ["10", "20.5", "tin"], []),
        ([{"label": 1, "text": 10}, {"label": 2, "text": 20}], ["10", "20"], ["1", "2"]),
        ({"label": [1, 2], "text": [10, 20]}, ["10", "20"], ["1", "2"]),
        ('["tin", "iron"]', ["tin", "iron"], []),
        ('{"label": ["A", "B"], "text": ["tin", 2]}', ["tin", "2"], ["A", "B"]),
    ],
)
def test_choices_are_read_in_the_three_published_shapes(value, texts, labels):
    """A list of texts or objects, an object of lists, JSON in a cell; numbers become texts."""
    assert choices_of(value) == (texts, labels)


@pytest.mark.parametrize(
    "value",
    [
        None, "tin", 3, float("nan"), {}, {"text": "tin", "label": "A"}, {"text": ["tin"], "label": None},
        {"text": ["tin", "iron"], "label": ["A"]}, {"text": ["tin"], "label": ["A", "B"]},
        {"text": ["tin"], "label": [None]}, ["tin", None], ["tin", ""], ["tin", " \n"], ["tin", True], "3",
        "[", "tin|iron", '"tin"', '["tin", null]', ["tin", ["iron"]], {"text": "[1, 2]", "label": "[1, 2]"},
        [{"label": "A"}], [{"text": "tin", "label": "A"}, "iron"], [["tin"], ["iron"]],
    ],
)  # fmt: skip
def test_choices_in_another_shape_are_shown(value):
    """Choices that cannot be read are an error that shows what was found, and what is expected."""
    with pytest.raises(RowError, match=r"malformed choices: found .*; expected a list of texts"):
        choices_of(value)


@given(
    some.json_values() | st.lists(some.json_objects(("text", "label"))) | some.json_objects(("text", "label"))
)
def test_any_choices_are_read_or_raise_a_row_error(value):
    """Whatever stands in a field of choices, either texts with as many labels (or none) come out."""
    found = some.result_or_error(choices_of, value)
    if not isinstance(found, DataprepError):
        texts, labels = found
        assert len(labels) in (0, len(texts))
        assert all(text and text == text.strip() for text in texts + labels)


@given(st.lists(some.stripped_texts(6), min_size=1, max_size=5))
def test_the_three_shapes_mean_the_same(texts):
    """The layout that a set's choices come in does not change what comes out."""
    labels = list("ABCDE"[: len(texts)])
    listed = [{"label": label, "text": text} for label, text in zip(labels, texts, strict=True)]
    assert choices_of(listed) == choices_of({"label": labels, "text": texts}) == (texts, labels)
    assert choices_of(texts) == (texts, [])


# question_and_choices, gold_of, id_of

NESTED = [{"label": "A", "text": "tin"}, {"label": "B", "text": "iron"}]
COLUMNS = {"label": ["A", "B"], "text": ["tin", "iron"]}


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        ({"question": {"stem": " Which? ", "choices": NESTED}}, ["A", "B"]),
        ({"question": "Which?", "choices": COLUMNS}, ["A", "B"]),
        ({"question_stem": "Which?", "choices": COLUMNS}, ["A", "B"]),
        ({"question": None, "question_stem": "Which?", "choices": COLUMNS}, ["A", "B"]),
        ({"question": "Which?", "question_stem": "Other?", "choices": COLUMNS}, ["A", "B"]),
        ({"question": "Which?\n", "choices": ["tin", "iron"]}, []),
        ({"question": {"stem": "Which?", "choices": NESTED}, "choices": ["not", "these"]}, ["A", "B"]),
    ],
)
def test_question_and_choices_are_found_in_each_layout(row, labels):
    """The official, the hub's and the flat layout give the same question and choices."""
    assert question_and_choices(row) == ("Which?", (["tin", "iron"], labels))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({}, "missing field 'choices': the row's fields are"),
        ({"question": "Which?"}, "missing field 'choices': the row's fields are 'question'"),
        ({"choices": ["tin", "iron"]}, "missing field 'question': the row's fields are 'choices'"),
        ({"question": 3, "choices": ["tin"]}, "field 'question' is not a string: found a number 3"),
        ({"question": " ", "choices": ["tin"]}, "field 'question' is empty"),
        ({"question_stem": "", "choices": ["tin"]}, "field 'question_stem' is empty"),
        ({"question": {"choices": NESTED}}, "missing field 'stem'"),
        ({"question": {"stem": "Which?"}}, "malformed choices: found null"),
    ],
)
def test_what_a_row_lacks_is_named(row, problem):
    """A row without its question or choices is an error that names the field."""
    with pytest.raises(RowError) as caught:
        question_and_choices(row)
    assert str(caught.value).startswith(problem)


def test_the_gold_answer_is_that_of_the_layout():
    """`answerKey` goes before `answer`, texts lose outer white space, other types stay."""
    assert gold_of({"answerKey": " B ", "answer": "tin"}) == "B"
    assert gold_of({"answer": "tin\n"}) == "tin"
    assert gold_of({"answer": 2}) == 2
    assert gold_of({"answerKey": None, "answer": "tin"}) is None
    assert gold_of({}) is None


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({}, None),
        ({"id": None}, None),
        ({"id": ""}, None),
        ({"id": "x-1"}, "x-1"),
        ({"id": 0}, "0"),
        ({"id": -7}, "-7"),
    ],
)
def test_an_id_is_a_text(row, found):
    """Ids that are numbers become texts; an empty one is none."""
    assert id_of(row) == found


@pytest.mark.parametrize("value", [1.5, True, ["x"], {"x": 1}])
def test_an_id_of_another_type_is_an_error(value):
    """An id that is neither text nor number is not made into one."""
    with pytest.raises(RowError, match="field 'id' is neither text nor number"):
        id_of({"id": value})


# choice_example


@given(st.lists(some.stripped_texts(6), min_size=2, max_size=26), st.data())
def test_an_example_has_both_label_and_text(texts, data):
    """The letter counts the choices from a, and the text is that of the choice."""
    place = data.draw(st.integers(0, len(texts) - 1))
    example = choice_example("Which?", (texts, []), "this one", find=lambda *_: place, id="x")
    assert (example.answer_label, example.answer) == (LETTERS[place], texts[place])
    assert (example.question, example.task, example.choices, example.id) == (
        "Which?",
        "choice",
        tuple(texts),
        "x",
    )


@pytest.mark.parametrize("hidden", [None, ""])
def test_a_hidden_answer_drops_the_row_or_is_kept_without_one(hidden):
    """A row without a gold answer is dropped for that reason, or kept with neither label nor text."""
    with pytest.raises(RowDropped, match=r"^no gold answer$"):
        choice_example("Which?", (METALS, []), hidden)
    kept = choice_example("Which?", (METALS, []), hidden, unlabelled="keep")
    assert (kept.answer, kept.answer_label, kept.choices) == (None, None, tuple(METALS))


@pytest.mark.parametrize(("count", "fits"), [(0, False), (1, False), (2, True), (26, True), (27, False)])
def test_choices_need_a_letter_each(count, fits):
    """Two choices at the least, and as many as there are letters."""
    texts = [f"choice {number}" for number in range(count)]
    found = some.result_or_error(choice_example, "Which?", (texts, []), 0)
    if fits:
        assert found.answer == "choice 0"
    else:
        assert f"found {count} choices; expected 2 to 26" in str(found)
