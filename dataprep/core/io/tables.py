"""Read and write tables: CSV and TSV with Python's ``csv``, Parquet with polars."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from dataprep.core.errors import InputError, Location, RowError, first_line
from dataprep.core.io.reading import read_whole
from dataprep.core.records import from_cell

if TYPE_CHECKING:
    import polars as pl

    from dataprep.core.io.values import Column, Reader

_PARQUET_ROWS = 1 << 13  # rows of a Parquet file held at a time
# Each level is a type within a type, and at a few hundred polars takes gigabytes or crashes.
_DEEPEST = 32
# csv refuses cells of more than 128 KiB unless told otherwise; passages of reading sets can be longer.
_MAX_CELL = 32 << 20


def read_delimited(
    path: str, stream: IO[bytes], delimiter: str, *, given: str | None = None
) -> Generator[dict[str, Any], None, None]:
    """Read the rows of a CSV or TSV file with a header; every value is a string, ``messages`` are a list.

    A ``given`` delimiter replaces the usual one of the format.
    """
    csv.field_size_limit(_MAX_CELL)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    begin = 1
    try:
        begin, first = _first_line(text, given or delimiter)
        if not first:
            raise InputError(path, "the file is empty; expected a header line with the fields' names")
        if given is None:
            _check_delimiter(path, first.strip(), delimiter)
        above = begin - 1
        reader = csv.reader(chain([first], text), delimiter=given or delimiter, strict=True)
        header = next(reader)
        if len(set(header)) < len(header):
            raise InputError(f"{path}:{begin}", f"a field's name stands twice in the header: {header}")
        begin = above + reader.line_num + 1
        for values in reader:
            if values:
                if len(values) != len(header):
                    problem = f"found {len(values)} fields; the header has {len(header)}"
                    raise InputError(f"{path}:{begin}", problem)
                yield with_messages(dict(zip(header, values, strict=True)))
            begin = above + reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{begin}", f"not a delimited table: {error}") from None
    except UnicodeDecodeError as error:
        wrong = f"not UTF-8: byte 0x{error.object[error.start]:02x}; save the file as UTF-8"
        raise InputError(f"{path}:{begin} or after", wrong) from None
    finally:
        text.detach()


def _first_line(text: io.TextIOWrapper, delimiter: str) -> tuple[int, str]:
    """Return number and text of the first line with a cell; spreadsheets leave empty ones above a table."""
    for number, line in enumerate(iter(text.readline, ""), 1):
        if line.strip(f" \r\n{delimiter}"):
            return number, line
    return 1, ""


def _check_delimiter(path: str, header: str, delimiter: str) -> None:
    """Raise ``InputError`` if a header of one field seems to have another delimiter."""
    for other, name in ((";", "';'"), ("\t", "tab"), ("|", "'|'"), (",", "','")):
        names = header.split(other)
        if delimiter not in header and len(names) > 1 and all(map(str.strip, names)):
            problem = f"the header is one field, {header!r}: the cells seem to be separated by {name}"
            hint = "save the table with commas (.csv) or tabs (.tsv), or read it with"
            raise InputError(path, f"{problem}; {hint} `dataprep convert --delimiter {name}`")


def with_messages(row: dict[str, Any]) -> dict[str, Any]:
    """Return a table's row with its messages as a list, where the cell holds one as text."""
    if type(row.get("messages")) is str:
        row["messages"] = from_cell(row["messages"])
    return row


def read_parquet(path: str, stream: IO[bytes]) -> Generator[dict[str, Any], None, None]:
    """Read the rows of a Parquet file, with JSON's values; one that JSON cannot hold is an error."""
    import polars as pl

    from dataprep.core.io.values import reader_of

    try:
        # Given the path, polars reads only the pages that a slice needs; a compressed file or a stream must
        # be held in memory, because the table of contents of Parquet is at the end.
        # Polars knows only paths that are valid Unicode.
        known = Path(path).suffix.lower() == ".parquet" and path.encode("utf-8", "replace").decode() == path
        source: Any = path if known else read_whole(path, stream)
        frame = pl.scan_parquet(source, glob=False)
        columns = {name: reader_of(dtype) for name, dtype in frame.collect_schema().items()}
        readers = {name: reader for name, reader in columns.items() if reader is not None}
        start = 0
        while rows := _rows_of(path, frame.slice(start, _PARQUET_ROWS).collect(), readers, start):
            yield from map(with_messages, rows)
            start += len(rows)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(path, f"not a Parquet file that can be read: {first_line(error)}") from None


