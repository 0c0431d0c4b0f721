"""Check that a chat row is well-formed.

A chat row is a JSON object with a list ``messages``: an optional system message, then user and assistant
messages in turn, an assistant message last. Each message is an object with a known ``role`` and a non-empty
string ``content``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from dataprep.core.errors import RowError
from dataprep.core.jsonl import parse_line
from dataprep.core.records import describe

ROLES = ("system", "user", "assistant")


class Finding(NamedTuple):
    """One fault of a row: the kind that faults are counted under, and the detail."""

    kind: str
    detail: str


def find_in(item: bytes | Any) -> Iterator[Finding]:
    """Yield what is wrong with a row as ``read_items`` gives it: a line, or a parsed value."""
    if isinstance(item, bytes):
        yield from find_in_line(item)
    elif isinstance(item, dict):
        yield from find_in_row(item)
    else:
        yield Finding("not a JSON object", f"found {describe(item)}")


def find_in_line(line: bytes) -> Iterator[Finding]:
    """Yield what is wrong with a line of a chat file."""
    try:
        row = parse_line(line)
    except RowError as error:
        yield Finding(error.reason, error.detail)
        return
    yield from _duplicate_keys(line, row)
    yield from find_in_row(row)


def find_in_row(row: dict[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with a parsed chat row."""
    if "messages" not in row:
        fields = ", ".join(map(repr, row)) or "none"
        yield Finding("no messages", f"expected a field 'messages'; the row's fields are {fields}")
        return
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        yield Finding("no messages", f"'messages' is {describe(messages)}; expected a non-empty list")
        return
    roles = []
    for number, message in enumerate(messages):
        role, findings = _look_at(message, f"messages[{number}]")
        roles.append(role)
        yield from findings
    # With an unknown role, a second finding about the order would only repeat the first.
    if None not in roles:
        yield from _order_of(roles)


def _look_at(message: Any, place: str) -> tuple[str | None, list[Finding]]:
    """Return a message's role, or ``None`` if it is unknown, and what is wrong with the message."""
    if not isinstance(message, dict):
        expected = 'expected {"role": …, "content": …}'
        return None, [Finding("malformed message", f"{place} is {describe(message)}; {expected}")]
    findings = []
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        found = describe(role) if "role" in message else "missing"
        detail = f"{place}.role is {found}; expected one of {', '.join(ROLES)}"
        findings.append(Finding("unknown role", detail))
    if not isinstance(content, str):
        found = describe(content) if "content" in message else "missing"
        findings.append(Finding("content is no string", f"{place}.content is {found}"))
    elif not content.strip():
        findings.append(Finding("empty content", f"{place}.content is {describe(content)}"))
    return (role if role in ROLES else None), findings


def _order_of(roles: list[str | None]) -> Iterator[Finding]:
    turns = roles[1:] if roles[0] == "system" else roles
    expected = [("user", "assistant")[number % 2] for number in range(len(turns))]
    shown = " ".join(str(role) for role in roles)
    if turns != expected:
        rule = "an optional system message, then user and assistant in turn"
        yield Finding("roles out of order", f"found {shown}; expected {rule}")
    elif not turns or turns[-1] != "assistant":
        yield Finding("no assistant at the end", f"found {shown}; expected an assistant message last")


def _duplicate_keys(line: bytes, row: dict[str, Any]) -> Iterator[Finding]:
    """Yield a finding for each key that occurs twice in one object: parsers keep only the last."""
    # orjson does not report them. If it kept everything, the row's own JSON has as many colons as the line;
    # only otherwise, or if a colon is written as an escape, is the line parsed again by Python's slower
    # parser.
    escaped = b"\\u003a" in line or b"\\u003A" in line
    try:
        if not escaped and line.count(b":") == orjson.dumps(row).count(b":"):
            return
    except TypeError:
        yield Finding("nested too deeply", "no trainer needs more than a few levels")
        return
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                duplicates.append(key)
            seen.add(key)
        return dict(items)

    try:
        json.loads(line, object_pairs_hook=pairs)
    except RecursionError:  # orjson allows deeper nesting than Python's parser
        return
    for key in duplicates:
        yield Finding("duplicate key", f"the key {key!r} stands more than once in one object")
