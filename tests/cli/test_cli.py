"""The command line: help, exit codes, summaries, places of outputs, and what is said when all is not well."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command

import dataprep
from dataprep.cli.app import COMMANDS as TABLE
from dataprep.cli.app import app
from tests.helpers import listing, read_jsonl

ROOT = Path(__file__).parents[2]
INNER = ["tokenizer show", "tokenizer train"]
COMMANDS = sorted({*TABLE, *INNER} - {"tokenizer"})
SYSTEM = (
    "You are a helpful assistant that can solve math word problems, write Python functions, "
    "and answer reading comprehension questions."
)
# What the project promises its users: where each split's chat rows lie.
OUTPUTS = {
    "gsm8k": ["train/gsm8k_train_llama", "test/gsm8k_test_llama"],
    "mbpp": ["train/mbpp_train_sample_llama", "test/mbpp_test_sample_llama"],
    "squad": ["train/squad_train_sample_llama", "test/squad_dev_llama"],
}


def raw_rows(count):
    """GSM8K rows, each with its own number."""
    return b"".join(b'{"question": "%d + 1?", "answer": "So\\n#### %d"}\n' % (n, n + 1) for n in range(count))


def test_the_commands_are_these():
    """A command appears or goes only on purpose."""
    assert COMMANDS == [
        "capture",
        "card",
        "clean",
        "collect",
        "compare",
        "convert",
        "datasets",
        "decontaminate",
        "dedup",
        "diff",
        "evaluate",
        "export",
        "export-model",
        "export-rationales",
        "fetch",
        "filter",
        "generate",
        "head",
        "import",
        "init",
        "lint-tokens",
        "merge",
        "mix",
        "parse-rationales",
        "predict",
        "prompt",
        "replay",
        "report",
        "review",
        "show",
        "split",
        "stats",
        "tokenize",
        "tokenizer show",
        "tokenizer train",
        "trace",
        "train",
        "validate",
        "verify",
        "view",
    ]


def test_help_lists_every_command_with_its_purpose(run_process):
    """Whoever types --help sees what there is to do."""
    done = run_process("--help")
    assert (done.code, done.err) == (0, "")
    for name in TABLE:
        assert re.search(rf"^ *{name} +\S+ \S+", done.out.decode(), re.MULTILINE)


def test_the_table_of_commands_has_their_docstrings():
    """`dataprep --help` says of each command what its module says."""
    assert sorted(get_command(app).commands["tokenizer"].commands) == ["show", "train"]
    for name, (_, line) in TABLE.items():
        assert get_command(app).commands[name].help.splitlines()[0] == line, name


@pytest.mark.parametrize("arguments", [(), ("merge",)])
def test_only_the_called_command_is_imported(arguments):
    """Help, and every command, start without the modules of other commands."""
    code = (
        "import sys; from dataprep.cli.app import app\n"
        f"try: app([*{arguments!r}, '--help'])\n"
        "finally: print([name for name in sys.modules if 'cli.commands.' in name], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == f"{[f'dataprep.cli.commands.{name}' for name in arguments]}\n"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help_with_an_example(run, name, flag):
    """Help shows how a command is typed, on lines of its own, and explains every option."""
    done = run(*name.split(), flag)
    assert (done.code, done.err) == (0, "")
    text = done.out.decode()
    assert re.search(rf"^ *Examples?:\n +.*dataprep {name}\b", text, re.MULTILINE)
    command = get_command(app)
    for part in name.split():
        command = command.commands[part]
    for parameter in command.params:
        assert parameter.help, f"{parameter.name} is not explained"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_with_every_option(run, name):
    """The documentation knows every flag that the command has now."""
    page = ROOT / "docs" / "commands" / f"{name.split()[0]}.md"
    assert page.exists(), f"write {page}"
    options = set(re.findall(r"--[a-z][a-z-]+", run(*name.split(), "--help").out.decode()))
    assert options >= {"--help"}
    written = set(re.findall(r"--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
    assert options <= written


def test_nothing_at_all_shows_the_help(run):
    """Typing the name alone is no mistake that goes unanswered."""
    done = run()
    assert done.code == 2
    assert b"Commands" in done.out or "Commands" in done.err


def test_version(run_process):
    """A report of a bug can name the version."""
    done = run_process("--version")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(rb"dataprep \d+\.\d+\.\d+\n", done.out)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cnvert"], "cnvert"),
        (["convert"], "DATASET"),
        (["convert", "gsm8k", "--nonsense"], "--nonsense"),
        (["convert", "gsm8k", "in.jsonl", "--sample", "0"], "--sample"),
        (["convert", "gsm8k", "in.jsonl", "--sample", "many"], "--sample"),
        (["convert", "gsm8k", "in.jsonl", "--to", "poem"], "poem"),
        (["convert", "gsm8k", "in.jsonl", "--workers", "0"], "--workers"),
        (["convert", "gsm8k", "in.jsonl", "--unanswerable", "keep"], "no option --unanswerable"),
        (["convert", "squad", "in.jsonl", "--strip-calculator"], "no option --strip-calculator"),
        (["convert", "mbpp", "in.jsonl", "--split", "dev"], "no split 'dev'"),
        (["convert", "gsm8k", "in.jsonl", "-o", "out.txt"], "unknown suffix"),
        (["convert", "gsm8k", "in.txt"], "unknown suffix"),
        (["convert", "gsm8k", "in.jsonl", "--template", "bad.toml"], "no TOML|not a TOML"),
        (["convert", "gsm8k", "in.jsonl", "--template", "unknown.toml"], r"\{question\} \{context\}"),
        (["merge", "in.jsonl", "--memory", "lots"], "'lots' is not a size"),
        (["merge", "in.jsonl", "--memory", "0"], "'0' is not a size"),
        (["merge", "-o", "out.jsonl"], "-o needs INPUT"),
        (["validate"], "FILE"),
        (["stats"], "FILE"),
        (["tokenizer", "train", "in.jsonl"], "--output|-o"),
        (["tokenizer", "train", "in.jsonl", "-o", "t.model", "--kind", "poem"], "unknown kind 'poem'"),
        (["tokenizer", "train", "in.txt", "-o", "t.model", "--vocab-size", "9"], "--vocab-size"),
        (["tokenizer", "show"], "FILE"),
        (["lint-tokens", "in.jsonl"], "--tokenizer"),
        (["lint-tokens", "in.jsonl", "--tokenizer", "t", "--html", "page.txt"], "ends in .html"),
        (["lint-tokens", "in.jsonl", "--tokenizer", "t", "--template", "m"], "--chat-format template"),
        (["lint-tokens", "in.jsonl", "--tokenizer", "t", "--html", "-", "--json"], "give the page a file"),
        (["review"], "FILE"),
        (["review", "in.jsonl", "-o", "out.jsonl"], "ends in .html"),
        (["review", "in.jsonl", "-o", "-", "--json"], "give the page a file"),
        (["review", "-", "--gold", "-"], "only once"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_exits_with_2(run, tmp_path, arguments, says):
    """What cannot be served is said, without a traceback, and nothing is written."""
    (tmp_path / "in.jsonl").write_bytes(raw_rows(2))
    (tmp_path / "in.txt").write_bytes(raw_rows(2))
    (tmp_path / "bad.toml").write_text("user = ", encoding="utf-8")
    (tmp_path / "unknown.toml").write_text('user = "{qestion}"', encoding="utf-8")
    done = run(*arguments)
    assert done.code == 2
    assert done.out == b""
    assert "Traceback" not in done.err
    assert re.search(says, done.err), done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.toml",
        "in.jsonl",
        "in.txt",
        "unknown.toml",
    ]


def test_an_unknown_dataset_suggests_the_near_one(run):
    """A mistyped name is answered with the right one, and with all there are."""
    done = run("convert", "gms8k")
    assert done.code == 2
    known = ", ".join(dataprep.dataset_names())
    assert done.err == f"error: unknown dataset 'gms8k': did you mean gsm8k? the datasets are {known}\n"


@pytest.mark.parametrize("name", ["GSM8K", "Gsm8k"])
def test_a_dataset_is_found_whatever_its_case(run, tmp_path, name):
    """Names are typed as their authors write them."""
    (tmp_path / "in.jsonl").write_bytes(raw_rows(2))
    assert run("convert", name, "in.jsonl").out.count(b"\n") == 2


@pytest.mark.parametrize("dataset", OUTPUTS)
def test_convert_writes_to_the_promised_places(run, workspace, dataset):
    """Without an input, every split lands in pre_datasets/ under its own name, and nothing else does."""
    done = run("convert", dataset, cwd=workspace)
    assert (done.code, done.out) == (0, b"")
    written = sorted((workspace / "pre_datasets").rglob("*.jsonl"))
    expected = sorted(workspace / "pre_datasets" / f"{name}.jsonl" for name in OUTPUTS[dataset])
    assert written == expected
    for path in written:
        for row in read_jsonl(path):
            assert list(row) == ["messages"]
            assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
            assert row["messages"][0]["content"] == SYSTEM
    assert len(done.err.splitlines()) == 2
    assert all(" in = " in line for line in done.err.splitlines())


def test_the_whole_way_from_samples_to_merged_files(run, workspace):
    """Samples become chat files, chat files two merged ones, and validate and stats agree with them."""
    for dataset in OUTPUTS:
        assert run("convert", dataset, "--quiet", "--workspace", workspace).code == 0
    assert run("merge", "--seed", "1", "--workspace", workspace).code == 0
    merged = workspace / "mergedata"
    assert listing(merged) == ["test.jsonl", "train.jsonl"]
    for split in ("train", "test"):
        lines = []
        for path in sorted((workspace / "pre_datasets" / split).glob("*.jsonl")):
            lines += path.read_bytes().split(b"\n")[:-1]
        random.seed(1)
        random.shuffle(lines)
        assert (merged / f"{split}.jsonl").read_bytes() == b"".join(line + b"\n" for line in lines)
        checked = run("validate", merged / f"{split}.jsonl")
        assert (checked.code, checked.out) == (0, b"")
        figures = json.loads(run("stats", "--json", merged / f"{split}.jsonl").out)
        assert figures["rows"] == len(lines)
        assert figures["characters"]["system"]["max"] == len(SYSTEM)


def test_merge_writes_only_splits_that_there_are(run, workspace):
    """A workspace with training files only gets no empty test file."""
    assert run("convert", "gsm8k", "--split", "train", cwd=workspace).code == 0
    assert run("merge", cwd=workspace).code == 0
    assert listing(workspace / "mergedata") == ["train.jsonl"]


@pytest.mark.parametrize(
    ("old", "new", "dataset"), [("gsm8k", "gsm8K", "gsm8k"), ("squad", "SQuAD", "squad")]
)
def test_dataset_folders_match_without_regard_to_case(run, workspace, old, new, dataset):
    """raw/gsm8K and raw/SQuAD are fine."""
    (workspace / "raw" / old).rename(workspace / "raw" / new)
    assert run("convert", dataset, cwd=workspace).code == 0
    assert (workspace / "pre_datasets" / f"{OUTPUTS[dataset][0]}.jsonl").exists()


def test_two_folders_of_one_dataset_are_an_error(run, workspace):
    """Which of them is meant is not guessed."""
    (workspace / "raw" / "GSM8K").mkdir()
    done = run("convert", "gsm8k", cwd=workspace)
    assert done.code == 1
    assert re.fullmatch(r"error: raw/GSM8K and raw/gsm8k are both folders for gsm8k.*\n", done.err)


def test_two_files_of_one_split_are_an_error(run, workspace):
    """Which of them is meant is not guessed, and nothing is written."""
    folder = workspace / "raw" / "gsm8k"
    (folder / "train (copy).jsonl").write_bytes((folder / "train.jsonl").read_bytes())
    done = run("convert", "gsm8k", cwd=workspace)
    assert done.code == 1
    assert re.fullmatch(r"error: raw/gsm8k: train \(copy\)\.jsonl, train\.jsonl could all .*\n", done.err)
    assert not list((workspace / "pre_datasets").rglob("*.jsonl"))


def test_the_parts_of_one_split_belong_together(run, workspace):
    """A split published in several numbered files is converted whole, in their order."""
    folder = workspace / "raw" / "gsm8k"
    lines = (folder / "train.jsonl").read_bytes().splitlines(keepends=True)
    alone = run("convert", "gsm8k", folder / "train.jsonl").out
    (folder / "train.jsonl").unlink()
    for number, part in enumerate((lines[:10], lines[10:])):
        (folder / f"train-0000{number}-of-00002.jsonl").write_bytes(b"".join(part))
    assert run("convert", "gsm8k", "--split", "train", cwd=workspace).code == 0
    assert (workspace / "pre_datasets" / "train" / "gsm8k_train_llama.jsonl").read_bytes() == alone


@pytest.mark.parametrize("arguments", [("convert", "gsm8k"), ("merge",)])
def test_outside_a_workspace_the_way_into_one_is_said(run, arguments):
    """A command that has nothing to work on says how to give it something."""
    done = run(*arguments)
    assert done.code == 1
    assert re.fullmatch(r"error: the current folder is no workspace .*`dataprep init DIR`.*\n", done.err)


def test_a_named_workspace_that_is_none_is_named(run):
    """The folder that was given is the one in the message."""
    done = run("merge", "--workspace", "elsewhere")
    assert done.code == 1
    assert re.fullmatch(r"error: elsewhere is no workspace .*\n", done.err)


def test_a_dataset_that_is_not_there_is_named(run, workspace):
    """What is missing in raw/, or in a dataset's folder, is said with what was looked for."""
    for path in (workspace / "raw" / "gsm8k").iterdir():
        path.unlink()
    done = run("convert", "gsm8k", cwd=workspace)
    assert done.code == 1
    assert re.fullmatch(r"error: raw/gsm8k holds no file of .*train or test .*\*train\*.*\n", done.err)
    (workspace / "raw" / "gsm8k").rmdir()
    done = run("convert", "gsm8k", cwd=workspace)
    assert done.code == 1
    assert re.fullmatch(r"error: raw has no folder for gsm8k.*\n", done.err)


