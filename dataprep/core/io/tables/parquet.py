"""Read and write Parquet files with polars."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from dataprep.core.errors import InputError, Location, RowError, first_line
from dataprep.core.ignored_fields import ROW_KEYS
from dataprep.core.io.formats import format_of
from dataprep.core.io.reading import read_whole
from dataprep.core.io.tables.columns import NOTES, columns_of, table_of
from dataprep.core.io.tables.delimited import with_messages
from dataprep.core.io.unfinished import temporary_folder
from dataprep.core.urls import is_url

if TYPE_CHECKING:
    import polars as pl

    from dataprep.core.io.tables.values import Reader

_ROWS = 1 << 13  # rows of a file held at a time


def parquet_rows(path: str) -> int | None:
    """Return the number of rows of a Parquet file on a disk; ``None`` if it cannot be read."""
    import polars as pl

    try:
        return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError, UnicodeEncodeError):
        return None


def read_parquet(
    path: str, stream: IO[bytes], begin: int = 0, count: int | None = None
) -> Generator[dict[str, Any], None, None]:
    """Read the rows of a Parquet file, with JSON's values; one that JSON cannot hold is an error.

    Args:
        path: the file.
        stream: its bytes.
        begin: the number of the first row to read, counted from 0.
        count: number of rows to read; ``None`` for all that follow.
    """
    if is_url(path) and format_of(path).compression == "":
        # Polars has its own way to stores, with other settings.
        with temporary_folder() as folder, (folder / "rows.parquet").open("wb") as copy:
            shutil.copyfileobj(stream, copy, 8 << 20)
            copy.close()
            yield from _read(path, folder / "rows.parquet", stream, begin, count)
        return
    yield from _read(path, Path(path), stream, begin, count)


def _read(
    path: str, place: Path, stream: IO[bytes], start: int, count: int | None
) -> Generator[dict[str, Any], None, None]:
    import polars as pl

    try:
        # Given the path, polars reads only the pages that a slice needs; a compressed file or a stream must
        # be held in memory, because the table of contents of Parquet is at the end.
        # Polars knows only paths that are valid Unicode.
        name = str(place)
        known = place.suffix.lower() == ".parquet" and name.encode("utf-8", "replace").decode() == name
        source: Any = name if known else read_whole(path, stream)
        frame = pl.scan_parquet(source, glob=False)
        schema = frame.collect_schema()
        notes = _notes_of(source, schema)
        readers = _readers_of(schema, notes)
        restore = with_messages if notes is None else _restorer(notes)
        end = None if count is None else start + count
        while end is None or start < end:
            length = _ROWS if end is None else min(_ROWS, end - start)
            rows = _rows_of(path, frame.slice(start, length).collect(), restore, readers, start)
            if not rows:
                break
            yield from rows
            start += len(rows)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(path, f"not a Parquet file that can be read: {first_line(error)}") from None


def _notes_of(source: Any, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what ``write_parquet`` noted in a file; ``None`` for a file of another program."""
    import polars as pl

    try:
        notes = orjson.loads(pl.read_parquet_metadata(source).get(NOTES, "null"))
        names = {*notes["absent"], *notes["absent_in"], *notes["json"], *notes["json_in"], notes["keys"]}
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return None
    # Another program may have copied the notes into a file of other columns.
    return notes if names - {""} <= {*schema} else None


def _readers_of(schema: Mapping[str, Any], notes: Mapping[str, Any] | None) -> dict[str, Reader]:
    """Return what makes JSON values of the values in each column that needs it."""
    from dataprep.core.io.tables.values import json_of, reader_of

    made: dict[str, Reader | None]
    if notes is None:
        # In the structs of other programs, null stands for a key that a message or a tool lacks.
        made = {name: reader_of(dtype, None if name in ROW_KEYS else ()) for name, dtype in schema.items()}
    else:
        absent, json = notes["absent_in"], notes["json_in"]
        made = {
            name: reader_of(dtype, absent.get(name, ()), json.get(name, ())) for name, dtype in schema.items()
        } | dict.fromkeys(notes["json"], json_of)
    return {name: reader for name, reader in made.items() if reader is not None}


def _restorer(notes: Mapping[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what makes the row that was written of a row of the table."""
    absent, keys = tuple(notes["absent"]), notes["keys"]

    def restore(row: dict[str, Any]) -> dict[str, Any]:
        if keys and (text := row.pop(keys)) is not None:
            return {name: row[name] for name in orjson.loads(text) if name in row}
        for name in absent:
            if row[name] is None:
                del row[name]
        return row

    return restore


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
    path: str,
    frame: pl.DataFrame,
    restore: Callable[[dict[str, Any]], dict[str, Any]],
    readers: Mapping[str, Reader],
    before: int,
) -> list[dict[str, Any]]:
    """Return the rows of a part of a table; ``before`` rows precede it."""
    from dataprep.core.io.tables.values import has_nanoseconds

    try:
        rows = list(map(restore, frame.to_dicts()))
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
            if row.get(name) is not None:
                try:
                    row[name] = reader(row[name])
                except RowError as error:
                    raise InputError(Location(path, number, "row"), f"column {name!r}: {error}") from None
    return rows


def parquet_schema(files: Iterable[Path]) -> pl.Schema:
    """Return the columns of structs that hold the rows of all these JSON Lines files.

    Raises:
        RowError: the values of a field have several types.
    """
    import polars as pl

    def lines() -> Iterator[bytes]:
        for path in files:
            with path.open("rb") as file:
                yield from file

    columns = columns_of(lines())[0]
    for name, column in columns.items():
        column.check(name, inside=True)
    return pl.Schema({name: column.dtype() for name, column in columns.items()})


def write_parquet(lines: Path, out: IO[bytes], schema: pl.Schema | None = None) -> None:
    """Write a JSON Lines file as Parquet, in groups of rows: memory does not grow with their number.

    Without a schema, the rows that are read back are the same to the byte. With that of ``parquet_schema``,
    which several files can share, lists and objects are structs, and null stands for keys that they lack.
    """
    import polars as pl
    from polars.io.plugins import register_io_source

    table = None
    if schema is None:
        with lines.open("rb") as file:
            table = table_of(file)
        schema = pl.Schema(table.schema())

    def frames(*_: Any) -> Iterator[pl.DataFrame]:
        # Not `scan_ndjson`, which maps the whole file into memory.
        with lines.open("rb") as file:
            rows = map(table.rewritten, file) if table is not None and table.rewrites else file
            while data := b"".join(islice(rows, _ROWS)):
                yield pl.read_ndjson(data, schema=schema)

    try:
        notes = {NOTES: orjson.dumps(table.notes()).decode()} if table is not None else None
        source = register_io_source(frames, schema=schema)
        source.sink_parquet(out, row_group_size=_ROWS, metadata=notes)
    except pl.exceptions.PolarsError as error:
        raise RowError("the rows do not fit into the columns of a table", str(error)) from None
