"""Evaluate the SQL condition of ``filter`` on rows of any types.

Polars reads the expression, but never sees a row: the values that the expression names are taken out of the
rows in Python, and become columns whose types are declared. So an expression reads no file and no table, and
its result for a row depends on that row alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core.errors import RowError, first_line
from dataprep.core.records import describe
from dataprep.curate.sql import Term, refuse, rewritten

if TYPE_CHECKING:
    import polars as pl

_MOST_TRIED = 3000  # combinations of types, each in a tenth of a millisecond
_FEW = 3  # columns, of which all combinations of types can be tried
_NOT_EVALUATED = "the expression cannot be evaluated"


class Condition:
    """A compiled condition.

    Attributes:
        terms: the values of a row that it needs, in the order of the columns.
    """

    def __init__(self, text: str) -> None:
        """Compile an expression.

        Raises:
            UsageError: it is not an SQL condition on the values of a row.
        """
        self.text = text
        if not text.strip():
            refuse(text, "expected an SQL condition, for example chars(assistant) > 100")
        sql, derived = rewritten(text)
        self._expression = _parsed(text, sql)
        names = dict.fromkeys(self._expression.meta.root_names())
        self.terms = tuple(derived.get(name, Term("field", name)) for name in names)
        self._names = [term.column for term in self.terms]
        self._fits: dict[tuple[Any, ...], Any] = {}
        self._types: dict[tuple[Any, ...], tuple[Any, ...] | None] = {}
        self._choices = self._types_of_terms()
        self._check()

    def holds(self, columns: Sequence[list[Any]], count: int) -> list[bool | RowError]:
        """Return for each row whether the condition holds, or why that cannot be said.

        Args:
            columns: the values of each of ``terms``, as JSON has them, with ``None`` for an absent one.
            count: the number of rows.
        """
        results: list[bool | RowError] = [False] * count
        kinds, values = [], []
        for column in columns:
            kind, converted = _kinds_of(column)
            kinds.append(kind)
            values.append(converted)
        groups: dict[Any, list[int]] = {}
        for signature, rows in _signatures(kinds, count):
            types = self._types_for(signature)
            groups.setdefault(types, []).extend(rows)
        for types, unordered in groups.items():
            rows = sorted(unordered)
            if types is None:
                for row in rows:
                    results[row] = self._problem([column[row] for column in columns])
            else:
                self._evaluate(types, values, rows, results, columns)
        return results

    def _evaluate(
        self,
        types: tuple[Any, ...],
        values: Sequence[list[Any]],
        rows: list[int],
        results: list[bool | RowError],
        columns: Sequence[list[Any]],
    ) -> None:
        import polars as pl

        try:
            picked = [
                column if len(rows) == len(column) else [column[row] for row in rows] for column in values
            ]
            held = _run(self._expression, self._names, types, picked, len(rows)).to_list()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OverflowError):
            if len(rows) == 1:
                results[rows[0]] = self._problem([column[rows[0]] for column in columns])
                return
            # A value that cannot be converted, for example: the other rows have a result all the same.
            middle = len(rows) // 2
            for half in (rows[:middle], rows[middle:]):
                self._evaluate(types, values, half, results, columns)
            return
        for row, result in zip(rows, held, strict=True):
            results[row] = result is True

    def _fit(self, types: tuple[Any, ...]) -> Any:
        """Return the type of the result for columns of these types, or the error."""
        if types not in self._fits:
            self._fits[types] = _result_of(self._expression, self._names, types)
        return self._fits[types]

    def _types_for(self, signature: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Return the types of the columns for values of these kinds; ``None`` if there is no result."""
        import polars as pl

        if signature not in self._types:
            # A null has no type of its own. Its result is null for any type that the expression takes.
            choices = [
                tuple(kind for kind in _candidates(kind) if kind in known) or _candidates(kind)
                for kind, known in zip(signature, self._choices, strict=True)
            ]
            fitting = (types for types in _combinations(choices) if self._fit(types) == pl.Boolean)
            self._types[signature] = next(fitting, None)
        return self._types[signature]

    def _types_of_terms(self) -> list[tuple[Any, ...]]:
        """Return the types that each column can have."""
        import polars as pl

        fixed = {"chars": (pl.Int64,), "tokens": (pl.Int64,), "text": (pl.String,), "status": (pl.String,)}
        choices = {term.column: fixed.get(term.kind, _candidates(None)) for term in self.terms}
        # With more columns there are too many combinations of all types. The parts of the expression that
        # have one or two columns leave few of them.
        if len(self.terms) > _FEW:
            for part in _parts_of(self._expression):
                names = list(dict.fromkeys(part.meta.root_names()))
                fits = [
                    types
                    for types in product(*(choices[name] for name in names))
                    if not isinstance(_result_of(part, names, types), BaseException)
                ]
                for place, name in enumerate(names):
                    choices[name] = tuple(dict.fromkeys(types[place] for types in fits)) or choices[name]
        return list(choices.values())

    def _check(self) -> None:
        """Raise ``UsageError`` if there are no types of fields for which the expression is a condition."""
        import polars as pl

        errors: Counter[str] = Counter()
        result = None
        tried = 0
        for types in _combinations(self._choices):
            tried += 1
            fit = self._fit(types)
            if fit == pl.Boolean:
                return
            if isinstance(fit, BaseException):
                errors[str(fit)] += 1
            else:
                result = result or fit
        if tried >= _MOST_TRIED:
            return  # with so many fields, the rows will tell
        if result is not None:
            refuse(self.text, f"the result is not true or false but {_named(result)}; expected a condition")
        regex = next((error for error in errors if "regex" in error), None)
        if regex is not None:
            lines = [line for line in regex.splitlines() if line.startswith("error: ")]
            reason = lines[0].removeprefix("error: ") if lines else "it cannot be read"
            refuse(self.text, f"a regular expression is wrong: {reason}")
        refuse(self.text, f"no values have a result: {_shown(errors.most_common(1)[0][0])}")

    def _problem(self, values: Sequence[Any]) -> RowError:
        shown = ", ".join(
            f"{term} is {describe(value)}" for term, value in islice(zip(self.terms, values, strict=True), 4)
        )
        return RowError(_NOT_EVALUATED, f"{shown}; convert with TRY_CAST(… AS DOUBLE) or CAST(… AS VARCHAR)")


