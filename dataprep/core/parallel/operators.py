"""Define operators: callables from a block of lines to an outcome.

An engine needs nothing else of the work, so the same operators run in this process, on several processes, or
on another engine. There are two ways to write one:

- ``per_row(function)`` makes an operator out of a function from one parsed row to the bytes of one line;
- an operator that works on many rows at once parses them with ``read_block`` and settles them with
  ``ReadRows.settle``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Generic, Protocol, TypeVar, cast

import orjson

from dataprep.core.errors import InputError, RowDropped, RowError
from dataprep.core.io import Block
from dataprep.core.jsonl import MAX_LINE, any_line, find_lost, loses, not_json, not_object, not_writable
from dataprep.core.records import describe

# In so much of each file, `per_row` looks for keys and digits that the parser loses. To look at all rows,
# each parsed once, took 1.17 times the time of `convert gsm8k`, and 1.62 times that of `commonsense_qa`
# (medians of four alternating pairs). A program that writes a key twice does so from the beginning.
CHECKED_BYTES = 1 << 20

# Lines that are parsed together, where values are used one after the other: so many stay in the cache.
_BATCH = 64
UNPARSED = object()
"""In place of the value of a line; see ``values_of``."""

Row = TypeVar("Row")
Result = TypeVar("Result")


@dataclass(slots=True)
class Failure:
    """One bad row."""

    line: int  # its line, counted from 1 within its block; the engine adds the lines before the block
    reason: str  # the kind of fault, for the ledger
    message: str  # what was found and what was expected
    row: bytes


@dataclass(slots=True)
class Outcome:
    """The result of an operator on one block."""

    lines: int = 0  # number of lines in the block, blank ones too
    rows_in: int = 0  # number of lines that are not blank
    rows_out: int = 0  # number of output rows
    dropped: dict[str, int] = field(default_factory=dict)  # number of sound rows left out, by reason
    failures: list[Failure] = field(default_factory=list)  # bad rows in the order of their lines
    counts: dict[Any, int] = field(default_factory=dict)  # numbers that the operator counted besides, by name
    too_long: int = 0  # the first line longer than `MAX_LINE`, counted from 1; 0 if there is none
    size: int = 0  # bytes of output
    data: bytes | None = None  # the output; `None` if there is none, or once a worker has written it
    lines_before: int = 0  # lines of the file that precede the block; the engine sets it
    payload: Any = None  # a further result for the caller, for example the lengths of tokenized documents
    # For outputs beside the main one: the lines for each, `None` once a worker wrote them, and their number.
    sides: list[tuple[bytes | None, int]] = field(default_factory=list)

    def refuse(self, line: int, error: RowError, row: bytes) -> None:
        """Count a row that an operator did not take: dropped or failed."""
        if isinstance(error, RowDropped):
            self.dropped[error.reason] = self.dropped.get(error.reason, 0) + 1
        else:
            self.failures.append(Failure(line, error.reason, str(error), row))

    def extend(self, later: Outcome) -> None:
        """Add the counts and failures of the block that follows; neither has output or a payload."""
        if later.too_long and not self.too_long:
            self.too_long = self.lines + later.too_long
        for failure in later.failures:
            failure.line += self.lines
        self.failures += later.failures
        self.lines += later.lines
        self.rows_in += later.rows_in
        self.rows_out += later.rows_out
        self.size += later.size
        if later.sides:
            before = self.sides or [(None, 0)] * len(later.sides)
            self.sides = [(None, one[1] + two[1]) for one, two in zip(before, later.sides, strict=True)]
        for total, counts in ((self.dropped, later.dropped), (self.counts, later.counts)):
            for key, count in counts.items():
                total[key] = total.get(key, 0) + count

    def put(self, data: bytes) -> None:
        """Set the output."""
        self.data, self.size = data or None, len(data)

    @property
    def held(self) -> bool:
        """Return whether there is output that no worker has written."""
        return self.data is not None or any(lines is not None for lines, _ in self.sides)


# An operator is picklable, so that it can run in another process.
Operator = Callable[[Block], Outcome]


class OfChunk(Protocol):
    """Make the operators for the blocks of each chunk; picklable."""

    def of_chunk(self, note: Any, /) -> Operator | None:
        """Return an operator that is called with the blocks of one chunk, in order; ``None`` skips them."""


@dataclass(frozen=True, slots=True)
class Noted:
    """An operator that needs to know something of each chunk, which is too much to send to every worker.

    Attributes:
        operator: makes operators on the workers.
        note: called in this process with each ``chunks.Chunk``, in order; returns what goes to ``of_chunk``.
    """

    operator: OfChunk
    note: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class without_output:
    """An operator whose output nobody wants: only its counts travel."""

    operator: Operator

    def __call__(self, block: Block) -> Outcome:
        """Return the outcome of a block without its output."""
        outcome = self.operator(block)
        outcome.put(b"")
        return outcome


@dataclass(frozen=True, slots=True)
class per_row:
    """An operator that calls a function for each row; the function returns one line of output.

    Attributes:
        function: takes a parsed row and returns the output row without its newline; raises ``RowError`` for
            a bad row and ``RowDropped`` for a sound one that is left out. It must be picklable.
        any_value: a row may be any JSON value. Otherwise it must be an object.
        with_place: the function also takes the path and the number of the row in its file, counted from 1.
            The engine must then be run with ``numbered=True``.
        counts: called after each block; returns what the function counted since the last call.
    """

    function: Callable[..., bytes]
    any_value: bool = False
    with_place: bool = False
    counts: Callable[[], Mapping[Any, int]] | None = None

    def __call__(self, block: Block) -> Outcome:
        """Return the output of a block's sound rows, and its counts."""
        # This loop is the row path: everything is a local name, and a sound row costs no function call but
        # the parser's and the operator's own. Blank lines are found by the parser's error.
        # The except clauses cost nothing until a row is bad.
        parse: Callable[[bytes], Any] = orjson.loads
        problems = (RowError, orjson.JSONDecodeError)
        function, objects, with_place = self.function, not self.any_value, self.with_place
        path, before = block.path, block.rows_before or 0
        assert not with_place or block.rows_before is not None, "run the operator with numbered=True"
        outcome, blank = Outcome(), 0
        rows: list[bytes] = []
        add = rows.append
        lines, in_array = lines_of(block), block.array
        if objects and block.start < CHECKED_BYTES and not in_array and block.unit == "line":
            parse = parse if _parsed(lines) is not None else _strictly
        for number, line in enumerate(lines, 1):
            try:
                row = line if in_array else parse(line)
                if objects and type(row) is not dict:
                    raise not_object(row)
                if with_place:
                    add(function(row, path, before + number - blank))
                else:
                    add(function(row))
            except RowDropped as drop:
                outcome.dropped[drop.reason] = outcome.dropped.get(drop.reason, 0) + 1
            except problems as error:
                if not in_array and not line.strip():
                    blank += 1
                    continue
                problem = error if isinstance(error, RowError) else not_json(line, error)
                outcome.refuse(number, problem, any_line(line) if in_array else line)
            except (TypeError, RecursionError) as error:
                outcome.refuse(number, not_writable(error), any_line(line) if in_array else line)
        count_lines(outcome, block, lines, blank)
        outcome.rows_out = len(rows)
        if self.counts is not None:
            outcome.counts = dict(self.counts())
        if rows:
            add(b"")  # so that the last row ends with a newline too
            outcome.put(b"\n".join(rows))
        return outcome


