"""Engines for tests: the backends of one machine in place of a cluster."""

import contextlib
import pickle

from dataprep.core.parallel import Inline, Processes, engines
from tests.dying import DyingWorkers


class Portable(Inline):
    """Works in this process, but with copies of all that would travel to another one."""

    @contextlib.contextmanager
    def open(self, work):
        """Yield what calls a copy of a function with copies of tasks, and returns copies of results."""
        copy = _copied(work)
        with super().open(lambda task: _copied(copy(_copied(task)))) as crew:
            yield crew


def _copied(value):
    return pickle.loads(pickle.dumps(value))


@contextlib.contextmanager
def engine_on(backend, *, marks=None):
    """Run what is called inside as on a cluster, of which a backend does the work; ``None`` changes nothing.

    ``"inline"``, ``"portable"``, a number of processes, or the address of a cluster. With a folder for marks,
    each kind of work kills one worker, and leaves a mark.
    """
    if backend is None:
        yield
        return
    makers = {"inline": Inline, "portable": Portable}
    if isinstance(backend, str) and backend not in makers:
        with engines.engine(backend) as engine:
            if marks is not None:
                engine._connected = DyingWorkers(engine.backend, marks)
            yield
        return
    made = makers[backend]() if backend in makers else Processes(backend)
    made = made if marks is None else DyingWorkers(made, marks)
    engine = engines.Engine("for a test", _connected=made)
    engines._engines.append(engine)
    try:
        yield
    finally:
        engines._engines.remove(engine)
        engine.close()
