"""Layouts of question-answering files outside of the published sets, and of the folders that they come in."""

import json

import polars as pl
import pytest

import dataprep
from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.datasets import registry as converters
from dataprep.datasets.convert import Plan
from dataprep.datasets.converters import qa
from dataprep.datasets.workspace import split_files
from tests.helpers import chat, read_jsonl, write_jsonl
from tests.tables import table

ROW = {"question": "Which?", "choices": ["wool", "tin"], "answer": "tin"}
ARC = {"id": "x", "question": "Which?", "choices": {"label": ["A", "B"], "text": ["wool", "tin"]},
       "answerKey": "B"}  # fmt: skip
GSM8K = {"question": "2 + 3?", "answer": "2+3=5\n#### 5"}


def examples(name, rows, **options):
    """The Example rows of rows, or of a file."""
    return list(dataprep.convert(name, rows, to="example", options=options))


# qa


def test_choices_can_be_an_object():
    """An object of texts by label is a list of choices under these labels, also in a cell."""
    cases = [
        ({"A": "wool", "B": "tin"}, "B"),
        ({"A": "wool", "B": "tin", "C": None, "D": None}, "B"),
        ({"1": "wool", "2": "tin"}, 2),
        ({"x": 1.0, "y": 2}, "y"),
        ('{"A": "wool", "B": "tin"}', "b"),
        ("{'A': 'wool', 'B': 'tin'}", "(B)"),
    ]
    for choices, answer in cases:
        (row,) = examples("qa", [ROW | {"choices": choices, "answer": answer}])
        assert row["answer"]["label"] == "b", choices
    for choices in (
        {"A": "wool", "B": None, "C": "tin"},
        {"A": ["wool"], "B": ["tin"]},
        {"A": "wool", "B": ""},
    ):
        with pytest.raises(InputError, match="malformed choices"):
            examples("qa", [ROW | {"choices": choices}])


def test_answers_of_true_and_false_are_their_words():
    """BoolQ's answers are JSON's true and false: their words, or the choice that says the same."""
    columns = {"question": "question", "context": "passage", "answer": "answer"}
    boolq = [{"question": "is it", "passage": "It is.", "answer": answer} for answer in (True, False)]
    found = examples("qa", boolq, columns=columns)
    assert [(row["answer"], row["context"], row["task"]) for row in found] == [
        ("true", "It is.", "qa"),
        ("false", "It is.", "qa"),
    ]
    for choices in (["no", "yes"], ["False", "True"]):
        (row,) = examples("qa", [ROW | {"choices": choices, "answer": True}])
        assert row["answer"]["label"] == "b"


def test_several_accepted_answers_are_all_kept():
    """NQ-open has a list of answers: the first is the answer, and all of them are `answers`."""
    cases = [
        (["1972", "in 1972", "1972"], "1972", ["1972", "in 1972"]),
        (["1972"], "1972", None),
        ([1972, 1973.0], "1972", ["1972", "1973"]),
        ({"text": ["lava", "rock"], "answer_start": [0, 5]}, "lava", ["lava", "rock"]),
        (["", "lava", None], "lava", None),
    ]
    for given, answer, answers in cases:
        (row,) = examples("qa", [{"question": "When?", "answer": given}])
        assert (row["answer"], row.get("answers")) == (answer, answers)
        (row,) = examples(
            "qa", [{"q": "When?", "a": {"b": given}}], columns={"question": "q", "answer": "a.b"}
        )
        assert (row["answer"], row.get("answers")) == (answer, answers)
    (row,) = examples("qa", [{"question": "When?", "answers": ["1972", "in 1972"]}])
    assert row["answers"] == ["1972", "in 1972"]
    assert examples("qa", [{"question": "When?", "answer": []}]) == []
    with pytest.raises(InputError, match="is not a text"):
        examples("qa", [{"question": "When?", "answer": [{"year": 1972}]}])


def test_several_answers_to_a_choice_must_mean_the_same():
    """A list whose items name one choice is that choice; otherwise no answer is picked."""
    (row,) = examples("qa", [ROW | {"answer": ["b", "tin"]}])
    assert row["answer"]["text"] == "tin"
    with pytest.raises(InputError, match="several right choices"):
        examples("qa", [ROW | {"answer": ["a", "b"]}])


