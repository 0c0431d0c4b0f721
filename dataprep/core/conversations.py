"""Read chat rows, and check that they are well-formed.

A chat row is a JSON object with a list ``messages``, and optionally with ``tools`` and
``chat_template_kwargs``, as ``apply_chat_template`` of ``transformers`` takes them. The last message is an
assistant's. The chat formats check the order of the roles, because it depends on the model.

A message has a ``role`` of ``ROLES`` and a ``content``: a string, or a list of parts of type text. An
assistant's message can have reasoning (``REASONING_FIELDS``) and ``tool_calls``, with or without content. A
tool's message can have ``tool_call_id`` and ``name``. ``loss`` says whether a message is learned.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.ignored_fields import (
    IGNORED,
    LOSS_FIELDS,
    MESSAGE_KEYS,
    NOT_VARIABLES,
    REASONING_FIELDS,
    Finding,
    find_ignored,
    is_empty,
    unknown_names,
)
from dataprep.core.jsonl import find_lost, parse_line
from dataprep.core.records import describe
from dataprep.core.tool_calls import find_in_calls, find_in_tools, parsed, tools_of

__all__ = [
    "IGNORED",
    "LOSS_FIELDS",
    "REASONING_FIELDS",
    "ROLES",
    "Finding",
    "content_text",
    "find_ignored",
    "find_in",
    "find_in_line",
    "find_in_row",
    "loss_of",
    "parsed_row",
    "plain_roles",
    "reasoning_of",
    "split_thinking",
    "stripped",
    "tools_of",
]

ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles of messages."""

_THINKING = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)
_LOSS_VALUES = {"loss": "true or false", "train": "true or false", "weight": "0 or 1"}


def content_text(content: Any) -> str:
    """Return the text of a message's content: its parts joined, nothing for null.

    >>> content_text([{"type": "text", "text": "2 + 2"}, {"type": "text", "text": " = 4"}])
    '2 + 2 = 4'
    """
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content) if content else ""


def parsed_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row for a template: ``tools`` and ``chat_template_kwargs`` that are JSON text are parsed."""
    texts = [name for name in ("tools", "chat_template_kwargs") if isinstance(row.get(name), str)]
    return {**row, **{name: parsed(row[name]) for name in texts}} if texts else row


def stripped(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without white space around the contents that are texts."""
    return [
        {**message, "content": message["content"].strip()}
        if isinstance(message.get("content"), str)
        else dict(message)
        for message in messages
    ]


def reasoning_of(message: Mapping[str, Any]) -> str | None:
    """Return the reasoning of a message as it stands there; ``None`` if there is none."""
    for name in REASONING_FIELDS:
        text = message.get(name)
        if isinstance(text, str) and text.strip():
            return text
    return None


def loss_of(message: Mapping[str, Any]) -> bool | None:
    """Return whether a message says that it is learned; ``None`` if it does not say it."""
    return next((bool(message[name]) for name in LOSS_FIELDS if message.get(name) is not None), None)


