"""Measure what two cores can show of a run on a cluster, and compose it to a model for many machines.

``docs/scale.md`` has the figures. A Ray cluster is started on this machine; its nodes share the processors,
so speed-up is measured with work that waits in place of computing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from ray.cluster_utils import Cluster

from benchmarks.measure import claim, repeat
from dataprep.core import io as files
from dataprep.core.io.part_files import CHUNK_VARIABLE
from dataprep.core.io.unfinished import MANIFEST
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import Outcome, check_nodes, engine, run_into
from dataprep.core.parallel.backends import Crew, Inline, Work
from dataprep.core.parallel.chunks import Chunk, run_chunks
from dataprep.core.parallel.on_ray import connect
from dataprep.core.parallel.records import Record
from dataprep.core.parallel.tasks import run
from dataprep.datasets.convert import Plan, convert_files

SIZE = 200_000_000
CORES = 64  # of the modelled cluster
INPUT = 10**12  # bytes that it converts
PAUSE = 0.5  # seconds that throttled work waits for a chunk
CHUNKS = 48
NODES = 3


def bench(data: Path, folder: Path, rounds: int) -> bool:
    """Measure the parts of a run, and print the model beside the measured points."""
    large = folder / "large.jsonl"
    source = data / "gsm8k" / "train.jsonl"
    repeat(source, large, -(-SIZE // source.stat().st_size))
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    inline = median(_inline(large, folder) for _ in range(rounds))
    out_bytes = sum(path.stat().st_size for path in (folder / "inline").glob("part-*"))
    claims = []
    with _cluster(2) as started:
        claims.append(claim("seconds to start a local Ray", started.seconds, 15, at_least=False))
        memory = _resident(started.processes()) / 1e6
        claims.append(claim("MB of a local Ray with 2 workers", memory, 900, at_least=False))
        _convert(large, folder / "warm")
        warm = median(_on_cluster(large, folder, started) for _ in range(rounds))
        claims.append(
            claim("processor time on warm workers over inline", warm / inline, 1.15, at_least=False)
        )
        rate = max(_dispatch() for _ in range(rounds))
        claims.append(claim("empty tasks a second", rate, 500, at_least=True))
    claims += _three_nodes(source)
    claims += _scaling(folder)
    claims += _driver()
    same = _digests(folder, "inline", "ray")
    print("the parts are the same" if same else "THE PARTS DIFFER")
    _model(large.stat().st_size / inline, warm / inline, rate, out_bytes / large.stat().st_size)
    return all(claims) and same


def _convert(source: Path, target: Path) -> None:
    convert_files(Plan("gsm8k"), [source], f"{target}/")


def _inline(source: Path, folder: Path) -> float:
    """Return the seconds of processor time of ``convert`` into parts, in this process."""
    begin = time.process_time()
    _convert(source, folder / "inline")
    return time.process_time() - begin


def _on_cluster(source: Path, folder: Path, started: _Started) -> float:
    """Return the same for workers that have run before, with that of this process."""
    begin = started.processor_seconds()
    _convert(source, folder / "ray")
    return started.processor_seconds() - begin


def _digests(folder: Path, *names: str) -> bool:
    return len({(folder / name / MANIFEST).read_bytes() for name in names}) == 1


@dataclass
class _Started:
    """A local Ray."""

    seconds: float

    def processes(self) -> list[psutil.Process]:
        """Return Ray's processes: those that this process has started."""
        children: list[psutil.Process] = psutil.Process().children(recursive=True)
        return children

    def processor_seconds(self) -> float:
        """Return the processor time of this process and of Ray's workers so far."""
        # Not that of Ray's own services, which do not grow with the work.
        workers = [each for each in self.processes() if each.name().startswith("ray::")]
        return time.process_time() + sum(sum(each.cpu_times()[:2]) for each in workers)


@contextmanager
def _cluster(workers: int) -> Iterator[_Started]:
    begin = time.perf_counter()
    with engine("local", workers=workers) as made:
        list(run(abs, range(workers), backend=made.backend))
        yield _Started(time.perf_counter() - begin)


def _resident(processes: list[psutil.Process]) -> float:
    """Return the bytes of memory that processes share in proportion."""
    return float(sum(process.memory_full_info().pss for process in processes))


def _dispatch() -> float:
    backend = connect(None, None)
    begin = time.perf_counter()
    assert len(list(run(abs, range(2000), backend=backend))) == 2000
    return 2000 / (time.perf_counter() - begin)


