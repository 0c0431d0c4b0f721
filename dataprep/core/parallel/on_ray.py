"""Run tasks on the nodes of a Ray cluster: the only module that imports ray.

A task is a stateless function call, so Ray can run it again when its worker or its node is lost. The work is
put into the object store once, and unpickled once a worker. ``docs/decisions/0011-ray-core.md`` has the
reasons.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

# Ray reads them when it is imported: no statistics for its makers, no warning about GPUs, and no cluster that
# is started because one was asked after its end.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import ray
from numpy.typing import NDArray
from ray import cloudpickle
from ray._private.utils import read_ray_address
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dataprep.core.errors import UsageError, WorkerError, first_line
from dataprep.core.io import difference, versions
from dataprep.core.parallel.backends import REPEATS, Crew, Ended, Join, Kept, Work
from dataprep.core.parallel.guards import none_left, sigterm_as_before, silent_threads
from dataprep.core.parallel.pool import available_cores
from dataprep.core.parallel.processes import DeadWorker, portable

_DEATHS = (WorkerCrashedError, OutOfMemoryError, NodeDiedError, LocalRayletDiedError)
_CONNECT_SECONDS = 10
_NODE_SECONDS = 60  # a node that does not answer for so long is reported
_KNOWN_SECONDS = 5  # for so long the number of the cluster's processors is taken as known


def connect(address: str | None, workers: int | None) -> Ray:
    """Connect to a cluster, or start one on this machine if there is no address.

    ``auto`` is the cluster of which this machine is a node.

    Raises:
        UsageError: there is no cluster at this address.
    """
    if address == "auto":
        address = _address_here()
    if address is not None:
        _check_address(address)
    if ray.is_initialized():  # a library's user has done it, and will end it
        return Ray(workers, ours=False)
    with sigterm_as_before():  # Ray's handler ends the process without our clean-up
        _start(address, workers)
    return Ray(workers, ours=True)


def _start(address: str | None, workers: int | None) -> None:
    # Without any address, Ray would take the cluster of its address file, which may have crashed.
    place = address or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "address": place}
    if address is None:
        options |= {"num_cpus": workers or available_cores(), "include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise UsageError(f"--cluster {place}: cannot be reached: {first_line(error)}") from None


def _address_here() -> str:
    # As Ray resolves it. Ray itself would wait for minutes for a cluster that has crashed.
    address = os.environ.get("RAY_ADDRESS", "auto")
    address = address if address != "auto" else read_ray_address() or ""
    if not address:
        raise UsageError("--cluster auto: no cluster runs on this machine; expected HOST:PORT of its head")
    return address


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise UsageError(
            f"--cluster {address}: expected HOST:PORT of the cluster's head; run the command on a node of "
            "the cluster, or with `ray job submit`"
        )
    try:  # Ray itself tries for more than ten minutes
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--cluster {address}: cannot be reached: {first_line(error)}") from None


class Ray:
    """A cluster; ``connect`` makes it."""

    def __init__(self, workers: int | None, *, ours: bool) -> None:
        self._workers = workers
        self._ours = ours
        self._guards = ExitStack()
        # Ray prints there that a node is lost, and has no option against it.
        self._guards.enter_context(silent_threads("ray_"))
        self._known = 0.0, 0  # when the processors were counted, and their number

    @property
    def slots(self) -> int:
        """Number of tasks that run at the same time."""
        # Nodes come and go while a run lasts.
        if time.monotonic() - self._known[0] > _KNOWN_SECONDS:
            self._known = time.monotonic(), int(ray.cluster_resources().get("CPU", 0))
        return max(1, min(self._known[1], self._workers or self._known[1]))

    @contextmanager
    def open(self, work: Work, /) -> Iterator[Crew]:
        """Yield workers of the cluster for a function."""
        # Tasks that are begun at the end run on, and their results are dropped. Cancelling a task in the
        # moment in which it begins makes Ray abort this process (2.60: "complete task that was not pending").
        yield _Crew(work, self._workers)

    @contextmanager
    def keeping(self, split: Work, buckets: int, /) -> Iterator[Kept]:
        """Keep pieces in the object store, which spills them to the disks of the nodes."""
        yield Kept(_Keeping(split, buckets), _Joining)

    def on_nodes(self, work: Work, task: Any, /) -> list[tuple[str, Any]]:
        """Return the name of each node that has processors, and what a function returned there or raised."""
        key, packed = _packed(work)
        calls = {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU", 0):
                place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                # Without a processor: a busy cluster answers at once too.
                call = _call.options(num_cpus=0, max_retries=0, scheduling_strategy=place)
                name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"
                calls[call.remote(key, packed, task)] = name
        ray.wait([*calls], num_returns=len(calls), timeout=_NODE_SECONDS)
        answers = []
        for reference, name in calls.items():
            try:
                result, error = ray.get(reference, timeout=0)
            except RayError as failure:
                result, error = None, _translated(failure)
            answers.append((name, result if error is None else error))
        return answers

    def close(self) -> None:
        """Disconnect from the cluster, and stop it if it was started here."""
        if self._ours:
            # Some processes of a local cluster outlive one that is stopped while tasks run. And
            # Ray prints now what it held back to print it only once.
            with none_left("raylet"), redirect_stdout(StringIO()):
                ray.shutdown()
        self._guards.close()


@dataclass(slots=True)
class _Begun:
    handle: int
    task: Any
    repeats: int


class _Crew:
    def __init__(self, work: Work, limit: int | None) -> None:
        # Pieces are results of their own, which stay on the node; the first result says how the task ended.
        self._pieces = work.buckets if isinstance(work, _Keeping) else 0
        self._joins = _joins(work)
        self._key, self._work = _packed(work)
        self._limit = limit
        self._handles = count()
        self._queue = deque[_Begun]()
        self._running: dict[ray.ObjectRef[Any], tuple[int, list[Any]]] = {}
        self._ready = deque[ray.ObjectRef[Any]]()

    def submit(self, task: Any, repeats: int = REPEATS, /) -> int:
        handle = next(self._handles)
        self._queue.append(_Begun(handle, task, repeats))
        self._feed()
        return handle

    def wait(self) -> Ended:
        if not self._ready:
            ready, _ = ray.wait([*self._running], num_returns=1)
            # Others that are ready too: the wait costs as much for one as for all.
            more, _ = ray.wait([*self._running], num_returns=len(self._running), timeout=0)
            self._ready.extend({*ready, *more})
        reference = self._ready.popleft()
        handle, pieces = self._running.pop(reference)
        self._feed()
        try:
            result, error = ray.get(reference)
        except RayError as failure:
            result, error = None, _translated(failure)
        return Ended(handle, (result, pieces) if pieces else result, error)

    def _feed(self) -> None:
        # Ray itself begins as many as there are processors: a limit is the user's.
        while self._queue and (self._limit is None or len(self._running) < self._limit):
            begun = self._queue.popleft()
            call = _call.options(num_returns=1 + self._pieces, max_retries=begun.repeats)
            task, arguments = begun.task, ()
            if self._joins:
                task, arguments = task
            references = call.remote(self._key, self._work, task, *arguments)
            first, *pieces = references if self._pieces else [references]
            self._running[first] = begun.handle, pieces


@dataclass(frozen=True, slots=True)
class _Keeping:
    """A work whose pieces stay in the object store."""

    split: Work
    buckets: int

    def __call__(self, task: Any) -> tuple[Any, Sequence[Any]]:
        noted: tuple[Any, Sequence[Any]] = self.split(task)
        return noted


@dataclass(frozen=True, slots=True)
class _Joining:
    """A work on pieces of the object store."""

    # Ray brings arguments to a node before a task begins. A task that asked for them itself would hold its
    # processor meanwhile, and of lost pieces none could be made again once all tasks wait (Ray 2.60).
    join: Join

    def __call__(self, task: tuple[int, Iterator[Any]]) -> Any:
        return self.join(*task)


def _joins(work: Work) -> bool:
    """Return whether the tasks of a work have pieces, which are arguments of its calls."""
    return isinstance(work.split if isinstance(work, _Keeping) else work, _Joining)


def _packed(work: Work) -> tuple[bytes, ray.ObjectRef[Any]]:
    # As an array the bytes are not copied for each task that reads them. Ray's pickle takes functions of a
    # user's own script too.
    packed = pickle.dumps((str(Path.cwd()), versions(), cloudpickle.dumps(work)))
    return os.urandom(8), ray.put(np.frombuffer(packed, np.uint8))


_held: dict[bytes, Work] = {}


def _answer(key: bytes, packed: NDArray[np.uint8], task: Any, *pieces: Any) -> Any:
    """Return a work's result or error, and before its pieces if it keeps them."""
    # Errors travel as values: Ray would wrap them in a class of its own.
    if key not in _held:
        _held.clear()
        folder, expected, pickled = pickle.loads(packed.data)  # noqa: S301 - our own bytes
        # Also of nodes that came after the others were looked at.
        if problem := difference(expected, versions()):
            raise UsageError(f"node {socket.gethostname()}: {problem}")
        _held[key] = pickle.loads(pickled)  # noqa: S301 - our own bytes
        # Paths stay as the user wrote them, because messages and manifests have them.
        with suppress(OSError):
            os.chdir(folder)
    work = _held[key]
    given = (task, iter(pieces)) if _joins(work) else task
    try:
        if isinstance(work, _Keeping):
            note, made = work(given)
            return (note, None), *made
        return work(given), None
    except Exception as error:  # noqa: BLE001 - `run` raises it in its turn
        ended = None, portable(error)
        return (ended, *[None] * work.buckets) if isinstance(work, _Keeping) else ended


_call = ray.remote(num_cpus=1, retry_exceptions=False)(_answer)


def _translated(failure: RayError) -> Exception:
    if isinstance(failure, OutOfMemoryError):
        return DeadWorker("a worker was ended because the memory of its node ran out")
    if isinstance(failure, _DEATHS):
        return DeadWorker(f"a worker died: {first_line(failure)}")
    cause = getattr(failure, "cause", None)
    return WorkerError(f"a task cannot be run on the cluster: {first_line(cause or failure)}")