def split_thinking(row: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return the row with ``<think>…</think>`` at the beginning of assistants' contents as reasoning.

    The newlines around the thinking are removed, as the templates of models that think write and remove
    them. A message that has reasoning already stays as it is, and so does thinking that does not end.

    >>> split_thinking({"messages": [{"role": "assistant", "content": "<think>\n2+2\n</think>\n\n4"}]})
    {'messages': [{'role': 'assistant', 'content': '4', 'reasoning_content': '2+2'}]}
    """
    messages = row.get("messages")
    return {**row, "messages": list(map(_split, messages))} if isinstance(messages, list) else dict(row)


def _split(message: Any) -> Any:
    if not isinstance(message, dict) or message.get("role") != "assistant" or reasoning_of(message):
        return message
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    first = parts[0] if parts and isinstance(parts[0], dict) else {}
    if not isinstance(text := first.get("text"), str) or (found := _THINKING.match(text)) is None:
        return message
    thinking, rest = found[1].strip("\n"), text[found.end() :].lstrip("\n")
    changed = {
        **message,
        "content": rest if isinstance(content, str) else [{**first, "text": rest}, *parts[1:]],
    }
    # An empty block is what templates write for a model that does not think.
    return {**changed, "reasoning_content": thinking} if thinking.strip() else changed


def find_in(
    item: bytes | Any,
    *,
    strict: bool = False,
    strict_tools: bool = False,
    unknown: Counter[str] | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong with a row as ``read_items`` gives it: a line, or a parsed value."""
    if isinstance(item, bytes):
        yield from find_in_line(item, strict=strict, strict_tools=strict_tools, unknown=unknown)
    elif isinstance(item, dict):
        yield from find_in_row(item, strict=strict, strict_tools=strict_tools, unknown=unknown)
    else:
        yield Finding("not a JSON object", f"found {describe(item)}")


def find_in_line(
    line: bytes, *, strict: bool = False, strict_tools: bool = False, unknown: Counter[str] | None = None
) -> Iterator[Finding]:
    """Yield what is wrong with a line of a chat file."""
    try:
        row = parse_line(line)
    except RowError as error:
        yield Finding(error.reason, error.detail)
        return
    yield from (Finding(error.reason, error.detail) for error in find_lost(line, row))
    yield from find_in_row(row, strict=strict, strict_tools=strict_tools, unknown=unknown)


def find_in_row(
    row: dict[str, Any],
    *,
    strict: bool = False,
    strict_tools: bool = False,
    unknown: Counter[str] | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong with a parsed chat row.

    Args:
        row: the row.
        strict: keys of messages that dataprep does not know are findings too.
        strict_tools: the arguments of tool calls must fit the JSON Schema of their tool.
        unknown: counts the messages with each unknown key.
    """
    if "messages" not in row:
        fields = ", ".join(map(repr, row)) or "none"
        yield Finding("no messages", f"expected a field 'messages'; the row's fields are {fields}")
        return
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        yield Finding("no messages", f"'messages' is {describe(messages)}; expected a non-empty list")
        return
    if len(row) > 1:
        yield from find_ignored(row)
        yield from _find_in_fields(row, strict_tools)
    if plain_roles(messages) is not None:
        return
    roles = []
    for number, message in enumerate(messages):
        role, findings = _look_at(message, f"messages[{number}]", strict)
        roles.append(role)
        yield from findings
        if unknown is not None and isinstance(message, dict):
            unknown.update(_unknown_in(message))
    yield from find_in_calls(messages, tools_of(row), strict_tools=strict_tools)
    # With an unknown role, a second finding about the order would only repeat the first.
    if None not in roles and roles[-1] != "assistant":
        shown = " ".join(map(str, roles))
        yield Finding("no assistant at the end", f"found {shown}; expected an assistant message last")


def _unknown_in(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield the unknown keys of a message that say something, and those of the parts of its content."""
    yield from (name for name in unknown_names(tuple(message)) if not is_empty(message[name]))
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else ()
    names = (name for part in parts for name, value in part.items() if not is_empty(value))
    yield from (f"content[].{name}" for name in names if name not in ("type", "text"))


def plain_roles(messages: Any) -> tuple[str, ...] | None:
    """Return the roles of sound messages that have a role and a text and nothing else, or ``None``."""
    # Nearly all messages are such: one list for roles, one for contents, a cached check of the roles.
    try:
        roles = tuple([message["role"] for message in messages])
        contents = [message["content"] for message in messages]
        alone = sum(map(len, messages)) == 2 * len(roles)
        return roles if alone and _are_plain(roles) and all(map(str.strip, contents)) else None
    except (TypeError, KeyError, IndexError):
        return None


@lru_cache(maxsize=256)
def _are_plain(roles: tuple[str, ...]) -> bool:
    # The result of a tool belongs to a call, so the messages must be looked at.
    return roles[-1] == "assistant" and "tool" not in roles and all(role in ROLES for role in roles)


def _find_in_fields(row: Mapping[str, Any], strict_tools: bool) -> Iterator[Finding]:
    if "tools" in row:
        yield from find_in_tools(row, schemas=strict_tools)
    value = row.get("chat_template_kwargs")
    if is_empty(inner := parsed(value)):
        return
    if not isinstance(inner, dict):
        expected = "expected an object, or JSON text of one"
        yield Finding(
            "malformed chat_template_kwargs",
            f"the field 'chat_template_kwargs' is {describe(value)}; {expected}",
        )
        return
    for name in inner:
        if name in NOT_VARIABLES and inner[name] is not False and not is_empty(inner[name]):
            found = f"chat_template_kwargs.{name} is {describe(inner[name])}"
            yield Finding(IGNORED, f"{found}; it is no variable of a template, and has no effect; remove it")


def _look_at(message: Any, place: str, strict: bool) -> tuple[str | None, list[Finding]]:
    """Return a message's role, or ``None`` if it is unknown, and what is wrong with the message."""
    if not isinstance(message, dict):
        expected = 'expected {"role": …, "content": …}'
        return None, [Finding("malformed message", f"{place} is {describe(message)}; {expected}")]
    findings = []
    role = message.get("role")
    if role not in ROLES:
        found = describe(role) if "role" in message else "missing"
        detail = f"{place}.role is {found}; expected one of {', '.join(ROLES)}"
        findings.append(Finding("unknown role", detail))
    findings += _find_in_content(message, role, place)
    findings += find_ignored(message, place)
    findings += _find_in_texts(message, role, place)
    findings += _find_in_loss(message, place)
    if strict:
        known = ", ".join(sorted(MESSAGE_KEYS))
        findings += [
            Finding("unknown key", f"{place} has {name!r}; dataprep knows the keys {known}; remove it")
            for name in _unknown_in(message)
        ]
    return (role if role in ROLES else None), findings


def _find_in_content(message: Mapping[str, Any], role: Any, place: str) -> Iterator[Finding]:
    content = message.get("content")
    says_more = role == "assistant" and (
        reasoning_of(message) is not None or not is_empty(message.get("tool_calls"))
    )
    if isinstance(content, list):
        for number, part in enumerate(content):
            if finding := _look_at_part(part, f"{place}.content[{number}]"):
                yield finding
                return
    elif not isinstance(content, str) and not (content is None and says_more):
        found = describe(content) if "content" in message else "missing"
        expected = "expected a string, or a list of parts of type text"
        yield Finding("content is no string", f"{place}.content is {found}; {expected}")
        return
    # A tool that returns nothing has an empty result.
    if not content_text(content).strip() and not says_more and role != "tool":
        yield Finding("empty content", f"{place}.content is {describe(content)}")


def _look_at_part(part: Any, place: str) -> Finding | None:
    kind = "content part that is no text"
    if not isinstance(part, dict):
        return Finding(kind, f'{place} is {describe(part)}; expected {{"type": "text", "text": …}}')
    if part.get("type") != "text":
        hint = "dataprep reads text only: remove the part, or leave the row out"
        return Finding(kind, f"{place}.type is {describe(part.get('type'))}; expected 'text'; {hint}")
    if not isinstance(part.get("text"), str):
        return Finding(kind, f"{place}.text is {describe(part.get('text'))}; expected a string")
    return None


def _find_in_texts(message: Mapping[str, Any], role: Any, place: str) -> Iterator[Finding]:
    """Yield what is wrong with the reasoning of a message and with its names and ids."""
    for name in (*REASONING_FIELDS, "name", "tool_call_id"):
        if name in message and not isinstance(value := message[name], str | None) and not is_empty(value):
            yield Finding("field is no string", f"{place}.{name} is {describe(value)}; expected a string")
    texts = {message[name] for name in REASONING_FIELDS if isinstance(message.get(name), str)} - {""}
    if len(texts) > 1:
        names = " and ".join(name for name in REASONING_FIELDS if message.get(name))
        yield Finding("several reasoning texts", f"{place} has {names}, which differ; keep one of them")
    owners = {**dict.fromkeys((*REASONING_FIELDS, "tool_calls"), "assistant"), "tool_call_id": "tool"}
    for name, owner in owners.items():
        if role in ROLES and role != owner and not is_empty(message.get(name)):
            found = f"{place}.{name} is {describe(message[name])}; its role is {role!r}"
            yield Finding(IGNORED, f"{found}, and only {owner} messages have it; remove the field")


def _find_in_loss(message: Mapping[str, Any], place: str) -> Iterator[Finding]:
    marks = {name: message[name] for name in LOSS_FIELDS if message.get(name) is not None}
    for name, value in marks.items():
        if not isinstance(value, bool) and not (
            name == "weight" and isinstance(value, int | float) and value in (0, 1)
        ):
            expected = f"expected {_LOSS_VALUES[name]}"
            yield Finding("malformed loss mark", f"{place}.{name} is {describe(value)}; {expected}")
            return
    if len(set(map(bool, marks.values()))) > 1:
        found = ", ".join(f"{name} {describe(value)}" for name, value in marks.items())
        yield Finding("loss marks that differ", f"{place} has {found}; keep one of them")
