"""Rows for TRL's ``SFTTrainer``: ``{"messages": […], "tools": "[…]"}``.

Messages stay as they are, with reasoning and tool calls, because TRL gives them to the model's own chat
template. ``tools`` are JSON text, which TRL parses: in a column of objects, each tool would get the others'
parameters as nulls. TRL has no marks for single messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.conversations import LOSS_FIELDS
from dataprep.datasets.exchange.account import Account
from dataprep.datasets.exchange.rows import (
    MARKS,
    all_plain,
    lose_rest,
    messages_of,
    role_of,
    with_row_fields,
)

NAME = "trl"
_COLUMNS = ("prompt", "completion", "chosen", "rejected", "text")


def write(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the row as TRL reads it."""
    messages = messages_of(row)
    made: dict[str, Any] = {"messages": messages if all_plain(messages) else unmarked(messages, account)}
    return with_row_fields(made, row, account, reserved=_COLUMNS)


def unmarked(messages: list[Any], account: Account) -> list[dict[str, Any]]:
    """Return messages without their loss marks; a mark that says more than the default is a loss."""
    made = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        role = role_of(message, place)
        if not MARKS.isdisjoint(message):
            marks = {name: message[name] for name in LOSS_FIELDS if name in message}
            lose_rest(marks, (), place, account, role)
            made.append({name: value for name, value in message.items() if name not in marks})
        else:
            made.append(message)
    return made
