"""From a conversation to token ids and loss mask, segment by segment, never by searching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dataprep.tokens.tokenizer import Tokenizer


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


class Layout(Protocol):
    """How a model wants conversations to be written.

    Attributes:
        name: ``"llama3"``, ``"chatml"``, ``"llama2"`` or ``"template"``.
        fingerprint: differs whenever a conversation may be laid out otherwise: the name, the options,
            a template's text.
    """

    name: str
    fingerprint: str

    def segments(self, messages: Sequence[Mapping[str, Any]]) -> list[Segment]:
        """The pieces of a conversation, in order. Trained: assistants' contents and their end of turn.

        Raises:
            RowError: the messages cannot be laid out: an unknown role, no text, no assistant.
        """


def encode_chat(tokenizer: Tokenizer, layout: Layout, messages: Sequence[Mapping[str, Any]]) -> Encoded:
    """A conversation's ids and mask, built together.

    Raises:
        RowError: the messages cannot be laid out, or hold no valid Unicode.
        TokenizerError: the tokenizer lacks a special token of the layout.
    """
    encoded = Encoded([], bytearray())
    for segment in layout.segments(messages):
        ids = [tokenizer.special(segment.text)] if segment.special else tokenizer.encode(segment.text)
        encoded.ids += ids
        encoded.mask += bytes([segment.trained]) * len(ids)
    return encoded
