"""Files of teachers' rationales: found, read_jsonl, joined with their gold rows, and written back."""

import csv
import json
import tempfile
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.answers.parse import export_rationales, parse_rationale_files, rationale_files
from dataprep.core.errors import DataprepError, FileError, InputError, UsageError
from dataprep.core.io import read_rows
from tests import strategies as some
from tests.helpers import read_jsonl
from tests.tables import table

pytestmark = pytest.mark.usefixtures("forked")
CUE = "Let's think step by step."


def string(
    number, second="Tin melts. The answer is (b).", first="Tin melts at 232 degrees.", answer="(b) tin"
):
    """The published string of row ``number``."""
    said = f" Thus, the answer is {answer}" if answer else ""
    more = "" if second is None else f" llama rationale: {CUE}\n{second}"
    return f"{first}{said}\n\nQ: Question {number}?\nAnswer Choices:\n(a) wool\n(b) tin\n(c) silk{more}"


def gold_row(number, answer="tin", **more):
    """The gold row of row ``number``."""
    row = {"id": f"g-{number}", "question": f"Question {number}?", "choices": ["wool", "tin", "silk"]}
    return row | {"answer": answer} | more


def write(path, value):
    """Write a JSON document, or JSON Lines where the suffix says so, with Python's json."""
    lines = path.name.endswith(".jsonl")
    text = "".join(json.dumps(each) + "\n" for each in value) if lines else json.dumps(value)
    path.write_text(text, "utf-8")
    return path


def parsed(inputs, tmp_path, **options):
    """The labelled rows of some files, and the report."""
    report = parse_rationale_files(inputs, tmp_path / "out.jsonl", **options)
    return report, read_jsonl(tmp_path / "out.jsonl")


# Inputs


def test_a_row_has_every_field(tmp_path):
    """One row an input string: id, question, choices, answer, rationales, statuses, answers, place."""
    path = write(tmp_path / "train_CoT_0.json", [string(0), string(1, answer="(c) silk.")])
    report, rows = parsed([path], tmp_path)
    identity = rows[0].pop("id")
    assert rows[0] == {
        "question": "Question 0?",
        "choices": ["wool", "tin", "silk"],
        "answer": {"label": "b", "text": "tin"},
        "rationales": {"flan-t5": "Tin melts at 232 degrees.", "llama-2": "Tin melts. The answer is (b)."},
        "status": {"flan-t5": "ok", "llama-2": "ok"},
        "teacher_answers": {
            "flan-t5": {"label": "b", "text": "tin"},
            "llama-2": {"label": "b", "text": "tin"},
        },
        "source": "rationales",
        "file": path.name,
        "index": 0,
    }
    assert identity != rows[1]["id"]
    assert rows[1]["answer"] == {"label": "c", "text": "silk"}
    assert rows[1]["teacher_answers"]["flan-t5"] == {"label": "c", "text": "silk."}
    assert rows[1]["status"] == {"flan-t5": "ok", "llama-2": "answer_mismatch"}
    assert (rows[1]["source"], rows[1]["file"], rows[1]["index"]) == ("rationales", path.name, 1)
    assert report.ledger.to_json() == {"in": 2, "out": 2, "dropped": {}, "failed": {}}


def test_a_folder_is_read_in_numeric_order(tmp_path):
    """Batch 10 comes after batch 9, splits one after the other, and other files are left alone."""
    folder = tmp_path / "llm"
    folder.mkdir()
    for number in (11, 2, 10, 0, 9, 1):
        write(folder / f"train_CoT_{number}.json", [string(number)])
    write(folder / "test_CoT_0.json", [string(100)])
    for name in ("notes.json", "train_CoT_x.json", "train_CoT_3.jsonl", "train_CoT_4.json.bak"):
        (folder / name).write_text("not to be read")
    names = [Path(path).name for path in rationale_files([folder])]
    assert names == ["test_CoT_0.json", *(f"train_CoT_{number}.json" for number in (0, 1, 2, 9, 10, 11))]
    _, rows = parsed([folder], tmp_path)
    assert [row["question"] for row in rows] == [f"Question {n}?" for n in (100, 0, 1, 2, 9, 10, 11)]


def test_files_given_one_by_one_are_put_in_numeric_order(tmp_path):
    """A shell's `*` puts batch 10 before 2; a split's files come by number, other files where they stand."""
    numbers = (1, 10, 0, 2)
    train = [write(tmp_path / f"train_CoT_{number}.json", [string(number)]) for number in numbers]
    test = [write(tmp_path / f"test_CoT_{number}.json", [string(number)]) for number in (11, 3)]
    other = write(tmp_path / "more.jsonl", [string(5)])
    names = [Path(path).name for path in rationale_files([*train, other, *test])]
    expected = [f"train_CoT_{number}.json" for number in sorted(numbers)]
    assert names == [*expected, "more.jsonl", "test_CoT_3.json", "test_CoT_11.json"]
    _, rows = parsed(train, tmp_path)
    assert [row["question"] for row in rows] == [f"Question {number}?" for number in sorted(numbers)]
    assert [(row["file"], row["index"]) for row in rows] == [(name, 0) for name in expected]


