"""Count what chat rows have beside texts: tools, tool calls, reasoning, loss marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from dataprep.core.conversations import content_text, loss_of, reasoning_of, tools_of
from dataprep.core.errors import RowError
from dataprep.core.ignored_fields import is_empty
from dataprep.core.records import describe

REASONING, CALLS = "reasoning", "tool calls"
"""The names under which texts that are not contents are described."""
_ONLY_TEXTS = {str}


class ChatCounts:
    """Counts the messages of chat rows by role, and what the rows have beside contents."""

    def __init__(self) -> None:
        self._roles: Counter[tuple[str, ...]] = Counter()  # rows by their roles, of which there are few
        self._parts: Counter[str] = Counter()

    def to_json(self) -> dict[str, Any]:
        """Return the counts as lists and objects, for ``merge``."""
        roles = [[list(roles), rows] for roles, rows in self._roles.items()]
        return {"roles": roles, "parts": dict(self._parts)}

    def merge(self, counts: Mapping[str, Any]) -> None:
        """Add the counts of rows that follow."""
        for roles, rows in counts["roles"]:
            self._roles[tuple(roles)] += rows
        self._parts.update(counts["parts"])

    def roles(self) -> dict[str, int]:
        """Return the number of messages by role."""
        counts: Counter[str] = Counter()
        for roles, rows in self._roles.items():
            for role in roles:
                counts[role] += rows
        return dict(counts)

    def parts(self) -> dict[str, int]:
        """Return the numbers of what occurs beside contents."""
        return dict(+self._parts)

    def add(self, row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Count a chat row, and return its texts: contents by role, reasoning, and tool calls as JSON.

        Raises:
            RowError: a message is malformed.
        """
        messages = row["messages"]
        if not isinstance(messages, list):
            raise RowError("'messages' is not a list", f"found {describe(messages)}")
        if "tools" in row and (tools := tools_of(row)):
            self._parts["rows with tools"] += 1
            self._parts["tools"] += len(tools)
        if "chat_template_kwargs" in row and not is_empty(row["chat_template_kwargs"]):
            self._parts["rows with chat_template_kwargs"] += 1
        if (plain := self._plain(messages)) is not None:
            return plain
        texts = list(self._look_at(messages))
        self._roles[tuple([str(message.get("role")) for message in messages])] += 1
        return texts

    def _plain(self, messages: list[Any]) -> Iterable[tuple[str, str]] | None:
        """Count messages that have roles and contents alone, as nearly all have, and return these."""
        try:
            roles = tuple([message["role"] for message in messages])
            contents = [message["content"] for message in messages]
            if sum(map(len, messages)) != 2 * len(roles) or {*map(type, contents)} - _ONLY_TEXTS:
                return None
            if roles not in self._roles and {*map(type, roles)} - _ONLY_TEXTS:
                return None
        except (TypeError, KeyError):
            return None
        self._roles[roles] += 1
        return zip(roles, contents, strict=True)

    def _look_at(self, messages: list[Any]) -> Iterator[tuple[str, str]]:
        for message in messages:
            if not isinstance(message, dict):
                raise _malformed(message)
            reasoning, calls = reasoning_of(message), message.get("tool_calls")
            if reasoning is not None:
                self._parts["reasoning texts"] += 1
                yield REASONING, reasoning
            if message.get("content") is not None:
                yield str(message.get("role")), _text_of(message)
            elif reasoning is None and is_empty(calls):
                raise _malformed(message)
            if not is_empty(calls):
                self._parts["tool calls"] += len(calls) if isinstance(calls, list) else 1
                yield CALLS, _json_of(calls)
            if (mark := loss_of(message)) is not None:
                self._parts["loss: true" if mark else "loss: false"] += 1


def _text_of(message: Mapping[str, Any]) -> str:
    try:
        text = content_text(message["content"])
    except (TypeError, KeyError):
        raise _malformed(message) from None
    return text


def _json_of(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError as error:  # nested too deeply
        raise RowError("a row that JSON cannot hold", str(error)) from None


def _malformed(message: Any) -> RowError:
    return RowError("malformed message", f"found {describe(message)}; try `dataprep validate`")
