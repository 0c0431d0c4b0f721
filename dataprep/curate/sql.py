"""Read the SQL text of a condition: refuse what is not of one row, and name the values that it needs.

Polars parses the expression. Before that, each derived value and each path into objects becomes the name of a
column, and everything that could read a file or look at other rows is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, NoReturn

from dataprep.core.errors import UsageError

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


def rewritten(text: str) -> tuple[str, dict[str, Term]]:
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
            refuse(text, f"{text[at : at + 10]!r} is not part of an expression")
        at = match.end()
        kind, word = str(match.lastgroup), match[0]
        if kind == "sign":
            depth += (word == "(") - (word == ")")
            if depth < 0:
                refuse(text, "found ')' without its '('")
        if kind != "name":
            pieces.append(word)
            continue
        names = [_unquoted(name) for name in re.findall(_NAME, word)]
        plain = word.lower() if word == names[0] else None
        if plain in CALLS and (argument := _ARGUMENT.match(text, at)):
            put(Term(plain, next(filter(None, argument.groups()))))  # type: ignore[arg-type]
            at = argument.end()
        elif text[at:].lstrip().startswith("("):
            _check_call(text, plain, text[at:].lstrip())
            pieces.append(word)
        elif plain in _REFUSED or (plain is not None and len(plain) < 3 and text.startswith("'", at)):
            hint = "a field of this name is in double quotes"
            refuse(text, f"{word!r} cannot stand here: an expression has the values of one row; {hint}")
        elif word in NAMES:
            put(Term(word))  # type: ignore[arg-type]
        elif plain is None:
            put(Term("field", ".".join(names)))
        else:
            pieces.append(word)
    if depth:
        refuse(text, "found '(' without its ')'")
    return "".join(pieces), terms


def _unquoted(name: str) -> str:
    if name[0] == '"':
        return name[1:-1].replace('""', '"')
    return name[1:-1] if name[0] == "`" else name


def _check_call(text: str, name: str | None, rest: str) -> None:
    if name is None:
        refuse(text, f"the name of a field cannot be called, as before {rest[:10]!r}")
    if name in _BEFORE_PARENTHESIS:
        return
    if name in CALLS:
        of = "a teacher" if name == "status" else "a role, messages or a field"
        refuse(text, f"{name}(…) takes the name of {of}, for example {_example(name)}")
    if name not in FUNCTIONS:
        nearest = get_close_matches(name, sorted({*FUNCTIONS, *CALLS}), 1, cutoff=0.0)[0]
        refuse(text, f"{name}() is not a function of the values of one row; the nearest is {nearest}()")
    if rest[1:].lstrip().startswith(")") and name != "pi":
        refuse(text, f"{name}() lacks its arguments")


def _example(name: str) -> str:
    return "status(llama-2)" if name == "status" else f"{name}(assistant)"


def refuse(text: str, problem: str) -> NoReturn:
    """Raise ``UsageError`` for an expression."""
    raise UsageError(f"--where {text!r}: {problem}")