def _not_in_calendar(path: str, frame: pl.DataFrame, before: int) -> InputError:
    """Return the error for the first date that Python does not have, such as one before the year 1."""
    for number in range(len(frame)):
        for series in frame[number : number + 1]:
            try:
                series.to_list()
            except (ValueError, OverflowError) as error:
                problem = f"column {series.name!r}: {first_line(error)}; expected a year from 1 to 9999"
                return InputError(Location(path, before + number + 1, "row"), f"{problem}: make it a text")
    return InputError(path, "a date outside of the years 1 to 9999; make it a text")


def _rows_of(
    path: str, frame: pl.DataFrame, readers: Mapping[str, Reader], before: int
) -> list[dict[str, Any]]:
    """Return the rows of a part of a table; ``before`` rows precede it."""
    from dataprep.core.io.values import has_nanoseconds

    try:
        rows = frame.to_dicts()
    except (ValueError, OverflowError):
        raise _not_in_calendar(path, frame, before) from None
    for name, reader in readers.items():
        if has_nanoseconds(frame[name]):
            number = next(n for n in range(len(rows)) if has_nanoseconds(frame[name][n : n + 1]))
            problem = (
                f"column {name!r} holds nanoseconds, which would be lost; make it a text, or microseconds"
            )
            raise InputError(Location(path, before + number + 1, "row"), problem)
        for number, row in enumerate(rows, before + 1):
            if row[name] is not None:
                try:
                    row[name] = reader(row[name])
                except RowError as error:
                    raise InputError(Location(path, number, "row"), f"column {name!r}: {error}") from None
    return rows


def write_delimited(lines: Iterable[bytes], out: IO[bytes], delimiter: str) -> None:
    """Write JSON Lines rows as CSV or TSV; the first row's fields are the header."""
    from dataprep.core.io.values import Column, loads_row

    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    # Python before 3.13 leaves a carriage return unquoted, and it would end the row for a reader.
    quoting = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    header: list[str] | None = None
    columns: dict[str, Column] = {}
    for number, line in enumerate(lines, 1):
        row = loads_row(line, number)
        if header is None:
            header = list(row)
            _write_row(writer, quoting, header)
        if list(row) != header:
            found = f"row {number} has {list(row)}, the first {header}"
            raise RowError("a table needs the same fields in every row", found)
        for name, value in row.items():
            if isinstance(value, dict | list):
                hint = f"field {name!r} of row {number} is nested; write .jsonl or .parquet instead"
                raise RowError("a delimited table holds single values only", hint)
            columns.setdefault(name, Column()).add(value, number)
        _write_row(writer, quoting, list(map(_cell_of, row.values())))
    for name, column in columns.items():
        column.check(name)
    # Without detaching, the wrapper would close the stream when it is collected.
    text.flush()
    text.detach()


def _cell_of(value: Any) -> Any:
    # As in JSON: csv would write Python's True.
    return "" if value is None else str(value).lower() if type(value) is bool else value


def _write_row(plain: Any, quoting: Any, values: list[Any]) -> None:
    returns = any(isinstance(value, str) and "\r" in value for value in values)
    (quoting if returns else plain).writerow(values)


def _check_depth(lines: Path) -> None:
    with lines.open("rb") as file:
        for number, line in enumerate(file, 1):
            # No row is nested deeper than it has brackets, so most need no parsing.
            brackets = line.count(b"[") + line.count(b"{")
            if brackets > _DEEPEST and (depth := _depth(orjson.loads(line))) > _DEEPEST:
                found = f"row {number} has {depth} levels; expected {_DEEPEST} or fewer; write .jsonl instead"
                raise RowError("nested too deeply for Parquet", found)


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
        depth += 1
    return depth


def parquet_schema(files: Iterable[Path]) -> pl.Schema:
    """Return the columns that hold the rows of all these JSON Lines files."""
    import polars as pl

    from dataprep.core.io.values import columns_of

    def lines() -> Iterator[bytes]:
        for path in files:
            with path.open("rb") as file:
                yield from file

    return pl.Schema({name: column.dtype() for name, column in columns_of(lines()).items()})


def write_parquet(lines: Path, out: IO[bytes], columns: pl.Schema | None = None) -> None:
    """Write a JSON Lines file as Parquet, in groups of rows: memory does not grow with their number.

    ``columns`` are those of ``parquet_schema`` for several files that must have the same.
    """
    import polars as pl
    from polars.io.plugins import register_io_source

    _check_depth(lines)
    schema = columns or parquet_schema([lines])

    def frames(*_: Any) -> Iterator[pl.DataFrame]:
        # Not `scan_ndjson`, which maps the whole file into memory.
        with lines.open("rb") as file:
            while data := b"".join(islice(file, _PARQUET_ROWS)):
                yield pl.read_ndjson(data, schema=schema)

    try:
        register_io_source(frames, schema=schema).sink_parquet(out, row_group_size=_PARQUET_ROWS)
    except pl.exceptions.PolarsError as error:
        raise RowError("the rows do not fit into the columns of a table", str(error)) from None
