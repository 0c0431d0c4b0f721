"""Runs on several machines: here two process groups on the loopback, each with a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest
import torch
from safetensors.torch import load_file

from dataprep.core.errors import FileError, UsageError
from dataprep.train import machines
from dataprep.train.hardware.distributed import World
from dataprep.train.machines import check_machines, check_same, wait_for
from tests.students import write_rows
from tests.train.test_remote import check_whole, names, put, student
from tests.train.test_trainer import metrics, run, same

SLOWED = """
import sys, time
from dataprep.train import trainer
step_of = trainer.Trainer.train_step
def slow(self, step, items):
    time.sleep(0.3)
    return step_of(self, step, items)
trainer.Trainer.train_step = slow
from dataprep.__main__ import main
main()
"""


def free_port():
    """A port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def words(place, output, *flags, data="train.jsonl"):
    """The command line behind `dataprep`."""
    given = ["train", data if "://" in str(data) else place / data, "--eval", place / "eval.jsonl"]
    given += ["--model", place / "model", "--tokenizer", place / "tokenizer.json", "--chat-format", "llama3"]
    given += ["--learning-rate", "0.01", "--epochs", "2", "--batch-size", "4", "-o", output, *flags]
    return [str(word) for word in given]


class Machine:
    """One of two machines: a process in a folder of its own, with its own place for temporary files."""

    def __init__(self, folder, command, **variables):
        folder.mkdir(exist_ok=True)
        (folder / "tmp").mkdir(exist_ok=True)
        self.folder = folder
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
            env=plain | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"), **variables},
        )  # fmt: skip

    def end(self, timeout=240):
        """Wait for its end; return the exit code and what it said."""
        _, said = self.process.communicate(timeout=timeout)
        return self.process.returncode, said

    def kill(self):
        """End it and what it started by SIGKILL, as when the machine loses its power."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        for number in [self.process.pid, *map(int, found.stdout.split())]:
            os.kill(number, signal.SIGKILL)
        self.end()


@contextmanager
def two_machines(tmp_path, given, code=None, **variables):
    """Start both machines without torchrun, which takes longer; other launchers set the same variables."""
    launch = ["-c", code] if code else ["-m", "dataprep"]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    with ExitStack() as stack:
        both = []
        for rank in range(2):
            own = {"RANK": str(rank), "GROUP_RANK": str(rank)}
            command = [*launch, *(given[rank] if isinstance(given, dict) else given)]
            both.append(Machine(tmp_path / f"machine-{rank}", command, **shared, **own, **variables))
            stack.callback(both[-1].process.kill)
        yield both


def check_ended(both):
    """Both ended well, the second in silence; nothing is left of temporary files."""
    (code, said), (other, silence) = both[0].end(), both[1].end()
    assert (code, other) == (0, 0), said + silence
    assert "dataprep" not in silence
    assert "error" not in silence
    assert not [path for machine in both for path in (machine.folder / "tmp").rglob("*dataprep*")]
    return said


@pytest.fixture(scope="session")
def alone(place, tmp_path_factory):
    """The weights of one process with batches twice as large."""
    return run(place, tmp_path_factory.mktemp("alone") / "run", batch_size=8)[0]


# A folder that both machines see


@pytest.mark.slow
def test_two_machines_with_a_shared_folder(place, tmp_path, alone):
    """The student is that of one machine; only the first process writes and speaks."""
    output = tmp_path / "run"
    with two_machines(tmp_path, words(place, output)) as both:
        said = check_ended(both)
    assert "train: 10 steps" in said
    same(load_file(output / "model.safetensors"), alone, 1e-5)
    assert [line["step"] for line in metrics(output) if "loss" in line] == list(range(1, 11))


@pytest.mark.slow
def test_a_machine_that_is_lost_ends_the_other_and_both_continue(place, tmp_path):
    """The other one says what happened, and the same command gives the weights of an undisturbed run."""
    flags = ["--save-every", "3", "--resume"]
    with two_machines(tmp_path, words(place, tmp_path / "whole", *flags)) as both:
        check_ended(both)
    output = tmp_path / "run"
    with two_machines(tmp_path, words(place, output, *flags), SLOWED) as both:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(output.glob("checkpoints/*3.pt")):
            time.sleep(0.05)
        both[1].kill()
        code, said = both[0].end(60)
    assert code == 1
    assert "another process of the run has ended" in said
    assert "--resume continues from the last checkpoint" in said
    assert "Traceback" not in said
    with two_machines(tmp_path, words(place, output, *flags)) as both:
        check_ended(both)
    same(load_file(output / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors"))


@pytest.mark.slow
def test_a_folder_that_only_one_machine_sees_is_refused(place, tmp_path, monkeypatch):
    """Within seconds, by both, with the machine's name; nothing is left in the folder."""
    monkeypatch.setattr(machines, "LONGEST_SIGHT", 1)
    with two_machines(tmp_path, words(place, "run")) as both:
        ended = [machine.end() for machine in both]
    for code, said in ended:
        assert code == 2
        assert f"-o run: the machine {socket.gethostname()} does not see the files" in said
    assert not [path for machine in both for path in machine.folder.glob("run*")]


