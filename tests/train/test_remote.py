"""Runs and data in an object store: the same student, whole files only, and one process at a time."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from safetensors.torch import load_file

from dataprep.core.errors import ConflictError, FileError, InputError, UsageError
from dataprep.core.io import open_output
from dataprep.core.io.stores import store_of
from dataprep.tokens.shards.mixture import mix_shards
from dataprep.tokens.tokenize import ShardOptions, tokenize_files
from dataprep.train.remote import RUN, RemoteRun
from dataprep.train.run import train
from dataprep.train.trainer import Trainer
from tests.stores import KEY, SECRET
from tests.students import rows, write_rows
from tests.train.test_trainer import SLOWED, chosen, same

STUDENT = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"}


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.cluster)])
def store(request):
    """The URL of a new folder in a store."""
    return f"memory://{uuid4().hex}" if request.param == "memory" else request.getfixturevalue("s3")


@pytest.fixture
def memory():
    """The URL of a new folder in memory."""
    return f"memory://{uuid4().hex}"


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """A place for temporary files, in which nothing stays."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def names(url):
    """The objects below a URL, by their names."""
    return {found.removeprefix(url + "/"): stat for found, stat in store_of(url).list(url)}


def content(url):
    """The bytes of an object."""
    store = store_of(url)
    return store.read(url, 0, store.stat(url).size)


def put(url, path):
    """Write a file, or the files of a folder, to a store."""
    if path.is_file():
        store_of(url).put(url, path.read_bytes())
    for file in path.rglob("*") if path.is_dir() else ():
        if file.is_file():
            store_of(url).put(f"{url}/{file.relative_to(path).as_posix()}", file.read_bytes())


def run(place, output, *, data=None, resume=False, log=None, **settings):
    """A run in this process, with checkpoints."""
    options = chosen(place, **{"save_every": 3, **settings})
    return train(
        data or place / "train.jsonl", place / "eval.jsonl", output, options=options, resume=resume, log=log
    )


@pytest.fixture(scope="session")
def expected(place, tmp_path_factory):
    """A run into a folder."""
    folder = tmp_path_factory.mktemp("expected") / "run"
    run(place, folder)
    return folder


def student(url, folder):
    """The weights of a run in a store."""
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(content(f"{url}/model.safetensors"))
    return load_file(folder / "model.safetensors")


def timeless(lines):
    """Lines of metrics without times and memory."""
    return [
        {key: value for key, value in json.loads(line).items() if key in ("step", "loss", "eval_loss")}
        for line in lines.split(b"\n")
        if line
    ]


def check_whole(url):
    """Every file that the list names has the bytes that it says; metrics may have more."""
    listed = orjson.loads(content(f"{url}/{RUN}"))["files"]
    for file in listed:
        data = content(f"{url}/{file['name']}")
        grows = file["name"].endswith("metrics.jsonl")
        assert len(data) == file["bytes"] or (grows and len(data) > file["bytes"]), file["name"]
        assert hashlib.sha256(data[: file["bytes"]]).hexdigest() == file["sha256"], file["name"]
    return {file["name"] for file in listed}


@pytest.mark.medium
def test_a_run_in_a_store_ends_with_the_same_student(place, tmp_path, store, expected, scratch):
    """Its files are there and whole; checkpoints and temporary files are gone."""
    url = f"{store}/runs/a"
    done = run(place, url)
    assert done.path == url
    same(student(url, tmp_path / "found"), load_file(expected / "model.safetensors"))
    local = {path.relative_to(expected).as_posix() for path in expected.rglob("*") if path.is_file()}
    assert names(url).keys() == local | {RUN}
    assert check_whole(url) == local
    assert timeless(content(f"{url}/metrics.jsonl")) == timeless((expected / "metrics.jsonl").read_bytes())
    assert not list(scratch.iterdir())


class Stopped(Exception):
    """The end of a test's run."""


