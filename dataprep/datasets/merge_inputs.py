"""Name the inputs of a merge, and find the rows in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import orjson

from dataprep.core import io as files
from dataprep.core import provenance
from dataprep.core.errors import FileError, Location, RowError, UsageError
from dataprep.core.io import Block, PartTarget, Rejects
from dataprep.core.jsonl import MAX_LINE, UNREADABLE, not_json, not_object, too_long
from dataprep.core.ledger import Ledger
from dataprep.core.parallel import (
    Backend,
    Failure,
    Operator,
    Outcome,
    refuse_empty,
    refuse_unreadable,
    run,
    run_operator,
    workers_for,
)
from dataprep.datasets.merge_rows import Index, Scan, build_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCAN_BYTES = 4 << 20
_MOST_PARTS = 1_000_000  # of one input that is copied
Unit = Literal["line", "row"]
Progress = Callable[[int], None]

_NEWLINE = ord("\n")
# The bytes that bytes.strip() removes: a table answers for all lines of a block at once.
_WHITE = np.zeros(256, dtype=bool)
_WHITE[list(b" \t\r\n\v\f")] = True


def expand(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the files that inputs name, sorted by path; a directory stands for its ``*.jsonl``.

    A folder of parts is one of the files.
    """
    paths: list[str] = []
    for given in [str(inputs)] if isinstance(inputs, str | Path) else map(str, inputs):
        if files.is_folder(given) and files.files_of(given) == [given]:
            inside = [path for path in files.files_in(given) if path.endswith(".jsonl")]
            if not inside:
                raise FileError(given, "the directory holds no *.jsonl file")
            paths += inside
        else:
            paths.append(given)
    if not paths:
        raise UsageError("there is nothing to merge: give at least one file")
    for path in paths:
        files.check_input(path)
    # Sorted, so that the order does not depend on the shell or the file system.
    return sorted(paths)


def watched(paths: Iterable[str]) -> Iterator[str]:
    """Yield the files by which a change of the inputs is noticed."""
    for path in paths:
        # Each part in a store is noticed when it is read.
        yield from [path] if files.is_url(path) else files.files_of(path)


class Lines(NamedTuple):
    """An input of a merge.

    Attributes:
        path: the input, for messages.
        unit: what its lines are to the user.
        copy: a plain file with its lines; ``None`` if its own files are plain.
    """

    path: str
    unit: Unit = "line"
    copy: str | None = None

    @property
    def files(self) -> list[str]:
        """Return the plain files."""
        return files.files_of(self.path) if self.copy is None else [self.copy]

    def blocks(self) -> Iterator[Block]:
        """Yield the lines in blocks of about ``SCAN_BYTES``."""
        if self.copy is None:
            yield from files.read_blocks(self.path, SCAN_BYTES)
            return
        for block in files.read_blocks(self.copy, SCAN_BYTES):
            yield replace(block, path=self.path, source=self.copy, unit=self.unit)


def has_lines(path: str) -> bool:
    """Return whether a path names plain lines that can be read at any offset: a file or a folder of parts."""
    if path == files.STDIO:
        return False
    if files.is_parts(path) or files.files_of(path) != [path]:
        return True
    return files.format_of(path).is_plain_lines and files.is_file(path)


def plain_lines(path: str, scratch: Path) -> Lines:
    """Return an input as plain lines, which are copied into ``scratch`` if they are not."""
    # An object is copied: rows are gathered from mapped files.
    if has_lines(path) and not files.is_url(path):
        return Lines(path)
    copy = scratch / f"input{sum(1 for _ in scratch.iterdir())}.jsonl"
    unit: Unit = "line"
    with copy.open("wb") as out:
        for block in _lines_of(path):
            unit = block.unit
            out.write(block.read())
    return Lines(path, unit, str(copy))


def _lines_of(path: str) -> Iterator[Block]:
    """Yield the rows of an input of any format as blocks that hold whole lines."""
    before = 0
    # Rows are not checked here: one that is not an object is found by the scan, as in JSON Lines.
    for block in files.read_blocks(path) if has_lines(path) else files.read_row_blocks(path):
        data = block.read()
        data = data if data.endswith(b"\n") else data + b"\n"
        # The scan of a copy would find the line too, but only after it was written.
        if len(data) > MAX_LINE:
            for number, line in enumerate(data.split(b"\n"), before + 1):
                if len(line) > MAX_LINE:
                    raise too_long(path, number)
        before += data.count(b"\n")
        yield replace(block, data=data)


