"""From raw rows to chat rows and Examples: plans, iterables, files and samples."""

import csv
import gzip
import json
import pickle
import random
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataprep
from dataprep.core.errors import DataprepError, FileError, InputError, TemplateError, UsageError
from dataprep.core.records import Example
from dataprep.datasets import registry as converters
from dataprep.datasets.convert import Plan, RowConverter, convert, convert_files
from tests import strategies as some
from tests.helpers import read_jsonl

GSM8K = [
    {"question": f"What is {n} times 1,000?", "answer": f"{n}*1000=<<{n}*1000={n}000>>{n},000.\n#### {n},000"}
    for n in range(1, 60)
]
MBPP = [
    {
        "text": f"Add {n}.",
        "code": f"def f(x):\r\n    return x + {n}",
        "task_id": n,
        "test_setup_code": "",
        "test_list": [f"assert f(0) == {n}"] * (n % 3),
        "challenge_test_list": [],
    }
    for n in (1, 10, 11, 510, 511, 600, 601, 974)
]
SQUAD = [
    {
        "id": f"s{n}",
        "title": "Tin",
        "context": f"Tin {n} melts at 232 °C.",
        "question": "When?",
        "answers": {"text": ["232 °C"] * (n % 3), "answer_start": [16] * (n % 3)},
    }
    for n in range(12)
]


def write_lines(path, rows):
    """Rows as JSON Lines, written by Python's json."""
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8"))
    return path


def sampled(rows, size, seed):
    """The documented sample: keep the first N; row i draws randrange(i) and replaces row j < N."""
    generator, kept = random.Random(seed), list(rows[:size])
    for i in range(size + 1, len(rows) + 1):
        j = generator.randrange(i)
        if j < size:
            kept[j] = rows[i - 1]
    return kept


# Plans


