"""Rows for OpenAI's fine-tuning: ``{"messages": […], "tools": […], "parallel_tool_calls": false}``.

Assistant messages can have a ``weight`` of 0 or 1; arguments of calls are JSON text, and each call has an id
that its result names. OpenAI refuses fields that it does not have. Older rows with ``functions`` and
``function_call`` are read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.conversations import LOSS_FIELDS
from dataprep.core.errors import RowError
from dataprep.core.records import describe
from dataprep.datasets.exchange.account import EMPTY, Account
from dataprep.datasets.exchange.rows import (
    MARKS,
    all_plain,
    calls_of,
    check_said,
    dumped,
    function_of,
    lose_rest,
    mark_of,
    messages_of,
    parsed,
    readable,
    role_of,
    tools_list,
)

NAME = "openai"
_OWN = ("messages", "tools", "parallel_tool_calls")
_MESSAGE = frozenset({"role", "content", "name", "refusal", "tool_calls", "tool_call_id", *LOSS_FIELDS})


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row looks like one of this format."""
    messages = row.get("messages")
    return type(messages) is list and all(type(message) is dict and "role" in message for message in messages)


def read(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the chat row of a fine-tuning row: the same, with functions as tools."""
    messages = messages_of(row)
    made: dict[str, Any] = {"messages": messages if all_plain(messages) else _read(messages, account)}
    if len(row) > 1:
        for name, value in row.items():
            if name == "functions" and "tools" not in row:
                if value:
                    made["tools"] = tools_list(value, account)
            elif name == "parallel_tool_calls":
                # OpenAI tells its model when it is false. No chat template does, so it would have no effect.
                if value is False:
                    account.lose(name, f"the field {name!r} is false, and no chat template shows it")
                else:
                    account.change(EMPTY if value is None else "defaults left out")
            elif name != "messages":
                made[name] = value
    return made


def _read(messages: list[Any], account: Account) -> list[dict[str, Any]]:
    made = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        current = message
        if type(message) is dict and message.get("role") == "function":
            account.change("function messages as tool messages")
            current = message | {"role": "tool"}
        if type(current) is dict and current.get("function_call"):
            call = {"type": "function", "function": current["function_call"]}
            function_of(call, f"{place}.function_call")
            account.change("function calls as tool calls")
            rest = {name: value for name, value in current.items() if name != "function_call"}
            current = rest | {"tool_calls": [call]}
        made.append(readable(current, place, account))
    return made


def write(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the fine-tuning row of a chat row."""
    messages = messages_of(row)
    made: dict[str, Any] = {"messages": messages if all_plain(messages) else _messages(messages, account)}
    if len(row) > 1:
        if tools := row.get("tools"):
            if type(tools) is str:
                account.change("tools given as JSON text")
                tools = parsed(tools, "tools", "'tools'")
            if type(tools) is not list:
                found = f"'tools' is {describe(tools)}; expected a list of schemas"
                raise RowError("malformed tools", found)
            made["tools"] = tools
        elif "tools" in row:
            account.change(EMPTY)
        if row.get("parallel_tool_calls") is not None:
            made["parallel_tool_calls"] = row["parallel_tool_calls"]
        lose_rest(row, _OWN, "", account)
    return made


def _messages(messages: list[Any], account: Account) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    ids, kept = _Ids(messages, account), _MESSAGE.difference(LOSS_FIELDS)
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        role = role_of(message, place)
        lose_rest(message, _MESSAGE, place, account)
        changed = {name: value for name, value in message.items() if name in kept}
        _check_content(message, place, account)
        calls = calls_of(message, place)
        if calls and role != "assistant":
            account.leave_out("tool calls of other roles", f"{place} is a message of the role {role}")
        if calls:
            changed["tool_calls"] = [
                ids.of_call(call, f"{place}.tool_calls[{n}]") for n, call in enumerate(calls)
            ]
        elif "tool_calls" in changed:
            account.change(EMPTY)
            del changed["tool_calls"]
        if role == "tool":
            changed["tool_call_id"] = ids.of_result(message, place)
        _weigh(changed, message, role, place, account)
        made.append(changed)
    return made


def _check_content(message: Mapping[str, Any], place: str, account: Account) -> None:
    content = message.get("content")
    if not content and not message.get("tool_calls") and not message.get("refusal"):
        check_said(message, content, place, account)
    elif content is not None and type(content) not in (str, list):
        found = f"{place}.content is {describe(content)}"
        raise RowError("content is no text", f"{found}; expected a string or a list of parts")


def _weigh(made: dict[str, Any], message: Mapping[str, Any], role: str, place: str, account: Account) -> None:
    mark = mark_of(message, place)
    if mark is None:
        if not MARKS.isdisjoint(message):
            account.change(EMPTY)
    elif role != "assistant":
        marks = {name: message[name] for name in LOSS_FIELDS if name in message}
        lose_rest(marks, (), place, account, role)
    else:
        made["weight"] = int(mark)
        names = [name for name in LOSS_FIELDS if name in message]
        if names != ["weight"] or type(message["weight"]) is not int:
            account.change("loss marks written as weight")


class _Ids:
    """The ids of the calls of a row, which OpenAI asks for and other formats do not have."""

    def __init__(self, messages: list[Any], account: Account) -> None:
        self._account = account
        self._waiting: list[tuple[str, str]] = []  # ids and names of the calls without a result yet
        self._number = 0
        known = [message for message in messages if type(message) is dict]
        self._claimed = {str(message["tool_call_id"]) for message in known if message.get("tool_call_id")}
        lists = [message["tool_calls"] for message in known if type(message.get("tool_calls")) is list]
        calls = [call for calls in lists for call in calls]
        self._taken = {str(call["id"]) for call in calls if type(call) is dict and call.get("id") is not None}

    def of_call(self, call: Any, place: str) -> dict[str, Any]:
        """Return a call with an id, and with its arguments as text."""
        function = function_of(call, place)
        made = dict(call)
        if call.get("id") is None:
            rest = {name: value for name, value in call.items() if name != "id"}
            while (name := f"call_{self._number}") in self._taken:
                self._number += 1
            made = {"id": name, **rest}
            self._account.change("ids of tool calls added")
        self._number += 1
        if "type" not in made:
            self._account.change("types of tool calls added")
            made["type"] = "function"
        arguments = function.get("arguments")
        if type(arguments) is not str:
            self._account.change("arguments written as JSON text")
            made["function"] = function | {"arguments": dumped({} if arguments is None else arguments)}
        self._waiting.append((str(made["id"]), function["name"]))
        return made

    def of_result(self, message: Mapping[str, Any], place: str) -> str:
        """Return the id of the call that a result answers."""
        known = message.get("tool_call_id")
        if known is not None:
            answered = next((call for call in self._waiting if call[0] == known), None)
            if answered is not None:
                self._waiting.remove(answered)
            return str(known)
        if not self._waiting:
            raise RowError("a tool result without a call", f"{place} answers no tool call before it")
        self._account.change("ids of tool calls added")
        # Parallel calls can be answered in any order; a call that another result names is not this one's.
        free = [call for call in self._waiting if call[0] not in self._claimed] or self._waiting
        answered = next((call for call in free if call[1] == message.get("name")), free[0])
        self._waiting.remove(answered)
        return answered[0]
