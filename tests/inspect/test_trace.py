"""Rows followed back to their source rows: each step exact, or with the reason why it is not."""

import json
from pathlib import Path

import pytest
from typer.main import get_command

from dataprep.cli.app import app
from dataprep.core.errors import UsageError
from dataprep.inspect.trace.tracing import trace
from dataprep.tokens.options import ShardOptions
from dataprep.tokens.shards.manifest import sha256_of
from dataprep.tokens.tokenize import tokenize_files
from tests.helpers import chat, read_jsonl, write_jsonl
from tests.journal_lines import journal, line
from tests.toy_tokenizer import ToyTokenizer

GSM8K = [{"question": f"What is {n} + {n}?", "answer": f"{n}+{n}={2 * n}\n#### {2 * n}"} for n in range(40)]


def described(path):
    """A file as a manifest describes it."""
    return {"path": str(path), "sha256": sha256_of(path), "bytes": Path(path).stat().st_size}


@pytest.fixture
def made(tmp_path, run, monkeypatch):
    """Run commands in ``tmp_path``; ``made(words, inputs, outputs)`` writes manifests beside the outputs."""
    monkeypatch.chdir(tmp_path)

    def make(words, inputs, outputs, run_it=True):
        words = words.split()
        read = [described(path) for path in inputs]
        if run_it:
            done = run(*words)
            assert done.code == 0, done.err
        written = [described(path) for path in outputs if Path(path).is_file()]
        command = get_command(app).commands[words[0]]
        options = command.make_context(words[0], words[1:], resilient_parsing=True).params
        names = {param.name: max(param.opts, key=len) for param in command.params}
        manifest = {"manifest": 1, "command": words[0], "arguments": words[1:], "root": "."}
        manifest |= {"options": {names[name]: value for name, value in options.items()}}
        manifest |= {"inputs": read, "outputs": written, "time": {"started": "2026-11-29T10:00:00Z"}}
        for path in outputs:
            Path(f"{path}.manifest.json").write_text(json.dumps(manifest))

    return make


def chain_of(origin):
    """The places and commands of an origin that has one source at each step."""
    places = []
    while True:
        assert not origin.note, origin.note
        places.append((str(origin.where), origin.command))
        if not origin.sources:
            assert origin.is_source
            return places
        (origin,) = origin.sources


