"""Put marks into the texts of a row, and find them in what a chat template makes of it.

A template may strip, move or drop a text, and may cut it at tags such as `</think>`. So each piece between
tags gets marks of its own, inside of its outer white space: what the template does to a text it does to the
marked text too. Without its marks, the marked rendering must be the real one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dataprep.core.conversations import REASONING_FIELDS
from dataprep.tokens.formats.base import CALLS, CONTENT, REASONING

# A mark is a word, which JSON and Python's `repr` leave as it is. It has a beginning that the row does not
# contain, `o` or `c` for the beginning or the end of a piece, the number of the piece, and `z`.
# Templates cut texts at tags.
_TAG = re.compile(r"(</?[A-Za-z_][\w:.-]*>|<\|[^<>|\s]+\|>|\[/?[A-Z_]+\])")
_THOUGHTS = re.compile(r"(</?think(?:ing)?>|\[/?THINK\])", re.IGNORECASE)
_CLOSING = re.compile(r"</.*|\[/.*")
_MOST_TAGS = 32


class Place(NamedTuple):
    """The place of a mark in the rendered text."""

    position: int
    kind: str  # `REASONING`, `CONTENT` or `CALLS`
    opens: bool  # whether the marked piece begins here
    mark: int  # the number of the mark


@dataclass
class Marks:
    """The marks of one row.

    Attributes:
        answers_only: whether to mark only assistant messages.
        names_only: whether to mark of tool calls only the names; a template may look into arguments.
        empty: the index of an assistant message without any text, to mark the place of its content.
        word: the beginning of all marks; ``word_for`` finds one that a text does not contain.
        kinds: the kinds of texts that were marked, by message; filled by ``mark``.
    """

    answers_only: bool = False
    names_only: bool = False
    empty: int = -1
    word: str = "zqy"
    kinds: dict[int, set[str]] = field(default_factory=dict, init=False)
    _answers: set[int] = field(default_factory=set, init=False)  # indexes of assistant messages
    _sources: list[tuple[int, str]] = field(default_factory=list, init=False)  # message and kind of each mark

    def mark(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return messages with marks in their texts."""
        self._answers = {at for at, message in enumerate(messages) if message.get("role") == "assistant"}
        return [
            self._message(number, message)
            if message.get("role") == "assistant" or not self.answers_only
            else dict(message)
            for number, message in enumerate(messages)
        ]

    def find(self, text: str) -> tuple[str, dict[int, list[Place]]]:
        """Return a rendered text without its marks, and the places of each message's marks in order."""
        parts: list[str] = []
        places: dict[int, list[Place]] = {}
        seen: set[tuple[int, bool]] = set()
        position = start = 0
        for match in re.finditer(f"{self.word}([oc])([0-9]+)z", text, re.IGNORECASE):
            parts.append(text[start : match.start()])
            position += len(parts[-1])
            start = match.end()
            opens = match[1].lower() == "o"
            number = int(match[2])
            # A template may repeat a text, such as a tool's name before its result: the first time counts.
            if number < len(self._sources) and (number, opens) not in seen:
                seen.add((number, opens))
                message, kind = self._sources[number]
                places.setdefault(message, []).append(Place(position, kind, opens, number))
        return "".join([*parts, text[start:]]), places

    def _message(self, number: int, message: Mapping[str, Any]) -> dict[str, Any]:
        marked = dict(message)
        content = message.get("content")
        if number == self.empty:
            marked["content"] = self._around("", number, CONTENT)
        elif isinstance(content, str):
            marked["content"] = self._text(content, number, CONTENT)
        elif isinstance(content, list):
            marked["content"] = [self._part(part, number) for part in content]
        if message.get("role") != "assistant":
            return marked
        for name in REASONING_FIELDS:
            if isinstance(message.get(name), str):
                marked[name] = self._one(message[name], number, REASONING)
        if isinstance(calls := message.get("tool_calls"), list):
            marked["tool_calls"] = [self._call(call, number) for call in calls]
        return marked

    def _part(self, part: Any, number: int) -> Any:
        if isinstance(part, Mapping) and isinstance(part.get("text"), str):
            return {**part, "text": self._text(part["text"], number, CONTENT)}
        return self._text(part, number, CONTENT) if isinstance(part, str) else part

    def _call(self, call: Any, number: int) -> Any:
        if not isinstance(call, Mapping):
            return call
        marked = dict(call)
        if isinstance(call.get("function"), Mapping):
            marked["function"] = self._call(call["function"], number)
        for name in ("name",) if self.names_only else ("name", "arguments"):
            if name in call:
                marked[name] = self._value(call[name], number)
        return marked

    def _value(self, value: Any, number: int) -> Any:
        if isinstance(value, str):
            return self._one(value, number, CALLS)
        if isinstance(value, Mapping):
            return {name: self._value(item, number) for name, item in value.items()}
        return [self._value(item, number) for item in value] if isinstance(value, list) else value

    def _text(self, text: str, number: int, kind: str) -> str:
        pieces = _THOUGHTS.split(text)
        # One of thinking tags alone has no other place for marks.
        if len(pieces) == 1 or number not in self._answers or not any(map(str.strip, pieces[::2])):
            return self._pieces(text, number, kind)
        # The text before `</think>` in a content is reasoning, and the template may treat it as such.
        closing = max((at for at, piece in enumerate(pieces) if _CLOSING.fullmatch(piece)), default=-1)
        pieces[::2] = [
            self._pieces(piece, number, REASONING if 2 * at < closing else kind)
            for at, piece in enumerate(pieces[::2])
        ]
        return "".join(pieces)

    def _pieces(self, text: str, number: int, kind: str) -> str:
        pieces = _TAG.split(text)
        # A text of many tags is HTML or a program, and not the format of a template; one of tags alone has
        # no place for marks inside.
        if len(pieces) > 2 * _MOST_TAGS or not any(map(str.strip, pieces[::2])):
            return self._one(text, number, kind)
        pieces[::2] = [self._one(piece, number, kind) for piece in pieces[::2]]
        return "".join(pieces)

    def _one(self, text: str, number: int, kind: str) -> str:
        core = text.strip()
        if not core:
            return text
        self.kinds.setdefault(number, set()).add(kind)
        start = text.index(core)
        return text[:start] + self._around(core, number, kind) + text[start + len(core) :]

    def _around(self, core: str, number: int, kind: str) -> str:
        name = f"{len(self._sources)}z"
        self._sources.append((number, kind))
        return f"{self.word}o{name}{core}{self.word}c{name}"


def word_for(text: str) -> str:
    """Return a beginning of marks that a text does not contain, in upper or lower case."""
    word, text = "zqy", text.lower()
    while word in text:
        word += "y"
    return word
