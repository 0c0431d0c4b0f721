"""ShareGPT rows: ``{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}``.

There is no standard. These are the conventions of LLaMA-Factory, axolotl and published sets:

- turns under ``conversations``, with ``from`` and ``value``, or ``role`` and ``content``;
- the system prompt as a turn, or in the row's field ``system``;
- ``function_call`` turns whose value is ``{"name": …, "arguments": {…}}`` as JSON text, or a list of these;
- ``observation`` or ``tool`` turns with the results; ``tools`` as JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import describe
from dataprep.datasets.exchange.account import EMPTY, Account
from dataprep.datasets.exchange.rows import (
    PLAIN,
    arguments_of,
    calls_of,
    check_said,
    dumped,
    function_of,
    lose_rest,
    messages_of,
    parsed,
    role_of,
    text_of,
    tools_list,
    tools_text,
    with_other_fields,
)

NAME = "sharegpt"
_READ = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bot", "model", "function_call"), "assistant"),
    **dict.fromkeys(("observation", "tool", "function_response", "ipython"), "tool"),
    "system": "system",
    "developer": "developer",
}
_WRITE = {"system": "system", "user": "human", "assistant": "gpt"}
_OWN = ("conversations", "system", "tools")
_TURN = {"from", "value"}
_THOUGHT = re.compile(r"\s*<think>(?:(?!</think>).)*</think>\s*", re.DOTALL)
_CALL = frozenset({"id", "type", "function"})


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row looks like one of this format."""
    return type(row.get("conversations")) is list


