"""Compile the SQL condition of ``filter``, and evaluate it on rows of any types.

Polars reads the expression, but never sees a row: the values that the expression names are taken out of the
rows in Python, and become columns whose types are declared. So an expression reads no file and no table, and
its result for a row depends on that row alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice, product
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import orjson

from dataprep.core.errors import RowError, UsageError, first_line
from dataprep.core.records import describe

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["field", "chars", "text", "tokens", "status", "turns", "source", "mark", "note"]
CALLS = ("chars", "text", "tokens", "status")  # derived values with an argument
NAMES = ("turns", "source", "mark", "note")  # derived values without one
# Polars' functions of the values of one row. Others read files (`read_csv`), or look at all rows of a block
# (`sum`, `avg`), so that the result would depend on how the file was cut.
FUNCTIONS = frozenset(
    """
    abs acos acosd array_contains array_get array_length array_mean array_reverse array_sum array_to_string
    asin asind atan atan2 atan2d atand bit_and bit_count bit_length bit_or bit_xor cast cbrt ceil ceiling
    char_length character_length coalesce concat concat_ws cos cosd cot cotd date date_part degrees div
    ends_with exp extract greatest if ifnull initcap least left length ln log log10 log1p log2 lower
    ltrim mod normalize nullif octet_length pi position pow power radians regexp_like replace reverse right
    round rtrim sign sin sind split_part sqrt starts_with strftime strpos strptime substr substring tan tand
    trim try_cast upper
    """.split()  # noqa: SIM905 - a hundred quoted words would fill a page
) | {"floor"}
# Words of SQL, and names of types, that may stand before a parenthesis.
_BEFORE_PARENTHESIS = frozenset(
    """
    and any array between case char decimal else float from ilike in is like not numeric or regexp rlike
    then timestamp varchar when xor
    """.split()  # noqa: SIM905
)
_REFUSED = frozenset(
    """
    current_date current_time current_timestamp localtime localtimestamp over select table values with
    """.split()  # noqa: SIM905
)
_NAME = r'(?:"(?:[^"]|"")+"|`[^`]+`|[^\W\d]\w*)'
_LEXER = re.compile(
    rf"""
      (?P<space>\s+)
    | (?P<text>'(?:[^']|'')*')
    | (?P<comment>--|/\*)
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
    | (?P<name>{_NAME}(?:\s*\.\s*{_NAME})*)
    | (?P<sign>::|[][(),=<>!~*+/%|&^-])
    """,
    re.VERBOSE,
)
_ARGUMENT = re.compile(r"""\s*\(\s*(?:"([^"]+)"|'([^']+)'|([^()'"]*[^()'"\s]))\s*\)""")
_MOST_TRIED = 3000  # combinations of types, each in a tenth of a millisecond
_NOT_EVALUATED = "the expression cannot be evaluated"


@dataclass(frozen=True, slots=True)
class Term:
    """A value of a row that an expression names: a field, or a derived value."""

    kind: Kind
    part: str = ""  # the field, the part of the row, or the teacher

    @property
    def column(self) -> str:
        """Return the name of its column in the expression."""
        return self.part if self.kind == "field" else f"(){self}"

    def __str__(self) -> str:
        if self.kind == "field":
            return self.part
        return f"{self.kind}({self.part})" if self.part else self.kind


def _rewritten(text: str) -> tuple[str, dict[str, Term]]:
    """Return the expression with a column's name for each derived value and path, and what they stand for."""
    pieces: list[str] = []
    terms: dict[str, Term] = {}
    at, depth = 0, 0

    def put(term: Term) -> None:
        terms[term.column] = term
        pieces.append('"' + term.column.replace('"', '""') + '"')

    while at < len(text):
        match = _LEXER.match(text, at)
        if match is None or match.lastgroup == "comment":
            _refuse(text, f"{text[at : at + 10]!r} is not part of an expression")
        at = match.end()
        kind, word = str(match.lastgroup), match[0]
        if kind == "sign":
            depth += (word == "(") - (word == ")")
            if depth < 0:
                _refuse(text, "found ')' without its '('")
        if kind != "name":
            pieces.append(word)
            continue
        names = [_unquoted(name) for name in re.findall(_NAME, word)]
        plain = word.lower() if word == names[0] else None
        if plain in CALLS and (argument := _ARGUMENT.match(text, at)):
            put(Term(plain, next(filter(None, argument.groups()))))  # type: ignore[arg-type]
            at = argument.end()
        elif plain is not None and text[at:].lstrip().startswith("("):
            _check_call(text, plain, text[at:].lstrip())
            pieces.append(word)
        elif plain in _REFUSED or (plain is not None and len(plain) < 3 and text.startswith("'", at)):
            _refuse(text, f"{word!r} cannot stand here: an expression has the values of one row")
        elif word in NAMES:
            put(Term(word))  # type: ignore[arg-type]
        elif plain is None:
            put(Term("field", ".".join(names)))
        else:
            pieces.append(word)
    if depth:
        _refuse(text, "found '(' without its ')'")
    return "".join(pieces), terms


def _unquoted(name: str) -> str:
    if name[0] == '"':
        return name[1:-1].replace('""', '"')
    return name[1:-1] if name[0] == "`" else name


def _check_call(text: str, name: str, rest: str) -> None:
    if name in _BEFORE_PARENTHESIS:
        return
    if name in CALLS:
        of = "a teacher" if name == "status" else "a role, messages or a field"
        _refuse(text, f"{name}(…) takes the name of {of}, for example {_example(name)}")
    if name not in FUNCTIONS:
        nearest = get_close_matches(name, sorted({*FUNCTIONS, *CALLS}), 1, cutoff=0.0)[0]
        _refuse(text, f"{name}() is not a function of the values of one row; the nearest is {nearest}()")
    if rest[1:].lstrip().startswith(")") and name != "pi":
        _refuse(text, f"{name}() lacks its arguments")


def _example(name: str) -> str:
    return "status(llama-2)" if name == "status" else f"{name}(assistant)"


def _refuse(text: str, problem: str) -> NoReturn:
    raise UsageError(f"--where {text!r}: {problem}")


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
            _refuse(text, "expected an SQL condition, for example chars(assistant) > 100")
        sql, derived = _rewritten(text)
        self._expression = _parsed(text, sql)
        names = dict.fromkeys(self._expression.meta.root_names())
        self.terms = tuple(derived.get(name, Term("field", name)) for name in names)
        self._fits: dict[tuple[Any, ...], Any] = {}
        self._types: dict[tuple[Any, ...], tuple[Any, ...] | None] = {}
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
            held = self._run(types, picked, len(rows)).to_list()
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

    def _run(self, types: Sequence[Any], values: Sequence[list[Any]], count: int) -> pl.Series:
        import polars as pl

        series = [
            pl.Series(term.column, column, dtype=kind, strict=True)
            for term, kind, column in zip(self.terms, types, values, strict=True)
        ]
        # A condition without a field, such as 1 = 1, needs to know how many rows there are.
        frame = pl.DataFrame(series or [pl.Series("()", [0] * count)])
        return frame.with_columns(self._expression.alias("()result"))["()result"]

    def _fit(self, types: tuple[Any, ...]) -> Any:
        """Return the type of the result for columns of these types, or the error."""
        import polars as pl

        if types not in self._fits:
            try:
                self._fits[types] = self._run(types, [[None]] * len(types), 1).dtype
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                self._fits[types] = error
        return self._fits[types]

    def _types_for(self, signature: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Return the types of the columns for values of these kinds; ``None`` if there is no result."""
        import polars as pl

        if signature not in self._types:
            # A null has no type of its own. Its result is null for any type that the expression takes.
            choices = (_candidates(kind) for kind in signature)
            fitting = (
                types for types in islice(product(*choices), _MOST_TRIED) if self._fit(types) == pl.Boolean
            )
            self._types[signature] = next(fitting, None)
        return self._types[signature]

    def _check(self) -> None:
        """Raise ``UsageError`` if there are no types of fields for which the expression is a condition."""
        import polars as pl

        choices = []
        for term in self.terms:
            free = term.kind in ("field", *NAMES)
            fixed = pl.Int64 if term.kind in ("chars", "tokens") else pl.String
            choices.append(_candidates(None) if free else (fixed,))
        errors: Counter[str] = Counter()
        result = None
        tried = 0
        for types in islice(product(*choices), _MOST_TRIED):
            tried += 1
            fit = self._fit(types)
            if fit == pl.Boolean:
                return
            if isinstance(fit, BaseException):
                errors[str(fit)] += 1
            else:
                result = result or fit
        if tried == _MOST_TRIED:
            return  # with so many fields, the rows will tell
        if result is not None:
            _refuse(self.text, f"the result is not true or false but {_named(result)}; expected a condition")
        regex = next((error for error in errors if "regex" in error), None)
        if regex is not None:
            lines = [line for line in regex.splitlines() if line.startswith("error: ")]
            reason = lines[0].removeprefix("error: ") if lines else "it cannot be read"
            _refuse(self.text, f"a regular expression is wrong: {reason}")
        _refuse(self.text, f"no values have a result: {_shown(errors.most_common(1)[0][0])}")

    def _problem(self, values: Sequence[Any]) -> RowError:
        shown = ", ".join(
            f"{term} is {describe(value)}" for term, value in islice(zip(self.terms, values, strict=True), 4)
        )
        return RowError(_NOT_EVALUATED, f"{shown}; convert with TRY_CAST(… AS DOUBLE) or CAST(… AS VARCHAR)")


def _parsed(text: str, sql: str) -> pl.Expr:
    import polars as pl

    hint = "texts are in single quotes, and a field whose name is a word of SQL is in double quotes"
    try:
        # In parentheses, because Polars takes `a > 1 b` as a > 1 with the name b.
        return pl.sql_expr(f"({sql}\n)")
    except pl.exceptions.SQLSyntaxError as error:
        _refuse(text, f"{_shown(str(error))}; {hint}")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        _refuse(text, f"not an SQL condition that Polars can read; {hint}")


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