@pytest.mark.parametrize("name", ["s.jsonl", "s.jsonl.gz", "s.json", "s.json.gz"])
def test_strings_come_as_arrays_or_lines_also_compressed(tmp_path, name):
    """The same strings give the same rows from an array and from JSON Lines, but for their place."""
    import gzip

    strings = [string(0), string(1, first="Renée 👩‍🚀\u2028 says «tin»."), string(2, second=None)]
    plain = name.removesuffix(".gz")
    write(tmp_path / plain, strings)
    if plain != name:
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / plain).read_bytes()))
    _, rows = parsed([tmp_path / name], tmp_path)
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert rows[1]["rationales"]["flan-t5"] == "Renée 👩‍🚀\u2028 says «tin»."
    assert list(rows[2]["rationales"]) == ["flan-t5"]


def test_lines_may_bring_their_id(tmp_path):
    """`{"text", "id"}` keeps its id, also a number; a bare string has one made of question and choices."""
    rows_in = [
        {"text": string(0), "id": "mine"},
        {"text": string(1), "id": 7},
        string(2),
        {"text": string(2)},
    ]
    _, rows = parsed([write(tmp_path / "s.jsonl", rows_in)], tmp_path)
    assert [row["id"] for row in rows[:2]] == ["mine", "7"]
    assert rows[2]["id"] == rows[3]["id"] != rows[0]["id"]


@table("bad", [{"id": "x"}, {"text": 3}, 3, None, ["x"], {"text": string(0), "id": [1]}])
def test_a_row_that_is_no_string_is_named(tmp_path, bad):
    """Other JSON values among the strings are an error with file and line."""
    path = write(tmp_path / "s.jsonl", [string(0), bad])
    with pytest.raises(InputError, match=r"s\.jsonl:2"):
        parsed([path], tmp_path)
    assert not (tmp_path / "out.jsonl").exists()


@table("name", ["x_CoT_0.json", "x.jsonl"])
@table("content", [b"", b"[]", b"{", b'["cut', b'{"a": "b"}', b'["caf\xe9"]', b"\x00\x01", b"[1, 2"])
def test_a_damaged_file_is_an_error_of_ours(tmp_path, name, content):
    """Empty, cut, binary and other files end in dataprep's own error that names the file."""
    (tmp_path / name).write_bytes(content)
    found = some.result_or_error(parse_rationale_files, [tmp_path / name], tmp_path / "out.jsonl")
    assert isinstance(found, DataprepError)
    assert name in str(found)
    assert not (tmp_path / "out.jsonl").exists()


def test_what_is_not_there_is_named(tmp_path):
    """A missing file, and a folder without rationale files, are errors with their path."""
    with pytest.raises(FileError, match=r"nowhere\.json: no such file"):
        rationale_files([tmp_path / "nowhere.json"])
    with pytest.raises(FileError, match="SPLIT_CoT_K"):
        rationale_files([tmp_path])
    with pytest.raises(UsageError):
        rationale_files([])
    write(tmp_path / "t.csv", [])
    with pytest.raises(UsageError, match=r"t\.csv"):
        parsed([tmp_path / "t.csv"], tmp_path)


def test_teachers_are_named(tmp_path):
    """The list of teachers names first and further ones in rationales, statuses and counts."""
    path = write(tmp_path / "t_CoT_0.json", [string(0)])
    report, rows = parsed([path], tmp_path, teachers=["t5-xl", "llama=llama-13b"])
    assert list(rows[0]["rationales"]) == list(rows[0]["status"]) == ["t5-xl", "llama-13b"]
    assert report.statuses == {"t5-xl": Counter(ok=1), "llama-13b": Counter(ok=1)}


def test_trimming_cuts_runaways_only_where_asked(tmp_path):
    """Text is kept to the letter; trimmed, the other question goes, and the status is of what is left."""
    seconds = [
        "Tin. The answer is (b).\n\nQ: What else?\nWool.",
        "Tin and\n# 14.\nWhich?",
        "Q: What?",
        "Tin.",
    ]
    path = write(tmp_path / "t_CoT_0.json", [string(n, second=text) for n, text in enumerate(seconds)])
    report, kept = parsed([path], tmp_path)
    assert [row["rationales"]["llama-2"] for row in kept] == seconds
    assert [row["status"]["llama-2"] for row in kept] == ["runaway", "runaway", "runaway", "no_answer"]
    assert report.trimmed == 0
    report, cut = parsed([path], tmp_path, trim=True)
    assert [row["rationales"]["llama-2"] for row in cut] == ["Tin. The answer is (b).", "Tin and", "", "Tin."]
    assert [row["status"]["llama-2"] for row in cut] == ["ok", "truncated", "empty", "no_answer"]
    assert report.trimmed == 3
    assert report.statuses["llama-2"] == Counter(ok=1, truncated=1, empty=1, no_answer=1)
    assert cut[3] == kept[3]


