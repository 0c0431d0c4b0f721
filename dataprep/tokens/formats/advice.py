"""Advice for a row that a chat template refuses: the small changes with which it would take the row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from dataprep.core.conversations import content_text
from dataprep.core.errors import RowError
from dataprep.core.tool_calls import parsed
from dataprep.datasets.chat_rows import SYSTEM_ROLES, system_into_user

Messages = Sequence[Mapping[str, Any]]
Changed = list[Mapping[str, Any]]


def advice_for(messages: Messages, takes: Callable[[Messages], bool]) -> str:
    """Return advice that follows an error's message; an empty text if nothing here would help.

    Args:
        messages: of the row that was refused.
        takes: whether the template takes such messages.
    """
    possible = [(advice, change) for advice, change in _CHANGES.items() if change(messages) is not None]
    for size in (1, 2):
        for chosen in combinations(possible, size):
            changed: Messages | None = messages
            for _, change in chosen:
                changed = change(changed) if changed is not None else None
            if changed is not None and takes(changed):
                return f"; it takes {' and '.join(advice for advice, _ in chosen)}"
    return ""


def _developer_as_system(messages: Messages) -> Changed | None:
    return _each(messages, lambda message: message.get("role") == "developer", lambda _: {"role": "system"})


def _system_into_user(messages: Messages) -> Changed | None:
    if not any(message.get("role") in SYSTEM_ROLES for message in messages):
        return None
    try:
        return [*system_into_user({"messages": [dict(message) for message in messages]})["messages"]]
    except RowError:
        return None


def _with_contents(messages: Messages) -> Changed | None:
    return _each(messages, lambda message: "content" not in message, lambda _: {"content": ""})


def _with_texts(messages: Messages) -> Changed | None:
    return _each(
        messages,
        lambda message: isinstance(message.get("content"), list),
        lambda message: {"content": content_text(message["content"])},
    )


def _with_parts(messages: Messages) -> Changed | None:
    return _each(
        messages,
        lambda message: isinstance(message.get("content"), str),
        lambda message: {"content": [{"type": "text", "text": message["content"]}]},
    )


def _with_objects(messages: Messages) -> Changed | None:
    return _with_arguments(messages, str, parsed)


def _with_json(messages: Messages) -> Changed | None:
    return _with_arguments(messages, dict, _as_json)


def _as_json(value: Any) -> Any:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:  # such a row is refused for its depth elsewhere
        return value


def _with_arguments(messages: Messages, kind: type, written: Callable[[Any], Any]) -> Changed | None:
    def has_some(message: Mapping[str, Any]) -> bool:
        return any(isinstance(call["function"].get("arguments"), kind) for call in _calls_of(message))

    def rewritten(message: Mapping[str, Any]) -> dict[str, Any]:
        return {"tool_calls": [_rewritten(call, kind, written) for call in _calls_of(message)]}

    return _each(messages, has_some, rewritten)


def _rewritten(call: Mapping[str, Any], kind: type, written: Callable[[Any], Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if isinstance(function.get("arguments"), kind):
        function["arguments"] = written(function["arguments"])
    return {**call, "function": function}


def _calls_of(message: Mapping[str, Any]) -> list[Any]:
    """Return the tool calls of a message if all of them are well-formed."""
    calls = message.get("tool_calls")
    sound = isinstance(calls, list) and all(
        isinstance(call, dict) and isinstance(call.get("function"), dict) for call in calls
    )
    return calls if sound and isinstance(calls, list) else []


def _each(
    messages: Messages,
    chosen: Callable[[Mapping[str, Any]], bool],
    change: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Changed | None:
    """Return the messages with the chosen ones changed; ``None`` if none is."""
    if not any(map(chosen, messages)):
        return None
    return [{**message, **change(message)} if chosen(message) else message for message in messages]


# From what changes a row least.
_CHANGES: dict[str, Callable[[Messages], Changed | None]] = {
    "the role 'system' in place of 'developer'": _developer_as_system,
    'messages without a content if they have "content": ""': _with_contents,
    "contents that are one string, and no list of parts": _with_texts,
    "tool calls with arguments that are objects, and no JSON text": _with_objects,
    "tool calls with arguments that are JSON text, and no objects": _with_json,
    "the system text in the user's message: `dataprep convert chat --system-into-user`": _system_into_user,
    "contents that are lists of parts, and no string": _with_parts,
}
