"""The engine on a Ray cluster: the same results, whatever is killed, and nothing left behind."""

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from dataprep.core.errors import FileError, InputError, RowDropped, RowError, UsageError, WorkerError
from dataprep.core.parallel import check_nodes
from dataprep.core.parallel.backends import REPEATS, Inline
from dataprep.core.parallel.exchanging import exchange
from dataprep.core.parallel.tasks import Bisection, run
from tests.cluster import NODES, descendants, left_over, running
from tests.core.parallel import works
from tests.core.parallel.works import Lines

pytestmark = [pytest.mark.cluster, pytest.mark.medium]

BISECTION = Bisection(Lines.halve, Lines.leave)


@pytest.fixture
def backend(cluster):
    """The backend of the cluster, to which this process is connected."""
    from dataprep.core.parallel.on_ray import connect

    one = connect(cluster.address, None)
    yield one
    one.close()


def numbers_of(log):
    """The tasks that were begun, each as often as it was."""
    return [int(line) for line in log.read_text(encoding="ascii").split()]


def test_results_are_those_of_one_process(backend):
    """Every task has one result, in any order, for small and large tasks and results."""
    assert backend.slots == NODES
    for work, tasks in (
        (works.squared, range(40)),
        (works.large, [3 << 20] * 4),
        (len, [b"y" * (3 << 20)] * 4),
    ):
        alone = sorted(run(work, tasks, backend=Inline()))
        assert sorted(run(work, tasks, backend=backend)) == alone


def test_workers_bound_the_tasks_that_run(cluster, tmp_path):
    """`--workers 1` runs one at a time, on a cluster of three."""
    from dataprep.core.parallel.on_ray import connect

    folder = tmp_path / "running"
    folder.mkdir()
    most = [most for _, most in run(works.counting, [str(folder)] * 9, backend=connect(cluster.address, 1))]
    assert most == [1] * 9


def test_results_come_as_they_are_completed(backend):
    """A long task delays only itself."""
    tasks = [(number, 1.5 if number == 0 else 0.01) for number in range(20)]
    order = [number for number, _ in run(works.delayed, tasks, backend=backend)]
    assert order[-1] == 0


@pytest.mark.parametrize(
    ("task", "kind", "text"),
    [
        (3, RowError, "no answer: expected a text"),
        (4, RowDropped, "too long"),
        (5, InputError, "rows.jsonl:17: not JSON"),
        (6, FileError, "s3://bucket/x.jsonl: access denied"),
        (7, ZeroDivisionError, "division by zero"),
    ],
)
def test_errors_come_back_as_themselves(backend, task, kind, text):
    """Not as an error of Ray, and the first of several."""
    done = []
    with pytest.raises(kind) as caught:
        done.extend(run(works.refusing, [0, 1, task, 7], backend=backend))
    assert type(caught.value) is kind
    assert str(caught.value) == text
    assert {0, 1} <= {number for number, _ in done}


def test_an_error_that_cannot_travel_says_the_same(backend):
    """What cannot be pickled is told in words."""
    with pytest.raises(WorkerError, match="no travel 5"):
        list(run(works.unportable, [5], backend=backend))


def test_functions_of_a_script_travel(backend):
    """A library's user has functions in the script itself, and closures."""
    factor = 3
    assert sorted(run(lambda number: number * factor, range(4), backend=backend)) == [
        *enumerate((0, 3, 6, 9))
    ]


def test_relative_paths_are_those_of_the_command(backend, tmp_path, monkeypatch):
    """A worker reads and writes where the command would."""
    monkeypatch.chdir(tmp_path)
    assert {folder for _, folder in run(works.working_directory, range(6), backend=backend)} == {
        str(tmp_path)
    }


@pytest.mark.sampled(2)
@pytest.mark.parametrize("batch", [1, 3])
def test_exchange_is_that_of_one_process(backend, batch):
    """Also of pieces that are too large to pass the calling process."""
    for split, buckets in ((works.by_remainder, 5), (works.large_pieces, 2)):
        alone = sorted(exchange(split, works.listed, range(7), buckets, backend=Inline()))
        assert sorted(exchange(split, works.listed, range(7), buckets, backend=backend, batch=batch)) == alone