def raw_gsm8k(tmp_path, rows=GSM8K, name="raw/gsm8k/train.jsonl"):
    """Write source rows behind a blank line, and return the path."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # A blank line, so that lines and rows have other numbers.
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text("\n" + text)
    return name


def test_every_row_of_a_merge_is_followed_to_its_source_row(tmp_path, made):
    """The shuffled order is computed again, and the conversion is run again."""
    raw = raw_gsm8k(tmp_path)
    other = write_jsonl("other.jsonl", [chat(f"Q{n}", "A") for n in range(5)])
    made(f"convert gsm8k {raw} -o train.jsonl", [raw], ["train.jsonl"])
    made(
        "merge train.jsonl other.jsonl -o merged.jsonl --seed 7",
        ["other.jsonl", "train.jsonl"],
        ["merged.jsonl"],
    )
    sources = {row["question"]: number for number, row in enumerate(GSM8K, 2)}
    for number, row in enumerate(read_jsonl("merged.jsonl"), 1):
        question = row["messages"][-2]["content"]
        origin = trace(f"merged.jsonl:{number}")
        if question in sources:
            place = sources[question]
            assert chain_of(origin) == [
                (f"merged.jsonl:{number}", "merge"),
                (f"train.jsonl:{place - 1}", "convert"),
                (f"{raw}:{place}", ""),
            ]
        else:
            (source,) = origin.sources
            assert (str(source.where), source.note) == (
                f"{other}:{int(question[1:]) + 1}",
                "no manifest is beside the file: nothing tells how it was made",
            )


def test_a_step_in_another_workspace_is_followed(tmp_path, run):
    """The workspace that an option names is no input."""
    raw_gsm8k(tmp_path)
    for words in ("convert gsm8k", "merge"):
        assert run(*words.split(), "--workspace", tmp_path, cwd="/").code == 0
    assert b"raw/gsm8k/train.jsonl:" in run("trace", "mergedata/train.jsonl:1").out


def test_equal_rows_of_a_merge_are_told_apart_by_the_order(made):
    """A merge puts each row at a place of its own; with another order all places are named."""
    write_jsonl("a.jsonl", [chat("same", "row")] * 3 + [chat("other", "row")])
    write_jsonl("b.jsonl", [chat("same", "row")] * 2)
    made("merge a.jsonl b.jsonl -o merged.jsonl", ["a.jsonl", "b.jsonl"], ["merged.jsonl"])
    found = [str(trace(f"merged.jsonl:{number}").sources[0].where) for number in range(1, 7)]
    assert sorted(found) == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3", "a.jsonl:4", "b.jsonl:1", "b.jsonl:2"]
    made(
        "merge a.jsonl b.jsonl -o merged.jsonl --seed 1",
        ["a.jsonl", "b.jsonl"],
        ["merged.jsonl"],
        run_it=False,
    )
    number = next(n for n, row in enumerate(read_jsonl("merged.jsonl"), 1) if row == chat("same", "row"))
    origin = trace(f"merged.jsonl:{number}")
    assert origin.note == "5 rows are equal, and each of them can be the one"
    assert len(origin.sources) == 5


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".jsonl.gz", ".csv"])
def test_files_of_other_formats(tmp_path, made, suffix):
    """Rows of tables and documents have numbers, and come back as the rows that went in."""
    raw = raw_gsm8k(tmp_path)
    made(f"convert gsm8k {raw} -o train{suffix} --with-id", [raw], [f"train{suffix}"])
    made(f"merge train{suffix} -o merged{suffix}", [f"train{suffix}"], [f"merged{suffix}"])
    (_, _), (train, _), (source, _) = chain_of(trace(f"merged{suffix}:3"))
    number = int(train.split()[-1] if " " in train else train.rpartition(":")[2])
    assert source == f"{raw}:{number + 1}"


def test_a_sample_a_split_and_dropped_rows_are_followed(tmp_path, made):
    """The row numbers of a conversion count the rows that were left out."""
    mbpp = [
        {
            "task_id": n,
            "text": f"Write {n}.",
            "code": f"x = {n}",
            "test_list": [f"assert x == {n}"],
            "test_setup_code": "",
        }
        for n in range(505, 521)
    ]
    raw = raw_gsm8k(tmp_path, mbpp, "raw/mbpp/mbpp.jsonl")
    # As in a workspace: the command says nothing of the split, and writes two files.
    made(f"convert mbpp {raw} --split train -o train.jsonl", [raw], ["train.jsonl"])
    made(f"convert mbpp {raw} -o train.jsonl", [raw], ["train.jsonl"], run_it=False)
    assert chain_of(trace("train.jsonl:1"))[1] == (f"{raw}:8", "")
    raw = raw_gsm8k(tmp_path)
    made(f"convert gsm8k {raw} --sample 9 --seed 3 -o few.jsonl", [raw], ["few.jsonl"])
    for number, row in enumerate(read_jsonl("few.jsonl"), 1):
        place = next(
            n for n, each in enumerate(GSM8K, 2) if each["question"] == row["messages"][-2]["content"]
        )
        assert chain_of(trace(f"few.jsonl:{number}"))[1] == (f"{raw}:{place}", "")


def test_other_wordings_and_other_tools_rows(tmp_path, made):
    """The flags of the command are used again, and a format that was guessed is found again."""
    raw = raw_gsm8k(tmp_path)
    (tmp_path / "t.toml").write_text('user = "Q: {question}"\n')
    made(f"convert gsm8k {raw} --template t.toml --system {{x}} -o a.jsonl", [raw], ["a.jsonl"])
    assert chain_of(trace("a.jsonl:5"))[1] == (f"{raw}:6", "")
    made("export a.jsonl --to sharegpt -o b.jsonl", ["a.jsonl"], ["b.jsonl"])
    made("import b.jsonl -o c.jsonl", ["b.jsonl"], ["c.jsonl"])
    assert [place for place, _ in chain_of(trace("c.jsonl:5"))] == [
        "c.jsonl:5",
        "b.jsonl:5",
        "a.jsonl:5",
        f"{raw}:6",
    ]


def test_a_step_that_cannot_be_followed_says_why(tmp_path, made):
    """A changed input, a changed output, a missing input, another result: none gives a guess."""
    raw = raw_gsm8k(tmp_path)
    made(f"convert gsm8k {raw} -o a.jsonl", [raw], ["a.jsonl"])
    made(f"convert gsm8k {raw} --system x -o a.jsonl", [raw], ["a.jsonl"], run_it=False)
    assert (
        trace("a.jsonl:1").note
        == "no row of the inputs is the one that the command, run again, would make it of"
    )
    made(f"convert gsm8k {raw} -o a.jsonl", [raw], ["a.jsonl"])
    with (tmp_path / raw).open("a") as file:
        file.write(json.dumps(GSM8K[0]) + "\n")
    assert "was changed since it was read" in trace("a.jsonl:1").note
    (tmp_path / raw).unlink()
    assert "is not there" in trace("a.jsonl:1").note
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(json.dumps(GSM8K[0]) + "\n")
    assert "was changed since it was written" in trace("a.jsonl:1").note


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("filter a.jsonl b.jsonl --where turns=1 -o out.jsonl", 5),
        ("decontaminate a.jsonl b.jsonl --against test.jsonl -o out.jsonl", 4),
    ],
)
def test_rows_that_keep_their_bytes_are_found_in_their_order(made, words, count):
    """Files of flags are not searched, and equal rows that all came through are told apart."""
    long = "Which of the two ferries that leave the harbour at noon goes to the island of the lighthouse?"
    write_jsonl("a.jsonl", [chat("same", "row"), chat("What is iron?", "A metal"), chat("same", "row")])
    write_jsonl("b.jsonl", [chat(long, "The second"), chat("same", "row")])
    write_jsonl("test.jsonl", [chat(long, "The second")])
    inputs = ["a.jsonl", "b.jsonl", *(["test.jsonl"] if "test" in words else [])]
    made(words, inputs, ["out.jsonl"])
    kept = ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3", "b.jsonl:1", "b.jsonl:2"]
    found = [str(trace(f"out.jsonl:{n + 1}").sources[0].where) for n in range(count)]
    assert found == (kept if count == 5 else [*kept[:3], kept[4]])
    assert not any(trace(f"out.jsonl:{n + 1}").note for n in range(count))


def test_equal_rows_of_which_some_were_dropped_are_all_named(made):
    """Nothing tells which one was kept."""
    write_jsonl("a.jsonl", [chat("same", "row")] * 3)
    write_jsonl("out.jsonl", [chat("same", "row")])
    made("filter a.jsonl --where x -o out.jsonl", ["a.jsonl"], ["out.jsonl"], run_it=False)
    origin = trace("out.jsonl:1")
    assert [str(each.where) for each in origin.sources] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]
    assert origin.note == "3 rows are equal, and each of them can be the one"


def test_inputs_without_a_path_are_named(made, tmp_path):
    """Standard input, and a file outside of the workspace, which the manifest knows by its digest."""
    write_jsonl("out.jsonl", [chat("Q", "A")])
    made("merge - -o out.jsonl", [], ["out.jsonl"], run_it=False)
    place = tmp_path / "out.jsonl.manifest.json"
    manifest = json.loads(place.read_text())
    for path, note in (
        ("-", "read standard input"),
        ("sha256:00/a.jsonl", "a.jsonl is outside of the workspace"),
    ):
        given = path.rpartition("/")[2]
        options = manifest["options"] | {"inputs": [given]}
        place.write_text(json.dumps(manifest | {"inputs": [{"path": path}], "options": options}))
        assert note in trace("out.jsonl:1").note


def test_a_damaged_manifest_ends_the_trace(made):
    """It is named with what was found in it; a merge onto its own input ends too."""
    write_jsonl("a.jsonl", [chat("Q", "A"), chat("R", "A")])
    made("merge a.jsonl -o a.jsonl --seed 1", ["a.jsonl"], ["a.jsonl"])
    assert "a.jsonl was changed since it was read" in trace("a.jsonl:1").note
    place = Path("a.jsonl.manifest.json")
    manifest = json.loads(place.read_text())
    for text, found in (
        ("[]", "is not a manifest"),
        ("{", "cut short"),
        ('{"command": 1}', "is not a manifest"),
    ):
        place.write_text(text)
        assert found in trace("a.jsonl:1").note
    place.write_text(json.dumps(manifest | {"command": "train", "inputs": []}))
    assert "the rows of train cannot be followed" in trace("a.jsonl:1").note


def test_documents_of_shards(tmp_path, made):
    """A document is followed to the row that was tokenized, also after rows that were left out."""
    raw = raw_gsm8k(tmp_path)
    made(f"convert gsm8k {raw} -o a.jsonl", [raw], ["a.jsonl"])
    rows = read_jsonl("a.jsonl")
    write_jsonl("long.jsonl", [chat("Q", "A " * 500), rows[1]])
    inputs, options = ["long.jsonl", "a.jsonl"], ShardOptions(max_length=400, truncation="drop")
    tokenize_files(inputs, "shards", tokenizer=ToyTokenizer(), chat_format="plain", options=options)
    assert "no manifest beside shards" in trace("shards:0").note
    made("tokenize long.jsonl a.jsonl --tokenizer x -o shards", inputs, ["shards"], run_it=False)
    assert str(trace("shards:0").sources[0].where) == "long.jsonl:2"
    origin = trace("shards:3")
    assert (origin.kind, str(origin.where)) == ("document", "shards:3")
    assert origin.to_json()["document"] == 3
    assert chain_of(origin)[1:] == [("a.jsonl:3", "convert"), (f"{raw}:4", "")]
    with pytest.raises(UsageError, match="no document 41"):
        trace("shards:41")
    write_jsonl("a.jsonl", rows[1:])
    assert "a.jsonl was changed since it was read" in trace("shards:3").note


def labelled(tmp_path, made, to, *more):
    """Requests, a journal and collected rows, with what was read and written noted."""
    raw = raw_gsm8k(tmp_path)
    made(f"convert gsm8k {raw} --to example -o ex.jsonl", [raw], ["ex.jsonl"])
    made("prompt ex.jsonl -o requests.jsonl --shots 0", ["ex.jsonl"], ["requests.jsonl"])
    identity = read_jsonl("ex.jsonl")[6]["id"]
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    rows = [
        line("failed", id=identity, teacher="gpt-x", model="gpt-x"),
        line(id=identity, teacher="gpt-x", model="gpt-x", usage=usage, response="#### 12", attempts=2),
        line(id=identity, teacher="gpt-x", model="gpt-x", usage=None, response="#### 12", repeated=True),
        line(id=identity, teacher="other", model="o-1", usage=usage, response="#### 13"),
    ]
    (tmp_path / "journal.jsonl").write_bytes(journal(*rows))
    flags = "--price-in 2 --price-out 10 --model gpt-x"
    made(
        f"generate requests.jsonl -o journal.jsonl {flags}",
        ["requests.jsonl"],
        ["journal.jsonl"],
        run_it=False,
    )
    words = " ".join(["collect journal.jsonl --examples ex.jsonl -o rows.jsonl --to", to, *more])
    made(words, ["journal.jsonl", "ex.jsonl"], ["rows.jsonl"])
    return raw, identity


def test_a_teachers_answer_is_found_in_the_journal(tmp_path, made, run):
    """With its request, its model, its tokens and what was paid, also if the line was repeated."""
    raw, _ = labelled(tmp_path, made, "chat", "--teacher", "gpt-x")
    origin = trace("rows.jsonl:1")
    example, answer = origin.sources
    assert [str(each.where) for each in example.all()] == ["ex.jsonl:7", f"{raw}:8"]
    assert (answer.kind, str(answer.where)) == ("answer", "journal.jsonl:3")
    assert answer.facts["model"] == "gpt-x"
    assert answer.facts["response"] == "#### 12"
    assert (answer.facts["prompt_tokens"], answer.facts["completion_tokens"]) == (100, 20)
    assert answer.facts["cost"] == pytest.approx(400e-6)
    assert (answer.facts["lines"], answer.facts["tokens_of_all_lines"]) == (3, 120)
    assert [str(each.where) for each in answer.all()][1:] == ["requests.jsonl:7", "ex.jsonl:7", f"{raw}:8"]
    done = run("trace", "rows.jsonl:1")
    assert "answer journal.jsonl:3 ← generate" in done.out.decode()
    assert "gpt-x (model gpt-x), ok, sample 0, 100 + 20 tokens, $0.000400" in done.out.decode()
    assert f"{raw}:8, the source row" in done.out.decode()
    shown = json.loads(run("trace", "rows.jsonl:1", "--json").out)
    assert (shown["from"][1]["model"], shown["from"][1]["sample"]) == ("gpt-x", 0)
    assert shown["from"][0]["from"][0] == {"kind": "row", "path": raw, "line": 8, "is_source": True}


def test_labelled_rows_have_the_answers_of_all_teachers(tmp_path, made):
    """A renamed teacher is found by its name in the journal; rows without an answer have none."""
    _, identity = labelled(tmp_path, made, "rationale", "--teacher-name", "other=another")
    answers = trace("rows.jsonl:7").sources[1:]
    assert [str(each.where) for each in answers] == ["journal.jsonl:3", "journal.jsonl:4"]
    assert len(trace("rows.jsonl:1").sources) == 1
    again = line(id=trace("rows.jsonl:7").sources[1].facts["key"], teacher="gpt-x", response="#### 99")
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(journal(again | {"id": identity}))
    same = trace("rows.jsonl:7").sources[1]
    assert (str(same.where), same.note) == ("journal.jsonl:3", ""), "a journal grows"
    (tmp_path / "journal.jsonl").write_bytes(journal(line(id=identity, teacher="gpt-x")))
    assert "may not be the answer that was collected" in trace("rows.jsonl:7").sources[1].note


def test_rows_without_an_id_are_not_guessed(tmp_path, made):
    """Answers are linked by ids alone."""
    labelled(tmp_path, made, "qa", "--teacher", "gpt-x")
    assert "no id: answers, requests and Examples are linked by ids" in trace("rows.jsonl:1").note


def test_rationale_strings_are_found_by_file_and_number(tmp_path, made):
    """Labelled rows of `parse-rationales` name their file and their place in it."""
    strings = [f"Question {n}? Options: (a) x (b) y" for n in range(3)]
    folder = tmp_path / "raw" / "arc" / "llm"
    folder.mkdir(parents=True)
    (folder / "train_CoT_0.json").write_text(json.dumps(strings))
    write_jsonl("rows.jsonl", [{"question": "?", "file": "train_CoT_0.json", "index": n} for n in range(3)])
    path = "raw/arc/llm/train_CoT_0.json"
    made(f"parse-rationales {path} -o rows.jsonl", [path], ["rows.jsonl"], run_it=False)
    assert chain_of(trace("rows.jsonl:2"))[1] == (f"{path}: row 2", "")


@pytest.mark.parametrize("target", ["rows.jsonl", "rows.jsonl:", "rows.jsonl:x", ":3", "-:1"])
def test_a_wrong_target_is_a_wrong_command_line(tmp_path, run, target):
    """FILE:N is what is expected."""
    write_jsonl(tmp_path / "rows.jsonl", [chat("Q", "A")])
    done = run("trace", target) if target[0] != "-" else run("trace", "--", target)
    assert done.code == 2
    assert "expected FILE:N" in done.err


def test_a_row_that_is_not_there(tmp_path, run):
    """The number of the last row helps."""
    (tmp_path / "rows.jsonl").write_text(
        json.dumps(chat("Q", "A")) + "\n\n" + json.dumps(chat("Q", "A")) + "\n"
    )
    assert "rows.jsonl: has no row 9; its last one is 3" in run("trace", "rows.jsonl:9").err
    assert "line 2 is blank" in run("trace", "rows.jsonl:2").err
    assert "no such file" in run("trace", "none.jsonl:2").err