def test_merge_before_convert_says_so(run, workspace):
    """An empty pre_datasets/ is answered with the command that fills it."""
    done = run("merge", cwd=workspace)
    assert done.code == 1
    assert re.fullmatch(r"error: pre_datasets holds no .*`dataprep convert`.*\n", done.err)


def test_one_output_for_several_splits_is_refused(run, workspace):
    """-o without INPUT needs --split where there are several; with it, it gets that split alone."""
    done = run("convert", "gsm8k", "-o", "out.jsonl", cwd=workspace)
    assert done.code == 2
    assert re.fullmatch(r"error: .*train and test: choose one with --split\n", done.err)
    assert run("convert", "gsm8k", "-o", "out.jsonl", "--split", "test", cwd=workspace).code == 0
    raw = (workspace / "raw" / "gsm8k" / "test.jsonl").read_bytes()
    assert len(read_jsonl(workspace / "out.jsonl")) == raw.count(b"\n")


def test_a_folder_of_raw_files_may_be_the_input(run, workspace):
    """A dataset's folder anywhere is as good as one in a workspace."""
    folder = workspace / "raw" / "gsm8k"
    done = run("convert", "gsm8k", folder, "--split", "test", "-o", "-")
    assert done.out == run("convert", "gsm8k", folder / "test.jsonl").out