def stop_at(monkeypatch, step):
    """Let a run end before a step, as if it was killed."""
    real = Trainer.train_step

    def stopping(self, number, items):
        if number == step:
            raise Stopped
        return real(self, number, items)

    monkeypatch.setattr(Trainer, "train_step", stopping)
    return lambda: monkeypatch.setattr(Trainer, "train_step", real)


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("step", [1, 4, 8])
def test_a_run_continues_from_what_the_store_has(place, tmp_path, memory, expected, monkeypatch, step):
    """Another machine, without any file of the first, ends with the same weights and metrics."""
    url = f"{memory}/run"
    go_on = stop_at(monkeypatch, step)
    with pytest.raises(Stopped):
        run(place, url)
    saved = check_whole(url)
    assert ("checkpoints/step-00000003.pt" in saved) == (step > 3)
    go_on()
    run(place, url, resume=True)
    same(student(url, tmp_path / "found"), load_file(expected / "model.safetensors"))
    assert timeless(content(f"{url}/metrics.jsonl")) == timeless((expected / "metrics.jsonl").read_bytes())
    # Resuming a finished run reads everything, and writes nothing but these two again.
    before = {name: stat for name, stat in names(url).items() if name not in (RUN, "facts.json")}
    again = run(place, url, resume=True)
    assert again.results["steps"] == 10
    assert {name: stat for name, stat in names(url).items() if name in before} == before


@pytest.mark.slow
def test_a_quantized_run_continues_too(place, tmp_path, memory, monkeypatch):
    """It has a run inside, and a checkpoint that both students share."""
    pytest.importorskip("torchao")
    settings = {"model": str(place / "wide"), "qat": "int8-dynamic-int4"}
    run(place, tmp_path / "local", **settings)
    go_on = stop_at(monkeypatch, 7)
    with pytest.raises(Stopped):
        run(place, f"{memory}/run", **settings)
    go_on()
    run(place, f"{memory}/run", resume=True, **settings)
    expected = load_file(tmp_path / "local" / "model.safetensors")
    same(student(f"{memory}/run", tmp_path / "found"), expected)
    assert "quantized/model.safetensors" in check_whole(f"{memory}/run")


def test_a_new_run_needs_a_place_of_its_own(place, memory, monkeypatch):
    """A run that is there is only resumed, with the same data; other files are left alone."""
    store_of(memory).put(f"{memory}/a/mine.txt", b"x")
    with pytest.raises(UsageError, match="there are other files already"):
        run(place, f"{memory}/a")
    assert names(f"{memory}/a").keys() == {"mine.txt"}
    stop_at(monkeypatch, 4)
    with pytest.raises(Stopped):
        run(place, f"{memory}/b")
    with pytest.raises(UsageError, match=f"-o {memory}/b: there is a run already; --resume"):
        run(place, f"{memory}/b")
    with pytest.raises(UsageError, match=f"the run in {memory}/b was begun with another --batch-size"):
        run(place, f"{memory}/b", resume=True, batch_size=4)
    write_rows(place / "changed.jsonl", rows(40, seed=9))
    with pytest.raises(UsageError, match=f"the data of the run in {memory}/b were others"):
        run(place, f"{memory}/b", data=place / "changed.jsonl", resume=True)
    assert "checkpoints/step-00000003.pt" in check_whole(f"{memory}/b")