def test_pieces_are_divided_again(backend):
    """Tasks that look at pieces, and keep others."""
    assert works.divided_again(backend) == works.divided_again(Inline())


def test_an_error_in_an_exchange(backend):
    """Of the function that divides and of the one that joins."""
    with pytest.raises(InputError, match=r"rows\.jsonl:17: not JSON"):
        list(exchange(works.refusing, works.listed, [5], 5, backend=backend))
    with pytest.raises(ZeroDivisionError):
        list(exchange(works.by_remainder, works.failing_join, range(3), 5, backend=backend))


# Twenty of each are in `make test-all`.
@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 20))])
@pytest.mark.parametrize("victim", ["worker", "node"])
def test_what_is_killed_is_done_again(cluster, backend, tmp_path, victim, seed):
    """By Ray, and no more than it had in hand."""
    log, killed = tmp_path / "log", []
    tasks = [(number, 0.1, str(log)) for number in range(60)]

    def kill():
        # Workers can take seconds to start. Nothing would be lost before they work.
        while not (pids := log.with_suffix(".pids")).exists():
            time.sleep(0.01)
        time.sleep(random.Random(seed).uniform(0, 1.2))
        if victim == "worker":
            os.kill(numbers_of(pids)[-1], signal.SIGKILL)
        else:
            cluster.kill_node(0)
        killed.append(time.monotonic())

    killer = threading.Thread(target=kill)
    killer.start()
    results = sorted(run(works.logged, tasks, backend=backend))
    end = time.monotonic()
    killer.join()
    assert killed[0] < end, "it was killed too late to be a test"
    assert results == [(number, number) for number in range(60)]
    assert len(numbers_of(log.with_suffix(".begun"))) <= 60 + 1


@pytest.mark.slow
def test_a_node_that_holds_pieces_is_killed(cluster, backend):
    """Ray makes them again on another one."""
    tasks = range(12)
    alone = sorted(exchange(works.large_pieces, works.listed, tasks, 2, backend=Inline()))
    results = exchange(works.large_pieces, works.slowly_listed, tasks, 2, backend=backend)
    threading.Timer(0.5, cluster.kill_node, [0]).start()
    assert sorted(results) == alone


@pytest.mark.slow
def test_the_end_of_an_unfinished_run_ends_nothing_else(backend):
    """Tasks in the moment of their beginning, of which nobody wants the results any more."""
    chance = random.Random(0)
    for _ in range(100):
        with backend.open(works.delayed) as crew:
            for _ in range(2 * NODES):
                crew.submit(("", chance.random() * 0.004))
            crew.wait()
    assert dict(run(works.squared, range(4), backend=backend)) == {0: 0, 1: 1, 2: 4, 3: 9}


@pytest.mark.slow
def test_a_line_that_ends_its_worker_is_found(backend, tmp_path):
    """One of 4,000, with few deaths; all others are done."""
    log, poison = tmp_path / "log", 2_345
    tasks = [Lines(first, 1000, (poison,), str(log)) for first in range(0, 4000, 1000)]
    results = dict(run(works.reading, tasks, backend=backend, bisection=BISECTION))
    assert sum(total for total, _ in results.values()) == sum(range(4000)) - poison
    assert [without for _, without in results.values() if without] == [(poison,)]
    begun = [[*map(int, line.split())] for line in log.read_text(encoding="ascii").splitlines()]
    deaths = sum(first <= poison < first + count for first, count in begun) - 1
    assert deaths <= 2 * math.log2(4000) + REPEATS


@pytest.mark.slow
def test_workers_that_always_die_end_the_run(backend):
    """The message says what to do."""
    with pytest.raises(WorkerError, match="a worker died"):
        list(run(works.dying, [1], backend=backend))