# Gold rows


def test_gold_rows_are_joined_by_position_over_batches(tmp_path):
    """String k of batch K belongs to gold row 500·K+k, whichever batches are given."""
    gold = write(tmp_path / "gold.json", [gold_row(number) for number in range(1003)])
    two = write(tmp_path / "train_CoT_2.json", [string(1000), string(1001), string(1002)])
    zero = write(tmp_path / "train_CoT_0.json", [string(0)])
    report, rows = parsed([two, zero], tmp_path, gold=gold)
    assert [row["id"] for row in rows] == ["g-0", "g-1000", "g-1001", "g-1002"]
    assert report.agree == 4


@table("name", ["gold.json", "gold.jsonl"])
def test_gold_rows_are_joined_by_id_first(tmp_path, name):
    """A string with an id belongs to the gold row with that id, wherever that stands."""
    gold = write(tmp_path / name, [gold_row(0), gold_row(1), gold_row(2, id=77)])
    rows_in = [
        {"text": string(2), "id": "77"},
        {"text": string(0), "id": "g-0"},
        {"text": string(2), "id": 77},
    ]
    _, rows = parsed([write(tmp_path / "s.jsonl", rows_in)], tmp_path, gold=gold)
    assert [(row["id"], row["question"]) for row in rows] == [
        ("77", "Question 2?"), ("g-0", "Question 0?"), ("77", "Question 2?")
    ]  # fmt: skip


def test_blank_lines_count_for_no_row(tmp_path):
    """In JSON Lines a blank line between two strings moves none to another gold row."""
    gold = write(tmp_path / "gold.json", [gold_row(0), gold_row(1)])
    (tmp_path / "s.jsonl").write_text(json.dumps(string(0)) + "\n\n" + json.dumps(string(1)) + "\n")
    _, rows = parsed([tmp_path / "s.jsonl"], tmp_path, gold=gold)
    assert [row["id"] for row in rows] == ["g-0", "g-1"]


def test_the_gold_answer_wins_and_the_teachers_own_is_kept(tmp_path):
    """The row's answer is the gold one; what the teacher said stands beside it, with the status."""
    gold = write(tmp_path / "gold.json", [gold_row(0, "wool"), gold_row(1), gold_row(2)])
    strings = [string(0), string(1, answer="(b) tin."), string(2, answer=None)]
    report, rows = parsed([write(tmp_path / "t_CoT_0.json", strings)], tmp_path, gold=gold)
    assert [row["answer"]["text"] for row in rows] == ["wool", "tin", "tin"]
    assert rows[0]["teacher_answers"]["flan-t5"] == {"label": "b", "text": "tin"}
    assert rows[0]["status"] == {"flan-t5": "answer_mismatch", "llama-2": "answer_mismatch"}
    assert rows[1]["teacher_answers"]["flan-t5"] == {"label": "b", "text": "tin."}
    assert "flan-t5" not in rows[2]["teacher_answers"]
    assert rows[2]["status"]["flan-t5"] == "no_answer"
    assert report.agree == 1


@table(
    ("row", "ours", "theirs"),
    [
        (gold_row(9), "'Question 0?'", "'Question 9?'"),
        (gold_row(0, choices=["wool", "tin", "gold"]), "'silk'", "'gold'"),
        (gold_row(0, choices=["wool", "tin"]), "'silk'", "['wool', 'tin']"),
        (gold_row(0, choices=["tin", "wool", "silk"]), "['wool', 'tin', 'silk']", "['tin', 'wool', 'silk']"),
    ],
)
def test_a_row_that_is_not_its_gold_row_shows_both(tmp_path, row, ours, theirs):
    """Question and choices must agree, or the error has the place and both texts."""
    gold = write(tmp_path / "gold.json", [row])
    path = write(tmp_path / "t_CoT_0.json", [string(0)])
    with pytest.raises(InputError, match=r"t_CoT_0\.json: row 1: not the gold row") as caught:
        parsed([path], tmp_path, gold=gold)
    assert ours in str(caught.value)
    assert theirs in str(caught.value)


