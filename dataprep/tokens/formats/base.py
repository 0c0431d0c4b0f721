"""The interface of a chat format, and what all chat formats share.

A chat format writes a row as a plan: special tokens, fixed texts, and slots for texts of the row, each in
the loss or not. Ids and loss mask are made from the plan piece by piece. Rows of one shape share a plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from dataprep.core.conversations import Finding, find_ignored, find_in_row, plain_roles
from dataprep.core.errors import RowError, UsageError
from dataprep.core.ignored_fields import is_empty, unknown_names

Row = Mapping[str, Any]  # a chat row: `messages`, and `tools` and `chat_template_kwargs` if it has them
Roles = tuple[str, ...]
Messages = Sequence[Mapping[str, Any]]
# For each message of a row whether it is in the loss; `None` if all assistant messages are.
Losses = tuple[bool, ...] | None

REASONING, CONTENT, CALLS, TOOLS = "reasoning", "content", "tool calls", "tools"
"""The kinds of values that a chat format may leave out of its text."""
NAMED = "name of a special token inside content"
"""The kind of the fault of a row that names a special token where it has a text."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A fixed piece of a conversation."""

    text: str  # text to encode as data, or the name of a special token
    special: bool = False  # whether `text` names a special token
    in_loss: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """The slot for a text of the row."""

    index: int  # its index among `Written.texts`
    in_loss: bool = False


Pieces = tuple[Segment | Slot, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """The pieces of all conversations of one shape; compared and hashed by identity, for caches."""

    pieces: Pieces
    # If true, a text is encoded as one where the loss mask changes inside it, as `transformers` does, and a
    # token that crosses the border is in the loss. Otherwise texts are cut there.
    joined: bool = False
    where: tuple[str, ...] = ()  # names of the spans in the loss for messages, for example `messages[1]`

    def runs(self, texts: Sequence[str]) -> Iterator[list[tuple[str, bool]]]:
        """Yield each span in the loss as its pieces: text or name, and whether it is a special token."""
        run: list[tuple[str, bool]] = []
        for piece in self.pieces:
            text = texts[piece.index] if isinstance(piece, Slot) else piece.text
            special = isinstance(piece, Segment) and piece.special
            # An empty text has no token, so it neither ends a span nor makes one.
            if not text:
                continue
            if piece.in_loss:
                run.append((text, special))
            elif run:
                yield run
                run = []
        if run:
            yield run


class Written(NamedTuple):
    """A row as a chat format writes it."""

    plan: Plan
    texts: list[str]  # the texts of the plan's slots
    left_out: tuple[str, ...] = ()  # the kind of each value that the format left out, such as `REASONING`


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

    def write(self, row: Row, losses: Losses = None) -> Written:
        """Return a row of ``read_row`` as the format writes it, or raise ``RowError``."""

    def prompt(self, row: Row) -> Written:
        """Return a row that does not end with an assistant message, up to where the answer begins."""

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Facts about the format itself that its users should know, for example that no token ends a turn."""

    def jinja(self) -> str:
        """Return the format as a Jinja chat template, for programs that read a model directory."""


def check_row(row: Row) -> None:
    """Raise the first finding of ``dataprep validate`` about a row."""
    messages = row.get("messages")
    # The fields beside plain messages are looked at by themselves, except for those with values to check.
    if plain_roles(messages) is None or "tools" in row or "chat_template_kwargs" in row:
        if isinstance(messages, list | tuple):
            row = {**row, "messages": [dict(m) if isinstance(m, Mapping) else m for m in messages]}
        for finding in find_in_row(dict(row)):
            raise RowError(*finding)
    elif len(row) > 1:
        for finding in find_ignored(row):
            raise RowError(*finding)


def keys_without_effect(message: Mapping[str, Any], text: str = "") -> list[str]:
    """Return the kinds of the values of a message that a text of it does not have, by their keys.

    These are the keys that dataprep does not know, and names of speakers. Ids and names of calls are left
    out by many templates, which need the order alone.
    """
    if len(message) == 2:
        return []
    names = [*unknown_names(tuple(message)), *(["name"] if message["role"] != "tool" else [])]
    return [
        f"key {name!r}"
        for name in names
        if not is_empty(value := message.get(name))
        and not (text and isinstance(value, str) and value in text)
    ]


def select_losses(messages: Messages, which: str, marks: Sequence[bool | None]) -> Losses:
    """Return which messages are in the loss by ``--loss``: ``all``, ``last`` or ``marked``.

    Args:
        messages: of a row.
        which: ``all`` assistant messages but those marked as not, the ``last`` one, or those ``marked``.
        marks: for each message what it says itself, of ``loss_of``.
    """
    answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if which == "marked":
        chosen = {number for number in answers if marks[number]}
    elif which == "last":
        chosen = {number for number in answers[-1:] if marks[number] is not False}
    else:
        chosen = {number for number in answers if marks[number] is not False}
        if len(chosen) == len(answers):
            return None
    return tuple(number in chosen for number in range(len(messages)))


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
        forms = "for example 26 Jul 2024, or 2024-07-26"
        raise UsageError(f"{date!r} is not a date as templates write it, {forms}") from None