def _run(
    expression: pl.Expr, names: Sequence[str], types: Sequence[Any], values: Sequence[list[Any]], count: int
) -> pl.Series:
    import polars as pl

    series = [
        pl.Series(name, column, dtype=kind, strict=True)
        for name, kind, column in zip(names, types, values, strict=True)
    ]
    # A condition without a field, such as 1 = 1, needs to know how many rows there are.
    frame = pl.DataFrame(series or [pl.Series("()", [0] * count)])
    return frame.with_columns(expression.alias("()result"))["()result"]


def _result_of(expression: pl.Expr, names: Sequence[str], types: Sequence[Any]) -> Any:
    """Return the type of the result for columns of these types, or the error."""
    import polars as pl

    try:
        return _run(expression, names, types, [[None]] * len(types), 1).dtype
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        return error


def _parts_of(expression: pl.Expr) -> Iterator[pl.Expr]:
    """Yield the largest parts of an expression that have one or two columns."""
    names = set(expression.meta.root_names())
    if 0 < len(names) <= 2:
        yield expression
    elif names:
        for part in expression.meta.pop():
            yield from _parts_of(part)


def _combinations(choices: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield combinations of types, at first those with as few different types as there can be."""
    for kind in dict.fromkeys(kind for column in choices for kind in column):
        yield tuple(kind if kind in column else column[0] for column in choices)
    yield from islice(product(*choices), _MOST_TRIED)


def _parsed(text: str, sql: str) -> pl.Expr:
    import polars as pl

    hint = "texts are in single quotes, and a field whose name is a word of SQL is in double quotes"
    try:
        # In parentheses, because Polars takes `a > 1 b` as a > 1 with the name b.
        return pl.sql_expr(f"({sql}\n)")
    except pl.exceptions.SQLSyntaxError as error:
        refuse(text, f"{_shown(str(error))}; {hint}")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        refuse(text, f"not an SQL condition that Polars can read; {hint}")


def _shown(message: str) -> str:
    line = first_line(ValueError(message)).replace('"()', '"')
    return re.sub(r" \([iuf]\d+\)", "", line) if "{" not in line else "it is not supported"


def _named(kind: Any) -> str:
    import polars as pl

    return "a number" if kind.is_numeric() else "a text" if kind == pl.String else "a value of another type"


def _candidates(kind: Any) -> tuple[Any, ...]:
    import polars as pl

    lists = tuple(pl.List(item) for item in (pl.String, pl.Float64, pl.Int64, pl.Boolean))
    if kind is None:
        return (pl.String, pl.Int64, pl.Float64, pl.Boolean, *lists)
    return lists if kind == "empty" else (kind,)


def _signatures(kinds: Sequence[Any], count: int) -> Iterator[tuple[tuple[Any, ...], list[int]]]:
    """Yield the rows of each combination of kinds."""
    if not any(isinstance(kind, list) for kind in kinds):
        yield tuple(kinds), list(range(count))
        return
    rows: dict[tuple[Any, ...], list[int]] = {}
    spread = [kind if isinstance(kind, list) else [kind] * count for kind in kinds]
    for row, signature in enumerate(zip(*spread, strict=True)):
        rows.setdefault(signature, []).append(row)
    yield from rows.items()


def _kinds_of(column: list[Any]) -> tuple[Any, list[Any]]:
    """Return the kind of all values, or the list of their kinds, and the values as Polars takes them.

    A kind is a type of Polars; ``None`` for a null, and ``"empty"`` for a list without items.
    """
    import polars as pl

    simple = {str: pl.String, float: pl.Float64, bool: pl.Boolean}
    types = set(map(type, column))
    if len(types) == 1:
        only = types.pop()
        if only in simple:
            return simple[only], column
        if only is int and max(column) < 1 << 63:
            return pl.Int64, column
    pairs = [_cell(value, simple) for value in column]
    return [kind for kind, _ in pairs], [value for _, value in pairs]


def _cell(value: Any, simple: Mapping[type, Any]) -> tuple[Any, Any]:
    import polars as pl

    kind = type(value)
    if value is None or kind in simple:
        return simple.get(kind), value
    if kind is int:
        return (pl.Int64 if value < 1 << 63 else pl.UInt64), value
    if kind is list:
        return _list_cell(value)
    return pl.String, orjson.dumps(value).decode()


def _list_cell(items: list[Any]) -> tuple[Any, list[Any]]:
    import polars as pl

    types = {type(item) for item in items if item is not None}
    if not types:
        return "empty", items
    if types <= {int, float}:
        if types == {int} and all(item is None or item < 1 << 63 for item in items):
            return pl.List(pl.Int64), items
        return pl.List(pl.Float64), [None if item is None else float(item) for item in items]
    if types == {bool}:
        return pl.List(pl.Boolean), items
    texts = (str, type(None))
    return pl.List(pl.String), [
        item if isinstance(item, texts) else orjson.dumps(item).decode() for item in items
    ]