def test_a_row_without_a_gold_row_is_an_error(tmp_path):
    """A position past the reference file's end, and an id that it lacks, are named, counted from 1."""
    gold = write(tmp_path / "gold.json", [gold_row(0)])
    with pytest.raises(InputError, match="this is row 2, and the reference file has 1 rows"):
        parsed([write(tmp_path / "t_CoT_0.json", [string(0), string(1)])], tmp_path, gold=gold)
    with pytest.raises(InputError, match=r"t_CoT_1\.json: row 1: no gold row: this is row 501"):
        parsed([write(tmp_path / "t_CoT_1.json", [string(0)])], tmp_path, gold=gold)
    with pytest.raises(InputError, match="'other'"):
        parsed([write(tmp_path / "s.jsonl", [{"text": string(0), "id": "other"}])], tmp_path, gold=gold)


def test_messages_count_gold_rows_from_one(tmp_path):
    """The row that is named is the one that a person finds, counting from 1 as everywhere in messages."""
    gold = write(tmp_path / "gold.json", [gold_row(number) for number in range(502)])
    path = write(tmp_path / "t_CoT_1.json", [string(500), string(9)])
    with pytest.raises(
        InputError, match=r"row 2: not the gold row: .* that of gold row 502 .*'Question 501\?'"
    ):
        parsed([path], tmp_path, gold=gold)


def test_an_id_of_two_gold_rows_is_an_error_where_it_is_asked_for(tmp_path):
    """Joined by id, two different rows of one id cannot be told apart: both are named."""
    rows = [gold_row(0), gold_row(1, id="g-0"), gold_row(2), gold_row(2)]
    gold = write(tmp_path / "gold.json", rows)
    path = write(tmp_path / "s.jsonl", [{"text": string(0), "id": "g-0"}])
    with pytest.raises(InputError, match="two gold rows: rows 1 and 2 of the references have the id 'g-0'"):
        parsed([path], tmp_path, gold=gold)
    same = write(tmp_path / "s.jsonl", [{"text": string(2), "id": "g-2"}])
    assert parsed([same], tmp_path, gold=gold)[1][0]["id"] == "g-2"
    by_position = write(tmp_path / "t_CoT_0.json", [string(0), string(1)])
    assert [row["id"] for row in parsed([by_position], tmp_path, gold=gold)[1]] == ["g-0", "g-0"]


@table("choices", [["wool", "tin", "silk"], {"label": ["a", "b", "c"], "text": ["wool", "tin", "silk"]}])
def test_gold_choices_in_a_table_are_a_json_text(tmp_path, choices):
    """CSV has no lists: a cell with their JSON text is read."""
    path = tmp_path / "gold.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "question", "choices", "answer"])
        table.writerow(["g-0", "Question 0?", json.dumps(choices), "tin"])
    _, rows = parsed([write(tmp_path / "t_CoT_0.json", [string(0)])], tmp_path, gold=path)
    assert (rows[0]["id"], rows[0]["answer"]) == ("g-0", {"label": "b", "text": "tin"})


def test_other_choices_in_a_table_say_what_to_give(tmp_path):
    """A cell of choices that is no JSON text is an error with its line and an example."""
    path = tmp_path / "gold.csv"
    path.write_text("id,question,choices,answer\ng-0,Question 0?,wool;tin;silk,tin\n")
    with pytest.raises(InputError, match=r'gold\.csv: row 1: malformed choices: .*\["…", "…"\]'):
        parsed([write(tmp_path / "t_CoT_0.json", [string(0)])], tmp_path, gold=path)


@table(
    "bad",
    [gold_row(1, "gold"), gold_row(1, None), {"id": "g-1"}, gold_row(1, choices="x"), gold_row(1, id=[1])],
)
def test_a_bad_gold_row_names_its_place(tmp_path, bad):
    """A reference file with a malformed row is an error with that file, the row's number and what to do."""
    gold = write(tmp_path / "gold.jsonl", [gold_row(0), bad])
    with pytest.raises(InputError, match=r"gold\.jsonl:2: .*; correct the row of the reference file"):
        parsed([write(tmp_path / "t_CoT_0.json", [string(0)])], tmp_path, gold=gold)


def test_a_gold_file_belongs_to_one_split(tmp_path):
    """Several splits with one reference file could only be joined wrongly: a usage error, before any work."""
    gold = write(tmp_path / "gold.json", [gold_row(0)])
    paths = [write(tmp_path / f"{split}_CoT_0.json", [string(0)]) for split in ("train", "test")]
    lines = [write(tmp_path / f"{name}.jsonl", [string(0)]) for name in "ab"]
    for given_paths in (paths, [tmp_path], lines, [paths[0], lines[0]]):
        with pytest.raises(UsageError, match=r"one split.* such as .*_CoT_\*\.json") as caught:
            parsed(given_paths, tmp_path, gold=gold)
        assert given_paths is lines or str(tmp_path / "t") in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()


# Outputs