@pytest.mark.parametrize(("delimiter", "flag"), [(";", ";"), ("\t", "tab"), ("|", "|")])
def test_another_separator_is_named_and_can_be_given(run, tmp_path, delimiter, flag):
    """A table whose cells are separated by something else says so, with the flag that reads it."""
    lines = [["question", "choices", "answer"], ["Which?", '["wool", "tin"]', "b"]]
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in line] for line in lines]
    (tmp_path / "t.csv").write_text("".join(delimiter.join(line) + "\n" for line in quoted))
    ran = run("convert", "qa", "t.csv")
    assert ran.code == 1
    shown = flag if flag == "tab" else f"'{flag}'"
    assert f"the cells seem to be separated by {shown}" in ran.err
    assert f"dataprep convert --delimiter {shown}" in ran.err
    ran = run("convert", "qa", "t.csv", "--delimiter", flag)
    assert (ran.code, ran.out.count(b"\n")) == (0, 1), ran.err
    (row,) = dataprep.convert("qa", tmp_path / "t.csv", delimiter=delimiter)
    assert row["messages"][-1]["content"] == "(b) tin"


def test_a_delimiter_is_one_character_of_a_table(run, tmp_path):
    """A delimiter that cannot separate cells, or that nothing would use, is a usage error."""
    write_jsonl(tmp_path / "t.jsonl", [ROW])
    for flag in ("", ";;", '"', "a", "1", "\n"):
        assert run("convert", "qa", "t.jsonl", "--delimiter", flag).code == 2, flag
        with pytest.raises(UsageError, match="--delimiter"):
            Plan("qa", delimiter=flag)
    ran = run("convert", "qa", "t.jsonl", "--delimiter", ";")
    assert (ran.code, "is for .csv and .tsv files" in ran.err) == (2, True)


def test_a_column_of_its_own_needs_no_delimiter(tmp_path):
    """A table of one column is read, whatever stands in its cells."""
    (tmp_path / "t.csv").write_text("question\nOne; two?\n")
    assert [row for _, row in files.read_rows(str(tmp_path / "t.csv"))] == [{"question": "One; two?"}]


@pytest.mark.parametrize("first", ["\n", "\r\n\r\n", "\ufeff\n", ",,\n", "\n,,\n"])
def test_blank_lines_before_the_header_are_passed_over(tmp_path, first):
    """Spreadsheets leave blank lines above a table; the places of its rows are those of the file."""
    (tmp_path / "t.csv").write_text(f"{first}question,answer,id\nWhich?,tin,x\n", newline="")
    assert [row["id"] for row in examples("qa", tmp_path / "t.csv")] == ["x"]
    (tmp_path / "t.csv").write_text(f"{first}question,answer,id\nWhich?,tin\n", newline="")
    with pytest.raises(InputError, match=rf"t\.csv:{first.count(chr(10)) + 2}: found 2 fields"):
        examples("qa", tmp_path / "t.csv")


def test_names_with_commas_can_be_mapped(run, tmp_path):
    """A comma in a field's name belongs to the name; quotes keep a name with `=` together."""
    cases = {
        "question=What, exactly?,answer=a": {"question": "What, exactly?", "answer": "a"},
        "question=q, answer=a": {"question": "q", "answer": "a"},
        '"question=x, y=z",answer=a': {"question": "x, y=z", "answer": "a"},
        'question="Frage, bitte",answer=a': {"question": "Frage, bitte", "answer": "a"},
        "question=a=b,answer=c,choices=x|y": {"question": "a=b", "answer": "c", "choices": "x|y"},
    }
    assert {text: qa.parse_map(text) for text in cases} == cases
    (tmp_path / "t.csv").write_text('"What, exactly?",a\nWhich?,tin\n')
    ran = run("convert", "qa", "t.csv", "--map", "question=What, exactly?,answer=a", "--to", "example")
    assert (ran.code, json.loads(ran.out)["question"]) == (0, "Which?")


def test_a_map_is_checked_for_the_library_too():
    """A name that no Example has is refused, where it would be passed over."""
    for columns in ({"colour": "x"}, {"question": ""}, {"question": 3}, ["question"], "question=q"):
        with pytest.raises(UsageError, match="--map"):
            Plan("qa", options={"columns": columns})


# Documents and tables


@pytest.mark.parametrize("name", ["data", "rows", "questions", "examples"])
def test_a_document_can_wrap_its_rows(tmp_path, name):
    """`{"version": …, "data": […]}` holds the rows of the list, for every command that reads rows."""
    path = tmp_path / "t.json"
    for dataset, row in (("qa", ROW), ("arc", ARC), ("gsm8k", GSM8K)):
        path.write_text(json.dumps({"version": "1.0", name: [row, row]}))
        assert len(examples(dataset, path)) == 2
    path.write_text(json.dumps({name: [chat("Hi?", "Hello.")]}))
    assert not dataprep.validate_files([path]).counts
    path.write_text(
        json.dumps({"features": [], "rows": [{"row_idx": 0, "row": GSM8K, "truncated_cells": []}]})
    )
    assert len(examples("gsm8k", path)) == 1


