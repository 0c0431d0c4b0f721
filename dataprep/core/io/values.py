"""Carry values between JSON and tables exactly, or say which column and row cannot be carried.

Parquet has types that JSON does not have: they become what they mean in JSON (a date becomes its ISO text).
JSON has no columns: a column of several types would be turned into texts, so it is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core.errors import RowError
from dataprep.core.jsonl import find_lost, not_writable
from dataprep.core.records import describe

if TYPE_CHECKING:
    import polars as pl

_EXACT_INTEGERS = 2**53  # up to it, floats carry all integers
_WIDE = ("Int128", "UInt128")


def plain(value: Any) -> Any:
    """Return a value that JSON does not have as what it means there; the ``default`` of ``orjson.dumps``.

    Raises:
        RowError: JSON cannot hold the value exactly.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return _text_of(bytes(value))
    if isinstance(value, Decimal):
        return _number_of(value)
    if isinstance(value, timedelta):
        return _duration_of(value)
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas' missing values; NaT is a datetime too
        return None
    if isinstance(value, date | time):  # pandas' timestamps, which orjson does not take for datetimes
        return value.isoformat()
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        value = value.tolist()
        if _is_finite(value):
            return value
        raise _not_finite()
    found = f"found {describe(value)}"
    raise RowError("a value that JSON cannot hold", f"{found}; make it a text, a number or a list")


def dump_row(row: Any) -> bytes:
    """Return a row as JSON, with its values as ``plain`` has them.

    Raises:
        RowError: a value cannot be held; the message names its field.
    """
    try:
        # Numbers that are not finite would silently become null.
        if _is_finite(row):
            return orjson.dumps(row, default=plain)
        problem: BaseException = _not_finite()
    except RecursionError:
        problem = RowError("nested too deeply", "no trainer needs more than a few levels")
    except TypeError as error:
        problem = error.__cause__ or error
    if isinstance(row, dict) and len(row) > 1:
        for name, value in row.items():
            try:
                dump_row({name: value})
            except RowError as error:
                raise error from None
    name = f"field {next(iter(row))!r}: " if isinstance(row, dict) and row else ""
    if isinstance(problem, TypeError):
        with suppress(TypeError):  # for example a key that is not a text
            problem = RowError(not_writable(problem).reason, "it cannot be written as JSON")
    if isinstance(problem, RowError):
        raise RowError(problem.reason, name + problem.detail)
    raise RowError("a value that JSON cannot hold", f"{name}{problem}")


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):  # numpy's are subclasses
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, list | tuple) else True


def _not_finite(value: float | None = None) -> RowError:
    found = "found a number that is not finite" if value is None else f"found {value}"
    return RowError("a value that JSON cannot hold", f"{found}; expected a number, or null for a missing one")