@pytest.mark.parametrize("name", ["t_CoT_0.json", "gold.json", "../{folder}/t_CoT_0.json"])
def test_the_rows_replace_no_input(tmp_path, name):
    """A teacher's answers cannot be had again: writing over an input is a usage error."""
    path = write(tmp_path / "t_CoT_0.json", [string(0)])
    gold = write(tmp_path / "gold.json", [gold_row(0)])
    before = path.read_bytes(), gold.read_bytes()
    output = tmp_path / name.format(folder=tmp_path.name)
    with pytest.raises(UsageError, match="would replace an input"):
        parse_rationale_files([path], output, gold=gold)
    with pytest.raises(UsageError, match="would replace an input"):
        parse_rationale_files([path], tmp_path / "out.jsonl", gold=gold, rejects=output)
    assert (path.read_bytes(), gold.read_bytes()) == before


@pytest.mark.medium
@pytest.mark.parametrize("form", ["arrays", "lines"])
def test_workers_change_no_byte(tmp_path, form):
    """One worker and two write the same bytes, rejects and counts, over many files or blocks."""
    folder = tmp_path / "llm"
    folder.mkdir()
    strings = [string(n, second="y " * (n % 300), answer=None if n % 7 else "(b) tin") for n in range(2500)]
    strings[1234] = "no block"
    if form == "arrays":
        for number in range(5):
            write(folder / f"t_CoT_{number}.json", strings[500 * number : 500 * number + 500])
    inputs = [folder] if form == "arrays" else [write(tmp_path / "s.jsonl", strings)]
    gold = write(tmp_path / "gold.json", [gold_row(number) for number in range(2500)])
    made = []
    for workers in (1, 2):
        out, bad = tmp_path / f"{workers}.jsonl", tmp_path / f"bad{workers}.jsonl"
        report = parse_rationale_files(inputs, out, gold=gold, workers=workers, rejects=bad)
        made.append((out.read_bytes(), bad.read_bytes(), report.ledger, report.statuses, report.agree))
    assert made[0] == made[1]
    assert made[0][0].count(b"\n") == 2499


def test_bad_rows_go_to_the_rejects(tmp_path):
    """With --rejects the other rows come out, and each bad one has its file, row, reason and text."""
    strings = [string(0), "no block", string(2) + "\nmore"[:0], f"{string(3, second=None)}\nmore", string(9)]
    gold = write(tmp_path / "gold.json", [gold_row(number) for number in range(5)])
    path = write(tmp_path / "t_CoT_0.json", strings)
    report, rows = parsed([path], tmp_path, gold=gold, rejects=tmp_path / "bad.jsonl")
    assert [row["id"] for row in rows] == ["g-0", "g-2"]
    bad = read_jsonl(tmp_path / "bad.jsonl")
    assert [(each["path"], each["row"]) for each in bad] == [(str(path), 2), (str(path), 4), (str(path), 5)]
    reasons = [each["reason"].partition(":")[0] for each in bad]
    assert reasons == ["no question block", "text after the choices", "not the gold row"]
    assert report.ledger.to_json()["failed"] == dict.fromkeys(reasons, 1)


