"""`verify` finds every changed byte of a chain, and `replay` makes its files again."""

import json
import shutil
from pathlib import Path

import pytest

import dataprep
from tests.helpers import chat, write_jsonl
from tests.teacher_server import Reply, TeacherServer, completion


@pytest.fixture
def chain(tmp_path, run):
    """A workspace: two source files, converted, merged, split."""
    home = tmp_path / "home"
    for name in ("a", "b"):
        (home / "raw/gsm8k").mkdir(parents=True, exist_ok=True)
        rows = [{"question": f"{name}{n}?", "answer": f"{n}\n#### {n}"} for n in range(9)]
        write_jsonl(home / f"raw/gsm8k/{name}.jsonl", rows)
    (home / "out").mkdir()
    for name in ("a", "b"):
        words = ("convert", "gsm8k", f"raw/gsm8k/{name}.jsonl", "-o", f"out/{name}.jsonl")
        assert run(*words, cwd=home).code == 0
    merge = ("merge", "out", "--seed", "3", "-o", "merged.jsonl.gz")
    assert run(*merge, cwd=home).code == 0
    split = ("split", "../merged.jsonl.gz", "--parts", "x=0.5,y=0.5", "-o", "parts")
    assert run(*split, cwd=home / "out").code == 0
    return home


def states(run, *words, cwd):
    """The state of each file, by name, and the exit code of `verify`."""
    done = run("verify", *words, "--json", cwd=cwd)
    found = json.loads(done.out)
    return {Path(link["path"]).name: link["state"] for link in found["files"]}, done.code


def files_of(home):
    """The files of a workspace but manifests, with their bytes."""
    paths = [path for path in home.rglob("*") if path.is_file() and not path.name.endswith(".manifest.json")]
    return {str(path.relative_to(home)): path.read_bytes() for path in paths}


def test_a_chain_that_nobody_touched_is_whole(chain, run):
    """From any folder; each file once."""
    whole = {"x.jsonl": "ok", "merged.jsonl.gz": "ok", "a.jsonl": "ok", "b.jsonl": "ok"}
    found = json.loads(run("verify", "out/parts/x.jsonl", "--json", cwd=chain).out)
    assert len(found["files"]) == 6
    assert found["broken"] == 0
    assert [link["state"] for link in found["files"]].count("source") == 2
    assert {link["path"] for link in found["files"]} >= {"raw/gsm8k/a.jsonl", "merged.jsonl.gz"}
    found, code = states(run, chain / "out/parts/x.jsonl", cwd=chain.parent)
    assert code == 0
    assert found.keys() == whole.keys()