@dataclass(frozen=True, slots=True)
class _CopyLines:
    """A work that copies an input of any format into parts of plain lines."""

    place: PartTarget
    size: int

    def __call__(self, task: tuple[int, str]) -> tuple[Unit, list[files.Part]]:
        number, path = task
        # The numbers of parts are those of no other input.
        place = replace(self.place, first=number * _MOST_PARTS)
        parts: list[files.Part] = []
        unit: Unit = "line"
        writer = place.writer(0)
        try:
            for block in _lines_of(path):
                unit, data = block.unit, block.read()
                writer.write(data, data.count(b"\n"))
                if writer.size >= self.size:
                    parts.append(writer.finish())
                    writer = place.writer(len(parts))
            if writer.size:
                parts.append(writer.finish())
        finally:
            writer.close()
        return unit, parts


class Chunks:
    """The inputs of a merge on a cluster as chunks; inputs that are no plain lines are copied before.

    Args:
        paths: the inputs in their order.
        place: where copies go.
        shared: whether workers see that place. Otherwise the bytes of copies are sent to them.
    """

    def __init__(self, paths: Sequence[str], place: PartTarget, *, shared: bool) -> None:
        self.paths = paths
        self.place = place
        self.shared = shared
        self._copies: dict[int, tuple[Unit, list[files.Part]]] = {}
        self._sent: set[str] = set()  # files that workers do not see

    def readable(self) -> str | None:
        """Return the first file that workers read, if there is one."""
        paths = (path for path in self.paths if has_lines(path) or self._is_read_there(path))
        return next((files.files_of(path)[0] for path in paths), None)

    def _is_read_there(self, path: str) -> bool:
        return self.shared and files.is_file(path)

    def copy(self, backend: Backend) -> None:
        """Copy the inputs that are no plain lines."""
        work = _CopyLines(self.place, files.chunk_bytes())
        there = []
        for number, path in enumerate(self.paths):
            if has_lines(path):
                continue
            if self._is_read_there(path):
                provenance.read(path, files.find(path) if files.is_url(path) else None)
                there.append((number, path))
            else:  # a pipe, which only this process can read
                self._copies[number] = work((number, path))
        for place, copy in run(work, there, backend=backend):
            self._copies[there[place][0]] = copy

    def blocks(self) -> Iterator[Block]:
        """Yield the chunks of all inputs."""
        for number, path in enumerate(self.paths):
            if number not in self._copies:
                yield from files.read_blocks(path)
                continue
            unit, parts = self._copies[number]
            for part in parts:
                source = self.place.path(part)
                block = Block(path, 0, part.bytes, unit=unit, first=part is parts[0], source=source)
                if self.shared:
                    yield replace(block, ragged=True)
                else:
                    self._sent.add(source)
                    yield self.filled(block)

    def filled(self, block: Block) -> Block:
        """Return a block, with its bytes if workers do not see its file."""
        return replace(block, data=block.read()) if block.source in self._sent else block

    def digest(self) -> str:
        """Return what the copies are known by, which can be of pipes."""
        return repr([part.sha256 for number in sorted(self._copies) for part in self._copies[number][1]])


def find_rows(
    lines: Sequence[Lines],
    scanner: Operator,
    workers: int | None,
    bad: Rejects,
    ledger: Ledger,
    progress: Progress | None,
    take: Callable[[Block, Any], None] | None = None,
) -> Index:
    """Return the index of all sound rows.

    Args:
        lines: the inputs.
        scanner: a ``Scanner``, or an operator whose payload begins as a scanner's does.
        workers: number of processes; ``None`` decides by the input's size.
        bad: file for bad rows.
        ledger: the counts to add to.
        progress: called with the bytes read since the last call.
        take: called with each block and its payload.
    """
    blocks = (block for one in lines for block in one.blocks())
    count = workers_for([path for one in lines for path in one.files], workers)
    paths = [one.path for one in lines]
    return build_index(scan_rows(blocks, paths, scanner, count, bad, ledger, progress, take))


