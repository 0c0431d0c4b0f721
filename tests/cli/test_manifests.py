"""Manifests beside outputs: what they say, and what they must not say."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.helpers import chat, listing, write_jsonl
from tests.teacher_server import Reply, TeacherServer, completion


def rows(count, name="Q"):
    """Chat rows, each different."""
    return [chat(f"{name}{n}", f"A{n}") for n in range(count)]


def manifest_of(path):
    """The manifest beside a file."""
    return json.loads(Path(f"{path}.manifest.json").read_text())


def sha256(path):
    """The digest of a file, by Python's own."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def without_time(path):
    """A manifest without what differs from run to run."""
    return {name: value for name, value in manifest_of(path).items() if name != "time"}


@pytest.fixture
def home(tmp_path):
    """A folder with two files of rows, in which commands run."""
    write_jsonl(tmp_path / "a.jsonl", rows(5))
    write_jsonl(tmp_path / "b.jsonl", rows(3, "R"))
    return tmp_path


def test_a_manifest_says_what_was_done_with_which_bytes(home, run):
    """Command, options, digests, rows and the ledger."""
    assert run("merge", "a.jsonl", "b.jsonl", "--seed", "7", "-o", "out/m.jsonl").code == 1  # no such folder
    (home / "out").mkdir()
    assert run("merge", "a.jsonl", "b.jsonl", "--seed", "7", "-o", "out/m.jsonl", "-q").code == 0
    made = manifest_of(home / "out/m.jsonl")
    assert made["command"] == "merge"
    assert made["arguments"] == ["--output", "out/m.jsonl", "--seed", "7", "a.jsonl", "b.jsonl"]
    assert made["options"]["--seed"] == 7
    assert made["options"]["--memory"] == "2G"
    assert made["root"] == ".."
    assert [(each["path"], each["sha256"], each["rows"]) for each in made["inputs"]] == [
        (name, sha256(home / name), count) for name, count in (("a.jsonl", 5), ("b.jsonl", 3))
    ]
    (output,) = made["outputs"]
    assert output["path"] == "out/m.jsonl"
    assert output["sha256"] == sha256(home / "out/m.jsonl")
    assert (output["rows"], output["bytes"]) == (8, (home / "out/m.jsonl").stat().st_size)
    assert made["ledger"][0]["in"] == made["ledger"][0]["out"] == 8
    assert {"dataprep", "python", "numpy", "orjson"} <= made["versions"].keys()
    assert made["time"]["seconds"] >= 0


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz", ".csv", ".parquet"])
def test_every_format_has_a_manifest_with_its_rows(home, run, suffix):
    """Blank lines are no rows, and rows are counted in every format."""
    (home / "a.jsonl").write_text("\n" + (home / "a.jsonl").read_text() + "\n\n")
    assert run("merge", "a.jsonl", "-o", f"m{suffix}").code == 0
    made = manifest_of(home / f"m{suffix}")
    assert made["inputs"][0]["rows"] == made["outputs"][0]["rows"] == 5
    assert run("merge", f"m{suffix}", "-o", "again.jsonl").code == 0
    assert manifest_of(home / "again.jsonl")["inputs"][0] == made["outputs"][0]


def test_the_same_run_gives_the_same_manifest(home, run):
    """Also with several workers; all times are under one key."""
    made = []
    for workers in ("1", "1", "2"):
        assert run("merge", "a.jsonl", "b.jsonl", "-o", "m.jsonl", "--workers", workers).code == 0
        made.append(without_time(home / "m.jsonl"))
    assert made[0] == made[1] == made[2]


def test_no_manifest_for_standard_output_a_dry_run_or_a_failure(home, run):
    """A manifest describes a file that is there."""
    assert run("merge", "a.jsonl", "-o", "-").code == 0
    assert run("filter", "a.jsonl", "--where", "turns = 1", "-o", "f.jsonl", "--dry-run").code == 0
    (home / "bad.jsonl").write_text("{}\nno\n")
    assert run("merge", "bad.jsonl", "-o", "m.jsonl").code == 1
    assert sorted(path.name for path in home.iterdir()) == ["a.jsonl", "b.jsonl", "bad.jsonl"]


def test_without_a_manifest_the_stale_one_goes(home, run):
    """It would describe other bytes. A failure leaves both files as they were."""
    assert run("merge", "a.jsonl", "-o", "m.jsonl").code == 0
    before = manifest_of(home / "m.jsonl")
    (home / "bad.jsonl").write_text("{}\nno\n")
    assert run("merge", "bad.jsonl", "-o", "m.jsonl").code == 1
    assert manifest_of(home / "m.jsonl") == before
    assert run("merge", "b.jsonl", "-o", "m.jsonl", "--no-manifest").code == 0
    assert not (home / "m.jsonl.manifest.json").exists()


def test_a_file_of_another_program_is_left_alone(home, run):
    """A file that only has the name of a manifest is somebody's."""
    (home / "m.jsonl.manifest.json").write_text('{"mine": 1}')
    done = run("merge", "a.jsonl", "-o", "m.jsonl")
    assert done.code == 0
    assert "is no manifest: it is left as it is" in done.err
    assert (home / "m.jsonl.manifest.json").read_text() == '{"mine": 1}'


