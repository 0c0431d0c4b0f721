"""Parse a line of a JSON Lines file and write one, or say what is wrong with it.

orjson keeps the last of two values of one key, and turns an integer of more than 64 bits into a float.
``find_lost`` finds what it loses in this way; ``check_document`` does so in documents.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from dataprep.core.errors import InputError, Location, RowError

MAX_LINE = 32 << 20
"""Maximum bytes of a line. A file with a longer one is not JSON Lines."""


UNREADABLE = frozenset({"not JSON", "not UTF-8"})
"""The reasons of ``RowError`` for lines that are not JSON at all."""


def too_long(path: str, number: int) -> InputError:
    """Return the error for a line longer than ``MAX_LINE``."""
    return InputError(
        f"{'standard input' if path == '-' else path}:{number}",
        f"found a line of more than {MAX_LINE >> 20} MiB; expected one row per line "
        "(is a newline missing?): divide the line or remove it",
    )


def parse_line(line: bytes) -> dict[str, Any]:
    """Parse the JSON object on a line."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise not_json(line, error) from None
    if type(row) is not dict:
        raise not_object(row)
    return row


def parse_row(line: bytes) -> dict[str, Any]:
    """Parse the JSON object on a line; raise ``RowError`` if the parser lost a part of it."""
    row = parse_line(line)
    for problem in find_lost(line, row):
        raise problem
    return row


def find_lost(text: bytes, value: Any) -> Iterator[RowError]:
    """Yield what the parser lost of a JSON text, in the order of the text."""
    try:
        # As `loses` for one value, which costs half of the time.
        if not (loses_keys(text, orjson.dumps(value).count(b":")) or has_long_number(text)):
            return
    except TypeError:
        yield RowError("nested too deeply", "no trainer needs more than a few levels")
        return
    yield from _parse_slowly(text)[1]


def loses(text: bytes, values: Sequence[Any]) -> bool:
    """Return whether the parser may have lost something of JSON texts, given what it made of them.

    Raises:
        TypeError: a value is nested so deeply that it cannot be written.
    """
    # Some at a time, because a document's JSON is large.
    batches = (values[begin : begin + 256] for begin in range(0, len(values), 256))
    if loses_keys(text, sum(orjson.dumps(batch).count(b":") for batch in batches)):
        return True
    # Large integers come out as floats. Rows of texts alone have none.
    items = (item for value in values for item in (value.values() if type(value) is dict else (value,)))
    return any(type(item) in (float, dict, list) for item in items) and has_long_number(text)


def loses_keys(text: bytes, colons: int) -> bool:
    """Return whether the parser may have lost a key of JSON texts; its values, written, have ``colons``."""
    # The values' own JSON has as many colons as the text if no key was lost: those in strings count on both
    # sides, unless they are written as escapes, whose fixed beginning is found faster than the expression.
    return text.count(b":") != colons or (b"\\u003" in text and re.search(rb"\\u003[aA]", text) is not None)


def has_long_number(text: bytes) -> bool:
    """Return whether a JSON text may have a number that loses digits; the parser made a float of it."""
    return _LONG in text.translate(_ONE_DIGIT)


# Integers from 2^63 on have at least 19 digits.
_LONG, _ONE_DIGIT = b"0" * 19, bytes.maketrans(b"123456789", b"0" * 9)


class _Faulty(dict[str, Any]):
    """A JSON object of which a parser would lose a part."""

    problem: RowError


class _Large(str):
    """An integer that has more than 64 bits."""

    __slots__ = ()


def _integer(digits: str) -> int | _Large:
    # Python refuses to read an integer of thousands of digits.
    if len(digits) < 19 or (len(digits) <= 20 and -(2**63) <= int(digits) < 2**64):
        return int(digits)
    return _Large(digits)


