"""Conversations of OpenAI's harmony library: ``{"messages": [{"role": …, "channel": …, "content": …}]}``.

``Conversation.to_json`` of ``openai-harmony`` writes them, and pydantic does with an ``author``. A content is
a text, or a list of parts of type ``text``, ``system_content`` (identity, effort, dates) and
``developer_content`` (instructions and tools). An assistant's turn is several messages, told apart by their
channel and recipient:

====================================  =====================================
harmony                               chat row
====================================  =====================================
channel ``analysis``                  ``reasoning_content`` of what follows
recipient ``functions.NAME``          a tool call
channel ``final``, or none            content
role ``tool``, name ``functions.NAME``  a tool message with ``name``
====================================  =====================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import describe
from dataprep.datasets.exchange.account import Account
from dataprep.datasets.exchange.rows import (
    is_empty,
    lose_rest,
    messages_of,
    role_of,
    tools_list,
    with_other_fields,
)

NAME = "harmony-json"
REFINES = "openai"
_MESSAGE = frozenset({"role", "name", "content", "channel", "recipient", "content_type"})
_HEADER = ("channel", "recipient", "content_type")
_PARTS = ("system_content", "developer_content")
_FUNCTIONS = "functions."
# Settings that gpt-oss's template writes by itself.
_STANDARD = {
    "type": "system_content",
    "knowledge_cutoff": "2024-06",
    "channel_config": {"valid_channels": ["analysis", "commentary", "final"], "channel_required": True},
}
_BUILT_IN = ("browser", "python")


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row looks like one of this format."""
    messages = row.get("messages")
    if type(messages) is not list:
        return False
    for message in messages:
        if type(message) is not dict:
            continue
        if type(message.get("author")) is dict:
            return True
        content = message.get("content")
        parts = content if type(content) is list else []
        if any(name in message for name in _HEADER):
            return True
        if any(type(part) is dict and part.get("type") in _PARTS for part in parts):
            return True
    return False