def _three_nodes(source: Path) -> list[bool]:
    """Measure connecting to a running cluster of three nodes and looking at all of them."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(NODES):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        begin = time.perf_counter()
        backend = connect(cluster.address, None)
        check_nodes(backend, str(source), None)
        seconds = time.perf_counter() - begin
        backend.close()
    finally:
        cluster.shutdown()
    return [claim("seconds to connect to 3 nodes and look at them", seconds, 5, at_least=False)]


@dataclass(frozen=True)
class Waiting:
    """An operator that waits for each block, and longer for one of them."""

    late: int = -1

    def __call__(self, block: files.Block) -> Outcome:
        """Return the block's lines."""
        time.sleep(6 if block.start == self.late else PAUSE)
        outcome = Outcome()
        outcome.lines = outcome.rows_in = outcome.rows_out = 1
        outcome.put(block.read())
        return outcome


def _scaling(folder: Path) -> list[bool]:
    """Measure throttled work on 1, 4, 8 and 16 workers, and one straggler on 4."""
    source = folder / "chunks.jsonl"
    source.write_bytes(b"".join(b'{"n": %03d}\n' % number for number in range(CHUNKS)))
    os.environ[CHUNK_VARIABLE] = str(source.stat().st_size // CHUNKS)
    seconds = {}
    try:
        for workers in (1, 4, 8, 16):
            with _cluster(workers):
                _wait(source, folder, Waiting())  # before the clock starts, all workers have run
                seconds[workers] = _wait(source, folder, Waiting())
                if workers == 4:
                    late = _wait(source, folder, Waiting(late=source.stat().st_size // CHUNKS * 5))
    finally:
        del os.environ[CHUNK_VARIABLE]
    claims = []
    for workers, wanted in ((4, 0.85), (8, 0.85), (16, 0.75)):
        efficiency = seconds[1] / workers / seconds[workers]
        claims.append(claim(f"throttled efficiency at {workers} workers", efficiency, wanted, at_least=True))
    lost = late - seconds[4]
    return [*claims, claim("seconds that one chunk of 6 s more costs", lost, 7, at_least=False)]


def _wait(source: Path, folder: Path, operator: Waiting) -> float:
    begin, ledger = time.perf_counter(), Ledger()
    with files.open_rejects(None) as bad, files.open_output(f"{folder}/waited/") as out:
        run_into(files.read_blocks(str(source)), operator, out, ledger, bad, paths=[str(source)])
    assert ledger.rows_out == CHUNKS
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Nothing:
    """An operator that is never called."""

    def __call__(self, block: files.Block) -> Outcome:
        """Fail."""
        raise AssertionError(block)


class _Simulated(Inline):
    """A backend that answers at once, as workers would, without a look at the chunk."""

    @contextmanager
    def open(self, _work: Work, /) -> Iterator[Crew]:
        """Yield workers that do nothing."""
        with super().open(_answer) as crew:
            yield crew


def _answer(chunk: Chunk) -> Record:
    record = Record(chunk.number)
    for block in chunk.blocks:
        outcome = Outcome(100_000, 100_000, 100_000, size=block.end - block.start)
        record.add(block, outcome)
    return record


# A process of its own, because memory that others have freed would hide its own.
_DRIVER = "from benchmarks.cluster import simulate; simulate()"


def simulate() -> None:
    """Print the peak memory in MB and the chunks a second of a driver that converts a terabyte."""
    import resource

    begin, count = time.perf_counter(), 0
    step = files.chunk_bytes()
    blocks = (
        files.Block("large.jsonl", start, start + step, first=not start, ragged=True)
        for start in range(0, INPUT, step)
    )
    rows = 0
    for _, outcome in run_chunks(Nothing(), blocks, backend=_Simulated()):
        rows += outcome.rows_in
        count += 1
    assert rows == 100_000 * count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(peak, count / (time.perf_counter() - begin))


def _driver() -> list[bool]:
    done = subprocess.run([sys.executable, "-c", _DRIVER], capture_output=True, check=True, text=True)
    peak, rate = map(float, done.stdout.split())
    return [
        claim("peak MB of the driver of 1 TB", peak, 300, at_least=False),
        claim("chunks a second that it folds", rate, 500, at_least=True),
    ]


def _model(rate: float, overhead: float, dispatch: float, growth: float) -> None:
    """Print how long a terabyte takes on many cores, by the measured figures."""
    chunks = INPUT / files.chunk_bytes()
    cpu = overhead * INPUT / (CORES * rate)
    tail = files.chunk_bytes() / rate
    print(f"\nmodel: convert of 1 TB on {CORES} cores, T = max(cpu, store, dispatch) + tail")
    print(
        f"- inline {rate / 1e6:.0f} MB a second and core; cpu {cpu:.0f} s, dispatch {chunks / dispatch:.0f} s"
    )
    print(f"- tail (one chunk) {tail:.1f} s; output {growth:.2f} × input")
    moved = INPUT * (1 + growth)
    print(f"- a store must give {moved / cpu / 1e9:.1f} GB a second, or it decides:")
    for bandwidth in (1.25, 5, 20):
        total = max(cpu, moved / bandwidth / 1e9, chunks / dispatch) + tail
        print(f"  {bandwidth:5.2f} GB a second: {total:6.0f} s")
