"""Rows for axolotl's dataset type ``chat_template``: ``{"messages": […], "tools": […]}``.

Messages stay as they are, with ``reasoning_content`` and tool calls. A loss mark is the field ``train``,
which axolotl reads with ``message_field_training: train``. Arguments of calls and parameters of tools are
JSON text, which axolotl parses: in a column of objects, each would get the others' keys as nulls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.conversations import LOSS_FIELDS, REASONING_FIELDS, reasoning_of
from dataprep.core.errors import RowError
from dataprep.core.records import describe
from dataprep.datasets.exchange.account import Account
from dataprep.datasets.exchange.rows import (
    all_plain,
    calls_of,
    dumped,
    function_of,
    is_empty,
    mark_of,
    messages_of,
    parsed,
    role_of,
    with_row_fields,
)

NAME = "axolotl"


def write(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the row as axolotl reads it."""
    messages = messages_of(row)
    made: dict[str, Any] = {"messages": messages if all_plain(messages) else _messages(messages, account)}
    # axolotl has `chat_template_kwargs` for a whole run, in its configuration.
    lost = ("chat_template_kwargs",)
    return with_row_fields(made, row, account, reserved=("system",), lost=lost, tools=_tools)


def _messages(messages: list[Any], account: Account) -> list[dict[str, Any]]:
    made = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        role_of(message, place)
        mark = mark_of(message, place)
        changed: dict[str, Any] = {}
        reasoning = reasoning_of(message)
        for name, value in message.items():
            if name in LOSS_FIELDS:
                if name != "train" or type(value) is not bool:
                    account.change("loss marks written as train")
            elif name in REASONING_FIELDS:
                # Of two texts, only the one that is read has a place.
                if value != reasoning and not is_empty(value):
                    account.lose("reasoning", f"{place}.{name} is a second one: {describe(value)}")
                    continue
                if name != "reasoning_content":
                    account.change("reasoning written as reasoning_content")
                if value == reasoning or "reasoning_content" not in changed:
                    changed["reasoning_content"] = value
            elif name == "tool_calls" and value:
                calls = calls_of(message, place)
                changed[name] = [
                    _call(call, f"{place}.tool_calls[{n}]", account) for n, call in enumerate(calls)
                ]
            else:
                changed[name] = value
        if mark is not None:
            changed["train"] = mark
        made.append(changed)
    return made


def _call(call: Any, place: str, account: Account) -> dict[str, Any]:
    function = function_of(call, place)
    arguments = function.get("arguments")
    if type(arguments) is str or arguments is None:
        return dict(call)
    account.change("arguments written as JSON text")
    return {**call, "function": function | {"arguments": dumped(arguments)}}


def _tools(value: Any, account: Account) -> list[Any]:
    tools = value
    if type(value) is str:
        account.change("tools given as JSON text")
        tools = parsed(value, "tools", "'tools'")
    if type(tools) is not list:
        raise RowError("malformed tools", f"'tools' is {describe(tools)}; expected a list of schemas")
    made = []
    for tool in tools:
        function = tool.get("function") if type(tool) is dict else None
        if type(function) is dict and type(function.get("parameters")) is dict:
            account.change("parameters of tools written as JSON text")
            made.append(tool | {"function": function | {"parameters": dumped(function["parameters"])}})
        else:
            made.append(tool)
    return made
