"""``run`` and ``exchange`` give the same on every backend, and survive workers that die."""

import contextlib
import math
import os
import signal
import time

import pytest

from dataprep.core.errors import FileError, InputError, RowDropped, RowError, UsageError, WorkerError
from dataprep.core.parallel import processes
from dataprep.core.parallel.backends import REPEATS, Inline, Processes
from dataprep.core.parallel.exchanging import exchange, scattered
from dataprep.core.parallel.tasks import MOST_LOST, Bisection, run
from tests.core.parallel import works
from tests.core.parallel.works import Lines
from tests.core.test_engine import children

TIMEOUT = 120  # workers that are spawned on a busy machine take a second each
BISECTION = Bisection(Lines.halve, Lines.leave)
pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture(autouse=True)
def no_hang():
    """A test that hangs fails."""

    def stop(*_):
        raise TimeoutError("the engine hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TIMEOUT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["inline", 1, 2, 4])
def backend(request):
    """Each backend of one machine."""
    one = Inline() if request.param == "inline" else Processes(request.param)
    yield one
    one.close()


def lines_of(log):
    """The tasks that were begun."""
    return log.read_text(encoding="ascii").splitlines()


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_every_task_has_one_result(backend, count, window):
    """Each task's number comes once, with its result."""
    results = [*run(works.squared, iter(range(count)), backend=backend, window=window)]
    assert sorted(results) == [(number, number**2) for number in range(count)]


def test_large_tasks_and_results_do_not_wait_for_each_other(backend):
    """Neither a task nor a result has to fit into a pipe's buffer."""
    tasks = [b"y" * (3 << 20)] * 6
    assert [number for number, _ in sorted(run(len, tasks, backend=backend))] == [*range(6)]
    sizes = [len(result) for _, result in run(works.large, [3 << 20] * 6, backend=backend)]
    assert sizes == [3 << 20] * 6


def test_results_come_as_they_are_completed():
    """A long task delays only itself, and the window is kept."""
    begun = []

    def tasks():
        for number in range(30):
            begun.append(number)
            yield number, 0.6 if number == 1 else 0.01

    order = []
    for number, name in run(works.delayed, tasks(), backend=Processes(2)):
        assert number == name
        order.append(number)
        assert len(begun) - len(order) <= 4
    assert sorted(order) == [*range(30)]
    assert order.index(1) > 25  # the others passed it


def test_results_ahead_of_an_unfinished_task_are_bounded():
    """Who wants them in order holds them."""
    waits = ((number, 0.5 if number == 2 else 0) for number in range(40))
    order = [number for number, _ in run(works.delayed, waits, backend=Processes(2), ahead=8)]
    assert sorted(order) == [*range(40)]
    assert max(order[: order.index(2)]) == 9  # two before it, and seven behind


def test_the_window_bounds_the_tasks_that_are_begun():
    """Tasks are read only when they can be begun."""
    begun = []
    tasks = (begun.append(number) or number for number in range(100))
    results = run(works.squared, tasks, backend=Processes(2), window=3)
    for done in range(10):
        next(results)
        assert len(begun) <= done + 4
    results.close()
    assert len(begun) <= 14


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("first", "kind", "text"),
    [
        (3, RowError, "no answer: expected a text"),
        (4, RowDropped, "too long"),
        (5, InputError, "rows.jsonl:17: not JSON"),
        (6, FileError, "s3://bucket/x.jsonl: access denied"),
        (7, ZeroDivisionError, "division by zero"),
    ],
)
def test_the_first_error_is_raised_and_those_before_it_are_done(backend, first, kind, text):
    """The first task's error, as it was raised, though a later one fails earlier."""
    begun = []
    tasks = [0, 1, 2, 8, first, 7, *range(9, 4000)]
    results = run(works.refusing, (begun.append(task) or task for task in tasks), backend=backend, window=7)
    done = []
    with pytest.raises(kind) as caught:
        done.extend(results)
    assert type(caught.value) is kind
    assert str(caught.value) == text
    assert {0, 1, 2, 3} <= {number for number, _ in done}
    assert len(begun) < len(tasks)


