"""Rows of a dataset directory for the Hugging Face hub, as the columns of Parquet files.

Chat rows and preference pairs keep their fields: messages are lists of objects with the fields that occur.
Values with a shape of their own in each row are JSON text, because a column of objects would give each row
the others' keys as nulls: ``tools``, ``chat_template_kwargs``, the arguments of tool calls, and nested values
in other fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.errors import RowError
from dataprep.datasets.exchange.account import Account
from dataprep.datasets.exchange.rows import (
    all_plain,
    calls_of,
    dumped,
    function_of,
    role_of,
    text_of,
    tools_text,
)

NAME = "hub-dir"
DIRECTORY = True
_CONVERSATIONS = ("messages", "prompt", "completion", "chosen", "rejected")


def write(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return a row of the table."""
    made: dict[str, Any] = {}
    for name, value in row.items():
        if name in _CONVERSATIONS and type(value) is list and value:
            made[name] = value if all_plain(value) else _messages(value, name, account)
        elif name == "tools":
            made[name] = tools_text(value, account) if value else None
        else:
            made[name] = _cell(value, account)
    if not any(type(made.get(name)) is list for name in _CONVERSATIONS):
        fields = ", ".join(map(repr, row)) or "none"
        raise RowError("no messages", f"expected chat rows or pairs; the row's fields are {fields}")
    return made


def _cell(value: Any, account: Account) -> Any:
    if type(value) in (dict, list):
        account.change("nested values written as JSON text")
        return dumped(value)
    return value


def _messages(messages: list[Any], field: str, account: Account) -> list[dict[str, Any]]:
    made = []
    for number, message in enumerate(messages):
        place = f"{field}[{number}]"
        role_of(message, place)
        cells: dict[str, Any] = {}
        for name, value in message.items():
            if name == "content":
                cells[name] = text_of(message, place, account)
            elif name == "tool_calls" and value:
                calls = calls_of(message, place)
                cells[name] = [
                    _call(call, f"{place}.tool_calls[{n}]", account) for n, call in enumerate(calls)
                ]
            elif name == "tool_calls":
                cells[name] = None
            else:
                cells[name] = _cell(value, account)
        made.append(cells)
    return made


def _call(call: Any, place: str, account: Account) -> dict[str, Any]:
    function = function_of(call, place)
    made = {name: _cell(value, account) for name, value in call.items() if name != "function"}
    arguments = function.get("arguments")
    if arguments is not None and type(arguments) is not str:
        account.change("arguments written as JSON text")
        arguments = dumped(arguments)
    others = {
        name: _cell(value, account) for name, value in function.items() if name not in ("name", "arguments")
    }
    return {**made, "function": {"name": function["name"], "arguments": arguments, **others}}