def test_paths_outside_are_digests_and_none_is_absolute(home, tmp_path_factory, run):
    """An absolute path tells a user's name."""
    other = tmp_path_factory.mktemp("outside")
    write_jsonl(other / "c.jsonl", rows(2, "S"))
    arguments = (home / "a.jsonl", other / "c.jsonl", "-o", home / "m.jsonl", "--rejects", home / "bad.jsonl")
    assert run("merge", *arguments).code == 0
    made = manifest_of(home / "m.jsonl")
    assert {each["path"] for each in made["inputs"]} == {
        "a.jsonl",
        f"sha256:{sha256(other / 'c.jsonl')}/c.jsonl",
    }
    assert str(home) not in json.dumps(made)
    assert str(other) not in json.dumps(made)
    assert made["arguments"][-2:] == ["a.jsonl", f"sha256:{sha256(other / 'c.jsonl')}/c.jsonl"]


def test_an_input_that_is_replaced_keeps_the_digest_of_what_was_read(home, run):
    """`merge` can write over one of its inputs."""
    before = sha256(home / "a.jsonl")
    assert run("merge", "a.jsonl", "b.jsonl", "-o", "a.jsonl").code == 0
    made = manifest_of(home / "a.jsonl")
    assert made["inputs"][0]["sha256"] == before
    assert made["outputs"][0]["sha256"] == sha256(home / "a.jsonl") != before


def test_each_part_of_a_workspace_has_its_own_inputs(workspace, run):
    """A command without files makes several outputs, each of inputs of its own."""
    assert run("convert", "gsm8k", cwd=workspace).code == 0
    assert run("merge", cwd=workspace).code == 0
    for split in ("train", "test"):
        made = manifest_of(workspace / f"mergedata/{split}.jsonl")
        source = f"pre_datasets/{split}/gsm8k_{split}_llama.jsonl"
        assert [each["path"] for each in made["inputs"]] == [source]
        before = manifest_of(workspace / made["inputs"][0]["path"])
        assert [each["path"] for each in before["inputs"]] == [f"raw/gsm8k/{split}.jsonl"]
        assert before["arguments"] == ["gsm8k"]


def test_rejects_and_parts_are_outputs(home, run):
    """Every file that a command writes is named, and has a manifest."""
    (home / "a.jsonl").write_bytes((home / "a.jsonl").read_bytes() + b"no\n")
    parts = ("--parts", "x=0.5,y=0.5", "-o", "parts")
    assert run("split", "a.jsonl", *parts, "--rejects", "bad.jsonl").code == 0
    made = manifest_of(home / "parts/x.jsonl")
    assert {each["path"] for each in made["outputs"]} == {"parts/x.jsonl", "parts/y.jsonl", "bad.jsonl"}
    assert [each["path"] for each in made["inputs"]] == ["a.jsonl"]
    assert listing(home / "parts") == ["x.jsonl", "y.jsonl"]
    assert without_time(home / "bad.jsonl")["inputs"] == made["inputs"]


def test_shards_are_one_output_and_one_input(home, run):
    """The manifest of a folder is beside it."""
    assert run("tokenizer", "train", "a.jsonl", "-o", "t.model", "--vocab-size", "275").code == 0
    assert manifest_of(home / "t.model")["command"] == "tokenizer train"
    assert run("tokenize", "a.jsonl", "-o", "tokens", "--tokenizer", "t.model").code == 0
    made = manifest_of(home / "tokens")
    assert {each["path"] for each in made["inputs"]} == {"a.jsonl", "t.model"}
    (output,) = made["outputs"]
    assert output["rows"] == 5
    assert output["files"].keys() == {
        path.name for path in (home / "tokens").iterdir() if not path.name.startswith(".")
    }


def test_a_journal_grows_and_no_key_is_in_a_manifest(home, run):
    """Its manifest has the state of the journal, and what the answers cost."""
    write_jsonl(home / "requests.jsonl", [{"id": "1", "messages": [{"role": "user", "content": "Q"}]}])
    with TeacherServer(lambda *_: Reply(body=completion("A"))) as server:
        address = server.url.replace("://", "://user:hidden-password@")
        env = {"TEACHER_MODEL_API_KEY": "a-very-secret-key", "PATH": "/usr/bin"}
        words = ["generate", "requests.jsonl", "-o", "journal.jsonl", "--model", "m", "--base-url", address]
        words += ["--param", 'extra_headers={"X-Api-Key": "another-secret"}']
        done = run(*words, env=env)
    assert done.code == 0, done.err
    made = manifest_of(home / "journal.jsonl")
    assert [each["path"] for each in made["inputs"]] == ["requests.jsonl"]
    assert made["outputs"][0]["grows"] is True
    assert made["outputs"][0]["rows"] == 1
    assert made["ledger"][0]["sent"] == 1
    for secret in ("a-very-secret-key", "hidden-password", "another-secret"):
        assert secret not in json.dumps(made)
