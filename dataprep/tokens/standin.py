"""Stand-ins for parts of this room that are being built: ``encoding``, ``fitting``, ``lint``, layouts.

Only ``chats`` imports this, and only where those are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dataprep.errors import RowDropped, RowError, UsageError
from dataprep.quality.conversations import Finding
from dataprep.tokens.layouts import Encoded, Layout, Segment, encode_chat
from dataprep.tokens.tokenizer import Tokenizer

Messages = Sequence[Mapping[str, Any]]


class Llama3:
    """Llama 3's layout."""

    name = "llama3"
    fingerprint = "llama3"

    def segments(self, messages: Messages) -> list[Segment]:
        """The pieces of a conversation, in order."""
        found = [Segment("<|begin_of_text|>", special=True)]
        for message in messages:
            trained = message["role"] == "assistant"
            found.append(Segment("<|start_header_id|>", special=True))
            found.append(Segment(message["role"]))
            found.append(Segment("<|end_header_id|>", special=True))
            found.append(Segment("\n\n"))
            found.append(Segment(message["content"], trained=trained))
            found.append(Segment("<|eot_id|>", special=True, trained=trained))
        return found


def layout_of(name: str, **_: Any) -> Layout:
    """A layout by its name."""
    if name != "llama3":
        raise UsageError(f"there is no layout {name!r}")
    return Llama3()


class ChatEncoder:
    """Conversations in tokens."""

    def __init__(self, tokenizer: Tokenizer, layout: Layout) -> None:
        self.tokenizer = tokenizer
        self.layout = layout

    def results(self, conversations: Iterable[Messages]) -> list[Encoded | RowError]:
        """Each conversation in tokens, or what is wrong with it."""
        return [self._one(messages) for messages in conversations]

    def _one(self, messages: Messages) -> Encoded | RowError:
        try:
            return encode_chat(self.tokenizer, self.layout, messages)
        except RowError as error:
            return error


class Fitted(NamedTuple):
    """A row that fits, and how many of its answers were cut."""

    encoded: Encoded
    cut_answers: int = 0


def fit(encoded: Encoded, max_length: int, overflow: str = "error") -> Fitted:
    """The row in no more than ``max_length`` tokens."""
    if len(encoded.ids) <= max_length:
        return Fitted(encoded)
    found = f"found {len(encoded.ids):,} tokens; expected at most {max_length:,}"
    if overflow == "error":
        raise RowError("too many tokens", found)
    if overflow == "drop":
        raise RowDropped("too many tokens", found)
    if not any(encoded.mask[:max_length]):
        raise RowDropped("no room for an answer", found)
    return Fitted(Encoded(encoded.ids[:max_length], encoded.mask[:max_length]), 1)


class Linter:
    """Looks at rows of tokens."""

    def __init__(self, tokenizer: Tokenizer, layout: Layout) -> None:
        self.tokenizer = tokenizer
        self.layout = layout

    def problems(self, encoded: Encoded, messages: Messages | None = None) -> Iterator[Finding]:  # noqa: ARG002
        """What is wrong with a row."""
        if not any(encoded.mask):
            yield Finding("no trained token", "")
