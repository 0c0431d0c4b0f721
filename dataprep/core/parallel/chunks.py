"""Run an operator over chunks of files: each gives one part of each output and one small record.

Records are folded in the order of the chunks, so counts, failures and parts are those of one process that
reads the files from beginning to end. A record that is kept beside its part spares a later
run the work of its chunk.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, cast

from dataprep.core.errors import UsageError, WorkerError
from dataprep.core.io import (
    Block,
    Output,
    Part,
    PartTarget,
    chunk_bytes,
    halves,
    in_chunks,
    named,
    pieces,
    run_key,
    size_of,
)
from dataprep.core.io.part_files import located_file
from dataprep.core.io.parts import PartWriter
from dataprep.core.ledger import RESUMED, advance
from dataprep.core.parallel.backends import Backend
from dataprep.core.parallel.engines import current
from dataprep.core.parallel.operators import Failure, Noted, OfChunk, Operator, Outcome, rows_in
from dataprep.core.parallel.pool import Ahead
from dataprep.core.parallel.records import Record, from_json, to_json
from dataprep.core.parallel.tasks import Bisection, run
from dataprep.core.urls import without_credentials

ENDS_WORKER = "ends its worker"
_AHEAD = 8  # chunks for each slot that may be done before the first that is not


@dataclass(frozen=True, slots=True)
class Chunk:
    """A task: blocks of about ``chunk_bytes()`` together, which give one part of the output.

    Attributes:
        number: its place among the chunks of the run.
        blocks: what to read.
        probe: the outcome is of no interest, only whether the worker survives; nothing is written.
        without: the SHA-256 of lines that end the worker.
        rows_before: for each block the rows of its file that precede it, if the operator needs them.
        rows: for each block its rows, if the operator needs ``rows_before``.
        note: what the operator needs to know of this chunk; see ``operators.Noted``.
    """

    number: int
    blocks: tuple[Block, ...]
    probe: bool = False
    without: frozenset[bytes] = frozenset()
    rows_before: tuple[int, ...] | None = None
    rows: tuple[int, ...] | None = None
    note: Any = None

    def fingerprint(self) -> str:
        """Return a digest of what the chunk's result depends on, besides the operator."""
        digest = hashlib.sha256()
        for block in self.blocks:
            facts: list[Any] = [block.path, block.file, block.start, block.end, block.unit, block.array]
            facts += [block.first, block.identity, block.data and hashlib.sha256(block.data).digest()]
            facts += [] if block.form is None else [block.form.delimiter, block.form.begin, block.form.count]
            digest.update(repr(facts).encode("utf-8", "surrogateescape"))
        digest.update(repr(self.rows_before).encode())
        digest.update(pickle.dumps(self.note))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ChunkWork:
    """The work on a chunk; picklable.

    Attributes:
        operator: what is done with the rows.
        targets: where each output goes; ``None`` leaves it in the outcomes.
        stop: end at the first block with a bad row, because that ends the run.
    """

    operator: Operator | OfChunk
    targets: tuple[PartTarget | None, ...]
    stop: bool

    def __call__(self, chunk: Chunk) -> Record:
        """Return the record of a chunk; its parts are written before."""
        record = Record(chunk.number)
        with ExitStack() as stack:
            writers = [
                None
                if target is None or chunk.probe
                else stack.enter_context(closing(target.writer(chunk.number)))
                for target in self.targets
            ]
            for block, outcome in outcomes_of(self.operator, chunk):
                if chunk.probe:
                    continue
                _write(outcome, writers)
                record.add(block, outcome)
                if self.stop and outcome.failures:
                    return record
            record.parts = [
                writer.finish() if writer is not None and writer.size else None for writer in writers
            ]
        keeper = _keeper(self.targets)
        if keeper is not None and not chunk.probe:
            kept = to_json(record, chunk.fingerprint())
            if kept is not None:
                keeper.keep(chunk.number, kept)
        return record


def _write(outcome: Outcome, writers: Sequence[PartWriter | None]) -> None:
    """Write what there are writers for."""
    if not writers:
        return
    main, *beside = writers
    if main is not None and outcome.data is not None:
        main.write(outcome.data, outcome.rows_out)
        outcome.data = None
    for number, (writer, (lines, rows)) in enumerate(zip(beside, outcome.sides, strict=False)):
        if writer is not None and lines is not None:
            writer.write(lines, rows)
            outcome.sides[number] = None, rows


def _keeper(targets: Sequence[PartTarget | None]) -> PartTarget | None:
    """Return the one of the targets that keeps the records."""
    return next((target for target in targets if target is not None), None)