@pytest.mark.parametrize(
    ("good", "batch"),
    [
        *(([0, 1, 2, 8, 9, 10], 1), ([0, 1, 3, 8, 9, 10], 4), ([0, 1, 2, 8, 9, 3], 1), ([], 4)),
        pytest.param([0, 1, 2, 8, 9, 10], 4, marks=pytest.mark.slow),
        pytest.param([0, 1, 3, 8, 9, 10], 1, marks=pytest.mark.slow),
        pytest.param([0, 1, 2, 8, 9, 3], 4, marks=pytest.mark.slow),
        pytest.param([], 1, marks=pytest.mark.slow),
    ],
)
def test_an_error_of_the_tasks_comes_after_those_of_the_work(backend, good, batch):
    """As it would if one task was done after the other, also where tasks are read ahead."""

    def tasks():
        yield from good
        raise FileError("b.jsonl", "no such file")

    expected = "no answer: expected a text" if 3 in good else "b.jsonl: no such file"
    done = []
    with pytest.raises((FileError, RowError), match=expected):
        done.extend(run(works.refusing, tasks(), backend=backend, window=20))
    assert {result for _, result in done} >= {0, 1, 2, 8, 9, 10}.intersection(
        good if 3 not in good else [0, 1]
    )
    with pytest.raises((FileError, RowError), match=expected):
        list(exchange(works.divided, works.joined, tasks(), 2, backend=backend, batch=batch))


def test_an_error_that_cannot_travel_says_the_same():
    """What cannot be pickled is told in words."""
    with pytest.raises(WorkerError, match="no travel 5"):
        list(run(works.unportable, [5], backend=Processes(2)))


def test_a_closed_run_ends_its_workers():
    """A run that is not read to its end leaves no process."""
    before = children(os.getpid())
    results = run(works.delayed, [(number, 0.2) for number in range(20)], backend=Processes(3))
    next(results)
    assert len(children(os.getpid()) - before) == 3
    results.close()
    assert children(os.getpid()) <= before


def test_two_runs_at_once_end_in_any_order():
    """A later run's workers do not hold the pipes of an earlier one open."""
    backend = Processes(2)
    first = run(works.delayed, [(n, 0.01) for n in range(8)], backend=backend)
    next(first)
    second = run(works.squared, range(8), backend=backend)
    next(second)
    assert len([*first]) == 7
    assert len([*second]) == 7


def test_a_worker_that_dies_is_replaced(tmp_path):
    """Its task is done by another; no result is lost or comes twice."""
    tasks = [str(tmp_path / str(number)) for number in range(12)]
    results = sorted(run(works.dying_once, tasks, backend=Processes(2)))
    assert results == [(number, str(number)) for number in range(12)]


def test_a_task_that_ends_every_worker_ends_the_run():
    """Without a way to halve it, the message says what to do."""
    with pytest.raises(WorkerError, match=r"died \(exit code -9\).* use fewer --workers"):
        list(run(works.dying, [1], backend=Processes(2)))


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_a_line_that_ends_its_worker_is_found(tmp_path, count):
    """By halving; the task is then run without it, and has one result as any other."""
    log = tmp_path / "log"
    poison = 1000 + count * 2 // 3
    tasks = [Lines(first, count, (poison,), str(log)) for first in (0, 1000, 2000, 3000)]
    results = dict(run(works.reading, tasks, backend=Processes(2), bisection=BISECTION))
    sums = [sum(range(task.first, task.first + count)) for task in tasks]
    sums[1] -= poison
    assert results == {number: (sums[number], (poison,) if number == 1 else ()) for number in range(4)}
    begun = [line for line in lines_of(log) if 1000 <= int(line.split()[0]) < 2000]
    deaths = [
        line for line in begun if int(line.split()[0]) <= poison < sum(map(int, line.split()))
    ]  # and the last, whole one, which survives
    assert len(deaths) - 1 <= 2 * math.log2(count) + 2 * (REPEATS + 1)


def test_several_such_lines_in_one_task(tmp_path):
    """All are found in one search."""
    log = tmp_path / "log"
    poison = (3, 4, 77)
    [(_, result)] = run(
        works.reading, [Lines(0, 100, poison, str(log))], backend=Processes(2), bisection=BISECTION
    )
    assert result == (sum(range(100)) - sum(poison), poison)


@pytest.mark.slow
@pytest.mark.parametrize("many", ["lines", "tasks"])
def test_many_such_lines_or_tasks_end_the_run(tmp_path, many):
    """That is a lack of memory, or a broken machine, and not a bad row."""
    log = str(tmp_path / "log")
    if many == "lines":
        tasks = [Lines(0, 64, tuple(range(64)), log)]
    else:
        tasks = [Lines(first, 4, (first,), log) for first in range(0, 40, 4)]
    with pytest.raises(WorkerError, match=rf"more than {MOST_LOST} .*more memory"):
        list(run(works.reading, tasks, backend=Processes(2), bisection=BISECTION))


def test_a_task_that_only_dies_as_a_whole_ends_the_run(tmp_path):
    """No line is blamed that does no harm alone."""
    tasks = [Lines(0, 8, (), str(tmp_path / "log"))]
    with pytest.raises(WorkerError, match="no line alone ends it"):
        list(run(works.dying_of_many, tasks, backend=Processes(1), bisection=BISECTION))