def test_without_rejects_the_first_bad_row_stops(tmp_path):
    """A bad row ends the command with its place; an earlier output stays as it was."""
    (tmp_path / "out.jsonl").write_text("old")
    path = write(tmp_path / "t_CoT_0.json", [string(0), "no block"])
    with pytest.raises(InputError, match=r"t_CoT_0\.json: row 2: no question block"):
        parse_rationale_files([path], tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "old"


@pytest.mark.parametrize("kind", ["two teachers", "one teacher", "mixed", "no answers"])
def test_parquet_holds_the_same_rows(tmp_path, kind):
    """Rows written as Parquet are those of JSON Lines, also where teachers or answers are missing."""
    strings = {
        "two teachers": [string(0), string(1)],
        "one teacher": [string(0, second=None), string(1, second=None)],
        "mixed": [string(0), string(1, second=None), string(2) + " mistral rationale: So."],
        "no answers": [string(0, second=None, answer=None), string(1, second=None, answer=None)],
    }[kind]
    path = write(tmp_path / "t_CoT_0.json", strings)
    _, rows = parsed([path], tmp_path)
    parse_rationale_files([path], tmp_path / "out.parquet")

    assert [row for _, row in read_rows(str(tmp_path / "out.parquet"))] == rows
    # Other programs find one column per teacher, or JSON text if teachers differ from row to row.
    column = pl.read_parquet(tmp_path / "out.parquet").schema["rationales"]
    assert (column == pl.String) == (kind == "mixed")


# The commands


def test_standard_input_and_output(run):
    """Strings come from `-`, rows go to standard output, and the summary to standard error."""
    text = "".join(json.dumps(each) + "\n" for each in (string(0), {"text": string(1), "id": "x"}))
    ran = run("parse-rationales", "-", input=text.encode())
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [(row["file"], row["index"]) for row in rows] == [("-", 0), ("-", 1)]
    assert rows[1]["id"] == "x"
    assert "ok: 2" in ran.err


@pytest.mark.parametrize("indent", [None, 1])
def test_a_published_file_comes_through_a_pipe(run, tmp_path, indent):
    """`cat train_CoT_0.json | … -` reads the array that such a file is, on one line or on many."""
    strings = [string(0), string(1)]
    ran = run("parse-rationales", "-", input=json.dumps(strings, indent=indent).encode())
    assert ran.code == 0, ran.err
    path = write(tmp_path / "t.json", strings)
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert without_place(rows) == without_place(parsed([path], tmp_path)[1])
    assert [(row["file"], row["index"]) for row in rows] == [("-", 0), ("-", 1)]


@table("text", [b'["cut', b"[1, 2]", b'["x"]\n["y"]\n', b"[]"])
def test_another_array_in_a_pipe_is_an_error_of_ours(run, text):
    """What is no array of strings ends in an error that names standard input."""
    ran = run("parse-rationales", "-", input=text)
    assert (ran.code, ran.out) == (1, b"")
    assert "standard input" in ran.err


def test_the_summary_counts_each_teacher_and_status(run, tmp_path):
    """Every status is counted by teacher, as text and as JSON, and the agreement with the gold rows."""
    seconds = ["Tin. The answer is (b).", "The answer is (a).", "", "So and", "So.", "So.\nQ: More?", None]
    path = write(tmp_path / "t_CoT_0.json", [string(n, second=each) for n, each in enumerate(seconds)])
    gold = write(tmp_path / "gold.json", [gold_row(n, "tin" if n else "silk") for n in range(7)])
    out = tmp_path / "o.jsonl"
    ran = run("parse-rationales", path, "--gold", gold, "-o", out, "--json", "--teachers", "t5,llama=ll")
    assert (ran.code, ran.out) == (0, b"")
    found = json.loads(ran.err)
    assert (found["in"], found["out"], found["dropped"], found["failed"]) == (7, 7, {}, {})
    assert found["status"] == {
        "t5": {"ok": 6, "answer_mismatch": 1},
        "ll": {"answer_mismatch": 2, "empty": 1, "truncated": 1, "no_answer": 1, "runaway": 1},
    }
    assert (found["first_teacher_agrees_with_gold"], found["trimmed"]) == (6, 0)
    counted = {"t5": Counter(), "ll": Counter()}
    for row in read_jsonl(out):
        for teacher, status in row["status"].items():
            counted[teacher][status] += 1
    assert counted == found["status"]
    ran = run("parse-rationales", path, "--gold", gold, "-o", out)
    for words in ("ok: 6", "answer_mismatch: 2", "truncated: 1", "in 6 rows", "7"):
        assert words in ran.err
    assert run("parse-rationales", path, "-o", out, "--quiet").err == ""
    assert "1 rationale was trimmed" in run("parse-rationales", path, "-o", out, "--trim-runaway").err


def test_exit_codes(run, tmp_path):
    """Bad data ends with 1, a command line that cannot be served with 2, each in one line."""
    good = write(tmp_path / "a_CoT_0.json", [string(0)])
    other = write(tmp_path / "b_CoT_0.json", [string(0)])
    bad = write(tmp_path / "bad.json", ["no block"])
    for code, arguments in (
        (1, ["parse-rationales", bad]),
        (1, ["parse-rationales", "nowhere.json"]),
        (2, ["parse-rationales", good, other, "--gold", write(tmp_path / "gold.json", [gold_row(0)])]),
        (2, ["parse-rationales"]),
        (2, ["parse-rationales", good, "-o", good]),
        (2, ["parse-rationales", good, "--teachers", ""]),
        (2, ["parse-rationales", good, "--teachers", "t5,"]),
        (2, ["parse-rationales", good, "--teachers", "t5,qwen,qwen"]),
        (1, ["export-rationales", bad, "-o", tmp_path / "x"]),
        (2, ["export-rationales", good]),
    ):
        ran = run(*arguments)
        assert (ran.code, ran.out) == (code, b""), arguments
        assert "Traceback" not in ran.err


# Back to the published files


def test_export_writes_files_of_500(tmp_path):
    """1,001 rows are two files of 500 and one of one, in order, and hold the strings as published."""
    strings = [string(number, second=f"Row {number}. The answer is (b).") for number in range(1001)]
    parse_rationale_files([write(tmp_path / "s.jsonl", strings)], tmp_path / "rows.jsonl")
    paths = export_rationales(tmp_path / "rows.jsonl", tmp_path / "llm", split="valid")
    assert [path.name for path in paths] == ["valid_CoT_0.json", "valid_CoT_1.json", "valid_CoT_2.json"]
    batches = [json.loads(path.read_bytes()) for path in paths]
    assert list(map(len, batches)) == [500, 500, 1]
    assert [text for batch in batches for text in batch] == strings


def without_place(rows):
    """Labelled rows without the file they came from."""
    return [{key: value for key, value in row.items() if key not in ("file", "index")} for row in rows]


def there_and_back(strings, folder, suffix=".jsonl", **options):
    """The rows of some strings, and those of what is exported of them."""
    source = write(folder / "in.jsonl", strings)
    parse_rationale_files([source], folder / f"rows{suffix}", **options)
    export_rationales(folder / f"rows{suffix}", folder / "llm", split="train")
    parse_rationale_files([source], folder / "rows.jsonl", **options)
    parse_rationale_files([folder / "llm"], folder / "again.jsonl", **options)
    return without_place(read_jsonl(folder / "rows.jsonl")), without_place(read_jsonl(folder / "again.jsonl"))


PIECES = (
    "Tin.", "\n", " ", "Q: ", "\n\nQ: ", "(b)", "The answer is (b).", "the answer is a plant", "Wool and",
    "é👩‍🚀", "Option (a) is correct.", "\u2028", CUE, "\n# 2\n", "\nOptions:", "Which?", "#", "nan",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map(lambda found: "".join(found).strip())


@given(
    st.lists(
        st.builds(
            string,
            st.integers(0, 3),
            second=st.none() | TEXTS,
            first=TEXTS,
            answer=st.sampled_from([None, "(b) tin", "(a) Wool.", "(c)", "b", "(z) glass"]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_parse_after_export_gives_the_same_rows(strings, trim):
    """Rows that were parsed, exported and parsed again are the same, but for their file; also cut ones."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = there_and_back(strings, Path(folder), trim=trim)
        assert before == after


@pytest.mark.parametrize(
    "strings",
    [
        [string(0, first="It melts. So the answer is (b).", answer=None)],
        [string(0, answer="(b)")],
        [string(0, first="", answer=None)],
        [string(0, first=f"{CUE} {CUE} Tin.")],
        [string(0, second="")],
        [string(0, second="One. mistral rationale: Two. gpt-4 rationale: Three.")],
    ],
)
def test_export_loses_no_odd_row(tmp_path, strings):
    """Rows with no answer sentence, a bare letter, no text, or more teachers: the same again."""
    before, after = there_and_back(strings, tmp_path)
    assert before == after


@pytest.mark.parametrize("answer", [None, "(a) wool", "(b) tin."])
def test_parse_after_export_gives_the_same_rows_with_gold(tmp_path, answer):
    """Joined with gold rows, answers, statuses and texts are the same again."""
    gold = write(tmp_path / "gold.json", [gold_row(0)])
    before, after = there_and_back([string(0, answer=answer)], tmp_path, gold=gold)
    assert before == after


@pytest.mark.parametrize("seconds", [("So.", "So."), ("So.", None), (None, None)])
def test_rows_from_parquet_are_exported(tmp_path, seconds):
    """Rows in a Parquet file are exported as those of JSON Lines are, whichever teachers they have."""
    strings = [string(number, second=second) for number, second in enumerate(seconds)]
    before, after = there_and_back(strings, tmp_path, suffix=".parquet")
    assert before == after


@table(
    "broken",
    [
        {"rationales": {"flan-t5": string(5)}},
        {"rationales": {"flan-t5": "So.", "llama-2": "Two. mistral rationale: three."}},
        {"rationales": {"flan-t5": "So.", "llama": "Two."}},
        {"rationales": {"flan-t5": "So. "}},
        {"rationales": "So."},
        {"rationales": {"flan-t5": 3}},
        {"question": "One\n\nQ: two"},
        {"question": ""},
        {"choices": ["wool", "tin\nsilk"]},
        {"choices": ["wool"] * 27},
        {"choices": None},
        {"teacher_answers": {"flan-t5": {"label": "bb", "text": "tin"}}},
        {"answer": "tin", "teacher_answers": {"flan-t5": {"label": 2, "text": "tin"}}},
    ],
)
def test_a_row_that_the_format_cannot_carry_is_refused(tmp_path, broken):
    """The row's number is said, and nothing at all is written, not even the rows before it."""
    parse_rationale_files([write(tmp_path / "in.jsonl", [string(0), string(1)])], tmp_path / "rows.jsonl")
    rows = read_jsonl(tmp_path / "rows.jsonl")
    rows[1] |= broken
    write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match=r"rows\.jsonl:2"):
        export_rationales(tmp_path / "rows.jsonl", tmp_path / "llm")
    assert not (tmp_path / "llm").exists()


def test_export_overwrites_nothing(tmp_path):
    """A file that exists already is named, kept, and no other is written beside it."""
    strings = [string(number) for number in range(501)]
    parse_rationale_files([write(tmp_path / "in.jsonl", strings)], tmp_path / "rows.jsonl")
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm/train_CoT_1.json").write_text("mine")
    with pytest.raises(FileError, match=r"train_CoT_1\.json.*exists already"):
        export_rationales(tmp_path / "rows.jsonl", tmp_path / "llm")
    assert [path.name for path in (tmp_path / "llm").iterdir()] == ["train_CoT_1.json"]
    assert (tmp_path / "llm/train_CoT_1.json").read_text() == "mine"


def test_an_empty_file_of_rows_is_an_error(tmp_path):
    """There is nothing to export in an empty file, and no folder is made for it."""
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        export_rationales(tmp_path / "rows.jsonl", tmp_path / "llm")
    assert not (tmp_path / "llm").exists()


def test_commands_there_and_back_in_a_pipeline(run, tmp_path):
    """Parsed rows go through a pipe to the export, with teachers' names, and come back the same."""
    source = write(tmp_path / "t_CoT_0.json", [string(0), string(1)])
    names = ("--teachers", "t5,llama=ll")
    ran = run("parse-rationales", source, *names)
    assert ran.code == 0
    back = run("export-rationales", "-", "-o", "llm", "--split", "t", *names, input=ran.out)
    assert back.code == 0, back.err
    assert json.loads((tmp_path / "llm/t_CoT_0.json").read_bytes()) == [string(0), string(1)]


@pytest.mark.medium
@given(st.lists(some.json_values(6) | some.texts(8) | st.just(string(0)), max_size=4), st.booleans())
def test_any_json_lines_end_in_rows_or_an_error_of_ours(values, with_gold):
    """Whatever the lines hold, rows come out or dataprep's own error."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder / "s.jsonl", values)
        gold = write(folder / "g.json", [gold_row(0)]) if with_gold else None
        out = folder / "out.jsonl"
        found = some.result_or_error(parse_rationale_files, [path], out, gold=gold)
        assert isinstance(found, DataprepError) != out.exists()


# Where rows come from


def test_the_source_is_the_set_and_not_the_file(tmp_path):
    """The same file under two folders gives the same bytes; the set is the dataset whose folder it is in."""
    sources = {
        "a/llm": "rationales", "b/c": "rationales", "arc/llm/more/deep": "rationales",
        "arc/llm": "arc", "data/ARC": "arc", "obqa/llm": "openbookqa",
    }  # fmt: skip
    found = {}
    for place, source in sources.items():
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        path = write(tmp_path / place / "train_CoT_3.json", [string(0), string(1)])
        parse_rationale_files(path, tmp_path / "out.jsonl")
        assert {row["source"] for row in read_jsonl(tmp_path / "out.jsonl")} == {source}, place
        found[place] = (tmp_path / "out.jsonl").read_bytes()
        parse_rationale_files([path], tmp_path / "out.jsonl", source="arc")
        assert (tmp_path / "out.jsonl").read_bytes() == found.get(
            "arc/llm", (tmp_path / "out.jsonl").read_bytes()
        )
    assert found["a/llm"] == found["b/c"] == found["arc/llm/more/deep"]
    assert found["arc/llm"] == found["data/ARC"]


def test_the_file_is_relative_to_the_folder_of_all_files(tmp_path, run):
    """Files of several folders are told apart, and no row says where the folders are."""
    for place in ("x/arc/llm", "x/obqa/llm"):
        (tmp_path / place).mkdir(parents=True)
        write(tmp_path / place / "test_CoT_0.json", [string(0)])
    for inputs in (
        ("x/arc/llm", "x/obqa/llm"),
        (tmp_path / "x/arc/llm", tmp_path / "x/obqa/llm/test_CoT_0.json"),
    ):
        ran = run("parse-rationales", *inputs)
        rows = [json.loads(line) for line in ran.out.splitlines()]
        assert [(row["source"], row["file"]) for row in rows] == [
            ("arc", "arc/llm/test_CoT_0.json"),
            ("openbookqa", "obqa/llm/test_CoT_0.json"),
        ]
        assert str(tmp_path) not in ran.out.decode()
    ran = run("parse-rationales", "x/arc/llm", "--source", "mine")
    assert json.loads(ran.out)["source"] == "mine"


def test_teachers_can_be_a_text_with_commas(tmp_path):
    """The library takes what the command takes."""
    path = write(tmp_path / "t_CoT_0.json", [string(0)])
    found = []
    for teachers in ("first,llama=second", ["first", "llama=second"]):
        parse_rationale_files([path], tmp_path / "out.jsonl", teachers=teachers)
        found.append(read_jsonl(tmp_path / "out.jsonl"))
    assert found[0] == found[1]
    assert list(found[0][0]["rationales"]) == ["first", "second"]
