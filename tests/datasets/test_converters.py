"""The converters: every rule of a dataset's layout, and no crash on any row."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.core.errors import DataprepError, RowDropped, RowError, UsageError
from dataprep.core.records import Source
from dataprep.datasets import registry as converters
from dataprep.datasets.converters import gsm8k, mbpp, squad
from dataprep.datasets.templates import default_template
from tests import strategies as some

FIELDS = (
    "question", "answer", "text", "prompt", "code", "task_id", "test_list", "test_imports",
    "test_setup_code", "context", "answers", "id", "is_impossible", "answer_start", "data",
)  # fmt: skip

SQUAD = {"id": "s1", "context": "Tin melts at 232 °C.", "question": "When does tin melt?"}
MBPP = {"text": "Add one.", "code": "def f(n):\n    return n + 1", "task_id": 600, "test_list": []}


# The folder of converters


def test_names_are_the_files_of_the_folder():
    """A new file in converters/ is a new dataset, without a list to keep."""
    assert {"gsm8k", "mbpp", "squad"} <= set(converters.names())
    assert converters.names() == sorted(converters.names())


@pytest.mark.parametrize("name", ["gsm8k", "GSM8K", "gsm8K"])
def test_case_does_not_matter(name):
    """`convert gsm8K` finds the dataset."""
    assert converters.load(name) is gsm8k


def test_an_unknown_dataset_is_answered_with_the_near_one():
    """A typing error in the dataset's name is answered with the name that was meant, and all names."""
    with pytest.raises(UsageError, match=r"'squat'.*did you mean squad\?") as caught:
        converters.load("squat")
    assert str(caught.value).endswith(", ".join(converters.names()))


@pytest.mark.parametrize("name", converters.names())
def test_a_converter_says_what_it_is(name):
    """Every converter has a docstring, a source with both splits, and wording; a hub source is pinned."""
    module = converters.load(name)
    assert module.__doc__
    assert isinstance(module.SOURCE, Source)
    assert set(module.SOURCE.splits) >= {"train", "test"}
    # Two sets are scripts on the hub, which only its own conversion to Parquet makes readable.
    pinned = r"[0-9a-f]{40}|refs/convert/parquet" if module.SOURCE.hub else ""
    assert re.fullmatch(pinned, module.SOURCE.revision)
    if name != "qa":
        assert module.SOURCE.licence
        assert module.SOURCE.homepage.startswith("http")
    wording = default_template(name)
    assert "{question}" in wording.user
    assert "{answer}" in wording.assistant


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("gsm8k", "gsm8k_train_llama", "gsm8k_test_llama"),
        ("mbpp", "mbpp_train_sample_llama", "mbpp_test_sample_llama"),
        ("squad", "squad_train_sample_llama", "squad_dev_llama"),
    ],
)
def test_output_names_are_the_promised_ones(name, train, test):
    """The files in pre_datasets/ keep the names that other scripts look for."""
    splits = converters.load(name).SOURCE.splits
    assert (splits["train"].output, splits["test"].output) == (train, test)


@pytest.mark.medium
@pytest.mark.parametrize("name", converters.names())
@given(row=some.json_objects(FIELDS))
def test_any_object_converts_or_raises_a_row_error(name, row):
    """No JSON object, however odd, ends in anything but an Example or dataprep's own error."""
    module = converters.load(name)
    found = some.result_or_error(module.convert, row)
    assert str(found) if isinstance(found, DataprepError) else found.question.strip() == found.question != ""


