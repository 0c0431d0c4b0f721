"""Choose the columns of a table for JSON rows, so that the rows that are read back are the same.

A column of objects adds the keys that an object lacks, and puts all keys into one order. So objects and
lists are a column of their own type only if this changes nothing. Otherwise, and always for tools, they are
JSON text. ``messages`` are a list of objects wherever possible, because other tools read them like that: keys
that a message lacks are null, and the notes in the file say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

import orjson

from dataprep.core.errors import RowError
from dataprep.core.ignored_fields import ROW_KEYS
from dataprep.core.jsonl import find_lost
from dataprep.core.records import describe

NOTES = "dataprep"
"""The key of the notes in the metadata of a Parquet file."""

_EXACT_INTEGERS = 2**53  # up to it, floats carry all integers
# Each level is a type within a type, and at a few hundred polars takes gigabytes or crashes.
_DEEPEST = 32
_MOST_SHAPES = 256
# Their objects differ from row to row, and two files of a set should have the same types.
_ALWAYS_JSON = ROW_KEYS - {"messages"}
_KINDS = {bool: "boolean", int: "integer", float: "number", str: "text", dict: "object", list: "list"}
_ARTICLES = {kind: "an" if kind[0] in "io" else "a" for kind in _KINDS.values()}

Shape = tuple[str, ...]  # the keys of an object, in their order


@dataclass(slots=True)
class Column:
    """The types of the values in a column of JSON rows, and where each type first occurred.

    Attributes:
        rows: the first row with each type; null is not among them.
        nulls: whether null occurs.
        low: the smallest integer.
        high: the largest integer.
        fields: of objects, by name.
        shapes: of objects; the values are empty.
        items: of lists.
    """

    rows: dict[str, int] = field(default_factory=dict)
    nulls: bool = False
    low: int = 0
    high: int = 0
    fields: dict[str, Column] = field(default_factory=dict)
    shapes: dict[Shape, None] = field(default_factory=dict)
    items: Column | None = None

    def add(self, value: Any, row: int) -> None:
        """Take a value of a row, counted from 1."""
        if value is None:
            self.nulls = True
            return
        kind = _KINDS[type(value)]
        if kind not in self.rows:
            self.rows[kind] = row
        if kind == "integer":
            self.low, self.high = min(self.low, value), max(self.high, value)
        elif kind == "object":
            # Of objects with more shapes than that, no columns are made.
            if (shape := tuple(value)) not in self.shapes and len(self.shapes) <= _MOST_SHAPES:
                self.shapes[shape] = None
            for name, item in value.items():
                if name not in self.fields:
                    self.fields[name] = Column()
                self.fields[name].add(item, row)
        elif kind == "list":
            self.items = self.items or Column()
            for item in value:
                self.items.add(item, row)

    @property
    def is_nested(self) -> bool:
        """Return whether there are objects or lists."""
        return "object" in self.rows or "list" in self.rows

    def check(self, name: str, *, inside: bool = False) -> None:
        """Raise ``RowError`` if single values of several types are in a column.

        With ``inside``, lists and objects must be such that structs hold them, too.
        """
        if self.is_nested and not inside:
            return
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
            column.check(f"{name}.{key}", inside=True)
        if self.items is not None:
            self.items.check(f"{name}[]", inside=True)

    def is_exact(self, depth: int = 1) -> bool:
        """Return whether a column of its own type gives the same values back."""
        if len(self.rows) > 1 or (self.low < 0 and self.high >= 2**63) or depth > _DEEPEST:
            return False
        if "object" in self.rows:
            fields = self.fields.values()
            shape = next(iter(self.shapes))
            alone = len(self.shapes) == 1 and bool(shape)
            return (
                alone
                and not any(item.nulls and "object" in item.rows for item in fields)
                and all(item.is_exact(depth + 1) for item in fields)
            )
        inner = self.items
        return inner is None or (not (inner.nulls and "object" in inner.rows) and inner.is_exact(depth + 1))

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


@dataclass(slots=True)
class _Fields:
    """The form in which the fields of objects are stored.

    Attributes:
        order: the names of the fields.
        json: the names of those that are JSON text, each with the text for null.
        absent: the names of those that are null where an object lacks them.
    """

    order: Sequence[str]
    json: dict[str, str | None]
    absent: list[str]

    def written(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return an object with JSON texts in place of values."""
        return {
            name: (self.json[name] if item is None else orjson.dumps(item).decode())
            if name in self.json
            else item
            for name, item in value.items()
        }


