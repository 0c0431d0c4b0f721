"""Parse a line of a JSON Lines file, or say what is wrong with it."""

from __future__ import annotations

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