@table(
    ("document", "found"),
    [
        (
            {"data": [GSM8K], "examples": [GSM8K]},
            "several lists of rows: found rows in 'data' and 'examples'",
        ),
        (
            {"rows": [{"row_idx": 4, "row": GSM8K, "truncated_cells": ["answer"]}]},
            "truncated cells: the viewer shortened 'answer' of the row with row_idx 4",
        ),
    ],
)
def test_wrapped_rows_are_whole(run, tmp_path, document, found):
    """No list of rows is left out, and no shortened text is taken for the whole one."""
    (tmp_path / "t.json").write_text(json.dumps(document))
    for command in (("convert", "gsm8k", "t.json"), ("validate", "t.json"), ("stats", "t.json")):
        done = run(*command)
        assert (done.code, done.err.startswith(f"error: t.json: {found}")) == (1, True), done


def test_wrapped_rows_of_published_documents(tmp_path):
    """The sets whose documents have a layout of their own read a plain list in an object too."""
    squad = {"context": "It was in 1872.", "question": "When?", "answers": {"text": ["1872"]}}
    pubmed = {"pubid": 7, "question": "Is it?", "context": ["We saw."], "final_decision": "no"}
    bioasq = {"id": "b", "type": "yesno", "body": "Is it?", "exact_answer": "no"}
    path = tmp_path / "t.json"
    for dataset, row in (("squad", squad), ("pubmedqa", pubmed), ("bioasq", bioasq), ("piqa", ROW)):
        for document in ({"data": [row]}, [row], {"data": [row], "version": "x"}):
            path.write_text(json.dumps(document))
            assert len(examples(dataset, path)) == 1, (dataset, document)


def test_a_row_of_its_own_is_not_unwrapped(tmp_path):
    """One row in a document stays a row, also if it holds a list of objects."""
    row = {
        "question": "Which?",
        "choices": [{"label": "A", "text": "wool"}, {"label": "B", "text": "tin"}],
        "answer": "B",
    }
    (tmp_path / "t.json").write_text(json.dumps(row | {"data": [{"x": 1}]}))
    assert examples("qa", tmp_path / "t.json")[0]["answer"]["text"] == "tin"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_messages_in_a_table_s_cell_are_a_list(run, tmp_path, suffix):
    """Chat rows whose messages stand in a cell as JSON text are chat rows to every command."""
    rows = [chat("Hi?", "Hello.", system="Be kind."), chat("Two, please", "1\n2")]
    cells = [{"id": str(n), "messages": json.dumps(row["messages"])} for n, row in enumerate(rows)]
    # As other programs write it: what `files` writes as a text is a text when it is read.
    if suffix == ".parquet":
        pl.DataFrame(cells).write_parquet(tmp_path / "t.parquet")
    else:
        files.write_rows(cells, str(tmp_path / f"t{suffix}"))
    assert run("validate", f"t{suffix}").code == 0
    merged = run("merge", f"t{suffix}", "-o", "out.jsonl")
    assert merged.code == 0, merged.err
    found = sorted(read_jsonl(tmp_path / "out.jsonl"), key=lambda row: row["id"])
    assert [row["messages"] for row in found] == [row["messages"] for row in rows]
    files.write_rows([{"messages": "no list"}], str(tmp_path / f"bad{suffix}"))
    assert run("validate", f"bad{suffix}").code == 1


# The folders of a hub snapshot


def clean(workspace, name):
    """The emptied folder of a dataset in a workspace."""
    folder = workspace / "raw" / name
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    return folder


def counts(workspace):
    """The number of rows of each chat file of a workspace."""
    found = (workspace / "pre_datasets").rglob("*.jsonl")
    return {path.stem: len(read_jsonl(path)) for path in found}


def test_the_configs_of_a_snapshot_are_found(run, workspace):
    """raw/arc/ARC-Challenge/train-00000-of-00001.parquet is the Challenge set's train split."""
    rows = [ARC | {"id": str(n)} for n in range(5)]
    folder = clean(workspace, "arc")
    parts = {
        "train-00000-of-00002": rows[:2],
        "train-00001-of-00002": rows[2:3],
        "test-00000-of-00001": rows[:4],
    }
    for config, kept in (("ARC-Challenge", parts), ("ARC-Easy", {"train-00000-of-00001": rows})):
        (folder / config).mkdir()
        for name, some in kept.items():
            files.write_rows(some, str(folder / config / f"{name}.parquet"))
    (folder / "README.md").write_text("# ARC")
    ran = run("convert", "arc", "--quiet", cwd=workspace)
    assert (ran.code, ran.err) == (0, "")
    assert counts(workspace) == {
        "arc_challenge_train_llama": 3,
        "arc_challenge_test_llama": 4,
        "arc_easy_train_llama": 5,
    }
    ran = run("convert", "arc", "raw/arc", "--split", "easy_train", cwd=workspace)
    assert (ran.code, ran.out.count(b"\n")) == (0, 5)
    ran = run("convert", "arc", "raw/arc/ARC-Challenge", "--split", "test", cwd=workspace)
    assert (ran.code, ran.out.count(b"\n")) == (0, 4), ran.err
    listed = json.loads(run("datasets", "--json", cwd=workspace).out)
    raw = next(each["raw"] for each in listed if each["name"] == "arc")
    assert raw["train"] == [
        "ARC-Challenge/train-00000-of-00002.parquet",
        "ARC-Challenge/train-00001-of-00002.parquet",
    ]


