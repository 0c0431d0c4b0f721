"""Texts of a template for rows of one shape, which differ only in the texts of their messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from dataprep.core.conversations import LOSS_FIELDS
from dataprep.tokens.formats.base import Losses, Plan, Row
from dataprep.tokens.formats.pieces import Span

# Templates write some texts as JSON: none, those in tool calls, and those of the tools' results too.
_PLAIN, _CALL, _RESULT = range(3)
_NO_TEXTS = frozenset({"role", "type", *LOSS_FIELDS})


@dataclass(frozen=True)
class Rendered:
    """The text of a template for a row, and what is in the loss."""

    text: str
    spans: Mapping[int, Sequence[Span]]  # by the index of the message
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class Shape:
    """A row with a word in the place of each text.

    Attributes:
        messages: its messages with the words.
        texts: its texts, in the order of the words.
        kinds: for each text, from which number of kinds on it is written as JSON.
        key: equal for rows that differ in their texts alone; empty if a row cannot be compared.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    key: bytes = b""

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, Any]], row: Row) -> Shape:
        """Return the shape of a row with these messages."""
        shape = cls()
        for message in messages:
            kind = _RESULT if message["role"] == "tool" else _PLAIN
            shape.messages.append(
                {
                    name: value if name in _NO_TEXTS else shape._put(value, kind, name == "tool_calls")
                    for name, value in message.items()
                }
            )
        try:
            shape.key = orjson.dumps([shape.messages, row.get("tools"), row.get("chat_template_kwargs")])
        except (TypeError, orjson.JSONEncodeError):  # large numbers and half characters
            shape.key = b""
        return shape

    def _put(self, value: Any, kind: int, calls: bool) -> Any:
        """Return a value with words in place of its texts."""
        if type(value) is str:
            if not value.strip():
                return value
            self.texts.append(value)
            self.kinds.append(_CALL if calls else kind)
            return word_of(len(self.texts) - 1)
        if isinstance(value, Mapping):
            return {
                name: item if name == "type" else self._put(item, kind, calls) for name, item in value.items()
            }
        return [self._put(item, kind, calls) for item in value] if isinstance(value, list) else value


@dataclass
class Skeleton:
    """The text of a template for rows of one shape."""

    parts: tuple[str | int, ...]  # its text, with the indexes of the row's texts in their places
    rendered: Rendered  # with words in place of the row's texts
    words: Mapping[str, int]  # the index of the text that each word stands for
    # The texts beside a special token that swallows white space: behind it, and before it.
    bare: tuple[frozenset[int], frozenset[int]]
    plans: dict[Losses, Plan] = field(default_factory=dict)
    _as_json: int = _PLAIN  # the kinds of texts that the last row had as JSON

    def fill(self, shape: Shape, real: str) -> list[str] | None:
        """Return the row's texts as the template writes them, or ``None`` if its text is another one."""
        structured = any(shape.kinds)
        for kinds in (self._as_json, _PLAIN, _CALL, _RESULT) if structured else (_PLAIN,):
            texts = shape.texts
            if kinds:
                pairs = zip(shape.texts, shape.kinds, strict=True)
                texts = [
                    json.dumps(text, ensure_ascii=False)[1:-1] if 0 < kind <= kinds else text
                    for text, kind in pairs
                ]
            if "".join([texts[at] if type(at) is int else at for at in self.parts]) == real:  # type: ignore[misc]
                self._as_json = kinds
                behind, before = self.bare
                swallowed = any(texts[at][0].isspace() for at in behind)
                swallowed |= any(texts[at][-1].isspace() for at in before)
                return None if swallowed else texts
        return None


def exchange(turns: int = 1, *, parts: bool = False, reasoning: bool = False) -> list[dict[str, Any]]:
    """Return questions and answers with words for their texts."""
    messages: list[dict[str, Any]] = []
    for number in range(2 * turns):
        word = word_of(len(messages))
        content: Any = [{"type": "text", "text": word}] if parts else word
        messages.append({"role": ("user", "assistant")[number % 2], "content": content})
    if reasoning:
        messages[-1]["reasoning_content"] = word_of(len(messages))
    return messages


@lru_cache(maxsize=1024)
def word_of(number: int) -> str:
    """Return a word that stands for a text."""
    # No template contains it, and none changes it by trimming or by changing case.
    return "zq" + "".join(chr(ord("a") + int(digit)) for digit in f"{number:04}") + "qz"
