"""The interface of a chat format, and what all chat formats share.

A chat format turns the roles of a conversation into a plan: fixed pieces, and slots for the contents. Ids
and loss mask are made from the plan piece by piece; nothing is searched for in a finished text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

from dataprep.core.conversations import find_ignored, find_in_row
from dataprep.core.errors import RowError, UsageError

Messages = Sequence[Mapping[str, Any]]
Turns = tuple[tuple[str, ...], list[str]]  # roles, and contents as a chat format writes them


@dataclass(frozen=True, slots=True)
class Segment:
    """A fixed piece of a conversation."""

    text: str  # text to encode as data, or the name of a special token
    special: bool = False  # whether `text` names a special token
    in_loss: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """The slot for the content of a message."""

    message: int  # the index of the message
    in_loss: bool = False


Plan = tuple[Segment | Slot, ...]  # the pieces of all conversations with the same roles


class ChatFormat(Protocol):
    """The form in which a model expects conversations; picklable."""

    name: str  # one of `loading.NAMES`
    # Differs whenever a conversation may be written differently, so it covers options and a template's text.
    fingerprint: str
    strip: bool  # whether contents are stripped
    date: str | None  # the date that it writes
    exact: bool  # whether the text in the loss is the content alone, without white space around it

    @property
    def stop_tokens(self) -> frozenset[str]:
        """The special tokens that end an assistant's turn."""

    def plan(self, roles: tuple[str, ...]) -> Plan:
        """Return the pieces of conversations with these roles, or raise ``RowError``."""

    def read(self, messages: Messages) -> Turns:
        """Return the roles and contents of the messages as the format writes them, or raise ``RowError``."""

    def jinja(self) -> str:
        """Return the format as a Jinja chat template, for programs that read a model directory."""


def read_messages(messages: Messages, strip: bool = False) -> Turns:
    """Return the roles and contents of a chat row; raise the first finding of ``dataprep validate``."""
    # Well-formed rows take this short way: one list for roles, one for contents, a cached check of the roles.
    try:
        roles = tuple([message["role"] for message in messages])
        contents = [message["content"] for message in messages]
        sound = _roles_are_sound(roles) and all(map(str.strip, contents))
        # Nearly all messages have these two fields only: one sum for a row that is tokenized.
        if sound and sum(map(len, messages)) != 2 * len(roles):
            sound = not any(finding for message in messages for finding in find_ignored(message, "messages"))
    except (TypeError, KeyError, IndexError):
        sound = False
    if not sound:
        raise _malformed(messages)
    return roles, [text.strip() for text in contents] if strip else contents


@lru_cache(maxsize=256)
def _roles_are_sound(roles: tuple[str, ...]) -> bool:
    row = {"messages": [{"role": role, "content": "."} for role in roles]}
    return not any(find_in_row(row))


def _malformed(messages: Any) -> RowError:
    if isinstance(messages, list | tuple):
        messages = [dict(item) if isinstance(item, Mapping) else item for item in messages]
    for finding in find_in_row({"messages": messages}):
        return RowError(*finding)
    return RowError("malformed message", "a content is not a plain string")


def fingerprint_of(*facts: object) -> str:
    """Return 64 hex digits that differ if one of the facts differs."""
    # Contents of templates may hold lone surrogates, which UTF-8 alone refuses.
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()


DATE = "%d %b %Y"  # as Llama's templates write it


def check_date(date: str | None) -> None:
    """Raise ``UsageError`` unless the date is written as Llama's templates write it."""
    try:
        if date is not None:
            datetime.strptime(date, DATE)
    except ValueError:
        raise UsageError(f"{date!r} is not a date as templates write it, for example 26 Jul 2024") from None
