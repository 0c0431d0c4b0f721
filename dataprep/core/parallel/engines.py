"""Choose where tasks run: on this machine, or on a cluster for all that runs inside ``with engine(…)``.

The engine belongs to the process, as ``core.provenance.recording`` does, so that no function between the
command line and the work has a parameter for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataprep.core.errors import UsageError
from dataprep.core.io import forget_work
from dataprep.core.io.stores import is_shared
from dataprep.core.optional import require
from dataprep.core.options import check_whole
from dataprep.core.urls import without_credentials

if TYPE_CHECKING:
    from dataprep.core.parallel.backends import Backend

LOCAL = "local"
"""The address of a cluster that is started on this machine, and stopped at the end."""


@dataclass(eq=False)
class Engine:
    """Where tasks run.

    Attributes:
        cluster: the address of a Ray cluster, or ``LOCAL``; ``None`` for processes of this machine.
        workers: how many tasks may run at the same time; ``None`` for as many as there are processors.
        fresh: forget what an earlier run of the same command has done.
    """

    cluster: str | None = None
    workers: int | None = None
    fresh: bool = False
    _connected: Backend | None = field(default=None, repr=False)
    _checked: set[tuple[str, str | None]] = field(default_factory=set, repr=False)

    @property
    def backend(self) -> Backend:
        """The backend of the cluster, which is connected to when it is first asked for."""
        # Not before: starting takes seconds, which a mistake in the command line should not cost.
        if self._connected is None:
            assert self.cluster is not None, "an engine without a cluster has no backend of its own"
            from dataprep.core.parallel.on_ray import connect

            self._connected = connect(None if self.cluster == LOCAL else self.cluster, self.workers)
        return self._connected

    def check(self, source: str | None, place: str | None) -> None:
        """Check once that all nodes of a cluster read an input and write to an output's place.

        Args:
            source: a file or URL that is read; ``None`` if there is none that another machine could open.
            place: a folder or its URL.

        Raises:
            UsageError: a node cannot, or has other versions; the message names it.
        """
        from dataprep.core.parallel.nodes import check_nodes

        new = {("reads", source), ("writes", place)} - self._checked
        if self.cluster is None or not new:
            return
        source = source if ("reads", source) in new else None
        place = place if ("writes", place) in new else None
        for path in filter(None, (source, place)):
            if without_credentials(path) != path:
                raise UsageError(f"{path}: holds a password; give credentials in the environment")
            if not is_shared(path):
                raise UsageError(f"{path}: only this process sees it; give a place that all nodes see")
        check_nodes(self.backend, source, place)
        self._checked |= new | {("reads", None), ("writes", None)}

    def close(self) -> None:
        """Disconnect from the cluster, and stop it if it was started here."""
        if self._connected is not None:
            self._connected.close()
            self._connected = None


_engines: list[Engine] = []


@contextmanager
def engine(
    cluster: str | None = None, *, workers: int | None = None, fresh: bool = False
) -> Iterator[Engine]:
    """Run what is called inside on a cluster, or on processes of this machine; yield the engine.

    Args:
        cluster: the address of a Ray cluster, ``HOST:PORT``; ``local`` starts one on this machine.
            ``None`` takes none.
        workers: how many tasks may run at the same time. Defaults to the number of processors.
        fresh: forget what an earlier run of the same command has done.
    """
    if workers is not None:
        check_whole("--workers", workers, 1)
    if cluster is not None:
        require("ray", extra="cluster", feature="--cluster")
    one = Engine(cluster, workers, fresh)
    _engines.append(one)
    token = forget_work.set(fresh)
    try:
        yield one
    finally:
        forget_work.reset(token)
        _engines.remove(one)
        one.close()


def current() -> Engine | None:
    """Return the engine of the innermost ``with engine(…)``, if there is one."""
    return _engines[-1] if _engines else None


def backend_for(workers: int) -> Backend:
    """Return the cluster of the present engine, else ``workers`` processes; one is this process."""
    present = current()
    if present is not None and present.cluster is not None:
        return present.backend
    from dataprep.core.parallel.backends import Inline, Processes

    return Processes(workers) if workers > 1 else Inline()


@contextmanager
def cluster(address: str | None = None, *, workers: int | None = None, fresh: bool = False) -> Iterator[None]:
    """Run the functions of dataprep that are called inside on a Ray cluster; they write the same bytes.

    Inputs and outputs must be on storage that all nodes share: an object store, or a shared folder.

    Args:
        address: of the cluster, such as ``host:6379``, or ``auto`` for the one of which this machine is a
            node. Without one, a cluster is started on this machine and stopped at the end.
        workers: how many tasks may run at the same time. Defaults to the number of the cluster's processors.
        fresh: do all of the work again, also what an unfinished run has done.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    with engine(LOCAL if address is None else address, workers=workers, fresh=fresh):
        yield