def test_one_changed_byte_anywhere_is_found_and_named(chain, run):
    """Any file of the chain, any manifest, any place in them."""
    used = [path for path in chain.rglob("*") if path.is_file() and not path.name.startswith("y.jsonl")]
    assert len(used) == 10
    for path in used:
        before = path.read_bytes()
        for at in (0, len(before) // 2, len(before) - 1):
            changed = bytearray(before)
            changed[at] ^= 1
            path.write_bytes(changed)
            done = run("verify", "out/parts/x.jsonl", cwd=chain)
            assert done.code == 1, (path, at)
            broken = [line for line in done.out.decode().splitlines() if line.startswith("broken")]
            assert any(path.name.removesuffix(".manifest.json") in line for line in broken), (path, broken)
        path.write_bytes(before)
    assert run("verify", "out/parts/x.jsonl", cwd=chain).code == 0


def test_a_changed_manifest_blames_no_input(chain, run):
    """The manifest alone is broken, whatever it now says of what was read."""
    place = chain / "merged.jsonl.gz.manifest.json"
    text = place.read_text()
    for entry in json.loads(text)["inputs"]:
        digest = entry["sha256"]
        place.write_text(text.replace(digest, digest[:-1] + ("1" if digest[-1] == "0" else "0")))
        found, code = states(run, "merged.jsonl.gz", cwd=chain)
        assert (code, [name for name in found if found[name] == "broken"]) == (1, ["merged.jsonl.gz"])


def test_a_step_that_was_made_again_is_named(chain, run):
    """The file fits its manifest, but is not what the next command read."""
    words = ("convert", "gsm8k", "raw/gsm8k/a.jsonl", "-o", "out/a.jsonl", "--system", "Other.")
    assert run(*words, cwd=chain).code == 0
    done = run("verify", "merged.jsonl.gz", cwd=chain)
    assert done.code == 1
    (line,) = [line for line in done.out.decode().splitlines() if line.startswith("broken")]
    assert "out/a.jsonl" in line
    assert "is not what merge read for merged.jsonl.gz.manifest.json, and was made again since" in line


def test_a_file_without_a_manifest_is_a_source(tmp_path, run):
    """That is said, and is no fault; a file that is not there is one."""
    write_jsonl(tmp_path / "a.jsonl", [chat("Q", "A")])
    assert run("verify", "a.jsonl").out == b"source  a.jsonl (no manifest)\n"
    assert run("verify", "no.jsonl").code == 1


def test_a_folder_stands_for_its_files(chain, run):
    """Those with a manifest and those without, and outputs that are gone."""
    found, code = states(run, "out", "raw", cwd=chain)
    made = dict.fromkeys(("x.jsonl", "y.jsonl", "merged.jsonl.gz"), "ok")
    assert found == made | dict.fromkeys(("a.jsonl", "b.jsonl"), "source")
    assert code == 0
    (chain / "out/parts/y.jsonl").unlink()
    found, code = states(run, "out", cwd=chain)
    assert (found["y.jsonl"], code) == ("broken", 1)


def test_what_is_up_to_date_is_skipped(chain, run):
    """And what is missing or changed is made again."""
    before = files_of(chain)
    done = run("replay", "out/parts/x.jsonl", cwd=chain)
    assert (done.code, done.err.count("up to date"), "made" in done.err) == (0, 4, False)
    (chain / "merged.jsonl.gz").unlink()
    (chain / "out/parts/x.jsonl").write_text("{}\n")
    done = run("replay", "out/parts/x.jsonl", cwd=chain)
    assert done.code == 0, done.err
    assert (done.err.count("up to date"), done.err.count("made:")) == (2, 2)
    assert files_of(chain) == before
    assert run("verify", "out/parts/x.jsonl", cwd=chain).code == 0


def test_what_was_recorded_stays_if_the_bytes_differ(chain, run):
    """A second replay, and verify, still say so; a new file in a folder is named."""
    recorded = (chain / "merged.jsonl.gz.manifest.json").read_bytes()
    write_jsonl(chain / "out/c.jsonl", [chat("Q", "A")])
    (chain / "merged.jsonl.gz").unlink()
    for _ in range(2):
        done = run("replay", "merged.jsonl.gz", cwd=chain)
        assert done.code == 1
        assert "only one of the two runs read out/c.jsonl" in done.err
        assert (chain / "merged.jsonl.gz.manifest.json").read_bytes() == recorded
    assert run("verify", "merged.jsonl.gz", cwd=chain).code == 1
    (chain / "out/c.jsonl").unlink()
    assert run("replay", "merged.jsonl.gz", cwd=chain).code == 0
    assert run("verify", "merged.jsonl.gz", cwd=chain).code == 0


def test_another_folder_with_the_same_sources_gets_the_same_bytes(chain, run):
    """Only raw/ is there, and everything else is made."""
    other = chain.parent / "other"
    shutil.copytree(chain / "raw", other / "raw")
    done = run("replay", chain / "out/parts/x.jsonl", "--workspace", other)
    assert done.code == 0, done.err
    assert "4 steps, the same bytes" in done.err
    assert files_of(other) == files_of(chain)
    (other / "raw/gsm8k/a.jsonl").write_text('{"question": "other", "answer": "1"}\n')
    shutil.rmtree(other / "out")
    failed = run("replay", chain / "out/parts/x.jsonl", "--workspace", other)
    assert failed.code == 1
    assert "raw/gsm8k/a.jsonl: is not what convert read" in failed.err


def test_a_file_outside_is_named_and_can_be_given(tmp_path, tmp_path_factory, run):
    """A manifest knows it by its digest alone."""
    outside = tmp_path_factory.mktemp("outside")
    write_jsonl(outside / "a.jsonl", [chat("Q", "A")])
    assert run("merge", outside / "a.jsonl", "-o", "m.jsonl").code == 0
    (tmp_path / "m.jsonl").unlink()
    failed = run("replay", "m.jsonl")
    assert failed.code == 2
    assert "merge read a.jsonl from outside (SHA-256 " in failed.err
    assert run("replay", "m.jsonl", "--source", outside).code == 0
    assert (tmp_path / "m.jsonl").read_bytes() == (outside / "a.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"command": "clean"}, "not a command that can be replayed"),
        ({"command": "rm -rf"}, "not a command that can be replayed"),
        ({"arguments": ["a.jsonl", "-o", "../m.jsonl"]}, "leads out of the workspace"),
        ({"arguments": ["a.jsonl", "-o", "/tmp/m.jsonl"]}, "leads out of the workspace"),
        ({"arguments": ["/etc/passwd", "-o", "m.jsonl"]}, "leads out of the workspace"),
        ({"arguments": ["a.jsonl", "--rejects=../x", "-o", "m.jsonl"]}, "leads out of the workspace"),
        ({"arguments": ["a.jsonl", "--no-such-flag"]}, "wrong arguments"),
        ({"arguments": ["a.jsonl", "--config", "x.toml"]}, "cannot come from a manifest"),
        ({"root": "/"}, "expected . or ../.."),
        ({"root": "../other"}, "expected . or ../.."),
        ({"outputs": [{"path": "../m.jsonl", "sha256": "0" * 64}]}, "leads out of the workspace"),
        ({"inputs": [{"path": "/etc/passwd", "sha256": "0" * 64}]}, "leads out of the workspace"),
    ],
)
def test_a_manifest_is_text_from_outside(tmp_path, run, change, message):
    """It starts no other program, and reads and writes nothing outside of its workspace."""
    write_jsonl(tmp_path / "a.jsonl", [chat("Q", "A")])
    assert run("merge", "a.jsonl", "-o", "m.jsonl").code == 0
    place = tmp_path / "m.jsonl.manifest.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | change))
    (tmp_path / "m.jsonl").unlink()
    before = sorted(path.name for path in tmp_path.parent.iterdir())
    done = run("replay", "m.jsonl")
    assert done.code in (1, 2)
    assert message in done.err
    assert sorted(path.name for path in tmp_path.parent.iterdir()) == before
    assert not (tmp_path / "m.jsonl").exists()