@dataclass(slots=True)
class ReadRows(Generic[Row]):
    """The rows of a block that are read so far."""

    outcome: Outcome  # the counts of the block, with the rows that were refused. It has no output yet
    rows: list[Row]  # the rows that were not refused
    numbers: list[int]  # for each of `rows`, the number of the row in the block, counted from 0
    _lines: list[tuple[int, bytes]]

    @property
    def lines(self) -> list[bytes]:
        """Return the bytes of each of ``rows``, without the newline."""
        return [line for _, line in self._lines]

    @property
    def line_numbers(self) -> list[int]:
        """Return the number of the line of each of ``rows`` in the block, counted from 1."""
        return [number for number, _ in self._lines]

    def settle(self, results: list[Result | RowError]) -> list[Result]:
        """Return the results that are not errors, and refuse the rows of those that are.

        There is one result for each of ``rows``.
        """
        kept: list[Result] = []
        if len(results) == len(self.rows) and not any(isinstance(result, RowError) for result in results):
            kept.extend(results)  # type: ignore[arg-type]
            return kept
        rows, numbers, lines = [], [], []
        for row, number, line, result in zip(self.rows, self.numbers, self._lines, results, strict=True):
            if isinstance(result, RowError):
                self.outcome.refuse(line[0], result, line[1])
                continue
            kept.append(result)
            rows.append(row)
            numbers.append(number)
            lines.append(line)
        self.rows, self.numbers, self._lines = rows, numbers, lines
        # Rows that failed while they were read stand before those that failed now.
        self.outcome.failures.sort(key=lambda failure: failure.line)
        self.outcome.rows_out = len(rows)
        return kept


