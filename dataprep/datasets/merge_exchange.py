"""Merge on many machines: rows are sent to the part of the output that they belong to.

The calling process holds numbers only: where each row is, and where it goes. Tasks read the inputs chunk by
chunk and divide the rows among buckets; others put the rows of a bucket in place and write its parts. These
are the parts that a merge on one machine writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core.errors import UsageError
from dataprep.core.io import Block, Output, PartTarget, Rejects
from dataprep.core.ledger import RESUMED, Ledger, advance
from dataprep.core.parallel import Backend, backend_for, current, exchange, workers_for
from dataprep.core.sampling import shuffled_order
from dataprep.datasets.merge_inputs import Chunks, Progress, Scanner, scan_rows
from dataprep.datasets.merge_rows import Part, Portion, Scan, connected, portions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Offsets = NDArray[np.int64]
    Lengths = NDArray[np.uint32]

ROW_BYTES = 32
"""The most bytes that the calling process holds for each row."""
# The calling process holds some kilobytes for each piece that is under way, and on a cluster those below
# 100 kB pass it. So there may be this many, or one for each thousand rows, and they have at least this share
# of a part. Larger inputs are divided among buckets of several parts.
PIECES = 1 << 15
_SHARE = 256
_STEP = 1 << 20  # rows that are looked at together
_NEWLINE = ord("\n")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A shuffled merge on the cluster of the present engine.

    Attributes:
        paths: the inputs in their order.
        state: what the inputs are known by; what an earlier run has done is taken if it is the same.
        seed: seed of the shuffle.
        check: check that every row is a JSON object.
        memory: bytes that this process may hold.
        workers: number of tasks at a time.
        progress: called with the bytes read or written since the last call.
    """

    paths: Sequence[str]
    state: Sequence[Any]
    seed: int
    check: bool
    memory: int
    workers: int | None
    progress: Progress | None

    def run(self, out: Output, scratch: Path, bad: Rejects, ledger: Ledger) -> Generator[Part, None, None]:
        """Yield the rows of the output in order, without their bytes if workers have written them."""
        backend = backend_for(workers_for([], self.workers))
        key = files.run_key("merge", [*self.paths], self.state, self.seed, self.check)
        target = out.target(key)
        with ExitStack() as stack:
            place = PartTarget(str(scratch), key)
            if target is not None:
                place = stack.enter_context(target.intermediate())
            inputs = Chunks(self.paths, place, shared=target is not None)
            if (engine := current()) is not None:
                engine.check(inputs.readable(), None if target is None else target.where)
            inputs.copy(backend)

            def done(size: int) -> None:
                out.beat()
                if self.progress is not None:
                    self.progress(size)

            scans = scan_rows(
                inputs.blocks(),
                self.paths,
                Scanner(self.check),
                backend.slots,
                bad,
                ledger,
                done,
                self._limit(),
            )
            plan = Plan.of(scans, self.seed, files.chunk_bytes())
            tasks = self._tasks(scans, plan, inputs, done)
            joined = _joined(plan, tasks, target, plan.digest + inputs.digest(), backend, scratch)
            for part in stack.enter_context(closing(joined)):
                if isinstance(part, Part):
                    rows = part
                else:
                    out.add(part)
                    rows = Part(part.rows, part.bytes, None)
                done(rows.size - rows.size // 2)
                yield rows

    def _tasks(
        self, scans: list[Scan], plan: Plan, inputs: Chunks, done: Callable[[int], None]
    ) -> Iterator[list[Portion]]:
        for portions in portions_of(scans, plan.places, files.chunk_bytes()):
            # Dividing the rows is half of what is left after they are found.
            done(sum(portion.block.end - portion.block.start for portion in portions) // 2)
            # Only now are bytes read that workers do not see: those of a few tasks are here at a time.
            yield [replace(portion, block=inputs.filled(portion.block)) for portion in portions]

    def _limit(self) -> Callable[[Block, Any], None]:
        rows = 0

        def check(_: Block, payload: Any) -> None:
            nonlocal rows
            rows += payload[0].size
            if rows * ROW_BYTES > self.memory:
                raise UsageError(
                    f"--memory: a merge on a cluster takes {ROW_BYTES} bytes in this process for each row; "
                    f"{self.memory:,} bytes are enough for {self.memory // ROW_BYTES:,} rows, and there are "
                    f"{rows:,} or more; give it more, or merge fewer rows"
                )

        return check


@dataclass(frozen=True, slots=True)
class Plan:
    """Where each row goes.

    Attributes:
        places: the first byte of each row in the output, for the rows in input order.
        cuts: the first byte of each part of the output, and the end of the last.
        rows: the number of rows before each cut.
        group: number of consecutive parts that are joined together.
        digest: of the lengths of all rows in input order.
    """

    places: Offsets
    cuts: list[int]
    rows: list[int]
    group: int
    digest: str

    @classmethod
    def of(cls, scans: list[Scan], seed: int, size: int) -> Plan:
        """Return the plan for the order of Python's shuffle; parts are cut as ``PartsOutput`` cuts them."""
        lengths = _lengths_of(scans)
        order = shuffled_order(lengths.size, seed)
        places = np.empty(lengths.size, dtype=np.int64)
        cuts, rows, total = [0], [0], 0
        for begin in range(0, lengths.size, _STEP):
            following = order[begin : begin + _STEP]
            sizes = lengths[following].astype(np.int64) + 1
            ends = total + np.cumsum(sizes)
            places[following] = ends - sizes
            # A part ends with the first row that reaches its size.
            while (last := int(np.searchsorted(ends, cuts[-1] + size))) < ends.size:
                cuts.append(int(ends[last]))
                rows.append(begin + last + 1)
            total = int(ends[-1])
        if cuts[-1] < total:
            cuts.append(total)
            rows.append(lengths.size)
        group, most = 1, min(max(PIECES, lengths.size // 1000), max(total * _SHARE // size, 1))
        while (-(-(len(cuts) - 1) // group)) ** 2 > most:
            group *= 2
        return cls(places, cuts, rows, group, hashlib.sha256(lengths.data).hexdigest())

    @property
    def groups(self) -> int:
        """Return the number of groups of parts."""
        return -(-(len(self.cuts) - 1) // self.group)

    def parts(self, group: int) -> range:
        """Return the numbers of the parts of a group."""
        return range(group * self.group, min((group + 1) * self.group, len(self.cuts) - 1))


def _lengths_of(scans: list[Scan]) -> Lengths:
    """Return the bytes of all rows without their newlines; the scans then refer to them."""
    if not scans:
        return np.empty(0, dtype=np.uint32)
    lengths = np.concatenate([lengths for _, (_, lengths) in scans])
    row = 0
    for number, (block, (starts, _)) in enumerate(scans):
        scans[number] = block, (starts, lengths[row : row + starts.size])
        row += starts.size
    return lengths


class Piece(NamedTuple):
    """The rows of some portions that go into one bucket."""

    places: Offsets  # the first byte of each in the bucket
    sizes: Lengths  # its bytes with the newline
    data: NDArray[np.uint8]  # an array, because a cluster's object store does not copy it


@dataclass(frozen=True, slots=True)
class Split:
    """A work that divides rows among buckets.

    Attributes:
        begins: the first byte in the output of each group of parts.
        wanted: the groups that are to be joined: one for each bucket.
    """

    begins: Offsets
    wanted: Sequence[int]

    def __call__(self, scanned: Sequence[Portion]) -> list[Piece | None]:
        """Return the piece for each bucket."""
        portions = connected(scanned)
        lines: list[bytes] = []
        starts: list[Offsets] = []
        base = 0
        for portion in portions:
            data = portion.block.read()
            data = data if data.endswith(b"\n") else data + b"\n"
            ends = portion.starts.astype(np.int64) + portion.lengths
            # A file system may not show that the file is another one by now.
            if ends[-1] >= len(data) or (np.frombuffer(data, np.uint8)[ends] != _NEWLINE).any():
                raise files.changed(portion.block.path)
            lines.append(data)
            starts.append(portion.starts + np.int64(base))
            base += len(data)
        begins = np.concatenate(starts)
        sizes = np.concatenate([portion.lengths for portion in portions]) + np.uint32(1)
        return self._divided(memoryview(b"".join(lines)), begins, sizes, portions)

    def _divided(
        self, data: memoryview, begins: Offsets, sizes: Lengths, portions: Sequence[Portion]
    ) -> list[Piece | None]:
        places = np.concatenate([portion.places for portion in portions])
        group_of = np.searchsorted(self.begins, places, side="right") - 1
        by_group = np.argsort(group_of, kind="stable")
        bounds = np.searchsorted(group_of[by_group], np.arange(self.begins.size + 1))
        pieces: list[Piece | None] = []
        for group in self.wanted:
            rows = by_group[bounds[group] : bounds[group + 1]]
            spans = zip(begins[rows].tolist(), (begins[rows] + sizes[rows]).tolist(), strict=True)
            joined = b"".join([data[begin:end] for begin, end in spans])
            piece = Piece(places[rows] - self.begins[group], sizes[rows], np.frombuffer(joined, np.uint8))
            pieces.append(piece if rows.size else None)
        return pieces


@dataclass(frozen=True, slots=True)
class Join:
    """A work that puts the rows of a bucket in place, and writes its parts.

    Attributes:
        plan: of which only the cuts are needed.
        wanted: the group of each bucket.
        target: where the parts go; ``None`` returns the rows.
        fingerprint: what the parts depend on, for their records.
    """

    plan: Plan
    wanted: Sequence[int]
    target: PartTarget | None
    fingerprint: str

    def __call__(self, bucket: int, pieces: Iterator[Piece | None]) -> list[files.Part] | bytes:
        """Return the parts, or the rows."""
        cuts, numbers = self.plan.cuts, self.plan.parts(self.wanted[bucket])
        begin = cuts[numbers[0]]
        rows = memoryview(bytearray(cuts[numbers[-1] + 1] - begin))
        placed = sum(_place(piece, rows) for piece in pieces if piece is not None)
        assert placed == len(rows), f"{placed:,} bytes for {len(rows):,}"
        if self.target is None:
            return bytes(rows)
        parts = []
        for number in numbers:
            with closing(self.target.writer(number)) as writer:
                count = self.plan.rows[number + 1] - self.plan.rows[number]
                writer.write(rows[cuts[number] - begin : cuts[number + 1] - begin], count)
                parts.append(writer.finish())
            record = {"fingerprint": self.fingerprint, "part": asdict(parts[-1])}
            self.target.keep(number, orjson.dumps(record))
        return parts


def _place(piece: Piece, rows: memoryview) -> int:
    data, begin = piece.data.data, 0
    for place, size in zip(piece.places.tolist(), piece.sizes.tolist(), strict=True):
        end = begin + size
        rows[place : place + size] = data[begin:end]
        begin = end
    return begin


def _joined(
    plan: Plan,
    tasks: Iterable[list[Portion]],
    target: PartTarget | None,
    fingerprint: str,
    backend: Backend,
    scratch: Path,
) -> Generator[files.Part | Part, None, None]:
    """Yield the parts of the output in their order, or without a target the rows of each group."""
    fingerprint = hashlib.sha256(fingerprint.encode()).hexdigest()
    ready: dict[int, list[files.Part] | bytes | Path] = {}
    if target is not None:
        ready.update(_kept(plan, target, fingerprint))
        if ready:
            advance(RESUMED, sum(len(plan.parts(group)) for group in ready))
    wanted = [group for group in range(plan.groups) if group not in ready]
    begins = np.array([plan.cuts[plan.parts(group)[0]] for group in range(plan.groups)], dtype=np.int64)
    # The places of rows stay here.
    join = Join(replace(plan, places=plan.places[:0]), wanted, target, fingerprint)
    joins = exchange(
        Split(begins, wanted),
        join,
        tasks if wanted else (),
        len(wanted),
        backend=backend,
        batch=plan.group,
    )
    following = 0

    def settled() -> Iterator[files.Part | Part]:
        nonlocal following
        while following in ready:
            yield from _rows_of(ready.pop(following), plan, following)
            following += 1

    with closing(joins):
        yield from settled()
        for bucket, made in joins:
            group = wanted[bucket]
            # Groups come in order of completion: rows that are early wait on the disk.
            early = group != following
            ready[group] = _spilled(made, scratch / f"rows{group}") if early else made
            yield from settled()


def _spilled(made: list[files.Part] | bytes, path: Path) -> list[files.Part] | Path:
    if isinstance(made, list):
        return made
    path.write_bytes(made)
    return path


def _rows_of(made: list[files.Part] | bytes | Path, plan: Plan, group: int) -> Iterator[files.Part | Part]:
    if isinstance(made, list):
        yield from made
        return
    data = made if isinstance(made, bytes) else made.read_bytes()
    if isinstance(made, Path):
        made.unlink()
    numbers = plan.parts(group)
    yield Part(plan.rows[numbers[-1] + 1] - plan.rows[numbers[0]], len(data), data)


def _kept(plan: Plan, target: PartTarget, fingerprint: str) -> dict[int, list[files.Part]]:
    """Return the parts of an earlier run, by group, of each group that it has finished."""
    parts: dict[int, files.Part] = {}
    records = target.kept()
    sizes = target.sizes() if records else {}
    for number, data in records.items():
        with suppress(orjson.JSONDecodeError, KeyError, TypeError):  # it is damaged, or of something else
            record = orjson.loads(data)
            part = files.Part(**record["part"])
            if record["fingerprint"] == fingerprint and sizes.get(part.name) == part.bytes:
                parts[number] = part
    finished = [group for group in range(plan.groups) if all(number in parts for number in plan.parts(group))]
    return {group: [parts[number] for number in plan.parts(group)] for group in finished}
