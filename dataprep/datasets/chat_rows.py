"""Chat rows as the input of ``convert``: the system text or the thinking moves.

The chat formats of some models, such as Gemma 2's and Mistral's first ones, have no system role.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from dataprep.core.conversations import split_thinking
from dataprep.core.errors import RowError
from dataprep.core.records import describe

SEPARATOR = "\n\n"  # between the system text and the user's own
SYSTEM_ROLES = ("system", "developer")


class ChatRows:
    """Convert one chat row to the bytes of a chat row; a picklable operator.

    Args:
        system: whether the system text moves into the user's message.
        thinking: whether the thinking that begins an answer moves into ``reasoning_content``.
    """

    def __init__(self, *, system: bool, thinking: bool) -> None:
        self._system, self._thinking = system, thinking

    def __call__(self, row: dict[str, Any]) -> bytes:
        """Return the converted row as one line of JSON, without its newline."""
        _check_messages(row)
        row = system_into_user(row) if self._system else row
        return orjson.dumps(split_thinking(row) if self._thinking else row)

    def take_counts(self) -> Mapping[Any, int]:
        """Return no counts; see ``convert.RowConverter``."""
        return {}

    def check(self, seen: Mapping[Any, int], where: str) -> None:
        """Accept whatever was counted; see ``convert.RowConverter``."""


def system_into_user(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat row with each system text before the text of the next user message.

    Raises:
        RowError: it is not a chat row, or no user message follows a system message.
    """
    messages = _check_messages(row)
    kept: list[dict[str, Any]] = []
    before: list[str] = []
    for index, message in enumerate(messages):
        if message.get("role") in SYSTEM_ROLES:
            before.append(_text(message.get("content"), index))
            continue
        if before and message.get("role") == "user":
            content = message.get("content")
            text = SEPARATOR.join(before) + SEPARATOR
            before = []
            # The parts of a content are joined without anything between them.
            part = {"type": "text", "text": text}
            joined = [part, *content] if isinstance(content, list) else text + _text(content, index)
            kept.append({**message, "content": joined})
        else:
            kept.append(message)
    if before:
        raise RowError("a system message without a user message", "expected a user message behind it")
    return {**row, "messages": kept}


def _check_messages(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise RowError("not a chat row", f"found {describe(messages)} as its 'messages'; expected messages")
    return messages


def _text(content: Any, index: int) -> str:
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts: list[Any] = [part.get("text") if isinstance(part, dict) else part for part in parts]
    for part, text in zip(parts, texts, strict=True):
        if not isinstance(text, str):
            found = describe(part if isinstance(content, list) else content)
            raise RowError("a content without text", f"messages[{index}]: found {found}; expected a text")
    return "".join(texts)