class Table:
    """The columns of JSON rows, and what must be known to read the same rows back."""

    def __init__(self, columns: Mapping[str, Column], shapes: Iterable[Shape]) -> None:
        shapes = list(shapes)
        order = _order_of(shapes) if len(shapes) <= _MOST_SHAPES else None
        names = order or list(columns)
        lacking = _lacking(names, shapes)
        self._conversations: dict[str, _Fields] = {}
        self._columns = {name: columns[name] for name in names}
        json: dict[str, str | None] = {}
        for name, column in self._columns.items():
            if column.is_nested:
                fields = _fields_of(column) if name not in _ALWAYS_JSON else None
                if fields is not None:
                    self._conversations[name] = fields
                elif name in _ALWAYS_JSON or not column.is_exact():
                    json[name] = "null" if name in lacking else None
        self._row = _Fields(names, json, lacking)
        # Otherwise null could be a null of the row, or stand for a field that the row lacks.
        unclear = [name for name in lacking if columns[name].nulls and name not in json]
        self._keys = ""
        if order is None or unclear:
            self._keys = "__keys__"
            while self._keys in columns:
                self._keys += "_"

    @property
    def rewrites(self) -> bool:
        """Return whether rows must be rewritten before polars reads them."""
        return bool(self._row.json or self._keys or any(item.json for item in self._conversations.values()))

    def notes(self) -> dict[str, Any]:
        """Return what a reader must know."""
        inner = self._conversations.items()
        return {
            "absent": self._row.absent,
            "absent_in": {name: fields.absent for name, fields in inner},
            "json": list(self._row.json),
            "json_in": {name: list(fields.json) for name, fields in inner},
            "keys": self._keys,
        }

    def schema(self) -> dict[str, Any]:
        """Return the polars types of the columns."""
        import polars as pl

        types: dict[str, Any] = {}
        for name, column in self._columns.items():
            if (fields := self._conversations.get(name)) is not None and column.items is not None:
                inner = column.items.fields
                types[name] = pl.List(
                    pl.Struct(
                        {key: pl.String if key in fields.json else inner[key].dtype() for key in fields.order}
                    )
                )
            else:
                types[name] = pl.String if name in self._row.json else column.dtype()
        return types | ({self._keys: pl.String} if self._keys else {})

    def rewritten(self, line: bytes) -> bytes:
        """Return the JSON of a row with JSON texts in place of values."""
        row: dict[str, Any] = orjson.loads(line)
        made = self._row.written(row)
        for name, fields in self._conversations.items():
            if fields.json and row.get(name):
                made[name] = list(map(fields.written, row[name]))
        if self._keys:
            made[self._keys] = orjson.dumps(list(row)).decode()
        return orjson.dumps(made) + b"\n"


def _order_of(shapes: Iterable[Shape]) -> list[str] | None:
    """Return an order of all keys that has the keys of each shape in theirs; ``None`` if there is none."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for shape in shapes:
        for name in shape[:1]:
            sorter.add(name)
        for before, after in pairwise(shape):
            sorter.add(after, before)
    try:
        return list(sorter.static_order())
    except CycleError:
        return None


def _lacking(names: Iterable[str], shapes: Sequence[Shape]) -> list[str]:
    sets = list(map(frozenset, shapes))
    return [name for name in names if not all(name in keys for keys in sets)]


def _fields_of(column: Column) -> _Fields | None:
    """Return how a list of messages is stored as objects; ``None`` if it would not come back the same."""
    messages = column.items
    if column.rows.keys() != {"list"} or messages is None or messages.nulls:
        return None
    shapes, fields = list(messages.shapes), messages.fields
    order = _order_of(shapes) if messages.rows.keys() == {"object"} and len(shapes) <= _MOST_SHAPES else None
    if order is None or not all("role" in shape for shape in shapes):
        return None
    absent, json = _lacking(order, shapes), dict[str, str | None]()
    for name in order:
        item, lacks = fields[name], name in absent
        # Other tools read these two, so they are never JSON text.
        if name in ("role", "content") and item.rows.keys() != {"text"}:
            return None
        # A null could be the message's, or stand for a key that it lacks.
        exact = item.is_exact() and not (lacks and item.nulls)
        if item.is_nested and (
            not exact
            or ("object" in item.rows and (lacks or item.nulls))
            or (name == "tool_calls" and not _has_texts(item))
        ):
            json[name] = "null" if lacks else None
        elif not exact:
            return None
    return _Fields(order, json, absent)


def _has_texts(calls: Column) -> bool:
    """Return whether the arguments of tool calls are texts: objects differ from file to file."""
    call = calls.items or Column()
    function = call.fields.get("function", Column())
    return function.fields.get("arguments", Column()).rows.keys() <= {"text"}


def columns_of(lines: Iterable[bytes]) -> tuple[dict[str, Column], dict[Shape, None]]:
    """Return the columns of JSON Lines rows, in the order in which they occur, and the shapes of the rows."""
    columns: dict[str, Column] = {}
    shapes: dict[Shape, None] = {}
    number = 0
    for number, line in enumerate(lines, 1):
        row = loads_row(line, number)
        if (shape := tuple(row)) not in shapes and len(shapes) <= _MOST_SHAPES:
            shapes[shape] = None
        for name, value in row.items():
            if name not in columns:
                columns[name] = Column()
            columns[name].add(value, number)
    if number and not columns:
        raise RowError("rows without fields", "a table needs a field; write .jsonl")
    return columns, shapes


def table_of(lines: Iterable[bytes]) -> Table:
    """Return the columns for JSON Lines rows, from which the same rows are read back.

    Raises:
        RowError: a value cannot be held by a column with the others; the message names field and row.
    """
    columns, shapes = columns_of(lines)
    for name, column in columns.items():
        column.check(name)
    return Table(columns, shapes)


def loads_row(line: bytes, number: int) -> dict[str, Any]:
    """Parse the JSON object on a line; raise ``RowError`` with its number if a part of it would be lost."""
    row: dict[str, Any] = orjson.loads(line)
    if type(row) is not dict:
        raise RowError("a table needs rows with fields", f"found {describe(row)} in row {number}")
    for error in find_lost(line, row):
        raise RowError(error.reason, f"row {number}: {error.detail}")
    return row