def test_preflight_passes_on_every_node_within_seconds(backend, tmp_path):
    """Versions, input and output are asked of each."""
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"{}\n" * 1000)
    start = time.monotonic()
    check_nodes(backend, str(source), str(tmp_path))
    assert time.monotonic() - start < 20  # on a machine that is busy; the benchmark has the figure
    assert len(backend.on_nodes(works.squared, 3)) == NODES
    assert {answer for _, answer in backend.on_nodes(works.squared, 3)} == {9}


def test_preflight_names_the_node(backend):
    """One of the nodes differs: the message has the address and the id that Ray's own tools show."""
    import ray

    from dataprep.core.parallel import nodes

    different = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")][-1]["NodeID"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "_look", works.OtherVersion(different, "orjson"))
        with pytest.raises(
            UsageError, match=rf"node .*{different[:8]}.*: has orjson 0\.0\.7, and this machine"
        ):
            check_nodes(backend)


_SCRIPT = """
import sys, time
from dataprep.core.parallel import current, engine
from dataprep.core.parallel.tasks import run
from tests.core.parallel import works

if __name__ == "__main__":
    with engine(sys.argv[1], workers=2) as one:
        for number, _ in run(works.delayed, [(n, 0.2) for n in range(int(sys.argv[2]))], backend=one.backend):
            print(number, flush=True)
"""


def start(tmp_path, *arguments):
    """Start a program with an engine."""
    script = tmp_path / "program.py"
    script.write_text(_SCRIPT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


# Under load one of Ray's agents has outlived Ctrl-C, so that one is in the series of `make test-all`.
@pytest.mark.slow
@pytest.mark.parametrize("end", [None, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_local_cluster_leaves_no_process(tmp_path, end):
    """At its end, and after Ctrl-C; and prints nothing."""
    pytest.importorskip("ray")
    with start(tmp_path, "local", "6" if end is None else "500") as program:
        assert program.stdout.readline()
        processes = descendants(program.pid)
        assert len(processes) >= 4  # Ray's own, and workers
        if end is not None:
            program.send_signal(end)
        out, err = program.communicate(timeout=60)
    assert not left_over(processes)
    if end is None:
        assert (program.returncode, err) == (0, b"")
        assert len(out.split()) == 5
    else:
        assert err.rstrip().endswith(b"KeyboardInterrupt")


@pytest.mark.slow
def test_lost_nodes_are_not_reported_on_standard_output(cluster, tmp_path):
    """Rows can go there. What Ray's own code writes on standard error is left."""
    with start(tmp_path, cluster.address, "40") as program:
        lines = [program.stdout.readline()]
        cluster.kill_node(0)
        out, _ = program.communicate(timeout=60)
    lines += out.splitlines()
    assert sorted(int(line) for line in lines) == [*range(40)]


def test_a_driver_that_is_killed_leaves_no_worker(cluster, tmp_path):
    """The cluster ends what it ran for it, and serves others."""
    before = running(_workers())
    with start(tmp_path, cluster.address, "500") as program:
        assert program.stdout.readline()
        started = running(_workers()) - before
        assert started
        program.kill()
    assert not left_over(started)


def _workers():
    return {pid for pid in descendants(os.getpid()) if _title(pid).startswith("ray::")}


def _title(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def test_the_cluster_of_this_machine(cluster, tmp_path, monkeypatch):
    """`auto` finds it as Ray does, and a cluster that has crashed is no cluster."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with start(tmp_path, "auto", "3") as program:
        out, _ = program.communicate(timeout=60)
    assert sorted(out.split()) == [b"0", b"1", b"2"]
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with start(tmp_path, "auto", "3") as program:
        _, err = program.communicate(timeout=60)
    assert b"--cluster 127.0.0.1:1: cannot be reached" in err


@pytest.mark.sampled(2)
@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "head", "127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_cannot_be_reached(tmp_path, address):
    """The message names the address, and no traceback of Ray."""
    pytest.importorskip("ray")
    with start(tmp_path, address, "1") as program:
        try:
            _, err = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 1
    assert f"UsageError: --cluster {address}: ".encode() in err.splitlines()[-1]
