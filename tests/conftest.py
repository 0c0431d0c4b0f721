"""Fixtures that all tests share: a workspace with the samples in it, and two ways to run the command."""

import os
import pickle
import signal
import warnings
from collections import Counter

# Each test process, and each command that it starts, uses one core: models this small are slower on several,
# and the other cores have tests of their own. Torch and numpy read it when they are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from dataprep import init_workspace
from dataprep.core.parallel import processes
from tests.browser import browser, open_page  # noqa: F401 - fixtures of pages in a real browser
from tests.cluster import _one_cluster, cluster  # noqa: F401 - fixtures of a Ray cluster on this machine
from tests.helpers import run_alone, run_here
from tests.stores import failing, s3, s3_address  # noqa: F401 - fixtures of an S3 server on this machine

# A runner that was started with `nohup` hands its ignored SIGHUP down, and commands leave it ignored, as they
# should. With a handler of ours the signal still ends nothing here, and is the usual one in new processes.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# A busy machine is no failure of a property.
settings.register_profile("thorough", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dataprep", settings.get_profile("thorough"), max_examples=20)
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=10)
settings.load_profile("dataprep")


def pytest_collection_modifyitems(items):
    """Mark the tests that need a server of objects, and as slow what `sampled` leaves out."""
    counts = Counter()
    for item in items:
        if (sampled := item.get_closest_marker("sampled")) and not item.get_closest_marker("slow"):
            (step,) = sampled.args
            test = item.nodeid.partition("[")[0]
            if counts[test] % step:
                item.add_marker("slow")
            counts[test] += 1
        if "s3_address" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")


@pytest.fixture
def workspace(tmp_path):
    """A new workspace with the sample datasets."""
    return init_workspace(tmp_path / "workspace")


@pytest.fixture
def run(tmp_path):
    """Run ``dataprep`` in this process, in ``tmp_path``: ``run("convert", "gsm8k", input=b"…")``."""
    return lambda *arguments, cwd=tmp_path, **options: run_here(arguments, cwd=cwd, **options)


@pytest.fixture
def run_process(tmp_path):
    """Run ``dataprep`` in a process of its own, in ``tmp_path``; keywords go to ``subprocess.run``.

    For tests about pipes, signals, start-up, memory, and what the interpreter does at its end.
    """
    return lambda *arguments, cwd=tmp_path, **options: run_alone(arguments, cwd=cwd, **options)


@pytest.fixture
def forked(monkeypatch):
    """Fork workers, which takes milliseconds; beside the threads of xdist or polars they would be spawned.

    For tests whose workers use neither polars nor a store: their threads are missing in a forked process.
    """
    start = processes.WorkerProcess.__init__

    def start_with_copy(self, function, *arguments, **options):
        # As a spawned process receives it, so that a function that cannot be pickled is found here too.
        start(self, pickle.loads(pickle.dumps(function)), *arguments, **options)

    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)  # of Python 3.12 and later
    monkeypatch.setattr(processes, "start_method", lambda: "fork")
    monkeypatch.setattr(processes.WorkerProcess, "__init__", start_with_copy)