@pytest.mark.slow
def test_a_chain_with_a_teacher_and_a_folder_for_the_hub(tmp_path, run):
    """In another folder the journal is copied, nobody is asked again, and the same bytes come out."""
    home = tmp_path / "home"
    (home / "raw/gsm8k").mkdir(parents=True)
    rows = [{"question": f"What is {n} + {n}?", "answer": f"{n}+{n}={2 * n}\n#### {2 * n}"} for n in range(6)]
    write_jsonl(home / "raw/gsm8k/train.jsonl", rows)
    with TeacherServer(lambda *_: Reply(body=completion("I add.\n#### 4"))) as server:
        for words in (
            "prompt raw/gsm8k/train.jsonl --dataset gsm8k --no-teacher-forcing -o requests.jsonl",
            f"generate requests.jsonl -o journal.jsonl --model m --base-url {server.url}",
            "collect journal.jsonl --examples raw/gsm8k/train.jsonl --dataset gsm8k --to chat -o train.jsonl",
            "export train.jsonl --to hub-dir -o hub",
        ):
            done = run(*words.split(), cwd=home)
            assert done.code == 0, done.err
    other = tmp_path / "other"
    shutil.copytree(home / "raw", other / "raw")
    done = run("replay", "hub", "--workspace", other, "--json", cwd=home)
    assert done.code == 0, done.err
    steps = {step["command"]: step["state"] for step in json.loads(done.err)["steps"]}
    assert steps == {"prompt": "made", "generate": "given", "collect": "made", "export": "made"}
    assert files_of(other) == files_of(home)
    # A journal that has grown is copied as it was read.
    lines = (home / "journal.jsonl").read_text()
    (home / "journal.jsonl").write_text(lines + lines.replace("I add.", "I guess."))
    shutil.rmtree(other / "hub")
    for name in ("train.jsonl", "journal.jsonl"):
        (other / name).unlink()
    assert run("replay", "hub", "--workspace", other, cwd=home).code == 0
    (home / "train.jsonl").unlink()
    done = run("replay", "hub", cwd=home)
    assert done.code == 1
    assert "; journal.jsonl has further lines since" in done.err
    (home / "journal.jsonl").unlink()
    (other / "journal.jsonl").unlink()
    done = run("replay", "hub", "--workspace", other, cwd=home)
    assert done.code == 1
    assert "no such file; answers are not asked for again: bring the journal back" in done.err


def test_the_same_in_python(chain, monkeypatch):
    """`verify_files` and `replay_files` are public, and return what the commands show."""
    monkeypatch.chdir(chain)
    assert not dataprep.verify_files(["merged.jsonl.gz"]).broken
    Path("merged.jsonl.gz").unlink()
    (link,) = dataprep.verify_files(["out/parts/x.jsonl"]).broken
    assert link.path == "merged.jsonl.gz"
    seen = []
    result = dataprep.replay_files(["merged.jsonl.gz"], on_step=seen.append)
    assert [step.state for step in result.steps] == ["up to date", "up to date", "made"]
    assert seen == result.steps
    assert not dataprep.verify_files(["out/parts/x.jsonl"]).broken
