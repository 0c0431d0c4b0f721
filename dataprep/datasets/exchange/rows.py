"""Take chat rows apart for the formats: messages, contents, tool calls, tools, and the fields around them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import orjson

from dataprep.core.conversations import LOSS_FIELDS, REASONING_FIELDS, ROLES, reasoning_of
from dataprep.core.errors import RowError
from dataprep.core.jsonl import find_lost
from dataprep.core.records import describe
from dataprep.datasets.exchange.account import DEFAULT_MARKS, EMPTY, Account

_ROLES = frozenset(ROLES)
PLAIN = {"role", "content"}
"""The fields of most messages."""
MARKS = frozenset(LOSS_FIELDS)

# Names of fields in the counts. Other fields share one name: with a count per field, the data would decide
# the number of counts.
_KINDS = {
    **dict.fromkeys(REASONING_FIELDS, "reasoning"),
    **dict.fromkeys(LOSS_FIELDS, "loss marks"),
    "tool_calls": "tool calls",
    "tool_call_id": "ids of tool calls",
    "name": "names of messages",
    "tools": "tools",
    "chat_template_kwargs": "chat_template_kwargs",
}
_HINTS = {
    "reasoning": "; --think-tags writes it into the content",
    "loss marks": "; --to axolotl carries them",
}


def messages_of(row: Mapping[str, Any], field: str = "messages") -> list[Any]:
    """Return the messages of a row; raise ``RowError`` if it has none."""
    messages = row.get(field)
    if type(messages) is list and messages:
        return messages
    if field not in row:
        fields = ", ".join(map(repr, row)) or "none"
        raise RowError(f"no {field}", f"expected a field {field!r}; the row's fields are {fields}")
    raise RowError(f"no {field}", f"{field!r} is {describe(messages)}; expected a non-empty list")


def role_of(message: Any, place: str) -> str:
    """Return the role of a message; raise ``RowError`` if it is not one of ``ROLES``."""
    if type(message) is not dict:
        raise RowError("malformed message", f'{place} is {describe(message)}; expected {{"role": …}}')
    role = message.get("role")
    if type(role) is not str or role not in _ROLES:
        expected = "system, developer, user, assistant or tool"
        raise RowError("unknown role", f"{place}.role is {describe(role)}; expected {expected}")
    return role


def is_empty(value: Any) -> bool:
    """Return whether a value says nothing, as tables have it in rows that lack a field."""
    return value is None or (type(value) in (str, list, dict) and not value)


def text_of(message: Mapping[str, Any], place: str, account: Account) -> str | None:
    """Return a message's content as one text; ``None`` if it is absent or null."""
    content = message.get("content")
    if content is None or type(content) is str:
        return content
    parts = _text_parts(content, place, account)
    account.change("text parts joined")
    return "".join([part["text"] for part in parts])


def _text_parts(content: Any, place: str, account: Account) -> list[dict[str, Any]]:
    """Return the parts of a content that are texts; the others are lost."""
    if type(content) is not list:
        found = f"{place}.content is {describe(content)}"
        raise RowError("content is no text", f"{found}; expected a string or a list of text parts")
    parts = []
    for number, part in enumerate(content):
        if type(part) is dict and part.get("type") == "text" and type(part.get("text")) is str:
            parts.append(part)
        else:
            kind = part.get("type") if type(part) is dict else part
            found = f"{place}.content[{number}] is a part of type {describe(kind)}"
            account.lose("parts of contents that are no text", found)
    return parts


def readable(message: Mapping[str, Any], place: str, account: Account) -> dict[str, Any]:
    """Return a message of another tool's row as a chat row can have it: it says something, in texts only."""
    role_of(message, place)
    content = message.get("content")
    if type(content) is str:
        return dict(message)
    if content is None:
        if message.get("tool_calls") or reasoning_of(message):
            return dict(message)
        found = f"{place}.content is {'null' if 'content' in message else 'missing'}"
        raise RowError("a message without content", f"{found}; expected a text, or tool calls")
    parts = _text_parts(content, place, account)
    if content and not parts:
        account.leave_out("messages without text", f"{place} has no part of type text")
    return {**message, "content": parts}


def check_said(message: Mapping[str, Any], text: Any, place: str, account: Account) -> None:
    """Leave out a row with a message that says nothing once its reasoning is lost."""
    # A model would learn to answer with nothing.
    if text is None or (not text and reasoning_of(message)):
        account.leave_out("messages without content", f"{place} has neither a content nor tool calls")


def lose_rest(
    message: Mapping[str, Any], carried: Container[str], place: str, account: Account, role: str = ""
) -> None:
    """Count the fields of a message or a row that are not among the carried ones."""
    for name, value in message.items():
        if name in carried:
            continue
        if is_empty(value):
            account.change(EMPTY)
        elif name in LOSS_FIELDS and role and bool(value) == (role == "assistant"):
            account.change(DEFAULT_MARKS)
        else:
            kind = _KINDS.get(name, "other fields of messages" if place else "other fields of rows")
            where = f"{place}.{name}" if place else f"the field {name!r}"
            account.lose(kind, f"{where} is {describe(value)}{_HINTS.get(kind, '')}")


def with_other_fields(
    made: dict[str, Any], row: Mapping[str, Any], own: Container[str], account: Account
) -> dict[str, Any]:
    """Add the fields of a row that are not the source format's own; they keep their names and values."""
    for name, value in row.items():
        if name in own:
            continue
        if name in made:
            account.lose("other fields of rows", f"the field {name!r} has a meaning in {account.target}")
        else:
            made[name] = value
    return made