def outcomes_of(operator: Operator | OfChunk, chunk: Chunk) -> Iterator[tuple[Block, Outcome]]:
    """Yield blocks of whole lines of a chunk, in order, with their outcomes."""
    noted = chunk.note is not None
    function = cast(OfChunk, operator).of_chunk(chunk.note) if noted else cast(Operator, operator)
    if function is None:
        return
    for place, block in enumerate(chunk.blocks):
        rows = chunk.rows_before[place] if chunk.rows_before is not None else None
        for piece in pieces(block):
            for whole, ends in _apart(piece, chunk.without) if chunk.without else ((piece, False),):
                if ends:
                    outcome = _ended(whole.read().removesuffix(b"\n"))
                else:
                    with named(block):
                        outcome = function(whole if rows is None else replace(whole, rows_before=rows))
                rows = None if rows is None else rows + outcome.rows_in
                yield whole, outcome


def _apart(block: Block, without: frozenset[bytes]) -> Iterator[tuple[Block, bool]]:
    """Yield lines that end the worker, one by one, and those between; and whether it is such a line."""
    if block.array:
        yield block, False
        return
    # Each with its place in the file, which offsets of rows are counted from.
    first, start = block.first, block.start
    for ends, group in groupby(
        io.BytesIO(block.read()), lambda line: _digest(line.removesuffix(b"\n")) in without
    ):
        lines = [*group]
        for data in lines if ends else [b"".join(lines)]:
            yield replace(block, start=start, end=start + len(data), data=data, first=first), ends
            first, start = False, start + len(data)


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()


def _ended(line: bytes) -> Outcome:
    message = "ends the worker process that reads it, each time; remove the row, or report it as a bug"
    return Outcome(1, 1, failures=[Failure(1, ENDS_WORKER, message, line)])


# A larger table or document is not read here to find the row that ends its worker.
_MOST_SEARCHED = 512 << 20