@pytest.mark.sampled(7)
@pytest.mark.parametrize("name", converters.names())
@pytest.mark.parametrize("field", FIELDS)
@settings(max_examples=settings().max_examples // 3)  # of 180 fields each
@given(value=some.json_values())
def test_any_value_in_one_field_converts_or_raises_a_row_error(name, field, value):
    """A sound row with one field of any type ends in an Example or dataprep's own error."""
    sound = {
        "gsm8k": {"question": "1+1?", "answer": "2\n#### 2"},
        "mbpp": MBPP,
        "squad": SQUAD | {"answers": []},
    }
    row = sound.get(name, {}) | {field: value}
    module = converters.load(name)
    found = some.result_or_error(module.convert, row)
    assert str(found) if isinstance(found, DataprepError) else found.question
    found = some.result_or_error(lambda: list(converters.rows_of(module, row)))
    assert str(found) if isinstance(found, DataprepError) else isinstance(found, list)


# GSM8K


@given(some.gsm8k_rows())
def test_gsm8k_divides_at_the_last_mark(row):
    """The answer is what follows the last ####, the solution what precedes it; without one, everything."""
    example = gsm8k.convert(row)
    pieces = row["answer"].split("####")
    assert example.question == row["question"].strip()
    assert example.answer == (pieces[-1].strip() if len(pieces) > 1 else None)
    expected = "####".join(pieces[:-1]) if len(pieces) > 1 else row["answer"]
    assert (example.solution or "") == expected.strip()
    assert (example.context, example.choices, example.tests) == (None, (), ())


@given(st.lists(some.texts(6).map(lambda text: re.sub("[#<>]", "", text)), min_size=1, max_size=5), st.data())
def test_strip_calculator_removes_the_annotations_and_nothing_else(texts, data):
    """--strip-calculator takes out <<…>>, wherever it stands, and leaves the text around it."""
    answer = texts[0]
    for text in texts[1:]:
        answer += "<<" + data.draw(st.text("0123456789+-*/=. ", max_size=8)) + ">>" + text
    plain = "".join(texts).strip()
    row = {"question": "How many?", "answer": f"{answer}\n#### 7<<3+4=7>>"}
    example = gsm8k.convert(row, strip_calculator=True)
    assert (example.solution or "", example.answer) == (plain, "7")


def test_annotations_are_kept_unless_asked():
    """Calculator annotations stay in the solution by default, and a comparison sign always does."""
    row = {"question": "How many?", "answer": "3<4, so 48/2=<<48/2=24>>24 << 99\n#### 24"}
    assert gsm8k.convert(row).solution == "3<4, so 48/2=<<48/2=24>>24 << 99"
    assert gsm8k.convert(row, strip_calculator=True).solution == "3<4, so 48/2=24 << 99"


def test_stripping_leaves_no_space_behind_where_there_is_no_mark():
    """A whole answer is stripped after its annotations are gone, as solution and answer are."""
    row = {"question": "How many?", "answer": "<<1+1=2>> It is two. <<1+1=2>>"}
    assert gsm8k.convert(row, strip_calculator=True).solution == "It is two."


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("work\n#### ", "no final answer"),
        ("work #### 3 ####", "no final answer"),
        ("", "field 'answer' is empty"),
        (" \r\n", "field 'answer' is empty"),
        (None, "field 'answer' is not a string"),
        (3, "field 'answer' is not a string"),
        (["3"], "field 'answer' is not a string"),
    ],
)
def test_gsm8k_says_what_is_wrong(answer, reason):
    """A bad answer is named by the reason that rejects are counted under."""
    with pytest.raises(RowError) as caught:
        gsm8k.convert({"question": "How many?", "answer": answer})
    assert caught.value.reason == reason


# MBPP


@given(some.mbpp_rows())
def test_mbpp_has_code_with_newlines_only_and_all_tests(row):
    r"""Code and tests lose \r\n and outer blank lines, keep their indentation; set-up precedes the tests."""
    example = mbpp.convert(row)
    lines = row["code"].replace("\r\n", "\n").split("\n")
    while not lines[0]:
        lines.pop(0)
    while not lines[-1]:
        lines.pop()
    assert example.answer == "\n".join(lines)
    assert example.question == (row.get("text") or row["prompt"]).strip().replace("\r\n", "\n")
    before = [row["test_setup_code"]] if "test_setup_code" in row else row.get("test_imports", [])
    tests = [test.replace("\r\n", "\n").strip() for test in before + row.get("test_list", [])]
    assert list(example.tests) == [test for test in tests if test]
    assert example.id == f"mbpp-{row['task_id']}"
    assert example.solution is None