def test_a_new_run_that_fails_before_its_first_step_leaves_nothing(place, tmp_path, memory):
    """So the same command can be given again, with better data."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text((place / "train.jsonl").read_text() + '{"messages": 3}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:41"):
        run(place, f"{memory}/run", data=bad)
    assert not names(memory)


def test_two_processes_do_not_write_into_one_run(place, memory, expected, monkeypatch, tmp_path):
    """The one that resumes takes it over; the other one stops, and has written nothing since."""
    url, taken = f"{memory}/run", []
    real = Trainer.after_step

    def after(self, done):
        if done == 6 and not taken:
            taken.append({})
            run(place, url, resume=True)
            taken[0] = names(url)
        real(self, done)

    monkeypatch.setattr(Trainer, "after_step", after)
    with pytest.raises(ConflictError, match="another process works on the run"):
        run(place, url)
    assert names(url) == taken[0]
    same(student(url, tmp_path / "found"), load_file(expected / "model.safetensors"))
    check_whole(url)


@pytest.mark.cluster
def test_a_store_that_is_away_for_a_while_costs_no_step(place, failing, s3, monkeypatch, tmp_path, expected):
    """A checkpoint that cannot be written is a warning; the next one brings everything."""
    real, said, away = RemoteRun._upload, [], [403]

    def upload(self, name):
        if name.endswith("step-00000003.pt") and away:
            failing.answers["PUT"] = [away.pop()]
        return real(self, name)

    monkeypatch.setattr(RemoteRun, "_upload", upload)
    run(place, f"{s3}/run", log=said.append)
    assert any("the run is not up to date in the store" in line for line in said)
    same(student(f"{s3}/run", tmp_path / "found"), load_file(expected / "model.safetensors"))
    check_whole(f"{s3}/run")


def test_a_student_that_cannot_be_written_to_the_store_is_kept(place, memory, monkeypatch, expected):
    """At the end it is an error, which says where the whole run is."""
    real = RemoteRun._upload

    def upload(self, name):
        if name == "model.safetensors":
            raise FileError(f"{self.url}/{name}", "access denied")
        return real(self, name)

    monkeypatch.setattr(RemoteRun, "_upload", upload)
    with pytest.raises(FileError, match=r"access denied; the run is in .*: copy it from there") as caught:
        run(place, f"{memory}/run")
    kept = Path(str(caught.value).split("the run is in ")[1].split(":")[0])
    same(load_file(kept / "model.safetensors"), load_file(expected / "model.safetensors"))
    shutil.rmtree(kept)
    assert "model.safetensors" not in check_whole(f"{memory}/run")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", ".hidden", "", 7])
def test_a_list_from_elsewhere_leads_nowhere(place, memory, name):
    """Its names are those of files in the run."""
    files = [{"name": name, "bytes": 1, "sha256": "0" * 64}]
    document = {"format": "dataprep run", "version": 1, "files": files}
    store_of(memory).put(f"{memory}/run/{RUN}", orjson.dumps(document))
    with pytest.raises(InputError, match=r"run\.json: found .*; expected the name of a file in the run"):
        run(place, f"{memory}/run", resume=True)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:99] + b"x" + data[100:]])
def test_a_damaged_checkpoint_is_named(place, memory, monkeypatch, damage):
    """Before anything is trained."""
    stop_at(monkeypatch, 4)
    with pytest.raises(Stopped):
        run(place, f"{memory}/run")
    url = f"{memory}/run/checkpoints/step-00000003.pt"
    store_of(url).put(url, damage(content(url)))
    with pytest.raises(InputError, match=rf"{url}: (found [\d,]+ bytes; expected|damaged: its SHA-256)"):
        run(place, f"{memory}/run", resume=True)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_is_killed_at_any_moment_is_whole_in_the_store(
    place, tmp_path, s3, expected, scratch, seed
):
    """SIGKILL, also in the middle of an upload: what the list names is whole, and the run continues."""
    url, chance = f"{s3}/run", random.Random(seed)
    command = [sys.executable, "-c", SLOWED, "train", str(place / "train.jsonl"), "--eval"]
    command += [str(place / "eval.jsonl"), "--model", str(place / "model"), "--chat-format", "llama3"]
    command += ["--tokenizer", str(place / "tokenizer.json"), "--learning-rate", "0.01", "--epochs", "2"]
    command += ["--save-every", "3", "-o", url, "--resume"]
    threads = os.environ | {"OMP_NUM_THREADS": "1"}  # as in this process: sums depend on their number
    finished = False
    for _ in range(3):
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=threads) as process:
            deadline, before = time.monotonic() + 120, names(url)
            while time.monotonic() < deadline and process.poll() is None and names(url) == before:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
            said = process.stderr.read()
        assert process.returncode in (0, -signal.SIGKILL), said
        finished = process.returncode == 0
        if RUN in names(url):
            check_whole(url)
    run(place, url, resume=True)
    same(student(url, tmp_path / "found"), load_file(expected / "model.safetensors"))
    assert timeless(content(f"{url}/metrics.jsonl")) == timeless((expected / "metrics.jsonl").read_bytes())
    assert not [name for name in names(url) if name.endswith(".pt")] or finished
    # The folders of killed processes go with the next run.
    assert not list(scratch.iterdir())


# Data in a store


def test_rows_are_fetched_and_errors_name_the_url(place, tmp_path, store, expected):
    """The student is that of local files."""
    put(f"{store}/rows/train.jsonl", place / "train.jsonl")
    run(place, tmp_path / "run", data=f"{store}/rows/train.jsonl")
    same(load_file(tmp_path / "run" / "model.safetensors"), load_file(expected / "model.safetensors"))
    assert f'data = ["{store}/rows/train.jsonl"]' in (tmp_path / "run" / "options.toml").read_text()
    bad = (place / "train.jsonl").read_bytes() + b'{"messages": 3}\n'
    store_of(store).put(f"{store}/rows/bad.jsonl", bad)
    with pytest.raises(InputError) as caught:
        run(place, tmp_path / "bad", data=f"{store}/rows/bad.jsonl")
    assert str(caught.value).startswith(f"{store}/rows/bad.jsonl:41: ")
    with pytest.raises(FileError, match=f"{store}/rows/none.jsonl: no such object, nor a folder"):
        run(place, tmp_path / "none", data=f"{store}/rows/none.jsonl")


@pytest.fixture(scope="session")
def shards(place, tmp_path_factory):
    """Two directories of shards of the training rows, a mixture of them, and a folder of parts."""
    folder = tmp_path_factory.mktemp("shards")
    for name, half in (("a", slice(0, 25)), ("b", slice(25, 40))):
        write_rows(folder / f"{name}.jsonl", rows(40)[half])
        tokenize_files(
            [str(folder / f"{name}.jsonl")], folder / name, tokenizer=place / "tokenizer.json",
            chat_format="llama3", options=ShardOptions(),
        )  # fmt: skip
    mix_shards({folder / "a": 1, folder / "b": 2}, folder / "mixed" / "x", total=12)
    with open_output(f"{folder}/parts/") as output:
        for line in (place / "train.jsonl").read_bytes().splitlines(keepends=True):
            output.write(line)
            if line.startswith(b'{"messages": [{"role": "user", "content": "s'):
                output.flush()
    assert len(list((folder / "parts").glob("part-*"))) > 1
    return folder


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("name", "slash"), [("a", ""), ("a", "/"), ("mixed/x", ""), ("parts", "/")])
def test_folders_are_fetched_by_their_manifests(place, tmp_path, memory, shards, name, slash):
    """Shards, a mixture with the shards that it draws from, and parts: as if they were local."""
    for folder in ("a", "b", "mixed", "parts"):
        put(f"{memory}/deep/{folder}", shards / folder)
    settings = {"tokenizer": None, "chat_format": None} if name != "parts" else {}
    run(place, tmp_path / "local", data=f"{shards / name}{slash}", **settings)
    run(place, tmp_path / "fetched", data=f"{memory}/deep/{name}{slash}", **settings)
    found, local = (load_file(tmp_path / each / "model.safetensors") for each in ("fetched", "local"))
    same(found, local)


def test_parts_are_read_as_one_file(place, tmp_path, shards, expected):
    """The student of a folder of parts is that of the file."""
    run(place, tmp_path / "run", data=f"{shards}/parts/")
    same(load_file(tmp_path / "run" / "model.safetensors"), load_file(expected / "model.safetensors"))


@pytest.mark.parametrize("kind", ["a", "parts"])
def test_a_damaged_file_of_a_folder_is_named(place, tmp_path, memory, shards, kind):
    """By its URL, before anything is trained."""
    put(f"{memory}/{kind}", shards / kind)
    name = next(name for name in names(f"{memory}/{kind}") if "-ids-" in name or "part-" in name)
    url = f"{memory}/{kind}/{name}"
    data = bytearray(content(url))
    data[3] ^= 1
    store_of(url).put(url, bytes(data))
    with pytest.raises(InputError, match=f"{url}: damaged: its SHA-256"):
        run(place, tmp_path / "run", data=f"{memory}/{kind}/")


@pytest.mark.parametrize("path", ["/etc", "../../../..", "../../elsewhere"])
def test_a_mixture_from_elsewhere_leads_nowhere(place, tmp_path, memory, shards, path):
    """Its shards are below the same place in the store."""
    put(f"{memory}/mixed/x", shards / "mixed" / "x")
    url = f"{memory}/mixed/x/manifest.json"
    manifest = orjson.loads(content(url))
    manifest["sources"][0]["path"] = path
    store_of(url).put(url, orjson.dumps(manifest))
    with pytest.raises((InputError, FileError), match=r"its shards are at|no such object"):
        run(place, tmp_path / "run", data=f"{memory}/mixed/x")


# The command


@pytest.mark.slow
@pytest.mark.cluster
def test_the_command_keeps_a_run_in_a_store(place, run_process, s3, tmp_path):
    """The summary and the list name the URL; no file and no message has a credential."""
    put(f"{s3}/train.jsonl", place / "train.jsonl")
    words = ["--model", place / "model", "--tokenizer", place / "tokenizer.json", "--chat-format", "llama3"]
    words += ["--save-every", "2", "-o", f"{s3}/run"]
    done = run_process("train", f"{s3}/train.jsonl", *map(str, words))
    assert done.code == 0, done.err
    assert f"→ {s3}/run" in done.err
    again = run_process("train", f"{s3}/train.jsonl", *map(str, words))
    assert again.code == 2
    assert "there is a run already; --resume continues it" in again.err
    written = b"".join(content(f"{s3}/run/{name}") for name in check_whole(f"{s3}/run"))
    for secret in (KEY, SECRET):
        assert secret.encode() not in written
        assert secret not in done.err + again.err
    assert not list(tmp_path.glob("*.manifest.json"))