@pytest.mark.parametrize(
    "plan",
    [
        {"dataset": "gsm8"},
        {"dataset": ""},
        {"dataset": "gsm8k", "sample": 0},
        {"dataset": "gsm8k", "sample": -5},
        {"dataset": "gsm8k", "to": "chats"},
        {"dataset": "gsm8k", "template": {"usr": "{question}"}},
        {"dataset": "gsm8k", "template": {"user": "{questions}"}},
        {"dataset": "gsm8k", "template": {"user": ""}},
        {"dataset": "gsm8k", "options": {"unanswerable": "keep"}},
        {"dataset": "gsm8k", "options": {"split_scheme": "official"}},
        {"dataset": "mbpp", "options": {"split_scheme": "paper"}},
        {"dataset": "mbpp", "split": "validation"},
        {"dataset": "mbpp", "split": "dev", "options": {"split_scheme": "official"}},
        {"dataset": "squad", "options": {"strip_calculator": True}},
        {"dataset": "squad", "options": {"unanswerable": "maybe"}},
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_served_is_refused_at_once(plan):
    """A wrong name, option or template is found before any file is touched, and never ignored."""
    with pytest.raises((UsageError, TemplateError)):
        Plan(**plan)


def test_a_refused_option_lists_the_ones_there_are():
    """The error about an option of another dataset says which this one has."""
    with pytest.raises(UsageError, match=r"gsm8k has no option --unanswerable.*--strip-calculator"):
        Plan("gsm8k", options={"unanswerable": "keep"})
    with pytest.raises(UsageError, match=r"no split 'dev'.*prompt, test, validation, train"):
        Plan("mbpp", split="dev", options={"split_scheme": "official"})


@pytest.mark.parametrize("to", ["chat", "example"])
@pytest.mark.parametrize(
    ("dataset", "row", "options"),
    [
        ("gsm8k", GSM8K[0], {"strip_calculator": True}),
        ("mbpp", MBPP[0], {"split_scheme": "official"}),
        ("squad", SQUAD[0], {"unanswerable": "keep"}),
    ],
)
def test_a_row_converter_can_be_pickled(dataset, row, options, to):
    """Worker processes make the same bytes as the parent, wording and options included."""
    template = {"system": "About {question}", "user": "{id}: {question}", "assistant": "{answer}"}
    converter = RowConverter(Plan(dataset, to=to, template=template, with_id=True, options=options))
    again = pickle.loads(pickle.dumps(converter))
    assert again(dict(row)) == converter(dict(row))


# Iterables


def test_iterables_and_files_give_the_same_rows(tmp_path):
    """The library's function over rows, over a file, and the command's over files agree."""
    path = write_lines(tmp_path / "rows.jsonl", GSM8K)
    rows = list(convert("gsm8k", GSM8K))
    assert rows == list(convert("gsm8k", path)) == list(convert("gsm8k", str(path)))
    convert_files(Plan("gsm8k"), [path], tmp_path / "out.jsonl")
    assert read_jsonl(tmp_path / "out.jsonl") == rows
    assert [row["messages"][2]["content"] for row in rows[:2]] == [
        "1*1000=<<1*1000=1000>>1,000.\n\n#### 1,000",
        "2*1000=<<2*1000=2000>>2,000.\n\n#### 2,000",
    ]


def test_rows_are_converted_as_they_are_taken():
    """The library's function works on an endless iterable."""
    endless = (GSM8K[n % len(GSM8K)] for n in iter(int, 1))
    rows = convert("gsm8k", endless)
    assert next(rows)["messages"][1]["content"] == "What is 1 times 1,000?"


def test_the_plan_is_checked_when_convert_is_called():
    """An unknown dataset is an error at the call, not at the first row."""
    with pytest.raises(UsageError):
        convert("gsm8", GSM8K)


def test_a_bad_row_of_an_iterable_is_named_by_its_number():
    """Rows without a file are counted from 1."""
    rows = [GSM8K[0], GSM8K[1], {"question": "No answer?"}]
    with pytest.raises(InputError, match=r"^the given rows: row 3: missing field 'answer'"):
        list(convert("gsm8k", rows))


@pytest.mark.parametrize(
    "row",
    [{"question": "\ud800", "answer": "1"}, {"question": 2**70, "answer": "1"}, {1: 2}, 5, None, [], "x"],
)
def test_anything_in_place_of_a_row_is_dataprep_s_own_error(row):
    """A given row that JSON cannot hold, or that is no row, is an InputError, as it is in a file."""
    with pytest.raises(DataprepError):
        list(convert("gsm8k", [row]))


@pytest.mark.medium
@pytest.mark.parametrize("name", converters.names())
@given(
    row=some.json_objects(
        ("question", "answer", "text", "prompt", "code", "task_id", "test_list", "context", "answers")
    ),
    plan=st.fixed_dictionaries({"to": st.sampled_from(("chat", "example")), "with_id": st.booleans()}),
)
def test_any_object_is_converted_or_refused(name, row, plan):
    """No JSON object ends in anything but a row or dataprep's own error, all the way to the output."""
    rows = some.result_or_error(lambda: list(convert(name, [row], **plan)))
    if isinstance(rows, DataprepError):
        assert str(rows).startswith("the given rows: row 1: ")
    else:
        assert len(rows) <= 1
        for converted in rows:
            assert list(dataprep.validate([converted])) == [] or plan["to"] == "example"


@given(st.lists(some.gsm8k_rows() | st.none(), min_size=1, max_size=8))
def test_a_converted_file_holds_a_row_a_line(rows):
    """Whatever Unicode the rows hold, the output has one JSON text a line, in the rows' order."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        path.write_bytes(
            b"".join(b"\r\n" if row is None else json.dumps(row).encode() + b"\n" for row in rows)
        )
        rows = [row for row in rows if row is not None]
        if not rows:
            with pytest.raises(InputError, match="empty"):
                convert_files(Plan("gsm8k"), [path], output)
            return
        ledger = convert_files(Plan("gsm8k"), [path], output)
        assert ledger.to_json() == {"in": len(rows), "out": len(rows), "dropped": {}, "failed": {}}
        questions = [row["messages"][1]["content"] for row in read_jsonl(output)]
        assert questions == [row["question"].strip() for row in rows]


# Chat rows and Examples


def test_chat_rows_have_the_default_system_prompt():
    """Every task shares the published system prompt, word for word."""
    for dataset, rows in (("gsm8k", GSM8K), ("mbpp", MBPP), ("squad", SQUAD)):
        row = next(convert(dataset, rows))
        assert list(row) == ["messages"]
        assert [list(message) for message in row["messages"]] == [["role", "content"]] * 3
        assert row["messages"][0] == {
            "role": "system",
            "content": "You are a helpful assistant that can solve math word problems, write Python "
            "functions, and answer reading comprehension questions.",
        }


def test_with_id_adds_id_and_source():
    """--with-id adds the dataset's own id, or one made from the content, and the source."""
    for dataset, rows in (("gsm8k", GSM8K), ("mbpp", MBPP), ("squad", SQUAD)):
        plain, named = list(convert(dataset, rows)), list(convert(dataset, rows, with_id=True))
        assert [{"messages": row["messages"]} for row in named] == plain
        assert {row["source"] for row in named} == {dataset}
        ids = [row["id"] for row in named]
        assert len(set(ids)) == len(ids) == len(plain)
        examples = list(convert(dataset, rows, to="example"))
        assert [row["id"] for row in examples] == ids
    assert ids[0] == "s1"


@pytest.mark.parametrize(("dataset", "rows"), [("gsm8k", GSM8K), ("mbpp", MBPP), ("squad", SQUAD)])
def test_examples_are_read_back(dataset, rows):
    """--to example writes what Example.from_json reads, with the source and the converter's fields."""
    module = converters.load(dataset)
    options = {"unanswerable": "keep"} if dataset == "squad" else {}
    found = [Example.from_json(row) for row in convert(dataset, rows, to="example", options=options)]
    expected = []
    for row in rows:
        example = module.convert(row, **options)
        example.source = dataset
        example.identify()
        expected.append(example)
    assert found == expected


def test_the_wording_can_be_replaced_by_parts():
    """A template's parts replace the converter's own; the rest keeps the default wording."""
    row = next(convert("squad", SQUAD, template={"user": "{question}\n\n{solution}", "system": ""}))
    assert row == {
        "messages": [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "232 °C"}]
    }


def test_tests_are_part_of_the_user_s_message_where_there_are_any():
    """An MBPP task shows its assertions to the student; without any, no empty frame is left."""
    contents = [row["messages"][1]["content"] for row in convert("mbpp", MBPP)]
    for row, content in zip(MBPP, contents, strict=True):
        if row["test_list"]:
            assert content.startswith(row["text"] + "\n\n")
            assert "\n".join(row["test_list"]) in content
        else:
            assert content == row["text"]


@pytest.mark.parametrize(
    ("split", "options", "numbers"),
    [
        (None, {}, [1, 10, 11, 510, 511, 600, 601, 974]),
        ("train", {}, [511, 600, 601, 974]),
        ("test", {}, [1, 10, 11, 510]),
        ("prompt", {"split_scheme": "official"}, [1, 10]),
        ("test", {"split_scheme": "official"}, [11, 510]),
        ("validation", {"split_scheme": "official"}, [511, 600]),
        ("train", {"split_scheme": "official"}, [601, 974]),
    ],
)
def test_a_split_is_taken_out_of_one_file(tmp_path, split, options, numbers):
    """--split keeps a split's rows in order and counts the others as dropped under one reason."""
    path, output = write_lines(tmp_path / "mbpp.jsonl", MBPP), tmp_path / "out.jsonl"
    ledger = convert_files(Plan("mbpp", split=split, with_id=True, options=options), [path], output)
    assert [row["id"] for row in read_jsonl(output)] == [f"mbpp-{number}" for number in numbers]
    others = len(MBPP) - len(numbers)
    assert ledger.dropped == ({"in another split": others} if others else {})


def test_unanswerable_questions_are_dropped_and_counted_or_kept(tmp_path):
    """--unanswerable drop counts them under that reason; keep writes a row that says so."""
    path, output = write_lines(tmp_path / "squad.jsonl", SQUAD), tmp_path / "out.jsonl"
    ledger = convert_files(Plan("squad"), [path], output)
    assert ledger.to_json() == {"in": 12, "out": 8, "dropped": {"unanswerable": 4}, "failed": {}}
    ledger = convert_files(Plan("squad", options={"unanswerable": "keep"}), [path], output)
    assert ledger.to_json() == {"in": 12, "out": 12, "dropped": {}, "failed": {}}
    answers = [row["messages"][2]["content"] for row in read_jsonl(output)]
    assert answers == ["232 °C" if n % 3 else "The passage does not answer this question." for n in range(12)]


# Samples


@pytest.mark.parametrize("size", [1, 7, 58, 59, 60, 1000])
@pytest.mark.parametrize("seed", [0, 42, -3])
def test_a_sample_can_be_reproduced_from_the_whole_output(tmp_path, size, seed):
    """--sample N --seed S gives the documented reservoir over the rows that come out without it."""
    path = write_lines(tmp_path / "rows.jsonl", GSM8K)
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    convert_files(Plan("gsm8k"), [path], whole)
    ledger = convert_files(Plan("gsm8k", sample=size, seed=seed), [path], part)
    lines = whole.read_bytes().splitlines(keepends=True)
    assert part.read_bytes() == b"".join(sampled(lines, size, seed))
    assert ledger.rows_out == min(size, 59)
    assert ledger.dropped["not sampled"] == max(0, 59 - size)
    assert list(convert("gsm8k", GSM8K, sample=size, seed=seed)) == read_jsonl(part)


def test_a_sample_is_of_the_rows_that_would_come_out(tmp_path):
    """Dropped and bad rows take no part in the draw, and several files are one stream."""
    bad = [{"id": "x"}, *SQUAD[:5]]
    paths = [write_lines(tmp_path / "a.jsonl", bad), write_lines(tmp_path / "b.jsonl", SQUAD[5:])]
    whole, part, rejects = (tmp_path / name for name in ("whole.jsonl", "part.jsonl", "rejects.jsonl"))
    convert_files(Plan("squad", with_id=True), paths, whole, rejects=rejects)
    ledger = convert_files(Plan("squad", with_id=True, sample=3), paths, part, rejects=rejects, workers=2)
    assert read_jsonl(part) == sampled(read_jsonl(whole), 3, 42)
    assert dict(ledger.dropped) == {"unanswerable": 4, "not sampled": 5}
    assert ledger.failed.total() == len(read_jsonl(rejects)) == 1


# Files


def test_hub_tables_give_the_rows_that_lines_give(tmp_path):
    """The hub's rows in Parquet, in JSON Lines and compressed give identical bytes."""
    for dataset, rows in (("gsm8k", GSM8K), ("mbpp", MBPP), ("squad", SQUAD)):
        inputs = [write_lines(tmp_path / f"{dataset}.jsonl", rows), tmp_path / f"{dataset}.jsonl.gz"]
        inputs[1].write_bytes(gzip.compress(inputs[0].read_bytes()))
        inputs.append(tmp_path / f"{dataset}.parquet")
        pl.DataFrame(rows).write_parquet(inputs[2])
        outputs = [tmp_path / f"{n}.jsonl" for n in range(len(inputs))]
        ledgers = [
            convert_files(Plan(dataset, with_id=True), [path], output)
            for path, output in zip(inputs, outputs, strict=True)
        ]
        assert ledgers == [ledgers[0]] * 3
        assert [output.read_bytes() for output in outputs] == [outputs[0].read_bytes()] * 3
        assert outputs[0].stat().st_size


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_delimited_tables_give_the_rows_that_lines_give(tmp_path, suffix, delimiter):
    """A CSV or TSV file with quotes and line breaks in its cells gives what JSON Lines give."""
    rows = [*GSM8K, {"question": 'A "quoted", \tspread\nquestion?', "answer": "One\r\ntwo.\n#### 2"}]
    table = tmp_path / f"rows.{suffix}"
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    assert list(convert("gsm8k", table)) == list(convert("gsm8k", rows))


def test_a_json_array_and_lines_in_a_json_file_are_read(tmp_path):
    """A .json file may be the sanitized set's array or JSON Lines."""
    array, lines = tmp_path / "array.json", write_lines(tmp_path / "lines.json", MBPP)
    array.write_text(json.dumps(MBPP, indent=1))
    assert list(convert("mbpp", array)) == list(convert("mbpp", lines)) == list(convert("mbpp", MBPP))


def test_several_files_are_one_output(tmp_path):
    """Files are converted in the order they are given."""
    paths = [write_lines(tmp_path / "b.jsonl", GSM8K[:3]), write_lines(tmp_path / "a.jsonl", GSM8K[3:5])]
    ledger = convert_files(Plan("gsm8k"), paths, tmp_path / "out.jsonl")
    assert read_jsonl(tmp_path / "out.jsonl") == list(convert("gsm8k", GSM8K[:5]))
    assert (ledger.rows_in, ledger.rows_out) == (5, 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_rows_far_into_a_file_are_named_by_their_line(tmp_path, workers):
    """Line numbers are those of the file, past blank lines and blocks, whatever the number of workers."""
    path, rejects = tmp_path / "rows.jsonl", tmp_path / "rejects.jsonl"
    lines = [json.dumps({"question": f"{n}? {'x' * 400}", "answer": "#### 1"}) for n in range(4000)]
    lines[10], lines[2500], lines[3999] = "", '{"question": "x"}', "{"
    path.write_text("\n".join(lines))
    ledger = convert_files(Plan("gsm8k"), [path], tmp_path / "out.jsonl", rejects=rejects, workers=workers)
    found = [(row["path"], row["line"], row["text"]) for row in read_jsonl(rejects)]
    assert found == [(str(path), 2501, '{"question": "x"}'), (str(path), 4000, "{")]
    assert ledger.to_json() == {
        "in": 3999,
        "out": 3997,
        "dropped": {},
        "failed": {"missing field 'answer'": 1, "not JSON": 1},
    }
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 3997


def test_a_file_given_twice_is_numbered_twice(tmp_path):
    """Line numbers begin again with each file, also where the same one follows itself."""
    path, rejects = write_lines(tmp_path / "rows.jsonl", [GSM8K[0], {"bad": 1}]), tmp_path / "rejects.jsonl"
    convert_files(Plan("gsm8k"), [path, path], tmp_path / "out.jsonl", rejects=rejects)
    assert [row["line"] for row in read_jsonl(rejects)] == [2, 2]


def test_without_rejects_the_first_bad_row_ends_all_and_leaves_the_output(tmp_path):
    """A bad row stops the conversion with file, line and reason, and the earlier output stays."""
    path = write_lines(tmp_path / "rows.jsonl", [*GSM8K, {"question": "No answer?"}])
    output = tmp_path / "out.jsonl"
    output.write_text("earlier")
    with pytest.raises(InputError, match=r"rows\.jsonl:60: missing field 'answer'.*--rejects FILE"):
        convert_files(Plan("gsm8k"), [path], output)
    assert output.read_text() == "earlier"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]


def test_raw_rows_are_never_replaced(run, tmp_path):
    """An output that is one of the inputs, by any name, is refused: no chat row gives raw data back."""
    path, link = write_lines(tmp_path / "rows.jsonl", GSM8K), tmp_path / "link.jsonl"
    link.symlink_to(path)
    content = path.read_bytes()
    for inputs, output in (([path], path), ([path], link), ([link, path], path)):
        with pytest.raises(UsageError, match="would replace an input"):
            convert_files(Plan("gsm8k"), inputs, output)
    ran = run("convert", "gsm8k", "rows.jsonl", "-o", "./rows.jsonl", "--rejects", "bad.jsonl")
    assert ran.code == 2
    assert "would replace an input" in ran.err
    assert path.read_bytes() == content
    assert not (tmp_path / "bad.jsonl").exists()


def test_a_summary_has_the_set_s_own_name(run, tmp_path):
    """Whatever alias was typed, the summary counts rows of one set under one name."""
    write_lines(tmp_path / "t.jsonl", [{"question": "Which?", "choices": ["x", "y"], "answer": "x"}])
    for alias in ("obqa", "OpenBookQA", "openbookqa"):
        ran = run("convert", alias, "t.jsonl", "--split", "train", "--json")
        assert json.loads(ran.err)["outputs"][0]["name"] == "openbookqa train"


def test_a_missing_or_empty_file_is_an_error(tmp_path):
    """A file that is not there, or holds no rows, is never an empty output."""
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(FileError):
        convert_files(Plan("gsm8k"), [tmp_path / "none.jsonl"], tmp_path / "out.jsonl")
    for content in ("", "\n", "\ufeff", "\n\n \n"):
        empty.write_text(content)
        with pytest.raises(InputError, match="the file is empty"):
            convert_files(Plan("gsm8k"), [empty], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
@pytest.mark.parametrize("depth", [300, 1000])
def test_a_deeply_nested_row_is_converted_or_refused(tmp_path, suffix, depth):
    """A row nested deeper than the writer of JSON goes ends in a row or dataprep's own error."""
    path = tmp_path / f"rows.{suffix}"
    deep = "[" * depth + "]" * depth
    for line in (
        f'{{"question": {deep}, "answer": "#### 1"}}',
        f'{{"question": "q", "answer": "1", "x": {deep}}}',
    ):
        path.write_text(f"[{line}]" if suffix == "json" else line)
        found = some.result_or_error(lambda: list(convert("gsm8k", path)))
        assert str(path) in str(found) if isinstance(found, DataprepError) else len(found) == 1


def test_progress_adds_up_to_the_input(tmp_path):
    """Whoever shows progress is told of every byte once."""
    path, seen = write_lines(tmp_path / "rows.jsonl", GSM8K), []
    convert_files(Plan("gsm8k"), [path], tmp_path / "out.jsonl", progress=seen.append)
    assert sum(seen) == path.stat().st_size