@pytest.mark.parametrize(
    ("number", "default", "official"),
    [
        (1, "test", "prompt"),
        (10, "test", "prompt"),
        (11, "test", "test"),
        (510, "test", "test"),
        (511, "train", "validation"),
        (600, "train", "validation"),
        (601, "train", "train"),
        (974, "train", "train"),
    ],
)
def test_mbpp_splits_at_the_published_boundaries(number, default, official):
    """task_id divides the file: 511–974 and 1–510, or the paper's four splits."""
    assert mbpp.split_of({"task_id": number}, "default") == default
    assert mbpp.split_of({"task_id": number}, "official") == official


@pytest.mark.parametrize(("scheme", "sizes"), [
    ("default", {"train": 464, "test": 510}),
    ("official", {"prompt": 10, "test": 500, "validation": 90, "train": 374}),
])  # fmt: skip
def test_mbpp_splits_have_the_published_sizes(scheme, sizes):
    """Each of the 974 tasks is in one split, and the splits have the sizes of the paper."""
    found = [mbpp.split_of({"task_id": number}, scheme) for number in range(1, 975)]
    assert {split: found.count(split) for split in set(found)} == sizes


@pytest.mark.parametrize("scheme", ["default", "official"])
@pytest.mark.parametrize("number", [0, -1, 975, 10**12])
def test_mbpp_refuses_a_task_that_is_in_no_split(scheme, number):
    """A task_id outside 1–974 is an error that says the range, not a row in some split."""
    with pytest.raises(RowError, match=f"found {number}; expected 1 to 974"):
        mbpp.split_of({"task_id": number}, scheme)


@pytest.mark.parametrize("number", [None, "seven", "7.5", 7.5, True, [7], {}])
def test_mbpp_refuses_a_task_id_that_is_no_number(number):
    """Only a whole number is a task_id, also as a text: no fraction or boolean is taken for one."""
    for call in (lambda row: mbpp.split_of(row, "default"), mbpp.convert):
        with pytest.raises(RowError) as caught:
            call(MBPP | {"task_id": number})
        assert caught.value.reason == "field 'task_id' is not a number"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": " "}, "field 'text' is empty"),
        ({"text": 1}, "field 'text' is not a string"),
        ({"code": "\r\n \n"}, "field 'code' is empty"),
        ({"code": None}, "field 'code' is not a string"),
        ({"test_list": "assert f(1) == 2"}, "field 'test_list' is not a list"),
        ({"test_list": [None]}, "field 'test_list' holds a non-string"),
        ({"test_imports": {}}, "field 'test_imports' is not a list"),
        ({"test_setup_code": 1}, "field 'test_setup_code' is not a string"),
    ],
)
def test_mbpp_says_what_is_wrong(changes, reason):
    """A bad field is named by the reason that rejects are counted under."""
    with pytest.raises(RowError) as caught:
        mbpp.convert(MBPP | changes)
    assert caught.value.reason == reason


def test_challenge_tests_are_no_part_of_the_tests():
    """The challenge tests, which graders hold back, are not shown to the student."""
    row = MBPP | {"test_list": ["assert f(1) == 2"], "challenge_test_list": ["assert f(-1) == 0"]}
    assert mbpp.convert(row).tests == ("assert f(1) == 2",)


# SQuAD


@given(some.squad_rows())
def test_squad_takes_the_first_answer(row):
    """Context, question and the first of the answers, whichever of the two layouts holds them."""
    example = squad.convert(row)
    answers = row["answers"]
    first = answers["text"][0] if isinstance(answers, dict) else answers[0]["text"]
    assert (example.context, example.question) == (row["context"].strip(), row["question"].strip())
    assert example.answer == first.strip()
    assert example.id == row.get("id")