def with_row_fields(
    made: dict[str, Any],
    row: Mapping[str, Any],
    account: Account,
    *,
    reserved: Container[str] = (),
    lost: Container[str] = (),
    tools: Callable[[Any, Account], Any] | None = None,
) -> dict[str, Any]:
    """Add the fields of a chat row beside its messages; they keep their names and order.

    Args:
        made: the row in the target format; it is changed and returned.
        row: the chat row.
        account: counts what does not come through.
        reserved: the names that mean something else in the target format.
        lost: the names that the target format has no place for.
        tools: writes the tools. Defaults to ``tools_text``.
    """
    if len(row) == 1:  # nearly all rows
        return made
    for name, value in row.items():
        if name in lost:
            lose_rest({name: value}, (), "", account)
        elif name in reserved:
            account.lose("other fields of rows", f"the field {name!r} has a meaning in {account.target}")
        elif name == "tools":
            # Empty, it would say that the chat has tools.
            if value:
                made[name] = (tools or tools_text)(value, account)
            else:
                account.change(EMPTY)
        elif name != "messages":
            made[name] = value
    return made


def parsed(text: str, what: str, place: str) -> Any:
    """Parse a JSON text inside a row; raise ``RowError`` if it is none, or the parser would lose a part."""
    line = text.encode("utf-8", "surrogatepass")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = f"{place} is {describe(text)}"
        raise RowError(f"{what} that are no JSON", f"{found}; expected a JSON text") from None
    for problem in find_lost(line, value):
        raise problem
    return value


def dumped(value: Any) -> str:
    """Return a value as JSON text."""
    return orjson.dumps(value).decode()


def tools_text(tools: Any, account: Account) -> str:
    """Return the tools of a chat row as JSON text."""
    if type(tools) is str:
        account.change("tools given as JSON text")
        return tools
    if type(tools) is not list:
        raise RowError("malformed tools", f"'tools' is {describe(tools)}; expected a list of schemas")
    return dumped(tools)


def tools_list(tools: Any, account: Account) -> list[Any]:
    """Return the tools of another format, a list or its JSON text, as a chat row has them."""
    value = parsed(tools, "tools", "'tools'") if type(tools) is str else tools
    if type(value) is not list:
        raise RowError("malformed tools", f"'tools' is {describe(value)}; expected a list of schemas")
    made = []
    for number, tool in enumerate(value):
        if type(tool) is not dict:
            raise RowError("malformed tools", f"tools[{number}] is {describe(tool)}; expected an object")
        # Bare functions, as in OpenAI's old `functions` and in many tool-calling sets.
        if "function" not in tool and "type" not in tool and "name" in tool:
            account.change("functions wrapped as tools")
            made.append({"type": "function", "function": tool})
        else:
            made.append(tool)
    return made


def calls_of(message: Mapping[str, Any], place: str) -> list[Any]:
    """Return the tool calls of a message, which may be none."""
    calls = message.get("tool_calls")
    if calls is None:
        return []
    if type(calls) is not list:
        raise RowError("malformed tool calls", f"{place}.tool_calls is {describe(calls)}; expected a list")
    return calls


def function_of(call: Any, place: str) -> dict[str, Any]:
    """Return the function of a tool call, which has a name."""
    function = call.get("function") if type(call) is dict else None
    if type(function) is not dict or type(function.get("name")) is not str:
        expected = 'expected {"type": "function", "function": {"name": …, "arguments": …}}'
        raise RowError("malformed tool calls", f"{place} is {describe(call)}; {expected}")
    return function


def arguments_of(function: Mapping[str, Any], place: str, account: Account) -> Any:
    """Return the arguments of a function as an object."""
    arguments = function.get("arguments")
    if type(arguments) is str:
        account.change("arguments given as JSON text")
        arguments = parsed(arguments, "arguments", f"{place}.arguments") if arguments.strip() else {}
    elif arguments is None:
        account.change("calls without arguments")
        arguments = {}
    if type(arguments) is not dict:
        found = f"{place}.arguments is {describe(arguments)}"
        raise RowError("malformed tool calls", f"{found}; expected an object or its JSON text")
    return arguments


def all_plain(messages: Iterable[Any]) -> bool:
    """Return whether all messages have a known role, a text, and nothing else."""
    for message in messages:
        if (
            type(message) is not dict
            or len(message) != 2
            # A missing field is no text either.
            or type(message.get("content")) is not str
            or type(role := message.get("role")) is not str
            or role not in _ROLES
        ):
            return False
    return True


def mark_of(message: Mapping[str, Any], place: str) -> bool | None:
    """Return whether a message is marked for the loss; ``None`` if it has no mark."""
    if MARKS.isdisjoint(message):  # as nearly all messages are: this is called once per message
        return None
    marks = {name: message[name] for name in LOSS_FIELDS if message.get(name) is not None}
    for name, value in marks.items():
        if type(value) not in (bool, int, float) or value not in (0, 1):
            found = f"{place}.{name} is {describe(value)}"
            raise RowError("malformed loss mark", f"{found}; expected true, false, 1 or 0")
    if len({bool(value) for value in marks.values()}) > 1:
        raise RowError("contradicting loss marks", f"{place} has {marks}; expected one of them")
    return next((bool(value) for value in marks.values()), None)