def test_the_script_in_the_project_root_is_the_command(workspace):
    """``python cli.py convert gsm8k`` works from a checkout."""
    done = subprocess.run(
        [sys.executable, "cli.py", "convert", "gsm8k", "--workspace", workspace, "--workers", "2"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    for name in OUTPUTS["gsm8k"]:
        assert read_jsonl(workspace / "pre_datasets" / f"{name}.jsonl")


@pytest.mark.medium
def test_a_fresh_checkout_is_a_workspace(tmp_path):
    """Where git kept no folder for them, the outputs' folders are made."""
    for name in ("raw", "pre_datasets", "mergedata"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text("kept by git", encoding="utf-8")
    shutil.copytree(ROOT / "raw" / "gsm8k", tmp_path / "raw" / "gsm8k")
    for command in (("convert", "gsm8k"), ("merge",)):
        done = subprocess.run(
            [sys.executable, ROOT / "cli.py", *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "mergedata" / "test.jsonl").is_file()


def test_an_unknown_split_is_a_usage_error(run, workspace):
    """A split that a dataset has not is refused, with an input too."""
    for dataset in ("gsm8k", "mbpp"):
        done = run("convert", dataset, workspace / "raw/gsm8k/train.jsonl", "--split", "banana")
        assert done.code == 2
        assert "banana" in done.err


def test_many_workers_are_started_only_as_there_is_work(run, workspace):
    """A number of workers far above the number of blocks costs nothing."""
    begin = time.monotonic()
    done = run("convert", "gsm8k", workspace / "raw/gsm8k/train.jsonl", "--workers", "5000")
    assert (done.code, done.out.count(b"\n")) == (0, 32)
    assert time.monotonic() - begin < 10


@pytest.mark.medium
def test_names_and_terminals_need_not_be_unicode(run, run_process, workspace):
    """A file name that is no UTF-8, and a terminal that knows ASCII only, end in no traceback."""
    name = os.fsdecode(b"\xff.jsonl")
    made = run("convert", "gsm8k", workspace / "raw/gsm8k/train.jsonl", "-o", name, "--json")
    assert made.code == 0
    for command in (("stats", name, "--json"), ("validate", name, "--json"), ("stats", name)):
        done = run_process(*command, env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
        assert (done.code, "Traceback" in done.err) == (0, False)


def balances(counts):
    """Whether every row of an output is accounted for."""
    return counts["in"] == counts["out"] + sum(counts["dropped"].values()) + sum(counts["failed"].values())


def test_json_summaries_parse_and_balance(run, workspace):
    """A script can read what was done: a document on stderr, one entry an output, rows that add up."""
    done = run("convert", "squad", "--json", cwd=workspace)
    summary = json.loads(done.err)
    assert (summary["command"], done.out) == ("convert", b"")
    assert [each["output"] for each in summary["outputs"]] == [
        f"pre_datasets/{x}.jsonl" for x in OUTPUTS["squad"]
    ]
    for counts in summary["outputs"]:
        assert balances(counts)
        assert counts["dropped"]["unanswerable"] > 0
        assert counts["out"] == len(read_jsonl(workspace / counts["output"]))
    summary = json.loads(run("merge", "--json", cwd=workspace).err)
    assert summary["command"] == "merge"
    assert all(balances(counts) and counts["out"] == counts["in"] > 0 for counts in summary["outputs"])


def test_json_reports_parse(run, workspace):
    """Validate and stats give their reports, which are data, on standard output."""
    path = workspace / "raw" / "gsm8k" / "test.jsonl"
    done = run("validate", path, "--json")
    report = json.loads(done.out)
    count = path.read_bytes().count(b"\n")
    assert (done.code, done.err) == (1, "")
    assert report["rows"] == {str(path): count}
    assert report["problems"] == {"no messages": count}
    assert len(report["shown"]) == 20
    figures = json.loads(run("stats", path, "--json").out)
    assert figures["rows"] == count == sum(bin_["rows"] for bin_ in figures["histogram"])


def test_a_sample_is_counted_in_the_summary(run, tmp_path):
    """Rows that were not drawn are dropped with that reason."""
    (tmp_path / "in.jsonl").write_bytes(raw_rows(50))
    done = run("convert", "gsm8k", "in.jsonl", "-o", "out.jsonl", "--sample", "7", "--json")
    (counts,) = json.loads(done.err)["outputs"]
    assert (counts["in"], counts["out"], counts["dropped"]) == (50, 7, {"not sampled": 43})
    assert balances(counts)


def test_quiet_prints_nothing(run, workspace):
    """A script that wants no words gets none."""
    for arguments in (
        ("convert", "gsm8k"),
        ("merge",),
        ("validate", "mergedata/train.jsonl"),
        ("init", "new"),
    ):
        done = run(*arguments, "--quiet", cwd=workspace)
        assert (done.code, done.out, done.err) == (0, b"", ""), arguments


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_where_it_happened(run, place):
    """Whoever looks for a mistake in dataprep gets the traceback, everybody else one line."""
    command = ["convert", "gsm8k", "none.jsonl"]
    done = run(*(["--debug", *command] if place == "before" else [*command, "--debug"]))
    assert done.code == 1
    assert done.err.startswith("Traceback")
    assert "FileError" in done.err
    assert run(*command).err.count("\n") == 1


def test_init_does_not_overwrite(run, workspace):
    """What is there stays as it is."""
    (workspace / "raw" / "gsm8k" / "train.jsonl").write_text("mine", encoding="utf-8")
    done = run("init", workspace)
    assert done.code == 1
    assert re.fullmatch(r"error: .*raw exists already.*\n", done.err)
    assert (workspace / "raw" / "gsm8k" / "train.jsonl").read_text(encoding="utf-8") == "mine"


def test_init_copies_the_samples(run, tmp_path):
    """A new workspace holds every sample that the project ships, byte for byte."""
    assert run("init", "new").code == 0
    for path in sorted((ROOT / "raw").rglob("*.json*")):
        assert (tmp_path / "new" / "raw" / path.relative_to(ROOT / "raw")).read_bytes() == path.read_bytes()
    for name in ("pre_datasets/train", "pre_datasets/test", "mergedata"):
        assert (tmp_path / "new" / name).is_dir()


def converted(run, tmp_path, *options):
    """One GSM8K row, converted with options: its messages' contents by role."""
    (tmp_path / "in.jsonl").write_bytes(b'{"question": "1 + 1?", "answer": "It is <<1+1=2>>2.\\n#### 2"}')
    done = run("convert", "gsm8k", "in.jsonl", *options)
    assert done.code == 0, done.err
    (row,) = map(json.loads, done.out.splitlines())
    return {message["role"]: message["content"] for message in row["messages"]}


@pytest.mark.parametrize("text", ["Be brief.", "Use {braces} and 100 %.", "Zeile eins\n\nzwei “ü”"])
def test_system_takes_the_text_as_it_is(run, tmp_path, text):
    """A system prompt given as a flag is no template: braces and percent signs are meant."""
    assert converted(run, tmp_path, "--system", text)["system"] == text


def test_an_empty_system_leaves_the_message_out(run, tmp_path):
    """Chat rows without a system message can be made."""
    assert list(converted(run, tmp_path, "--system", "")) == ["user", "assistant"]


def test_a_template_file_sets_the_wording(run, tmp_path):
    """Its keys replace the default wording, absent ones leave it, absent fields leave their section out."""
    (tmp_path / "t.toml").write_text(
        'user = """\n{context}\n\nQ: {question} {{sic}} 100%\n\n{choices}"""\nassistant = "{answer_text}"\n',
        encoding="utf-8",
    )
    contents = converted(run, tmp_path, "--template", "t.toml")
    assert contents == {"system": SYSTEM, "user": "Q: 1 + 1? {sic} 100%", "assistant": "2"}
    contents = converted(run, tmp_path, "--template", "t.toml", "--system", "S")
    assert contents == {"system": "S", "user": "Q: 1 + 1? {sic} 100%", "assistant": "2"}


def test_a_template_file_that_is_missing_is_an_error(run, tmp_path):
    """The template's path is named like a data file's."""
    (tmp_path / "in.jsonl").write_bytes(raw_rows(1))
    done = run("convert", "gsm8k", "in.jsonl", "--template", "none.toml")
    assert (done.code, done.err) == (1, "error: none.toml: no such file\n")


def test_strip_calculator_removes_annotations_and_the_default_keeps_them(run, tmp_path):
    """Calculator annotations are the user's choice."""
    assert "<<1+1=2>>2." in converted(run, tmp_path)["assistant"]
    stripped = converted(run, tmp_path, "--strip-calculator")["assistant"]
    assert "<<" not in stripped
    assert "It is 2." in stripped


def test_with_id_adds_id_and_source_and_nothing_else(run, workspace):
    """Rows can be traced to their origin; their messages do not change."""
    path = workspace / "raw" / "squad" / "dev-v2.0.json"
    plain = [json.loads(line) for line in run("convert", "squad", path).out.splitlines()]
    traced = [json.loads(line) for line in run("convert", "squad", path, "--with-id").out.splitlines()]
    document = json.loads(path.read_text(encoding="utf-8"))
    questions = [
        qa for each in document["data"] for paragraph in each["paragraphs"] for qa in paragraph["qas"]
    ]
    assert [row["id"] for row in traced] == [qa["id"] for qa in questions if qa["answers"]]
    assert {row.pop("source") for row in traced} == {"squad"}
    assert [{"messages": row["messages"]} for row in traced] == plain
    assert all(set(row) == {"id", "messages"} for row in traced)


def test_unanswerable_questions_can_be_kept(run, workspace):
    """Dropped rows and kept ones add up to all of them."""
    path = workspace / "raw" / "squad" / "dev-v2.0.json"
    dropped = json.loads(run("convert", "squad", path, "-o", "a.jsonl", "--json").err)["outputs"][0]
    kept = json.loads(run("convert", "squad", path, "-o", "b.jsonl", "--json", "--unanswerable", "keep").err)
    (kept,) = kept["outputs"]
    assert kept["out"] == kept["in"] == dropped["in"]
    assert dropped["in"] - dropped["out"] == dropped["dropped"]["unanswerable"] > 0


def test_a_sample_is_the_published_reservoir_and_the_same_every_time(run, tmp_path):
    """Anyone can reproduce a sample with Python's own generator, whatever the workers."""
    (tmp_path / "in.jsonl").write_bytes(raw_rows(500))
    everything = run("convert", "gsm8k", "in.jsonl").out.splitlines()
    generator = random.Random(7)
    expected = everything[:20]
    for i, row in enumerate(everything[20:], 21):
        j = generator.randrange(i)
        if j < 20:
            expected[j] = row
    for workers in ("1", "2"):
        done = run("convert", "gsm8k", "in.jsonl", "--sample", "20", "--seed", "7", "--workers", workers)
        assert done.out.splitlines() == expected
    assert run("convert", "gsm8k", "in.jsonl", "--sample", "900").out.splitlines() == everything


@pytest.mark.medium
def test_the_same_command_gives_the_same_bytes(run_process, workspace):
    """No clock, hash seed or folder order gets into an output."""
    outputs = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        for arguments in (
            ("convert", "mbpp", "--with-id"),
            ("convert", "gsm8k", "--to", "example"),
            ("merge",),
        ):
            assert run_process(*arguments, cwd=workspace, env=environment).code == 0
        files = sorted((workspace / "pre_datasets").rglob("*.jsonl")) + sorted(
            (workspace / "mergedata").glob("*.jsonl")
        )
        manifests = [json.loads(Path(f"{path}.manifest.json").read_text()) for path in files]
        without_time = [{**each, "time": None} for each in manifests]
        outputs.append([(path.name, path.read_bytes()) for path in files] + without_time)
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 12