def read(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the chat row of a harmony conversation."""
    reader = _Reader(account)
    for number, message in enumerate(messages_of(row)):
        reader.take(message, f"messages[{number}]")
    made: dict[str, Any] = {"messages": reader.finish()}
    if reader.tools:
        made["tools"] = tools_list(reader.tools, account)
    if reader.settings:
        made["chat_template_kwargs"] = reader.settings
    return with_other_fields(made, row, ("messages",), account)


class _Reader:
    """Collect the messages of a chat row; an assistant's turn is complete when something else follows."""

    def __init__(self, account: Account) -> None:
        self.tools: list[Any] = []
        self.settings: dict[str, Any] = {}
        self._account = account
        self._messages: list[dict[str, Any]] = []
        self._reasoning: list[str] = []

    def take(self, message: Any, place: str) -> None:
        """Take the next message."""
        author = message.get("author") if type(message) is dict else None
        if type(author) is dict:  # as pydantic writes a message, in place of `to_dict`
            message = author | {name: value for name, value in message.items() if name != "author"}
        role = role_of(message, place)
        lose_rest(message, _MESSAGE, place, self._account)
        if role == "assistant":
            self._assistant(message, place)
            return
        self._flush()
        content = self._text(message, place)
        if role == "tool":
            name = message.get("name")
            if type(name) is not str:
                raise RowError("a tool result without a name", f"{place}.name is {describe(name)}")
            made = {"role": "tool", "name": name.removeprefix(_FUNCTIONS), "content": content or ""}
            self._messages.append(made)
        elif content is not None:
            self._messages.append({"role": role, "content": content, **_name_of(message)})
        elif message.get("name") is not None:
            self._account.lose("names of messages", f"{place} has settings only")

    def finish(self) -> list[dict[str, Any]]:
        """Return the messages of the chat row."""
        self._flush()
        if not self._messages:
            raise RowError("no messages", "found system settings only; expected a conversation")
        return self._messages

    def _assistant(self, message: Mapping[str, Any], place: str) -> None:
        channel, recipient = message.get("channel"), message.get("recipient")
        text = self._text(message, place) or ""
        if message.get("name") is not None and (channel == "analysis" or recipient not in (None, "all")):
            self._account.lose("names of messages", f"{place}.name is {describe(message['name'])}")
        if recipient not in (None, "all"):
            self._call(recipient, text, place)
        elif channel == "analysis":
            self._reasoning.append(text)
        elif channel in ("final", "commentary", None):
            if channel == "commentary":
                # The template has no place for it: as content it would be a final answer.
                self._account.lose("words beside tool calls (channel commentary)", f"{place} has them")
                return
            made = {"role": "assistant", **self._thought(), "content": text, **_name_of(message)}
            self._messages.append(made)
        else:
            expected = "expected analysis, commentary or final"
            raise RowError("unknown channel", f"{place}.channel is {describe(channel)}; {expected}")

    def _call(self, recipient: Any, text: str, place: str) -> None:
        if type(recipient) is not str:
            raise RowError("unknown recipient", f"{place}.recipient is {describe(recipient)}")
        name = recipient.removeprefix(_FUNCTIONS)
        if name == recipient:
            self._account.leave_out("calls of built-in tools", f"{place}.recipient is {describe(recipient)}")
        call = {"type": "function", "function": {"name": name, "arguments": text}}
        self._messages.append({"role": "assistant", **self._thought(), "tool_calls": [call]})

    def _thought(self) -> dict[str, str]:
        if not self._reasoning:
            return {}
        if len(self._reasoning) > 1:
            self._account.change("analysis messages joined")
        text = "\n".join(self._reasoning)
        self._reasoning = []
        return {"reasoning_content": text}

    def _flush(self) -> None:
        if self._reasoning:
            self._messages.append({"role": "assistant", **self._thought()})

    def _text(self, message: Mapping[str, Any], place: str) -> str | None:
        content = message.get("content")
        if type(content) is str:
            return content
        if type(content) is not list:
            found = f"{place}.content is {describe(content)}"
            raise RowError("content is no text", f"{found}; expected a text or a list of parts")
        texts: list[str] = []
        for number, part in enumerate(content):
            where = f"{place}.content[{number}]"
            kind = part.get("type") if type(part) is dict else None
            if kind == "text" and type(part.get("text")) is str:
                texts.append(part["text"])
            elif kind == "system_content":
                self._system(part, where)
            elif kind == "developer_content":
                texts += self._developer(part, where)
            else:
                expected = "expected text, system_content or developer_content"
                raise RowError("unknown content", f"{where} is {describe(part)}; {expected}")
        if len(texts) > 1:
            self._account.change("text parts joined")
        return "".join(texts) if texts else None

    def _system(self, part: Mapping[str, Any], place: str) -> None:
        for name, value in part.items():
            if is_empty(value) or _STANDARD.get(name) == value:
                continue
            if name == "model_identity":
                self.settings[name] = value
            elif name == "reasoning_effort" and type(value) is str:
                self.settings[name] = value.lower()  # as the template's own argument
            elif name == "tools" and type(value) is dict and all(key in _BUILT_IN for key in value):
                self.settings["builtin_tools"] = list(value)
                self._account.change("descriptions of built-in tools left to the template")
            else:
                found = f"{place}.{name} is {describe(value)}"
                self._account.lose("settings of the system message", found)

    def _developer(self, part: Mapping[str, Any], place: str) -> list[str]:
        spaces = part.get("tools") or {}
        if type(spaces) is not dict:
            raise RowError("malformed tools", f"{place}.tools is {describe(spaces)}; expected an object")
        for space, config in spaces.items():
            if space != "functions" or type(config) is not dict or type(config.get("tools")) is not list:
                found = f"{place}.tools has the namespace {describe(space)}"
                self._account.lose("tools outside of functions", found)
                continue
            lose_rest(config, ("name", "tools"), f"{place}.tools.functions", self._account)
            # pydantic writes an absent schema as null.
            functions = [
                {key: value for key, value in tool.items() if value is not None}
                if type(tool) is dict
                else tool
                for tool in config["tools"]
            ]
            self.tools += [{"type": "function", "function": function} for function in functions]
        lose_rest(part, ("type", "instructions", "tools"), place, self._account)
        instructions = part.get("instructions")
        if instructions is not None and type(instructions) is not str:
            raise RowError("content is no text", f"{place}.instructions is {describe(instructions)}")
        return [instructions] if instructions else []


def _name_of(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": message["name"]} if message.get("name") is not None else {}
