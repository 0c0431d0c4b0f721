"""One Ray cluster of several nodes on this machine, for all tests that need one."""

import contextlib
import fcntl
import importlib.util
import os
import time
from pathlib import Path
from unittest import mock

import pytest

from tests.stores import s3_variables

NODES = 3
# A killed node is believed to be dead after about two seconds in place of thirty. A busy machine may take
# long for one answer, so each has time, and several must be missing.
_HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 4000,
    "health_check_failure_threshold": 4,
}


class SmallCluster:
    """A head without processors, and nodes of one processor each."""

    def __init__(self, variables):
        from ray.cluster_utils import Cluster

        # Each worker takes credentials from its own environment, which is that of its node.
        self._variables = variables

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": _HEALTH}
        )
        self.address = self._cluster.address
        self.nodes = [self._cluster.add_node(num_cpus=1, wait=False) for _ in range(NODES)]
        self._cluster.wait_for_nodes()

    def processes(self):
        """The ids of all processes of the cluster."""
        return {
            info.process.pid
            for node in self._cluster.list_all_nodes()
            for infos in node.all_processes.values()
            for info in infos
        }

    def kill_node(self, number):
        """Kill a node and its workers, as a machine that fails."""
        self._cluster.remove_node(self.nodes.pop(number), allow_graceful=False)

    def mend(self):
        """Start nodes for those that were killed, and wait until they can be used."""
        import ray

        with mock.patch.dict(os.environ, self._variables):
            while len(self.nodes) < NODES:
                self.nodes.append(self._cluster.add_node(num_cpus=1))
        deadline = time.monotonic() + 30
        while ray.cluster_resources().get("CPU") != NODES and time.monotonic() < deadline:
            time.sleep(0.1)
        assert ray.cluster_resources().get("CPU") == NODES

    def close(self):
        """End all processes."""
        self._cluster.shutdown()


def descendants(pid):
    """The ids of all processes that a process has started, directly or through others."""
    parents = {}
    # Not by `glob`, which raises an error for a process that ends meanwhile.
    for process in [path for path in Path("/proc").iterdir() if path.name.isdecimal()]:
        with contextlib.suppress(OSError):
            text = (process / "stat").read_text(encoding="utf-8", errors="replace")
            parents[int(process.name)] = int(text.rpartition(")")[2].split()[1])
    found, before = {pid}, 0
    while len(found) > before:
        before = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def running(pids):
    """Those of the processes that still run, zombies not counted."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            if text.rpartition(")")[2].split()[0] not in "ZX":
                found.add(pid)
    return found


def left_over(pids, seconds=15):
    """Those of the processes that still run after a while."""
    deadline = time.monotonic() + seconds
    while (found := running(pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def variables_of(request):
    """The environment of nodes that can use the S3 server of the tests, if there is one."""
    if not all(map(importlib.util.find_spec, ("moto", "flask", "obstore"))):
        return {}
    return s3_variables(request.getfixturevalue("s3_address"))


@pytest.fixture(scope="session")
def _one_cluster(tmp_path_factory, request):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs `pip install 'dataprep[cluster]'`")
    import ray
    from ray._private import worker

    # Ray prints on standard output that a node is lost, perhaps only in the next test. The backend's own
    # guard is tested with a program of its own.
    worker.print_worker_logs = lambda *_: None
    # Of several test processes one at a time has a cluster: two would be too slow for tests with time limits.
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with open(folder / "cluster.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        variables = variables_of(request)
        before = descendants(os.getpid())
        with mock.patch.dict(os.environ, variables):
            small = SmallCluster(variables)
        try:
            # Connected once: each connection would start workers of its own, a second for each.
            ray.init(address=small.address, log_to_driver=False, logging_level="ERROR")
            yield small
        finally:
            ray.shutdown()
            # Others can have been started meanwhile, such as a server of objects.
            processes = small.processes()
            started = processes.union(*map(descendants, processes)) - before
            small.close()
            assert not left_over(started), "processes of the cluster are left"


@pytest.fixture
def cluster(_one_cluster):
    """The cluster with all its nodes."""
    _one_cluster.mend()
    return _one_cluster