@pytest.mark.parametrize(
    ("count", "batch"),
    [
        *((0, 1), (1, 3), (7, 1), (7, 3), (7, 100)),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((0, 3), (0, 100), (1, 1), (1, 100))),
    ],
)
def test_exchange_joins_pieces_in_the_order_of_the_tasks(backend, count, batch):
    """Each bucket is joined once, from the pieces of all tasks, however they are batched."""
    results = dict(exchange(works.by_remainder, works.listed, range(count), 5, backend=backend, batch=batch))
    expected = {
        bucket: (bucket, [number for number in range(count * 10) if number % 5 == bucket])
        for bucket in range(5)
    }
    assert results == expected


@pytest.mark.parametrize("batch", [1, 3])
def test_exchange_hands_notes_to_the_caller(backend, batch):
    """The note of each task comes once, with its number; an error of the caller ends the exchange."""
    notes = {}
    results = exchange(
        works.noted_by_remainder,
        works.listed,
        range(7),
        5,
        backend=backend,
        batch=batch,
        take=notes.__setitem__,
    )
    expected = dict(exchange(works.by_remainder, works.listed, range(7), 5, backend=Inline()))
    assert dict(results) == expected
    assert notes == {number: f"note {number}" for number in range(7)}

    def refuse(number, _note):
        if number == 2:
            raise RowError("no", "good")

    with pytest.raises(RowError, match="good"):
        list(
            exchange(
                works.noted_by_remainder,
                works.listed,
                range(90),
                5,
                backend=backend,
                batch=batch,
                take=refuse,
            )
        )


def test_pieces_can_be_looked_at_more_than_once(backend):
    """As long as they are kept."""
    with scattered(works.by_remainder, range(7), 5, backend=backend, batch=2) as pieces:
        for keep in (True, False):
            found = dict(pieces.join(works.listed, 3, backend=backend, keep=keep))
            assert found == {
                bucket: (bucket, [number for number in range(70) if number % 5 == bucket])
                for bucket in range(3)
            }
        assert not any(any(made[:3]) or not all(made[3:]) for made in pieces.made.values())


def test_pieces_are_divided_again(backend):
    """Tasks name the pieces that they need; what they make of these is kept, too."""
    looked_at, joined = works.divided_again(backend)
    assert looked_at == [(0, ("all", [*range(4, 70, 5)]))]
    numbers = [*range(1, 70, 5), 31, 36, *[*range(0, 70, 5), 42, 47] * 2]
    assert joined == [(odd, (odd, [number for number in numbers if number % 2 == odd])) for odd in (0, 1)]


def test_exchange_leaves_no_file(backend, tmp_path, monkeypatch):
    """Pieces are in the folder for temporary files, and gone at the end, also of one that is given up."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    results = exchange(works.by_remainder, works.listed, range(7), 5, backend=backend)
    next(results)
    assert [*tmp_path.rglob("*")]
    results.close()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("batch", [1, 2])
def test_exchange_finds_a_line_that_ends_its_worker(tmp_path, batch):
    """In the tasks that are divided, alone or in a batch."""
    log = str(tmp_path / "log")
    tasks = [Lines(first, 10, (17, 33), log) for first in range(0, 50, 10)]
    results = dict(
        exchange(
            works.reading_split,
            works.gathered,
            tasks,
            2,
            backend=Processes(2),
            batch=batch,
            bisection=BISECTION,
        )
    )
    assert results[1] == [0, 10, 20, 30, 40]
    assert results[0] == [(45, ()), (145 - 17, (17,)), (245, ()), (345 - 33, (33,)), (445, ())]


def test_a_backend_needs_a_worker():
    """Zero workers are a mistake."""
    with pytest.raises(UsageError, match="expected 1 or more"):
        Processes(0)


def test_spawned_workers_do_the_same(monkeypatch, tmp_path):
    """Where processes cannot be forked, also after a worker died."""
    monkeypatch.setattr(processes, "start_method", lambda: "spawn")
    tasks = [str(tmp_path / str(number)) for number in range(3)]
    results = sorted(run(works.dying_once, tasks, backend=Processes(2)))
    assert results == [(number, str(number)) for number in range(3)]


def test_an_interrupt_ends_the_workers():
    """Ctrl-C while tasks run leaves no process, and is not swallowed."""
    before = children(os.getpid())
    timer = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    start = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):
        list(run(works.delayed, [(0, 20), (1, 20)], backend=Processes(2)))
    signal.signal(signal.SIGALRM, timer)
    assert time.monotonic() - start < 10
    assert children(os.getpid()) <= before
