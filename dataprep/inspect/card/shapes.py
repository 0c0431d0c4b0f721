"""Find which fields rows have, and of which types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_FIELDS = 100
"""An object with more fields than this is described as an object only: its keys are data."""
_DEEPEST = 8
_LARGE = 1 << 63
_TYPES = {str: "text", bool: "boolean", int: "integer", float: "number"}


@dataclass(slots=True)
class Shape:
    """The values of one field of rows.

    Attributes:
        scalars: types of the values that are neither lists nor objects.
        items: what stands in its lists; ``None`` if there is no list.
        fields: what stands in its objects, by field; ``None`` if there is no object.
        count: how often there is a value other than null.
        open: whether its objects have more fields than are listed, or deeper ones.
    """

    scalars: set[str] = field(default_factory=set)
    items: Shape | None = None
    fields: dict[str, Shape] | None = None
    count: int = 0
    open: bool = False

    def add(self, value: Any, depth: int = 0) -> None:
        """Take a value into account."""
        if value is None:
            return
        self.count += 1
        kind = _TYPES.get(type(value))
        if kind is not None:
            self.scalars.add("large" if kind == "integer" and not -_LARGE <= value < _LARGE else kind)
        elif isinstance(value, Mapping):
            self._add_fields(value, depth)
        elif isinstance(value, list | tuple):
            if self.items is None:
                self.items = Shape()
            if depth < _DEEPEST:
                for item in value:
                    self.items.add(item, depth + 1)
            else:
                self.open = True
        else:  # a date or a decimal of a Parquet file
            self.scalars.add("text")

    def _add_fields(self, row: Mapping[str, Any], depth: int) -> None:
        if self.fields is None:
            self.fields = {}
        if depth >= _DEEPEST:
            self.open = True
            return
        for name, value in row.items():
            inner = self.fields.get(name)
            if inner is None:
                if len(self.fields) >= MAX_FIELDS:
                    self.open = True
                    continue
                inner = self.fields[name] = Shape()
            inner.add(value, depth + 1)

    def merge(self, other: Shape) -> None:
        """Take everything into account that another shape did."""
        self.count += other.count
        self.scalars |= other.scalars
        self.open |= other.open
        if other.items is not None:
            self.items = self.items or Shape()
            self.items.merge(other.items)
        for name, inner in (other.fields or {}).items():
            self.fields = {} if self.fields is None else self.fields
            self.fields.setdefault(name, Shape()).merge(inner)
        if other.fields is not None and self.fields is None:
            self.fields = {}

    @property
    def scalar(self) -> str | None:
        """The one type of all values; ``None`` if there are several, lists or objects."""
        if self.items is not None or self.fields is not None or not self.scalars:
            return None
        if self.scalars <= {"integer", "large"}:
            return "integer"
        if self.scalars <= {"integer", "large", "number"}:
            return "number"
        return next(iter(self.scalars)) if len(self.scalars) == 1 else "text"

    @property
    def is_list(self) -> bool:
        """True if all values are lists."""
        return self.items is not None and self.fields is None and not self.scalars

    @property
    def is_object(self) -> bool:
        """True if all values are objects."""
        return self.fields is not None and self.items is None and not self.scalars

    def __str__(self) -> str:
        kinds = sorted(self.scalars)
        if self.items is not None:
            kinds.append(f"list of {self.items}")
        if self.fields is not None:
            kinds.append("object")
        return " or ".join(kinds) or "null"


_DTYPES = {"text": "string", "boolean": "bool", "integer": "int64", "number": "float64"}


def feature_of(shape: Shape) -> dict[str, Any] | None:
    """Return the type of a field as the card of a dataset has it; ``None`` if it has no single type."""
    if shape.open or "large" in shape.scalars or len(shape.scalars - {"integer", "number"}) > 1:
        return None
    if shape.is_object:
        parts = [(name, feature_of(inner)) for name, inner in (shape.fields or {}).items()]
        made = [{"name": name, **part} for name, part in parts if part is not None]
        return {"struct": made} if len(made) == len(parts) and made else None
    if shape.is_list and shape.items is not None:
        inner = feature_of(shape.items)
        return inner and {"list": inner.get("dtype") or inner.get("struct") or inner}
    if shape.scalar is not None:
        mixed = shape.scalar == "text" and shape.scalars != {"text"}
        return None if mixed else {"dtype": _DTYPES[shape.scalar]}
    return None if shape.count else {"dtype": "null"}