def _halve(chunk: Chunk) -> list[Chunk]:
    """Return two chunks to find out which ends the worker."""
    blocks = chunk.blocks
    if len(blocks) == 1 and blocks[0].form is not None and size_of(blocks[0].file) <= _MOST_SEARCHED:
        blocks = (*pieces(blocks[0]),)
    if len(blocks) > 1:
        parts = [blocks[: len(blocks) // 2], blocks[len(blocks) // 2 :]]
    else:
        parts = [(half,) for half in halves(blocks[0])]
    # The operator's result is thrown away, so any number of rows before will do.
    before = None if chunk.rows_before is None else 0
    return [
        replace(chunk, blocks=part, probe=True, rows_before=None if before is None else (0,) * len(part))
        for part in parts
    ]


def _without(chunk: Chunk, lost: Sequence[Chunk]) -> Chunk:
    """Return a chunk without the lines that ended a worker."""
    digests = set(chunk.without)
    for single in lost:
        (block,) = single.blocks
        if block.array or (block.ragged and not block.end):
            raise WorkerError(
                f"{block.path}: a row ends the worker process that reads it, and in such a file it cannot be "
                "looked for; write the rows as .jsonl, not compressed"
            )
        digests |= {_digest(line) for piece in pieces(block) for line in piece.read().split(b"\n") if line}
    return replace(chunk, without=frozenset(digests))


BISECTION = Bisection(_halve, _without)
"""How the lines of a chunk that end the worker are found."""


def chunks_of(blocks: Iterable[Block], size: int, number: int = 0) -> Iterator[Chunk]:
    """Gather blocks, in order, into chunks of about ``size`` bytes; a larger one is a chunk by itself.

    ``number`` is that of the first chunk.
    """
    held: list[Block] = []
    total, remaining = 0, Ahead(blocks)
    for given in remaining:
        identity = None if given.identity is None else given.identity.anywhere()
        # A worker on another machine has another folder of its own.
        source = given.source if given.data is not None else located_file(given.file)
        block = replace(given, identity=identity, source=source)
        # A compressed file is alone, because the size of its lines is not known.
        bytes_ = size if block.ragged and not block.end else block.end - block.start
        bytes_ = bytes_ if block.data is None else len(block.data)
        if held and total + bytes_ > size:
            yield Chunk(number, tuple(held))
            held, total, number = [], 0, number + 1
        held.append(block)
        total += bytes_
    if held:
        yield Chunk(number, tuple(held))
    remaining.check()


@dataclass(frozen=True, slots=True)
class _CountRows:
    def __call__(self, chunk: Chunk) -> list[tuple[int, bool]]:
        """Return for each block the number of its rows, and whether it begins a file."""
        return [(sum(rows_in(piece) for piece in pieces(block)), block.first) for block in chunk.blocks]


def _numbered(chunks: Iterable[Chunk], backend: Backend) -> Iterator[Chunk]:
    """Yield chunks with the number of rows before each of their blocks."""
    remaining = Ahead(chunks)
    read = [*remaining]
    counts = dict(run(_CountRows(), read, backend=backend))
    rows = 0
    for chunk in read:
        before = []
        for count, first in counts[chunk.number]:
            rows = 0 if first else rows
            before.append(rows)
            rows += count
        rows_of = tuple(count for count, _ in counts[chunk.number])
        yield replace(chunk, rows_before=tuple(before), rows=rows_of)
    remaining.check()


def run_chunks(
    operator: Operator | Noted,
    blocks: Iterable[Block],
    *,
    backend: Backend,
    outputs: Sequence[Output | None] = (),
    numbered: bool = False,
    stop: bool = False,
) -> Iterator[tuple[Block, Outcome]]:
    """Yield blocks with their outcomes, in order, as ``run_operator`` does; the output is written.

    Args:
        operator: picklable.
        blocks: of one file after another; as they come from ``read_blocks``, which is told to cut chunks.
        backend: where the work is done.
        outputs: take the parts: the first one what is in ``Outcome.data``, the others what is in
            ``Outcome.sides``. The caller writes what they cannot take as parts, which stays there.
        numbered: as for ``run_operator``.
        stop: the first bad row ends the run.
    """
    chunks = chunks_of(_ragged(blocks), chunk_bytes())
    if numbered:
        chunks = _numbered(chunks, backend)
    made: Operator | OfChunk = operator.operator if isinstance(operator, Noted) else operator
    if isinstance(operator, Noted):
        note = operator.note
        chunks = (replace(chunk, note=note(chunk)) for chunk in chunks)
    # Sets, and what was cached meanwhile, are pickled in another way by each process: an operator that
    # has such parts says itself what it depends on.
    key = run_key("operator", getattr(made, "key", None) or pickle.dumps(made), numbered)
    targets = [None if output is None else output.target(key) for output in outputs]
    waiting: dict[int, Record] = {}
    work, following = ChunkWork(made, tuple(targets), stop), 0
    missing = _missing(checked(chunks, targets), targets, waiting)
    # Where records hold output, a chunk that takes long would fill the memory with those behind it.
    ahead = None if _keeper(targets) is not None else _AHEAD * backend.slots
    for _, record in run(work, missing, backend=backend, ahead=ahead, bisection=BISECTION):
        waiting[record.number] = record
        while following in waiting:
            yield from _settled(waiting.pop(following), outputs)
            following += 1
    while following in waiting:
        yield from _settled(waiting.pop(following), outputs)
        following += 1


def _ragged(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield blocks as ``in_chunks`` has them cut; who takes outcomes in between reads files as ever."""
    remaining = iter(blocks)
    while True:
        with in_chunks():
            block = next(remaining, None)
        if block is None:
            return
        yield block


def checked(chunks: Iterable[Chunk], targets: Sequence[PartTarget | None] = ()) -> Iterator[Chunk]:
    """Yield chunks, after a look whether all nodes can read the first of them and write the outputs."""
    remaining, present = iter(chunks), current()
    first = next(remaining, None)
    if first is None:
        return
    if present is not None and present.cluster is not None:
        remaining = map(_without_secrets, remaining)
        block = _without_secrets(first).blocks[0]
        source = None if block.data is not None else block.file
        for place in {target.where: None for target in targets if target is not None} or [None]:
            present.check(source, place)
    yield first
    yield from remaining


def _without_secrets(chunk: Chunk) -> Chunk:
    """Return a chunk; raise ``UsageError`` if a URL in it has a password: it travels to all nodes."""
    for block in chunk.blocks:
        if block.data is None and without_credentials(block.file) != block.file:
            raise UsageError(
                f"{block.path}: holds a password or signature, which would travel to all nodes; give "
                "credentials in the environment of the nodes"
            )
    return chunk


def _settled(record: Record, outputs: Sequence[Output | None]) -> Iterator[tuple[Block, Outcome]]:
    for output, part in zip(outputs, record.parts, strict=False):
        if part is not None and output is not None:
            output.add(part)
    yield from record.outcomes


def _missing(
    chunks: Iterable[Chunk], targets: Sequence[PartTarget | None], waiting: dict[int, Record]
) -> Iterator[Chunk]:
    """Yield the chunks that no earlier run has finished; put the records of others into ``waiting``."""
    keeper = _keeper(targets)
    kept = {} if keeper is None else keeper.kept()
    sizes = [{} if target is None or not kept else target.sizes() for target in targets]
    count = 0

    def is_there(part: Part | None, held: dict[str, int]) -> bool:
        return part is None or held.get(part.name) == part.bytes

    for chunk in chunks:
        record = from_json(kept[chunk.number], chunk.fingerprint()) if chunk.number in kept else None
        if record is None or not all(map(is_there, record.parts, sizes)):
            yield chunk
            continue
        waiting[chunk.number] = record
        count += 1
    if count:
        advance(RESUMED, count)
