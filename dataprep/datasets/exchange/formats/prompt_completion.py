"""Prompts with completions: ``{"prompt": […], "completion": […]}``, of which only the completion is learned.

Both are texts, or lists of messages (TRL calls these conversational). A chat row is written with messages,
which TRL gives to the model's own chat template; ``tools`` are JSON text, as for ``trl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.conversations import LOSS_FIELDS
from dataprep.core.errors import RowError
from dataprep.datasets.exchange.account import DEFAULT_MARKS, Account
from dataprep.datasets.exchange.rows import (
    MARKS,
    all_plain,
    mark_of,
    messages_of,
    readable,
    role_of,
    tools_list,
    with_other_fields,
    with_row_fields,
)

NAME = "prompt-completion"
_OWN = ("prompt", "completion", "tools")
_FIELDS = ("prompt", "completion", "chosen", "rejected", "text")


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row looks like one of this format."""
    return "prompt" in row and "completion" in row


def read(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the chat row of a prompt with its completion."""
    prompt, completion = _part(row, "prompt", "user", account), _part(row, "completion", "assistant", account)
    for number, message in enumerate(completion):
        if message["role"] != "assistant":
            found = f"completion[{number}] is a message of the role {message['role']}"
            raise RowError("a completion that is no answer", f"{found}; expected assistant messages")
    messages = prompt
    if "assistant" in [message["role"] for message in prompt]:
        messages = [_not_learned(message) for message in prompt]
    made: dict[str, Any] = {"messages": messages + completion}
    if row.get("tools"):
        made["tools"] = tools_list(row["tools"], account)
    return with_other_fields(made, row, _OWN, account)


def _part(row: Mapping[str, Any], name: str, role: str, account: Account) -> list[dict[str, Any]]:
    value = row.get(name)
    if type(value) is str:
        return [{"role": role, "content": value}]
    messages = messages_of(row, name)
    if all_plain(messages):
        return messages
    return [readable(message, f"{name}[{number}]", account) for number, message in enumerate(messages)]


def _not_learned(message: dict[str, Any]) -> dict[str, Any]:
    """Return an earlier answer with a mark, because only the completion is in the loss."""
    if message["role"] != "assistant" or not MARKS.isdisjoint(message):
        return message
    return message | {"loss": False}


def write(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the prompt and the completion of a chat row: its last assistant messages."""
    messages = messages_of(row)
    plain = all_plain(messages)
    cut = len(messages)
    while cut and (plain or type(messages[cut - 1]) is dict) and messages[cut - 1].get("role") == "assistant":
        cut -= 1
    if cut in (0, len(messages)):
        shown = " ".join(role_of(message, f"messages[{n}]") for n, message in enumerate(messages))
        account.leave_out("this order of roles", f"found {shown}; expected a prompt, and an answer last")
    prompt, completion = messages[:cut], messages[cut:]
    if not plain:
        prompt = [_asked(message, f"messages[{n}]", account) for n, message in enumerate(prompt)]
        completion = [
            _answered(message, f"messages[{n}]", account) for n, message in enumerate(completion, cut)
        ]
    elif "assistant" in [message["role"] for message in prompt]:
        prompt = [_asked(message, f"messages[{n}]", account) for n, message in enumerate(prompt)]
    return with_row_fields({"prompt": prompt, "completion": completion}, row, account, reserved=_FIELDS)


def _asked(message: Any, place: str, account: Account) -> dict[str, Any]:
    role = role_of(message, place)
    mark = mark_of(message, place)
    marks = [name for name in LOSS_FIELDS if name in message]
    if role == "assistant" and mark is not False:
        found = f"{place} is in the loss, and only the last answer would be"
        account.lose("the loss of earlier answers", f"{found}: mark it with loss: false, or use --to trl")
    elif role != "assistant" and mark:
        account.lose("loss marks", f"{place} is marked for the loss")
    elif marks and not (marks == ["loss"] and message["loss"] is False and role == "assistant"):
        account.change(DEFAULT_MARKS)
    return _without_marks(message)


def _answered(message: Any, place: str, account: Account) -> dict[str, Any]:
    role_of(message, place)
    if mark_of(message, place) is False:
        account.lose("loss marks", f"{place} is marked as not in the loss, and completions are in it")
    elif not MARKS.isdisjoint(message):
        account.change(DEFAULT_MARKS)
    return _without_marks(message)


def _without_marks(message: dict[str, Any]) -> dict[str, Any]:
    if MARKS.isdisjoint(message):
        return message
    return {name: value for name, value in message.items() if name not in LOSS_FIELDS}