def read_block(
    block: Block, read: Callable[[dict[str, Any]], Row] | None = None, *, checked: bool = True
) -> ReadRows[Row]:
    """Parse a block's rows, for an operator that works on many of them at once.

    Args:
        block: the block.
        read: called with each row; raises ``RowError`` or ``RowDropped`` for one that it does not take. By
            default the rows are taken as they are.
        checked: refuse rows of which the parser loses a key or digits. An operator that keeps the bytes of
            rows loses nothing, and needs this at the beginning of a file only.
    """
    result: ReadRows[Row] = ReadRows(Outcome(), [], [], [])
    outcome, lines, blank = result.outcome, lines_of(block), 0
    checked = checked or block.start < CHECKED_BYTES
    if read is None and not block.array:
        parsed = _parsed(lines, checked)
        if parsed is not None and set(map(type, parsed)) == {dict}:
            result.rows, result.numbers = cast(list[Row], parsed), list(range(len(lines)))
            result._lines = list(enumerate(lines, 1))
            count_lines(outcome, block, lines)
            outcome.rows_out = len(lines)
            return result
    values = values_of(block, lines, checked=checked)
    for number, (line, value) in enumerate(zip(lines, values, strict=True), 1):
        text = any_line(line) if block.array else line
        try:
            row = _strictly(line) if value is UNPARSED else value
            if type(row) is not dict:
                raise not_object(row)
            result.rows.append(read(row) if read is not None else cast(Row, row))
            result.numbers.append(number - 1 - blank)
            result._lines.append((number, text))
        except orjson.JSONDecodeError as error:
            if not line.strip():
                blank += 1
                continue
            outcome.refuse(number, not_json(line, error), text)
        except RowError as error:
            outcome.refuse(number, error, text)
        except RecursionError as error:
            outcome.refuse(number, not_writable(error), text)
    count_lines(outcome, block, lines, blank)
    outcome.rows_out = len(result.rows)
    return result


def values_of(block: Block, lines: list[Any], *, checked: bool = True) -> Iterator[Any]:
    """Yield the value of each line of a block.

    It is ``UNPARSED`` for a blank or bad line, for one of which the parser may have lost a part (if they are
    ``checked``), and for some lines beside them, which are as well parsed one by one.
    """
    if block.array:
        yield from lines
        return
    for begin in range(0, len(lines), _BATCH):
        batch = lines[begin : begin + _BATCH]
        values = _parsed(batch, checked)
        yield from repeat(UNPARSED, len(batch)) if values is None else values


def _parsed(lines: list[bytes], checked: bool = True) -> list[Any] | None:
    """Return the parsed lines; ``None`` if one is blank or bad, or the parser may have lost a part of it."""
    try:
        rows = list(map(orjson.loads, lines))
        return None if checked and loses(b"\n".join(lines), rows) else rows
    except (orjson.JSONDecodeError, TypeError):
        return None


def _strictly(line: bytes) -> Any:
    row = orjson.loads(line)
    for problem in find_lost(line, row):
        raise problem
    return row


def rows_in(block: Block) -> int:
    """Return the number of lines in a block that are not blank."""
    return sum(1 for line in block.read().split(b"\n") if line and not line.isspace())


def count_lines(outcome: Outcome, block: Block, lines: list[Any], blank: int = 0) -> None:
    """Put the number of a block's lines into its outcome, of which so many are blank."""
    outcome.lines = len(lines)
    outcome.rows_in = len(lines) - blank
    # One cheap sum decides for nearly every block that none of its lines is too long.
    if not block.array and sum(map(len, lines)) > MAX_LINE:
        outcome.too_long = next((n for n, line in enumerate(lines, 1) if len(line) > MAX_LINE), 0)


def lines_of(block: Block) -> list[Any]:
    """Return a block's lines, or the parsed items if the block is one JSON array."""
    if block.array:
        return _items_of(block)
    lines = block.read().split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _items_of(block: Block) -> list[Any]:
    try:
        rows = orjson.loads(block.read().removeprefix(b"\xef\xbb\xbf"))  # a byte order mark
    except orjson.JSONDecodeError as error:
        raise InputError(block.path, f"not JSON: {error}; expected an array of rows") from None
    if type(rows) is not list:
        raise InputError(block.path, f"found {describe(rows)}; expected a JSON array of rows")
    return rows
