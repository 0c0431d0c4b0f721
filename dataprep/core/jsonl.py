"""Parse a line of a JSON Lines file and write one, or say what is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import orjson

from dataprep.core.errors import InputError, RowError

MAX_LINE = 32 << 20
"""Maximum bytes of a line. A file with a longer one is not JSON Lines."""


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


def not_writable(error: TypeError) -> RowError:
    """Return the error for a row that orjson refused to write; raise any other ``TypeError``, a bug."""
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