@pytest.mark.parametrize(
    ("name", "place", "row"),
    [
        ("gsm8k", "main/{}-00000-of-00001.parquet", GSM8K),
        ("commonsense_qa", "data/{}-00000-of-00001.parquet", ARC),
        ("piqa", "plain_text/{}/0000.parquet", {"goal": "g", "sol1": "a", "sol2": "b", "label": 1}),
        (
            "squad",
            "plain_text/{}-00000-of-00001.parquet",
            {"context": "In 1872.", "question": "When?", "answers": {"text": ["1872"]}},
        ),
    ],
)
def test_the_folders_of_other_sets_are_found(run, workspace, name, place, row):
    """Configs by their name, `data/`, a folder for each split, and a config that no converter knows."""
    folder = clean(workspace, name)
    split = "validation" if name != "gsm8k" else "test"
    for part, count in (("train", 3), (split, 2)):
        path = folder / place.format(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_rows([row] * count, str(path))
    (folder / "dataset_infos.json").write_text("{}")
    ran = run("convert", name, "--quiet", cwd=workspace)
    assert (ran.code, ran.err) == (0, "")
    assert sorted(counts(workspace).values()) == [2, 3]


def test_a_snapshot_of_one_file_in_several_splits(run, workspace):
    """MBPP's four splits of the config full are read in their order, the sanitized ones are left alone."""
    folder = clean(workspace, "mbpp")
    tasks = {"prompt": 1, "test": 11, "validation": 511, "train": 601}
    for config in ("full", "sanitized"):
        (folder / config).mkdir()
        for split, number in tasks.items():
            row = {"text": "Add.", "code": "x = 1", "task_id": number, "test_list": []}
            files.write_rows([row], str(folder / config / f"{split}-00000-of-00001.parquet"))
    (folder / "dataset_infos.json").write_text("{}")
    ran = run("convert", "mbpp", "--with-id", "--quiet", cwd=workspace)
    assert (ran.code, ran.err) == (0, "")
    ids = {
        path.stem: [row["id"] for row in read_jsonl(path)]
        for path in (workspace / "pre_datasets").rglob("*.jsonl")
    }
    assert ids == {
        "mbpp_train_sample_llama": ["mbpp-511", "mbpp-601"],
        "mbpp_test_sample_llama": ["mbpp-1", "mbpp-11"],
    }


def test_a_folder_without_files_says_where_was_looked(run, workspace):
    """The error lists the names of files and the folders of a snapshot."""
    clean(workspace, "gsm8k")
    ran = run("convert", "gsm8k", cwd=workspace)
    assert ran.code == 1
    assert "main/" in ran.err
    assert "*train*" in ran.err


def test_files_in_the_folder_itself_go_first(tmp_path):
    """The authors' files stay what is read, whatever folders are beside them."""
    train = converters.load("gsm8k").SOURCE.splits["train"]
    (tmp_path / "main").mkdir()
    inner = tmp_path / "main" / "train-00000-of-00001.jsonl"
    write_jsonl(inner, [GSM8K])
    assert split_files(tmp_path, train) == [inner]
    write_jsonl(tmp_path / "train.jsonl", [GSM8K])
    assert split_files(tmp_path, train) == [tmp_path / "train.jsonl"]


def test_a_snapshot_without_one_of_its_parts_is_an_error(run, workspace):
    """A download that was interrupted is not taken for the whole split."""
    folder = clean(workspace, "gsm8k")
    files.write_rows([GSM8K], str(folder / "train-00001-of-00002.parquet"))
    done = run("convert", "gsm8k", "--split", "train", "--workspace", workspace)
    assert done.code == 1
    assert "lacks train-00000-of-00002.parquet, one of 2 parts" in done.err
    files.write_rows([GSM8K], str(folder / "train-00000-of-00002.parquet"))
    assert run("convert", "gsm8k", "--split", "train", "--workspace", workspace).err.startswith(
        "gsm8k train: 2 in = 2 out"
    )
