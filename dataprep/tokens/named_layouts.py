"""The layouts that are known by name: Llama 3, ChatML and Llama 2."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from dataprep.errors import RowError, UsageError
from dataprep.quality.conversations import find_in_row
from dataprep.tokens.layouts import Messages, Plan, Segment, Slot

DATE_LINES = "Cutting Knowledge Date: December 2023\nToday Date: {}\n\n"
"""What Llama 3.2's own template writes before every system message."""


def read_messages(messages: Messages, strip: bool = False) -> tuple[tuple[str, ...], list[str]]:
    """The roles and contents of a chat row that is well-formed.

    Raises:
        RowError: it is not, with the first thing that ``dataprep validate`` finds in it.
    """
    try:
        roles = tuple([message["role"] for message in messages])
        contents = [message["content"] for message in messages]
        sound = _in_order(roles) and all(map(str.strip, contents))
    except (TypeError, KeyError, IndexError):
        sound = False
    if not sound:
        raise _not_sound(messages)
    return roles, [text.strip() for text in contents] if strip else contents


@lru_cache(maxsize=256)
def _in_order(roles: tuple[str, ...]) -> bool:
    row = {"messages": [{"role": role, "content": "."} for role in roles]}
    return not any(find_in_row(row))


def _not_sound(messages: Any) -> RowError:
    if isinstance(messages, list | tuple):
        messages = [dict(item) if isinstance(item, Mapping) else item for item in messages]
    for finding in find_in_row({"messages": messages}):
        return RowError(*finding)
    return RowError("malformed message", "a content is no plain string")


def filled(plan: Plan, contents: list[str]) -> list[Segment]:
    """A plan's segments, the contents in their places."""
    return [
        Segment(contents[piece.message], trained=piece.trained) if isinstance(piece, Slot) else piece
        for piece in plan
    ]


def fingerprint_of(*facts: object) -> str:
    """64 hex digits that differ where one of the facts does."""
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()


def check_date(date: str | None) -> None:
    """Raise ``UsageError`` unless the date is written as Llama's templates write it."""
    try:
        if date is not None:
            datetime.strptime(date, "%d %b %Y")
    except ValueError:
        raise UsageError(f"{date!r} is no date as templates write it: expected such as 26 Jul 2024") from None


@dataclass
class _Named:
    """What the three have in common."""

    strip: bool = False
    date: str | None = None
    _plans: dict[tuple[str, ...], Plan] = field(default_factory=dict, repr=False)

    name = ""
    ends = frozenset[str]()
    exact = True

    def __post_init__(self) -> None:
        check_date(self.date)
        self.fingerprint = fingerprint_of(self.name, self.strip, self.date)

    def plan(self, roles: tuple[str, ...]) -> Plan:
        if roles not in self._plans:
            self._plans[roles] = tuple(self._pieces(roles))
        return self._plans[roles]

    def read(self, messages: Messages) -> tuple[tuple[str, ...], list[str]]:
        return read_messages(messages, self.strip)

    def segments(self, messages: Messages) -> list[Segment]:
        roles, contents = self.read(messages)
        return filled(self.plan(roles), contents)

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        raise NotImplementedError


class Llama3(_Named):
    r"""``<|begin_of_text|>``, and for each message header, ``\n\n``, content and ``<|eot_id|>``.

    Source: Meta's prompt format, https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3/
    With a date, a system message comes first even where the row has none, as in Llama 3.2's own template.
    """

    name = "llama3"
    ends = frozenset({"<|eot_id|>"})

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        pieces: list[Segment | Slot] = [Segment("<|begin_of_text|>", special=True)]
        dated = DATE_LINES.format(self.date) if self.date else ""
        if dated and roles[0] != "system":
            pieces += [*self._header("system"), Segment(dated), Segment("<|eot_id|>", special=True)]
        for number, role in enumerate(roles):
            trained = role == "assistant"
            pieces += self._header(role)
            if dated and role == "system":
                pieces.append(Segment(dated))
            pieces += [Slot(number, trained), Segment("<|eot_id|>", special=True, trained=trained)]
        return pieces

    @staticmethod
    def _header(role: str) -> list[Segment]:
        begin, end = "<|start_header_id|>", "<|end_header_id|>"
        return [Segment(begin, special=True), Segment(role), Segment(end, special=True), Segment("\n\n")]


class ChatML(_Named):
    r"""For each message ``<|im_start|>role\n``, content, ``<|im_end|>\n``; that newline is not trained."""

    name = "chatml"
    ends = frozenset({"<|im_end|>"})

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        pieces: list[Segment | Slot] = []
        for number, role in enumerate(roles):
            trained = role == "assistant"
            pieces += [
                Segment("<|im_start|>", special=True),
                Segment(f"{role}\n"),
                Slot(number, trained),
                Segment("<|im_end|>", special=True, trained=trained),
                Segment("\n"),
            ]
        return pieces


class Llama2(_Named):
    """``<s>[INST] question [/INST] answer </s>``, the system message inside the first question.

    Source: Meta's reference, https://github.com/meta-llama/llama/blob/main/llama/generation.py
    """

    name = "llama2"
    ends = frozenset({"</s>"})
    exact = False

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        pieces: list[Segment | Slot] = []
        system = roles[0] == "system"
        for number in range(int(system), len(roles), 2):
            pieces += [Segment("<s>", special=True), Segment("[INST] ")]
            if system and number == 1:
                pieces += [Segment("<<SYS>>\n"), Slot(0), Segment("\n<</SYS>>\n\n")]
            pieces += [
                Slot(number),
                Segment(" [/INST]"),
                Segment(" ", trained=True),
                Slot(number + 1, trained=True),
                Segment(" ", trained=True),
                Segment("</s>", special=True, trained=True),
            ]
        return pieces


LAYOUTS = {layout.name: layout for layout in (Llama3, ChatML, Llama2)}
