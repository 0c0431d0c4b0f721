"""Manifests of files behind links, of pipes, and of files that are named by absolute paths."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dataprep.core import provenance
from dataprep.core.manifests.writing import Call, ManifestWriter
from dataprep.core.provenance import recording
from tests.helpers import chat, write_jsonl


def manifest_of(path):
    """The manifest beside a file."""
    return json.loads(Path(f"{path}.manifest.json").read_text())


def broken(run, path):
    """The files that `verify` finds broken, and those that it could not compare."""
    found = json.loads(run("verify", path, "--json").out)["files"]
    return [link["path"] for link in found if link["state"] in ("broken", "unknown")], len(found)


@pytest.fixture
def home(tmp_path, tmp_path_factory, run, monkeypatch):
    """A workspace whose source file and folder of outputs are links to another disk."""
    disk, home = tmp_path_factory.mktemp("disk"), tmp_path
    (home / "raw/gsm8k").mkdir(parents=True)
    (disk / "merged").mkdir()
    write_jsonl(disk / "a.jsonl", [{"question": f"{n}?", "answer": f"{n}\n#### {n}"} for n in range(9)])
    (home / "raw/gsm8k/train.jsonl").symlink_to(disk / "a.jsonl")
    (home / "mergedata").symlink_to(disk / "merged")
    (home / "latest.jsonl").symlink_to("mergedata/train.jsonl")
    monkeypatch.chdir(home)
    for words in (
        "convert gsm8k raw/gsm8k/train.jsonl -o a.jsonl",
        "merge a.jsonl -o mergedata/train.jsonl",
        "dedup latest.jsonl -o d.jsonl",
    ):
        assert run(*words.split()).code == 0
    return home


def test_links_lead_on_to_the_sources(home, run):
    """A link's manifest is that of its file, and what a link leads to has a name in the workspace."""
    assert broken(run, "d.jsonl") == ([], 4)
    assert broken(run, "latest.jsonl") == ([], 3)
    assert manifest_of("d.jsonl")["arguments"][-1] == "mergedata/train.jsonl"
    assert manifest_of("mergedata/train.jsonl")["root"] == ".."
    assert b"raw/gsm8k/train.jsonl:" in run("trace", "latest.jsonl:1").out
    text = "".join(
        path.read_text() for path in [*home.rglob("*.manifest.json"), *Path("mergedata").iterdir()]
    )
    assert "sha256:" not in text
    (home / "raw/gsm8k/train.jsonl").resolve().write_text("{}\n")
    assert broken(run, "d.jsonl")[0] == broken(run, "latest.jsonl")[0] == ["raw/gsm8k/train.jsonl"]
    # An output that is written through a link, as well.
    assert (
        run("filter", "d.jsonl", "--where", "chars(assistant) < 0 OR turns > 9", "-o", "latest.jsonl").code
        == 0
    )
    assert manifest_of("mergedata/train.jsonl")["command"] == "filter"
    assert "mergedata/train.jsonl" in broken(run, "d.jsonl")[0]


@pytest.mark.slow
def test_replay_reads_behind_links_and_writes_to_none(home, run, tmp_path_factory):
    """A source can be a link; an output must not leave the workspace."""
    before = {path: Path(path).read_bytes() for path in ("a.jsonl", "d.jsonl", "mergedata/train.jsonl")}
    for path in ("a.jsonl", "d.jsonl"):
        Path(path).unlink()
    assert run("replay", "d.jsonl").code == 0
    (home / "mergedata/train.jsonl").unlink()
    failed = run("replay", "d.jsonl")
    assert failed.code == 2
    assert "mergedata/train.jsonl leads out of the workspace" in failed.err
    (home / "mergedata/train.jsonl").write_bytes(before["mergedata/train.jsonl"])
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(home / "raw", other / "raw")
    done = run("replay", "d.jsonl", "--workspace", other)
    assert done.code == 0, done.err
    assert {path: (other / path).read_bytes() for path in before} == before


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_a_pipe_of_the_shell_is_no_missing_input(tmp_path, run):
    """`<(…)` is in the manifest as standard input is, with a name that is the same in each run."""
    write_jsonl(tmp_path / "a.jsonl", [chat("Q", "A")])
    command = f"{sys.executable} -m dataprep merge <(cat a.jsonl) -o m.jsonl -q"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    made = manifest_of(tmp_path / "m.jsonl")
    assert [each["path"] for each in made["inputs"]] == ["-"]
    assert made["options"]["inputs"] == ["-"]
    assert b"unknown" in run("verify", "m.jsonl").out
    (tmp_path / "m.jsonl").unlink()
    assert "read standard input or a pipe" in run("replay", "m.jsonl").err


def test_no_absolute_path_in_the_reasons_of_a_ledger(tmp_path, tmp_path_factory, run):
    """`dedup --across` has the file's name in its reason."""
    other = tmp_path_factory.mktemp("other")
    write_jsonl(tmp_path / "a.jsonl", [chat("Q", "A"), chat("R", "B")])
    write_jsonl(other / "b.jsonl", [chat("Q", "A")])
    words = (tmp_path / "a.jsonl", "--across", other / "b.jsonl", "-o", tmp_path / "d.jsonl")
    assert run("dedup", *words).code == 0
    made = manifest_of(tmp_path / "d.jsonl")
    (reason,) = made["ledger"][0]["dropped"]
    assert reason == f"in {made['inputs'][0]['path']}"
    assert reason.startswith("in sha256:")
    assert str(other) not in json.dumps(made)


def test_a_step_with_a_hidden_key_says_so(tmp_path, run):
    """Run again, it has `***` in place of the key."""
    write_jsonl(tmp_path / "a.jsonl", [{"question": "1?", "answer": "#### 1"}])
    words = ("convert", "gsm8k", "a.jsonl", "--system", "sk-abcdefghijklmnopqrst", "-o", "c.jsonl")
    assert run(*words).code == 0
    assert "sk-" not in (tmp_path / "c.jsonl.manifest.json").read_text()
    (tmp_path / "c.jsonl").unlink()
    done = run("replay", "c.jsonl")
    assert done.code == 1
    assert "the manifest has *** in place of a key" in done.err + done.out.decode()


def test_a_folder_is_an_input_with_the_files_that_count(tmp_path, monkeypatch):
    """Measurements beside a student differ from run to run, and change no prediction."""
    monkeypatch.chdir(tmp_path)
    student, rows = tmp_path / "student", tmp_path / "rows.jsonl"
    student.mkdir()
    (student / "model.bin").write_bytes(b"weights")
    (student / "metrics.jsonl").write_text("seconds")
    rows.write_text("{}\n")
    for read, written, names in ((None, student, ("model.bin",)), (student, rows, ("*",))):
        with recording() as recorder:
            if read is not None:
                provenance.read(str(read))
            provenance.wrote(written, names=names)
            assert ManifestWriter(recorder, Call("train", lambda _: [], lambda _: {})).write() == []
    (entry,) = manifest_of(rows)["inputs"]
    assert (entry["path"], [*entry["files"]]) == ("student", ["model.bin"])