def _text_of(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"found binary data (byte 0x{value[error.start]:02x} at byte {error.start + 1})"
        raise RowError(
            "binary data", f"{found}; expected text in UTF-8: leave the column out, or make it text"
        ) from None


def _number_of(value: Decimal) -> int | float:
    if value.is_finite():
        if (
            value == value.to_integral_value()
            and value.as_tuple().exponent == 0
            and -(2**63) <= value < 2**64
        ):
            return int(value)
        if Decimal(repr(float(value))) == value:
            return float(value)
    found = f"found the decimal {value}"
    raise RowError("a number of too many digits", f"{found}, which a JSON number cannot hold; make it a text")


def _duration_of(value: timedelta) -> str:
    """Return a duration as ISO 8601 has it: ``P1DT2H3M4.5S``."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    parts = [(hours, "H"), (minutes, "M")]
    clock = "".join(f"{number}{unit}" for number, unit in parts if number)
    clock += f"{seconds}{fraction}S" if seconds or fraction else ""
    days = f"{value.days}D" if value.days else ""
    return f"{sign}P{days}{'T' + clock if clock else ''}" if days or clock else "PT0S"


def _integer_of(value: int) -> int:
    if -(2**63) <= value < 2**64:
        return value
    raise RowError("a number of more than 64 bits", f"found {value}; write it as a text")


def _finite(value: float) -> float:
    if math.isfinite(value):
        return value
    raise _not_finite(value)


Reader = Callable[[Any], Any]


def reader_of(dtype: Any) -> Reader | None:
    """Return what makes JSON values of the values in a polars column; ``None`` if they are JSON's already."""
    import polars as pl

    if isinstance(dtype, pl.List | pl.Array):
        inner = reader_of(dtype.inner)
        return None if inner is None else _each(inner)
    if isinstance(dtype, pl.Struct):
        readers = {item.name: read for item in dtype.fields if (read := reader_of(item.dtype)) is not None}
        return _fields(readers) if readers else None
    if dtype.is_float():
        return _finite
    if str(dtype) in _WIDE:
        return _integer_of
    return plain if dtype == pl.Binary or dtype.is_decimal() or dtype.is_temporal() else None


def _each(reader: Reader) -> Reader:
    return lambda values: [None if value is None else reader(value) for value in values]


def _fields(readers: dict[str, Reader]) -> Reader:
    def read(value: dict[str, Any]) -> dict[str, Any]:
        return value | {
            name: reader(value[name]) for name, reader in readers.items() if value[name] is not None
        }

    return read


def has_nanoseconds(series: pl.Series) -> bool:
    """Return whether a column has times with a part that Python, which counts in microseconds, would lose."""
    import polars as pl

    dtype: Any = series.dtype
    if dtype == pl.Time or getattr(dtype, "time_unit", "") == "ns":
        return bool((series.cast(pl.Int64) % 1000 != 0).any())
    if isinstance(dtype, pl.List | pl.Array):
        return has_nanoseconds(series.explode())
    if isinstance(dtype, pl.Struct):
        return any(map(has_nanoseconds, series.struct.unnest().get_columns()))
    return False


@dataclass(slots=True)
class Column:
    """The types of the values in a column of JSON rows, and where each type first occurred.

    Attributes:
        rows: the first row with each type; null is not among them.
        low: the smallest integer.
        high: the largest integer.
        fields: of objects, by name.
        items: of lists.
    """

    rows: dict[str, int] = field(default_factory=dict)
    low: int = 0
    high: int = 0
    fields: dict[str, Column] = field(default_factory=dict)
    items: Column | None = None

    def add(self, value: Any, row: int) -> None:
        """Take a value of a row, counted from 1."""
        if value is None:
            return
        kind = _KINDS[type(value)]
        if kind not in self.rows:
            self.rows[kind] = row
        if kind == "integer":
            self.low, self.high = min(self.low, value), max(self.high, value)
        elif kind == "object":
            for name, item in value.items():
                self.fields.setdefault(name, Column()).add(item, row)
        elif kind == "list":
            self.items = self.items or Column()
            for item in value:
                self.items.add(item, row)

    def check(self, name: str) -> None:
        """Raise ``RowError`` if a column could not hold all values as they are."""
        rows = self.rows
        numbers = rows.keys() <= {"integer", "number"}
        if len(rows) > 1 and not (numbers and max(-self.low, self.high) <= _EXACT_INTEGERS):
            found = " and ".join(f"{_ARTICLES[kind]} {kind} in row {row}" for kind, row in rows.items())
            raise RowError(
                "a column of several types",
                f"field {name!r} holds {found}; write .jsonl, or give it one type",
            )
        if self.low < 0 and self.high >= 2**63:
            raise RowError(
                "integers of more than 64 bits", f"field {name!r} holds {self.low} and {self.high}"
            )
        if "object" in rows and not self.fields:
            found = f"field {name!r} holds an object without fields in row {rows['object']}"
            raise RowError("an object without fields", f"{found}; Parquet has none: write .jsonl")
        for key, column in self.fields.items():
            column.check(f"{name}.{key}")
        if self.items is not None:
            self.items.check(f"{name}[]")

    def dtype(self) -> Any:
        """Return the polars type of the column."""
        import polars as pl

        if "object" in self.rows:
            return pl.Struct({name: column.dtype() for name, column in self.fields.items()})
        if "list" in self.rows:
            return pl.List(pl.Null if self.items is None else self.items.dtype())
        if "number" in self.rows:
            return pl.Float64
        if "integer" in self.rows:
            return pl.Int64 if self.high < 2**63 else pl.UInt64
        return pl.Boolean if "boolean" in self.rows else pl.String if "text" in self.rows else pl.Null


_KINDS = {bool: "boolean", int: "integer", float: "number", str: "text", dict: "object", list: "list"}
_ARTICLES = {kind: "an" if kind[0] in "io" else "a" for kind in _KINDS.values()}


def columns_of(lines: Iterable[bytes]) -> dict[str, Column]:
    """Return the columns of JSON Lines rows, in the order in which their fields occur.

    Raises:
        RowError: a value cannot be held by a column with the others; the message names field and row.
    """
    columns: dict[str, Column] = {}
    number = 0
    for number, line in enumerate(lines, 1):
        for name, value in loads_row(line, number).items():
            if name not in columns:
                columns[name] = Column()
            columns[name].add(value, number)
    for name, column in columns.items():
        column.check(name)
    if number and not columns:
        raise RowError("rows without fields", "a table needs a field; write .jsonl")
    return columns


def loads_row(line: bytes, number: int) -> dict[str, Any]:
    """Parse the JSON object on a line; raise ``RowError`` with its number if a part of it would be lost."""
    row: dict[str, Any] = orjson.loads(line)
    if type(row) is not dict:
        raise RowError("a table needs rows with fields", f"found {describe(row)} in row {number}")
    for error in find_lost(line, row):
        raise RowError(error.reason, f"row {number}: {error.detail}")
    return row
