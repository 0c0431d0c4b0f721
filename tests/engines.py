"""Engines for tests: the backends of one machine in place of a cluster."""

import contextlib

from dataprep.core.parallel import Inline, Processes, engines


@contextlib.contextmanager
def engine_on(backend):
    """Run what is called inside as on a cluster, of which a backend does the work; ``None`` changes nothing.

    ``"inline"``, a number of processes, or the address of a cluster.
    """
    if backend is None:
        yield
        return
    if isinstance(backend, str) and backend != "inline":
        with engines.engine(backend):
            yield
        return
    made = Inline() if backend == "inline" else Processes(backend)
    engine = engines.Engine("for a test", _connected=made)
    engines._engines.append(engine)
    try:
        yield
    finally:
        engines._engines.remove(engine)
        engine.close()
