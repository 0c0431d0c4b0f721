"""Functions that run on workers. They are in a module of their own, so that every backend can pickle them."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dataprep.core.errors import FileError, InputError, Location, RowDropped, RowError
from dataprep.core.parallel.exchanging import scattered

POISON = -1


def squared(number):
    """A plain work."""
    return number * number


def large(size):
    """A result larger than the buffer of a pipe."""
    return b"x" * size


def delayed(task):
    """Sleep for the task's seconds, and return its name."""
    name, seconds = task
    time.sleep(seconds)
    return name


def refusing(number):
    """Raise one of our errors for a number that names one."""
    errors = {
        3: RowError("no answer", "expected a text"),
        4: RowDropped("too long"),
        5: InputError(Location("rows.jsonl", 17), "not JSON"),
        6: FileError("s3://bucket/x.jsonl", "access denied"),
        7: ZeroDivisionError("division by zero"),
    }
    if number in errors:
        time.sleep(0.02 * (8 - number))  # a later task fails earlier
        raise errors[number]
    return number


def divided(number):
    """Two pieces of a number, if it is none that is refused."""
    return [refusing(number), number]


def joined(_bucket, pieces):
    """The sum of pieces."""
    return sum(pieces)


class Unportable(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, one, two):
        super().__init__(f"{one}{two}")


def unportable(number):
    """Raise an error that cannot travel."""
    raise Unportable("no", f" travel {number}")


class Lines(NamedTuple):
    """A task of numbered lines, some of which are left out."""

    first: int
    count: int
    poison: tuple[int, ...]  # lines that end the worker
    log: str  # a file to which each begun task appends a line
    without: tuple[int, ...] = ()

    def halve(self):
        """Two tasks over the halves of the lines."""
        if self.count < 2:
            return []
        middle = self.count // 2
        return [
            self._replace(count=middle),
            self._replace(first=self.first + middle, count=self.count - middle),
        ]

    def leave(self, lost):
        """The task without lines that were found."""
        return self._replace(without=tuple(sorted(one.first for one in lost)))


def reading(task):
    """Sum the lines of a task, and end the process at one that is poison."""
    with open(task.log, "a", encoding="ascii") as log:
        log.write(f"{task.first} {task.count}\n")
    total = 0
    for line in range(task.first, task.first + task.count):
        if line in task.without:
            continue
        if line in task.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        total += line
    return total, task.without


def dying_once(marker):
    """End the process the first time that it is called with a marker's path."""
    path = Path(marker)
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return path.name
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def dying(_task):
    """End the process."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_of_many(task):
    """End the process at a task of eight lines, and at no part of it."""
    if task.count == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return task.count


def logged(task):
    """Log that a task is begun, and by which process; then sleep, and return its number."""
    number, seconds, log = task
    with open(f"{log}.begun", "a", encoding="ascii") as file:
        file.write(f"{number}\n")
    with open(f"{log}.pids", "a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return number


def counting(folder):
    """Return how many of these run at the same time."""
    mark = Path(folder, os.urandom(8).hex())
    mark.touch()
    most = 0
    for _ in range(20):
        most = max(most, len([*mark.parent.iterdir()]))
        time.sleep(0.01)
    mark.unlink()
    return most


def working_directory(_task):
    """The folder in which a worker is."""
    time.sleep(0.05)  # so that more than one works
    return str(Path.cwd())


class OtherVersion:
    """The check of a node, which says on one of them that a library has another version."""

    def __init__(self, node, library):
        self.node, self.library = node, library

    def __call__(self, question):
        """Answer as the check does."""
        import ray

        from dataprep.core.parallel import nodes

        answer = nodes._look(question)
        if ray.get_runtime_context().get_node_id() == self.node:
            return replace(answer, versions=answer.versions | {self.library: "0.0.7"})
        return answer


def large_pieces(task):
    """Two pieces of a megabyte and more."""
    return [bytes([task]) * (1 << 20), bytes([task]) * (2 << 20)]


def by_remainder(task):
    """Split the numbers of a range among five buckets, as bytes and numbers."""
    numbers = range(task * 10, task * 10 + 10)
    return [[number for number in numbers if number % 5 == bucket] for bucket in range(5)]


def slowly_listed(bucket, pieces):
    """Join pieces in their order, one after the other."""
    joined = []
    for piece in pieces:
        time.sleep(0.2)
        joined.extend(piece)
    return bucket, joined


def failing_join(bucket, pieces):
    """Fail on bucket 2."""
    return len([*pieces]) // (bucket - 2)


def noted_by_remainder(task):
    """The same, and a note for the calling process."""
    return f"note {task}", by_remainder(task)


def listed(bucket, pieces):
    """Join pieces in their order."""
    return bucket, [number for piece in pieces for number in piece]


def reading_split(task):
    """Split the lines of a task, and end the process at one that is poison."""
    total, without = reading(task)
    return [(total, without), task.first]


def by_parity(twice, pieces):
    """Split numbers by whether they are odd."""
    numbers = [number for piece in pieces for number in piece] * twice
    return [[number for number in numbers if number % 2 == odd] for odd in (0, 1)]


def divided_again(backend):
    """Divide numbers by their remainder, then some by whether they are odd, and join these."""
    with scattered(by_remainder, range(7), 5, backend=backend) as pieces:
        tasks = [(1, pieces.of(1)), (1, pieces.of(1, 3)), (2, [*pieces.of(0), *pieces.of(2, 4)])]
        with pieces.scattered(by_parity, tasks, 2, backend=backend) as again:
            looked_at = sorted(pieces.work(listed, [("all", pieces.of(4))], backend=backend))
            joined = sorted(again.join(listed, backend=backend))
    return looked_at, joined


def gathered(_bucket, pieces):
    """All pieces."""
    return [*pieces]
