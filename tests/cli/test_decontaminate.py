"""``dataprep decontaminate`` on the command line."""

import json

import pytest

from tests.helpers import chat, read_jsonl, write_jsonl

QUESTION = "A crate holds 6 jars and Mira has 14 crates in her shop. How many jars does she have?"


@pytest.fixture(autouse=True)
def files(tmp_path):
    """Two files of training rows and one of test rows."""
    (tmp_path / "a.jsonl").write_text(
        '{"question":  "A clean row", "n": 1.0}\n' + json.dumps(chat(QUESTION, "84")) + "\n"
    )
    write_jsonl(tmp_path / "b.jsonl", [{"question": "Another clean row"}])
    return write_jsonl(
        tmp_path / "test.jsonl", [{"question": QUESTION}, {"question": "Why is the sky blue today?"}]
    )


def test_kept_rows_keep_their_bytes_and_a_table_says_what_was_found(run):
    """Rows go to standard output, the table and the ledger to standard error."""
    done = run("decontaminate", "a.jsonl", "b.jsonl", "--against", "test.jsonl")
    assert done.code == 0
    assert done.out == b'{"question":  "A clean row", "n": 1.0}\n{"question": "Another clean row"}\n'
    assert "1 of 2" in done.err
    assert "3 in = 2 out + 1 dropped (a test row verbatim: 1)" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["a.jsonl", "--against", "test.jsonl", "b.jsonl"],
        ["a.jsonl", "--against", "test.jsonl", "--against", "b.jsonl"],
        ["--against", "test.jsonl", "b.jsonl", "-q", "--", "a.jsonl"],
        ["--against=test.jsonl", "b.jsonl", "--dropped", "drops.jsonl", "a.jsonl"],
    ],
)
def test_several_test_files_stand_behind_one_flag(run, words, tmp_path):
    """A test file must not be taken for training rows because it is the second one."""
    write_jsonl(tmp_path / "b.jsonl", [{"question": "Is this a clean row"}])
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"question": "Is this a clean row?"}\n')
    assert run("decontaminate", *words).out == b'{"question":  "A clean row", "n": 1.0}\n'
    assert run("decontaminate", "--against", "test.jsonl", "a.jsonl").code == 2


def test_dry_run_writes_no_rows_but_the_drops(run, tmp_path):
    """Before a file is made, one can look at what would be dropped."""
    flags = ["--against", "test.jsonl", "--dry-run", "--dropped", "drops.jsonl", "-o", "out.jsonl", "--json"]
    done = run("decontaminate", "-", *flags, input=(tmp_path / "a.jsonl").read_bytes())
    (step,) = json.loads(done.err)["outputs"]
    assert (step["in"], step["out"], step["pairs"][0]["rows"]) == (2, 1, {"verbatim": 1})
    assert not (tmp_path / "out.jsonl").exists()
    assert read_jsonl(tmp_path / "drops.jsonl")[0]["path"] == "-"


def test_bad_training_rows_are_set_aside(run, tmp_path):
    """A bad row ends the command, or goes to the rejects."""
    (tmp_path / "bad.jsonl").write_text('{"question": "ok"}\n[1]\n')
    done = run("decontaminate", "bad.jsonl", "--against", "test.jsonl")
    assert (done.code, done.out) == (1, b"")
    assert "bad.jsonl:2" in done.err
    done = run("decontaminate", "bad.jsonl", "--against", "test.jsonl", "--rejects", "r.jsonl", "-q")
    assert (done.code, done.out) == (0, b'{"question": "ok"}\n')
    assert read_jsonl(tmp_path / "r.jsonl")[0]["line"] == 2