def read(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the chat row of a ShareGPT row."""
    messages = []
    for number, turn in enumerate(messages_of(row, "conversations")):
        # The usual turns first: this is called once per row.
        if type(turn) is dict and turn.keys() == _TURN and type(turn["value"]) is str:
            speaker = turn["from"]
            if type(speaker) is str and speaker in _READ and speaker != "function_call":
                messages.append({"role": _READ[speaker], "content": turn["value"]})
                continue
        messages.append(_message(turn, f"conversations[{number}]", account))
    if row.get("system"):
        system = row["system"]
        if type(system) is not str:
            raise RowError("malformed system prompt", f"'system' is {describe(system)}; expected a text")
        if messages[0]["role"] == "system":
            raise RowError(
                "two system prompts", "found the field 'system' and a system turn; expected one of them"
            )
        messages.insert(0, {"role": "system", "content": system})
    made: dict[str, Any] = {"messages": messages}
    if len(row) > 1:
        if row.get("tools"):
            made["tools"] = tools_list(row["tools"], account)
        with_other_fields(made, row, _OWN, account)
    return made


def _message(turn: Any, place: str, account: Account) -> dict[str, Any]:
    if type(turn) is not dict:
        raise RowError("malformed turn", f'{place} is {describe(turn)}; expected {{"from": …, "value": …}}')
    # A turn can have both: TRL's own converter reads `from` with `content` too.
    name = "from" if "from" in turn else "role"
    value = "value" if "value" in turn else "content"
    speaker, text = turn.get(name), turn.get(value)
    role = _READ.get(speaker) if type(speaker) is str else None
    if role is None:
        expected = "expected human, gpt, system, function_call, observation or tool"
        raise RowError("unknown role", f"{place}.{name} is {describe(speaker)}; {expected}")
    message: dict[str, Any] = {"role": role}
    if speaker == "function_call":
        # LLaMA-Factory takes thinking in front of the calls.
        if type(text) is str and (thought := _THOUGHT.match(text)):
            message["content"], text = thought[0], text[thought.end() :]
        message["tool_calls"] = _calls_in(text, f"{place}.{value}", account)
    elif text is None and turn.get("tool_calls"):
        message["content"] = None
    elif type(text) is str:
        message["content"] = text
    else:
        raise RowError("a turn without text", f"{place}.{value} is {describe(text)}; expected a text")
    for key, item in turn.items():
        if key in (name, value):
            continue
        if item is None:  # as tables have it in the turns that lack a field
            account.change(EMPTY)
        elif key in message or key in PLAIN:
            account.lose("other fields of messages", f"{place}.{key} has a meaning in a chat row")
        else:
            message[key] = item
    return message


def _calls_in(text: Any, place: str, account: Account) -> list[Any]:
    value = parsed(text, "function calls", place) if type(text) is str else text
    calls = []
    for number, call in enumerate(value if type(value) is list else [value]):
        where = f"{place}[{number}]" if type(value) is list else place
        if type(call) is dict and "function" in call:
            function_of(call, where)
            calls.append(call)
            continue
        if type(call) is not dict or type(call.get("name")) is not str:
            expected = 'expected {"name": …, "arguments": {…}}'
            raise RowError("malformed tool calls", f"{where} is {describe(call)}; {expected}")
        lose_rest(call, ("id", "name", "arguments"), where, account)
        made = {"id": call["id"]} if "id" in call else {}
        function = {key: call[key] for key in ("name", "arguments") if key in call}
        calls.append({**made, "type": "function", "function": function})
    return calls


def write(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the ShareGPT row of a chat row."""
    turns = []
    for number, message in enumerate(messages_of(row)):
        if type(message) is dict and message.keys() == PLAIN and type(message["content"]) is str:
            role = message["role"]
            if type(role) is str and role in _WRITE:
                turns.append({"from": _WRITE[role], "value": message["content"]})
                continue
        turns.append(_turn(message, f"messages[{number}]", account))
    made: dict[str, Any] = {"conversations": turns}
    if len(row) > 1:
        if row.get("tools"):
            made["tools"] = tools_text(row["tools"], account)
        elif "tools" in row:
            account.change(EMPTY)
        rest = {key: value for key, value in row.items() if key not in ("messages", "tools")}
        # The whole conversation is rendered with it, and no ShareGPT reader asks for it.
        lose_rest({key: rest.pop(key) for key in ("chat_template_kwargs",) if key in rest}, (), "", account)
        for name in ("conversations", "system"):
            if name in rest:
                account.lose("other fields of rows", f"the field {name!r} has a meaning in {NAME}")
                del rest[name]
        made |= rest
    return made


def _turn(message: Any, place: str, account: Account) -> dict[str, Any]:
    role = role_of(message, place)
    text = text_of(message, place, account)
    calls = calls_of(message, place)
    if role == "developer":
        account.lose("the developer role", f"{place} is written as a system turn")
        role = "system"
    if role == "tool":
        if text is None:
            raise RowError("empty content", f"{place}.content is missing; expected the tool's result")
        kept = {key: message[key] for key in ("name", "tool_call_id") if message.get(key) is not None}
        lose_rest(message, {"role", "content", *kept}, place, account, role)
        return {"from": "observation", "value": text, **kept}
    lose_rest(message, ("role", "content", "tool_calls"), place, account, role)
    if calls and role != "assistant":
        account.leave_out("tool calls of other roles", f"{place} is a message of the role {role}")
    if calls:
        # Thinking stands in front of the calls, as it is read; other words have no place.
        found = _THOUGHT.match(text or "")
        thought = found[0] if found else ""
        if (text or "")[len(thought) :]:
            account.lose("content beside tool calls", f"{place}.content is {describe(text)}")
        elif not text and "content" in message:
            account.change(EMPTY)
        made = [_written(call, f"{place}.tool_calls[{n}]", account) for n, call in enumerate(calls)]
        return {"from": "function_call", "value": thought + dumped(made[0] if len(made) == 1 else made)}
    if "tool_calls" in message:
        account.change(EMPTY)
    check_said(message, text, place, account)
    return {"from": _WRITE[role], "value": text or ""}


def _written(call: Any, place: str, account: Account) -> dict[str, Any]:
    function = function_of(call, place)
    lose_rest(call, _CALL, place, account)
    lose_rest(function, ("name", "arguments"), place, account)
    if call.get("type", "function") != "function":
        account.lose("other types of tool calls", f"{place}.type is {describe(call['type'])}")
    elif "type" not in call:
        account.change("types of tool calls added")
    # Readers take the name and the arguments, so an id travels with them.
    made = {"id": call["id"]} if call.get("id") is not None else {}
    return {"name": function["name"], "arguments": arguments_of(function, place, account), **made}
