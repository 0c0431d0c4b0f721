"""Divide a row into titled texts, the form in which ``show``, ``report`` and ``view`` draw it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from dataprep.core.conversations import LOSS_FIELDS, REASONING_FIELDS, content_text, reasoning_of
from dataprep.core.jsonl import any_line

Kind = Literal["text", "reasoning", "call", "tools", "field"]


@dataclass(frozen=True, slots=True)
class TextBlock:
    """One text of a row, as it stands there: whoever draws it escapes it.

    Attributes:
        role: the role of its message; empty for a field that is in no message.
        kind: what it is. A ``"call"`` is a tool call, ``"tools"`` are the tools of the row.
        title: the name of a field or of a called function, or the name and id of a tool's message.
        text: the text, or JSON of a value that is not a text.
    """

    role: str
    kind: Kind
    title: str
    text: str


def blocks_of(row: Any) -> Iterator[TextBlock]:
    """Yield the texts of a row of any kind, also of one that is malformed, in the order of reading.

    >>> [block.text for block in blocks_of({"messages": [{"role": "user", "content": "Hi"}], "id": 7})]
    ['Hi', '7']
    """
    if not isinstance(row, Mapping):
        yield TextBlock("", "field", "", _written(row))
        return
    messages = row.get("messages")
    is_chat = isinstance(messages, list)
    if is_chat and row.get("tools"):
        yield TextBlock("", "tools", "tools", _written(row["tools"]))
    for message in messages if isinstance(messages, list) else ():
        yield from _blocks_of_message(message)
    for name, value in row.items():
        if not is_chat or name not in ("messages", "tools"):
            yield TextBlock("", "field", name, _written(value))


def _blocks_of_message(message: Any) -> Iterator[TextBlock]:
    if not isinstance(message, dict):
        yield TextBlock("", "field", "message", _written(message))
        return
    role = _written(message.get("role", ""))
    reasoning = reasoning_of(message)
    if reasoning is not None:
        yield TextBlock(role, "reasoning", "reasoning", reasoning)
    content, calls = message.get("content"), message.get("tool_calls")
    if content is not None or not (reasoning or calls):
        title = " ".join(str(message[name]) for name in ("name", "tool_call_id") if message.get(name))
        try:
            text = content_text(content)
        except (TypeError, KeyError):
            text = _written(content)
        yield TextBlock(role, "text", title, text)
    for call in calls if isinstance(calls, list) else filter(None, [calls]):
        function = call.get("function") if isinstance(call, dict) else None
        name = str(function.get("name", "")) if isinstance(function, dict) else ""
        arguments = function.get("arguments") if isinstance(function, dict) else call
        yield TextBlock(role, "call", name, _written(arguments))
    known = {"role", "content", "tool_calls", "name", "tool_call_id", *REASONING_FIELDS}
    for name, value in message.items():
        if name not in known and (name in LOSS_FIELDS or value not in (None, "", [])):
            yield TextBlock(role, "field", name, _written(value))


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # it is nested more deeply than orjson writes
        return any_line(value).decode()