def scan_rows(
    blocks: Iterable[Block],
    paths: Sequence[str],
    scanner: Operator,
    workers: int,
    bad: Rejects,
    ledger: Ledger,
    progress: Progress | None,
    take: Callable[[Block, Any], None] | None = None,
) -> list[Scan]:
    """Return the sound rows of blocks; ``paths`` are the inputs that they are of, as for ``find_rows``."""
    scans: list[Scan] = []
    rows_of, unreadable = dict.fromkeys(paths, 0), Counter[str]()
    with closing(run_operator(scanner, blocks, workers=workers, stop=bad.raises)) as outcomes:
        for block, outcome in outcomes:
            for failure in outcome.failures:
                bad.add(Location(block.path, failure.line, block.unit), failure.message, failure.row)
                ledger.fail(failure.reason)
                unreadable[block.path] += failure.reason in UNREADABLE
            ledger.rows_in += outcome.rows_in
            rows_of[block.path] += outcome.rows_in
            if outcome.payload is not None:  # a row that ends its worker has none
                # Only the offsets are kept: failures hold the bytes of bad rows, which may be many.
                scans.append((block, outcome.payload[:2]))
                if take is not None:
                    take(block, outcome.payload)
            if progress is not None:
                progress(block.end - block.start)
    refuse_empty(rows_of)
    for path, rows in rows_of.items():
        provenance.count(path, rows)
    for path, rows in rows_of.items():
        refuse_unreadable({path: rows}, {path: unreadable[path]})
    return scans


class Scanner:
    """Find the rows of blocks, and with ``check`` those that are not JSON objects: a picklable operator."""

    def __init__(self, check: bool) -> None:
        self.check = check
        self._buffer = bytearray()

    def __reduce__(self) -> tuple[type[Scanner], tuple[bool]]:
        return Scanner, (self.check,)

    def __call__(self, block: Block) -> Outcome:
        """Return an outcome without output.

        Its payload is the first byte within the block of each sound row, and the row's bytes without the
        newline.
        """
        if block.data is not None:
            return _scan(memoryview(block.data), self.check)
        # One buffer for all blocks: the system would clear the pages of a new one for each.
        if block.end - block.start > len(self._buffer):
            self._buffer = bytearray(block.end - block.start)
        return _scan(block.read_into(self._buffer), self.check)


def _scan(data: memoryview, check: bool) -> Outcome:
    array = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(array == _NEWLINE)
    # The last line of a file may lack its newline.
    if data and data[-1] != _NEWLINE:
        ends = np.append(ends, len(data))
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts
    too_long = int(np.argmax(lengths > MAX_LINE)) + 1 if (lengths > MAX_LINE).any() else 0
    keep = lengths > 0
    # Blank lines and lines of white space are not rows. Looking at the first byte of all lines at once leaves
    # few lines to look at one by one.
    first = array[np.minimum(starts, max(len(data) - 1, 0))]
    for row in np.flatnonzero(keep & _WHITE[first]).tolist():
        keep[row] = bool(bytes(data[starts[row] : ends[row]]).strip())
    failures = _check(data, starts, ends, keep) if check else []
    # Offsets within a block fit into 32 bits; build_index adds the block's offset in the file in 64.
    payload = (starts[keep].astype(np.uint32), lengths[keep].astype(np.uint32))
    rows_in = payload[0].size + len(failures)
    return Outcome(ends.size, rows_in, failures=failures, too_long=too_long, payload=payload)


def _check(
    data: memoryview, starts: NDArray[np.int64], ends: NDArray[np.int64], keep: NDArray[np.bool_]
) -> list[Failure]:
    """Return the rows that are not JSON objects, and clear ``keep`` for them."""
    loads, failures = orjson.loads, []
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if not keep[row]:
            continue
        line = bytes(data[start:end])
        try:
            value = loads(line)
            if type(value) is dict:
                continue
            problem: RowError = not_object(value)
        except orjson.JSONDecodeError as error:
            problem = not_json(line, error)
        failures.append(Failure(row + 1, problem.reason, str(problem), line))
        keep[row] = False
    return failures


class CopyRows:
    """Copy the rows of blocks, and leave out blank lines and bad rows: a picklable operator."""

    def __init__(self, check: bool) -> None:
        self.check = check

    def __call__(self, block: Block) -> Outcome:
        """Return the rows as they are, each with a newline."""
        data = block.read()
        outcome = _scan(memoryview(data), self.check)
        starts, lengths = outcome.payload
        outcome.payload, outcome.rows_out = None, starts.size
        if starts.size == outcome.lines and data.endswith(b"\n"):
            outcome.put(data)
        else:
            rows = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
            outcome.put(b"".join([data[start:end] + b"\n" for start, end in rows]))
        return outcome
