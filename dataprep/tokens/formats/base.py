"""From a conversation to token ids and loss mask, segment by segment, never by searching."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

from dataprep.core.conversations import find_in_row
from dataprep.core.errors import RowError, UsageError

Messages = Sequence[Mapping[str, Any]]

Laid = tuple[tuple[str, ...], list[str]]
"""The roles of a conversation, and its contents as a chat format writes them."""


@dataclass(slots=True)
class Encoded:
    """A conversation in tokens.

    Attributes:
        ids: token ids, L of them.
        mask: L bytes, 1 where the token is trained on and 0 elsewhere.
    """

    ids: list[int]
    mask: bytearray


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a conversation.

    Attributes:
        text: a text to be encoded as data, or the name of a special token.
        special: whether it is the latter.
        trained: whether its tokens are trained on.
    """

    text: str
    special: bool = False
    trained: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a message's content; ``message`` is its number, the rest as in ``Segment``."""

    message: int
    trained: bool = False


Plan = tuple[Segment | Slot, ...]
"""What a chat format makes of messages with certain roles: fixed pieces and the places of contents."""


class ChatFormat(Protocol):
    """How a model wants conversations to be written; picklable.

    Attributes:
        name: one of ``NAMES``.
        fingerprint: differs whenever a conversation may be laid out otherwise: the name, the options,
            a template's text.
        exact: an answer's trained text is its content and nothing else, not even white space around it.
    """

    name: str
    fingerprint: str
    exact: bool

    @property
    def ends(self) -> frozenset[str]:
        """The special tokens that end an assistant's turn."""

    def plan(self, roles: tuple[str, ...]) -> Plan:
        """The fixed pieces and the places of contents, for messages with these roles.

        Raises:
            RowError: messages with these roles cannot be laid out.
        """

    def read(self, messages: Messages) -> Laid:
        """The messages' roles, and their contents as the chat format writes them.

        Raises:
            RowError: the messages are no chat row: an unknown role, no text, no assistant.
        """

    def segments(self, messages: Messages) -> list[Segment]:
        """The pieces of a conversation, in order. Trained: assistants' contents and their end of turn.

        Raises:
            RowError: the messages cannot be laid out.
        """


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