def _parse_slowly(text: bytes) -> tuple[Any, list[RowError]]:
    """Parse JSON with Python's parser; return the value, and what other parsers would lose of it."""
    problems: list[RowError] = []

    def to_object(items: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(items)
        found = list(_problems_of(items))
        if found:
            problems.extend(found)
            row = _Faulty(row)
            row.problem = found[0]
        return row

    try:
        return json.loads(text, object_pairs_hook=to_object, parse_int=_integer), problems
    except RecursionError:  # orjson allows deeper nesting than Python's parser
        return None, []


def _problems_of(items: list[tuple[str, Any]]) -> Iterator[RowError]:
    seen: set[str] = set()
    for key, value in items:
        if key in seen:
            found = f"the key {key!r} stands more than once in one object"
            yield RowError("duplicate key", f"{found}; keep one of them")
        seen.add(key)
        if digits := _large_in(value):
            shown = digits if len(digits) < 60 else f"{digits[:59]}…"
            found = f"the field {key!r} holds {shown}, which would lose digits"
            yield RowError("a number of more than 64 bits", f"{found}; write it as a string")


def _large_in(value: Any) -> str:
    if isinstance(value, list):
        return next(filter(None, map(_large_in, value)), "")
    return value if isinstance(value, _Large) else ""


def _find_faulty(value: Any, path: str = "") -> Iterator[tuple[str, RowError]]:
    """Yield the paths to the faulty objects inside a value, with what is wrong with them."""
    if isinstance(value, _Faulty):
        yield path, value.problem
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _find_faulty(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _find_faulty(item, f"{path}[{index}]")


def check_document(path: str, text: bytes, document: Any) -> None:
    """Raise ``InputError`` for the first key or digits of a JSON document that the parser lost."""
    is_list = type(document) is list
    try:
        if not loses(text, document if is_list else [document]):
            return
    except TypeError:
        return  # too deeply nested: the row with its place is found when it is used
    for inside, error in _find_faulty(_parse_slowly(text)[0]):
        if is_list:
            number = int(inside.partition("]")[0][1:]) + 1
            raise InputError(Location(path, number, "row"), str(error))
        raise InputError(path, f"{error}; found at {inside}" if inside else str(error))


def not_json(line: bytes, error: orjson.JSONDecodeError) -> RowError:
    """Return the error for a line that does not parse: its encoding, or where its JSON breaks off."""
    # orjson reports bytes that are not UTF-8 as an unexpected character; people search for the encoding.
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as wrong:
        found = f"byte 0x{line[wrong.start]:02x} at byte {wrong.start + 1} of the line"
        return RowError("not UTF-8", f"found {found}; expected a file in UTF-8")
    # The usual cause is a copy or download that stopped, so say that and not "unexpected end of data".
    if error.pos >= len(text.rstrip()):
        return RowError("not JSON", "the line ends in the middle of a JSON object; is it cut short?")
    reason = error.msg.partition(": line ")[0]
    return RowError("not JSON", f"{reason} at column {error.pos + 1}: …{text[error.pos :][:30]!r}")


def not_object(value: object) -> RowError:
    """Return the error for JSON that is not an object."""
    kind = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return RowError("not a JSON object", f"found {kind.get(type(value), 'a number')}; expected {{…}}")


# Messages of orjson for values that it cannot write. It parses deeper nesting (1,024) than it writes (254).
_UNWRITTEN = {
    "Recursion limit": "nested too deeply",
    "str is not valid UTF-8": "half of a surrogate pair",
    "Integer exceeds": "a number of more than 64 bits",
    "Dict key must be str": "a key that is not a text",
}


def to_line(row: Any, newline: bytes = b"") -> bytes:
    """Return a row as one line of JSON; raise ``RowError`` for one that JSON Lines cannot hold."""
    try:
        return orjson.dumps(row) + newline
    except TypeError as error:
        raise not_writable(error) from None


def not_writable(error: TypeError | RecursionError) -> RowError:
    """Return the error for a row too deep to work on, or refused by orjson; raise another error, a bug."""
    if isinstance(error, RecursionError):
        return RowError("nested too deeply", "no trainer needs more than a few levels")
    reason = next((text for begin, text in _UNWRITTEN.items() if str(error).startswith(begin)), None)
    if reason is None:
        raise error
    hint = "; no trainer needs more than a few levels" if "nested" in reason else ""
    return RowError(reason, f"the row can be read, but not written as JSON{hint}")


def any_line(row: Any, default: Callable[[Any], Any] = str) -> bytes:
    """Return a row that was read as JSON on its way to whoever takes or rejects it, however deep it is."""
    try:
        return orjson.dumps(row, default=default)
    except TypeError:
        # Python's own writer goes as deep as it may.
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + 8_192)
        try:
            return json.dumps(row, ensure_ascii=False, default=default).encode("utf-8", "backslashreplace")
        finally:
            sys.setrecursionlimit(limit)
