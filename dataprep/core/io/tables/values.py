"""Carry values between JSON and tables exactly, or say which column and row cannot be carried.

Parquet has types that JSON does not have: they become what they mean in JSON (a date becomes its ISO text).
JSON has no columns; ``columns`` chooses them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from contextlib import suppress
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core.errors import RowError
from dataprep.core.jsonl import not_writable
from dataprep.core.records import describe, from_cell

if TYPE_CHECKING:
    import polars as pl

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


def reader_of(dtype: Any, absent: Container[str] | None = (), json: Container[str] = ()) -> Reader | None:
    """Return what makes JSON values of the values in a polars column; ``None`` if they are JSON's already.

    Args:
        dtype: the column's type.
        absent: the fields of objects that are left out where they are null; with ``None`` all, at any depth.
        json: the fields of objects that are JSON texts.
    """
    import polars as pl

    if isinstance(dtype, pl.List | pl.Array):
        inner = reader_of(dtype.inner, absent, json)
        return None if inner is None else _each(inner)
    if isinstance(dtype, pl.Struct):
        deeper = None if absent is None else ()
        fields = [(item.name, item.dtype) for item in dtype.fields]
        readers = {name: read for name, inner in fields if (read := reader_of(inner, deeper)) is not None}
        readers |= {name: json_of for name, _ in fields if name in json}
        # Some programs write the calls of a message as JSON text, because each has other arguments.
        if absent is None and ("tool_calls", pl.String) in fields:
            readers["tool_calls"] = from_cell
        leaves_out = absent is None or any(name in absent for name, _ in fields)
        return _fields(readers, absent if leaves_out else ()) if readers or leaves_out else None
    if isinstance(dtype, pl.BaseExtension):
        return json_of if dtype.ext_name() == "arrow.json" else reader_of(dtype.ext_storage())
    if dtype.is_float():
        return _finite
    if str(dtype) in _WIDE:
        return _integer_of
    return plain if dtype == pl.Binary or dtype.is_decimal() or dtype.is_temporal() else None


def _each(reader: Reader) -> Reader:
    return lambda values: [None if value is None else reader(value) for value in values]


def _fields(readers: dict[str, Reader], absent: Container[str] | None) -> Reader:
    def read(value: dict[str, Any]) -> dict[str, Any]:
        return {
            name: readers[name](item) if item is not None and name in readers else item
            for name, item in value.items()
            if item is not None or (absent is not None and name not in absent)
        }

    return read


def json_of(text: str) -> Any:
    """Return the value of a JSON text in a column."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RowError("not JSON", f"found {describe(text)} in a column of JSON texts") from None


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