@given(some.squad_rows(answerable=False))
def test_squad_drops_or_keeps_the_unanswerable(row):
    """A question without answers is dropped under that reason, or kept with an answer that says so."""
    for options in ({}, {"unanswerable": "drop"}):
        with pytest.raises(RowDropped) as caught:
            squad.convert(row, **options)
        assert caught.value.reason == "unanswerable"
    kept = squad.convert(row, unanswerable="keep")
    assert kept.question == row["question"].strip()
    assert "does not answer" in kept.answer


def test_a_question_marked_impossible_has_no_answer():
    """is_impossible wins over answers, and stands for a list of answers that is missing."""
    for answers in ({"answers": [{"text": "232 °C", "answer_start": 13}]}, {}, {"answers": None}):
        with pytest.raises(RowDropped):
            squad.convert(SQUAD | {"is_impossible": True} | answers)


@pytest.mark.parametrize(
    "answers",
    [
        "232 °C",
        232,
        {},
        {"text": None, "answer_start": [13]},
        {"text": "232 °C"},
        {"text": [232]},
        [None],
        [{}],
        [["232 °C"]],
    ],
)
def test_squad_refuses_answers_of_another_shape(answers):
    """Answers that are laid out in neither way are an error, not an unanswerable question."""
    with pytest.raises(RowError) as caught:
        squad.convert(SQUAD | {"answers": answers})
    assert not isinstance(caught.value, RowDropped)
    assert "answers" in caught.value.reason


def test_a_row_without_answers_says_that_they_are_missing():
    """A missing field is called missing, not null."""
    with pytest.raises(RowError, match="missing field 'answers'"):
        squad.convert(SQUAD)


def test_an_empty_first_answer_is_an_error():
    """An answer without text never becomes an empty assistant message."""
    with pytest.raises(RowError, match="the answer is empty"):
        squad.convert(SQUAD | {"answers": {"text": [" ", "232 °C"], "answer_start": [0, 13]}})


@given(
    st.lists(
        st.lists(
            st.tuples(some.filled_texts(8), st.lists(some.squad_rows(), max_size=2)),
            max_size=2,
        ),
        max_size=2,
    )
)
def test_a_squad_document_gives_its_questions_in_order(articles):
    """Every question of a document is a row, in the document's order, with its own paragraph's context."""
    expected, data = [], []
    for number, paragraphs in enumerate(articles):
        listed = []
        for context, questions in paragraphs:
            qas = [{k: v for k, v in row.items() if k != "context"} for row in questions]
            listed.append({"context": context, "qas": qas})
            expected += [question | {"context": context, "title": f"T{number}"} for question in qas]
        data.append({"title": f"T{number}", "paragraphs": listed})
    assert list(squad.rows({"version": "v2.0", "data": data})) == expected


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"data": {}}, "no list 'data' in the document"),
        ({"data": [{"title": "x"}]}, r"no list 'paragraphs' in data\[0\]"),
        ({"data": [{"paragraphs": []}, 5]}, r"no list 'paragraphs' in data\[1\]"),
        ({"data": [{"paragraphs": [{"qas": []}, {"context": "x"}]}]}, r"'qas' in data\[0\]\.paragraphs\[1\]"),
    ],
)
def test_a_document_of_another_layout_is_refused_with_the_place(document, place):
    """A JSON document that is no SQuAD document says where it differs."""
    with pytest.raises(RowError, match=place):
        list(squad.rows(document))


def test_an_array_of_hub_rows_in_a_json_file_is_read_as_rows():
    """The hub's rows are accepted in a .json file too, where the published file is a document."""
    rows = [SQUAD | {"answers": {"text": ["232 °C"], "answer_start": [13]}}]
    assert list(converters.rows_of(squad, rows)) == rows