@pytest.mark.slow
def test_other_data_on_one_machine_are_refused(tmp_path):
    """Rows that each process reads by itself are compared by their SHA-256."""
    given = {}
    for rank in range(2):
        found = [{"title": f"{word} {n}", "label": word} for n in range(8 + rank) for word in ("yes", "no")]
        write_rows(tmp_path / f"rows-{rank}.jsonl", found)
        given[rank] = ["train", str(tmp_path / f"rows-{rank}.jsonl"), "--fields", "title", "--classes"]
        given[rank] += ["no,yes", "--alpha", "0", "-o", str(tmp_path / "run")]
    with two_machines(tmp_path, given) as both:
        ended = [machine.end() for machine in both]
    for code, said in ended:
        assert code == 2, said
        assert f"the machine {socket.gethostname()} has other training data" in said


class Group(World):
    """Processes of which this one alone is there; the values of the second one are made of its own."""

    def gather(self, value):
        """Its own value, and that of the other process."""
        return [value, self.group(value)]

    def agree(self, value):
        """Its own value."""
        return value

    def wait(self):
        """Nobody is waited for."""


def group(change):
    """Two processes, whose second one has a changed value."""
    return Group(0, 2, torch.device("cpu"), 0, change)


def test_machines_with_other_versions_are_named(tmp_path):
    """Weights and generators can differ between versions."""
    check_machines(group(lambda value: value), tmp_path)
    change = lambda value: ("far", value[1] | {"torch": "1.0"}, True)  # noqa: E731
    with pytest.raises(UsageError, match=rf"machine far has torch 1\.0, and .* has {torch.__version__[:4]}"):
        check_machines(group(change), tmp_path)
    with pytest.raises(UsageError, match="the machine far does not see the files"):
        check_machines(group(lambda value: ("far", value[1], False)), tmp_path)
    with pytest.raises(UsageError, match="the machine far has other rows"):
        check_same(group(lambda _: ("far", [2])), "rows", [1])
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_late_is_waited_for(tmp_path, monkeypatch):
    """A network file system may show it a moment later; never is an error with the path."""
    import threading

    path = tmp_path / "late"
    timer = threading.Timer(0.2, path.touch)
    timer.start()
    wait_for(path)
    timer.join()
    monkeypatch.setattr(machines, "LONGEST_SIGHT", 0.1)
    with pytest.raises(FileError, match=r"never: the first process wrote it, and .* does not see it"):
        wait_for(tmp_path / "never")


# A store, of which each machine has a copy


@pytest.mark.slow
@pytest.mark.cluster
def test_two_machines_with_a_store(place, tmp_path, s3, alone):
    """They share no folder: tokens, checkpoints and the student pass through the store."""
    put(f"{s3}/train.jsonl", place / "train.jsonl")
    flags = ["--save-every", "3"]
    with two_machines(tmp_path, words(place, f"{s3}/run", *flags, data=f"{s3}/train.jsonl")) as both:
        said = check_ended(both)
    assert f"→ {s3}/run" in said
    same(student(f"{s3}/run", tmp_path / "found"), alone, 1e-5)
    assert "model.safetensors" in check_whole(f"{s3}/run")


@pytest.mark.slow
@pytest.mark.cluster
def test_two_machines_continue_from_a_store(place, tmp_path, s3):
    """Both are killed, and their folders are gone: others take over, with the same weights."""
    flags = ["--save-every", "3", "--resume"]
    with two_machines(tmp_path, words(place, tmp_path / "whole", *flags)) as both:
        check_ended(both)
    with two_machines(tmp_path, words(place, f"{s3}/run", *flags), SLOWED) as both:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and "checkpoints/step-00000006.pt" not in names(f"{s3}/run"):
            time.sleep(0.1)
        for machine in both:
            machine.kill()
            shutil.rmtree(machine.folder)
    check_whole(f"{s3}/run")
    with two_machines(tmp_path, words(place, f"{s3}/run", *flags)) as both:
        check_ended(both)
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    same(student(f"{s3}/run", tmp_path / "found"), whole)


# As docs/scale.md has it


def torchrun(tmp_path, name, port, given, code):
    """A machine that torchrun starts; a lost one may come back."""
    script = tmp_path / "script.py"
    script.write_text(code)
    launch = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"]
    launch += ["--rdzv-id", "run", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"]
    command = [*launch, "--local-addr", "127.0.0.1", str(script), *given]
    return Machine(tmp_path / name, command, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")


@pytest.mark.slow
def test_a_machine_that_is_lost_and_comes_back(place, tmp_path):
    """The processes are started again, and they continue from the last checkpoint."""
    flags = ["--save-every", "3", "--resume"]
    with two_machines(tmp_path, words(place, tmp_path / "whole", *flags)) as both:
        check_ended(both)
    output, port = tmp_path / "run", free_port()
    given = words(place, output, *flags), SLOWED
    with ExitStack() as stack:
        first = torchrun(tmp_path, "first", port, *given)
        stack.callback(first.process.kill)
        time.sleep(1)  # the machine at which they meet is there first
        second = torchrun(tmp_path, "second", port, *given)
        stack.callback(second.process.kill)
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and not list(output.glob("checkpoints/*3.pt")):
            time.sleep(0.05)
        second.kill()
        again = torchrun(tmp_path, "again", port, *given)
        stack.callback(again.process.kill)
        ended = [first.end(), again.end()]
    assert [code for code, _ in ended] == [0, 0], "".join(said for _, said in ended)
    same(load_file(output / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors"))
