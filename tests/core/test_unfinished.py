"""Unfinished files: names that nobody can foresee, locks that show which are left over, and their removal."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dataprep import init_workspace, merge_files, write_rows
from dataprep.core.errors import FileError
from dataprep.core.io import leftovers, new_folder, open_output
from dataprep.core.io.unfinished import new_file, remove_all
from tests.helpers import listing

ROOT = Path(__file__).parents[2]
NAME = "0123456789abcdef"


def fixed(monkeypatch):
    """Make the random part of a name known."""
    monkeypatch.setattr(os, "urandom", lambda count: bytes.fromhex(NAME)[:count])


def killed(code, folder):
    """Run Python code in a process that kills itself in the middle."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL


def test_processes_with_the_same_number_do_not_meet(tmp_path, monkeypatch):
    """In two containers on one volume, process numbers are equal: each output is whole."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = tmp_path / "rows.jsonl"
    with open_output(str(path)) as first:
        first.write(b'{"a":1}\n')
        with open_output(str(path)) as second:
            second.write(b'{"a":2}\n' * 3)
            assert len(listing(tmp_path)) == 2
        first.write(b'{"a":1}\n')
        assert path.read_bytes() == b'{"a":2}\n' * 3
    assert path.read_bytes() == b'{"a":1}\n' * 2
    assert listing(tmp_path) == ["rows.jsonl"]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json"])
def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(tmp_path, monkeypatch, suffix):
    """Whoever foresees the name gains nothing: the file that the link points to stays as it is."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / f".rows{suffix}.{NAME}.partial").symlink_to(victim)
    fixed(monkeypatch)
    with pytest.raises(FileError, match="File exists"):
        write_rows([{"a": 1}], str(tmp_path / f"rows{suffix}"))
    assert victim.read_bytes() == b"precious"
    assert listing(tmp_path) == [f".rows{suffix}.{NAME}.partial", "victim"]


def test_a_replaced_unfinished_file_does_not_become_the_output(tmp_path):
    """What somebody puts in its place is not taken for the rows."""
    path = tmp_path / "rows.jsonl"

    def replace():
        with open_output(str(path)) as out:
            out.write(b"{}\n")
            Path(out.direct).unlink()
            Path(out.direct).write_bytes(b"other")

    with pytest.raises(FileError, match="replaced"):
        replace()
    assert not path.exists()


def test_an_unfinished_file_is_as_private_as_the_one_it_replaces(tmp_path):
    """Nobody else can read the rows while they are written."""
    path = tmp_path / "rows.jsonl"
    path.touch(0o600)
    with open_output(str(path)) as out:
        assert stat.S_IMODE(Path(out.direct).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", [b"x" * 249 + b".jsonl", "é".encode() * 120 + b".jsonl", b"\xff\xfe.jsonl"])
def test_long_and_odd_names_can_be_written(tmp_path, name):
    """The hidden name is not too long where the output's is not, and need not be UTF-8."""
    path = tmp_path / os.fsdecode(name)
    assert write_rows([{"a": 1}], str(path)) == 1
    assert listing(tmp_path) == [path.name]


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    """Only what belongs to the same output, and only what no process holds."""
    for name in (f".rows.jsonl.{NAME}.partial", f".other.jsonl.{NAME}.partial", ".rows.jsonl.partial"):
        (tmp_path / name).write_bytes(b"left")
    with new_file(tmp_path / "rows.jsonl") as held:
        write_rows([{"a": 1}], str(tmp_path / "rows.jsonl"))
        expected = {held.path.name, f".other.jsonl.{NAME}.partial", ".rows.jsonl.partial", "rows.jsonl"}
        assert set(listing(tmp_path)) == expected
    (tmp_path / "read-only.jsonl").touch(0o400)
    (tmp_path / f".read-only.jsonl.{NAME}.partial").touch(0o400)
    write_rows([{"a": 1}], str(tmp_path / "read-only.jsonl"))
    assert not [name for name in listing(tmp_path) if name.startswith(".read-only")]


def test_a_file_that_was_removed_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    """Between making and locking, another process can take it for a leftover."""
    import fcntl

    lock, times = fcntl.flock, []

    def removed_first(number, how):
        if not times:
            times.append(number)
            next(tmp_path.glob(".*")).unlink()
        lock(number, how)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    write_rows([{"a": 1}], str(tmp_path / "rows.jsonl"))
    assert times
    assert listing(tmp_path) == ["rows.jsonl"]


def test_a_folder_that_was_removed_before_it_was_open_is_made_again(tmp_path, monkeypatch):
    """Between making and opening it, another process can take it for a leftover."""
    opened, times = os.open, []

    def removed_first(path, *rest, **named):
        if not times and str(path).endswith(".partial"):
            times.append(path)
            path.rmdir()
        return opened(path, *rest, **named)

    monkeypatch.setattr(os, "open", removed_first)
    with new_folder(tmp_path / "folder") as folder:
        assert folder.is_dir()
        assert times == [tmp_path / times[0].name] != [folder]
    assert not any(tmp_path.iterdir())


def test_a_second_signal_leaves_nothing_either(tmp_path, monkeypatch):
    """An interrupted cleanup is done at the end of the command."""
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))

    def interrupted():
        with open_output(str(tmp_path / "rows.json")) as out:
            out.write(b"{}\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert listing(tmp_path)
    monkeypatch.undo()
    remove_all()
    assert listing(tmp_path) == []


def test_clean_lists_and_removes_leftovers(run, tmp_path, monkeypatch):
    """Of this version and of earlier ones; not what a process works on, nor other hidden files."""
    # The command runs in this process, whose unfinished files it would remove at its end.
    monkeypatch.setattr("dataprep.core.io.unfinished.remove_all", lambda: None)
    stale = [
        f".rows.jsonl.{NAME}.partial",
        f"runs/a/.student.{NAME}.partial/model.safetensors",
        ".rows.jsonl.4711.partial",
        ".merge-k3j_x9.partial/bucket0",
        "runs/a/checkpoints/.step-00000002.pt.partial",
    ]
    others = [".gitignore", "rows.partial", ".notes.partial", "journal.jsonl.torn"]
    for name in (*stale, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234567")
    with new_folder(tmp_path / "mine") as mine, new_file(tmp_path / "held.jsonl") as held:
        listed = run("clean", "--list", "--json")
        assert listed.code == 0
        document = json.loads(listed.err)
        assert (document["removed"], document["bytes"]) == (0, 7 * len(stale))
        states = {entry["path"]: entry["state"] for entry in document["unfinished"]}
        assert states.pop(f"{mine.name}") == states.pop(held.path.name) == "in use"
        assert set(states.values()) == {"stale"}
        done = run("clean", ".")
        assert done.code == 0
        assert sorted(done.out.decode().split()) == sorted(states)
        assert (
            done.err
            == "clean: removed 5 unfinished, 35 bytes\n  left where they are, in use or of others: 2\n"
        )
        assert set(listing(tmp_path)) == {*others, mine.name, held.path.name, "runs"}
    assert run("clean").err == "clean: removed 0 unfinished, 0 bytes\n"
    assert run("clean", "nowhere").code == 1
    assert not list(leftovers(tmp_path))


@pytest.mark.medium
def test_a_killed_merge_leaves_nothing_to_the_next(tmp_path):
    """Scratch folders are locked and removed like files."""
    rows = b"".join(b'{"n": %d}\n' % n for n in range(2000))
    (tmp_path / "a.jsonl").write_bytes(rows)
    code = (
        "import os\nfrom dataprep import merge_files\n"
        "stop = lambda _: len(os.listdir()) > 2 and os.kill(os.getpid(), 9)\n"
        "merge_files(['a.jsonl'], 'out.jsonl', memory=1000, progress=stop)"
    )
    killed(code, tmp_path)
    assert len(listing(tmp_path)) > 1
    merge_files([tmp_path / "a.jsonl"], tmp_path / "out.jsonl")
    assert listing(tmp_path) == ["a.jsonl", "out.jsonl"]


@pytest.mark.medium
@pytest.mark.sampled(4)
@pytest.mark.parametrize("place", ["Path.mkdir", "shutil.copytree", "Path.rename"])
@pytest.mark.parametrize("folder", [".", "new/workspace"])
def test_init_can_be_run_again_after_it_was_killed(tmp_path, run, place, folder):
    """Killed anywhere, it has made no workspace, and the next one is whole."""
    code = (
        "import os, shutil\nfrom pathlib import Path\nfrom dataprep import init_workspace\n"
        f"inside, calls = {place}, []\n"
        "def stopped(*args, **kwargs):\n"
        f"    inside(*args, **kwargs) if {place != 'Path.rename'} else None\n"
        "    calls.append(args)\n"
        f"    if len(calls) > {2 if place == 'Path.mkdir' else 0}: os.kill(os.getpid(), 9)\n"
        f"{place} = stopped\ninit_workspace({folder!r})"
    )
    killed(code, tmp_path)
    assert not (tmp_path / folder / "raw").exists()
    assert run("init", folder).code == 0
    names = ["mergedata", "pre_datasets", "raw"]
    assert listing(tmp_path / folder) == names
    whole = init_workspace(tmp_path / "whole")
    made = {str(path.relative_to(tmp_path / folder)) for path in (tmp_path / folder / "raw").rglob("*")}
    assert made == {str(path.relative_to(whole)) for path in (whole / "raw").rglob("*")}
    assert run("init", folder).code == 1


def test_an_interrupted_init_leaves_nothing(tmp_path, monkeypatch):
    """Ctrl-C while the samples are copied: no folder, not even a hidden one."""

    def stopped(_source, target):
        Path(target).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copytree", stopped)
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            init_workspace(folder)
        assert listing(tmp_path) == []
