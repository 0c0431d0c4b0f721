"""Texts of a template for rows of one shape, which differ only in the texts of their messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprep.core.conversations import REASONING_FIELDS
from dataprep.tokens.formats.base import Losses, Plan, Row
from dataprep.tokens.formats.pieces import Span

# For each message its role, and whether it has reasoning.
Shape = tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Rendered:
    """The text of a template for a row, and what is in the loss."""

    text: str
    spans: Mapping[int, Sequence[Span]]  # by the index of the message
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skeleton:
    """The text of a template for rows of one shape."""

    parts: tuple[str | int, ...]  # its text, with the indexes of the row's texts in their places
    rendered: Rendered  # with words in place of the row's texts
    words: Mapping[str, int]  # the index of the text that each word stands for
    # The texts beside a special token that swallows white space: behind it, and before it.
    bare: tuple[frozenset[int], frozenset[int]]
    plans: dict[Losses, Plan] = field(default_factory=dict)

    def fits(self, texts: Sequence[str], real: str) -> bool:
        """Return whether the texts in the places of the words give the template's text for the row."""
        text = "".join([texts[part] if type(part) is int else part for part in self.parts])  # type: ignore[misc]
        if text != real:
            return False
        behind, before = self.bare
        return not any(texts[at][0].isspace() for at in behind) and not any(
            texts[at][-1].isspace() for at in before
        )


def shape_of(messages: Sequence[Mapping[str, Any]]) -> tuple[Shape | None, list[str]]:
    """Return the shape of messages with texts only, and their texts; no shape if there is anything else."""
    shape: list[tuple[str, bool]] = []
    texts: list[str] = []
    for message in messages:
        content, reasons = message.get("content"), len(message) == 3
        if type(content) is not str or not content.strip() or not 2 <= len(message) <= 3:
            return None, []
        texts.append(content)
        if reasons:
            reasoning = next((message[name] for name in REASONING_FIELDS if name in message), None)
            if type(reasoning) is not str or not reasoning.strip():
                return None, []
            texts.append(reasoning)
        shape.append((message["role"], reasons))
    return tuple(shape), texts


def has_messages_only(row: Row) -> bool:
    """Return whether a row has nothing beside its messages that a template reads."""
    return not row.get("tools") and not row.get("chat_template_kwargs")


def messages_of(shape: Shape, words: dict[str, int], *, parts: bool = False) -> list[dict[str, Any]]:
    """Return messages of a shape with a word for each text, which is added to ``words``."""
    messages: list[dict[str, Any]] = []
    for role, reasons in shape:
        content: Any = _word_for(words)
        messages.append({"role": role, "content": [{"type": "text", "text": content}] if parts else content})
        if reasons:
            messages[-1][REASONING_FIELDS[0]] = _word_for(words)
    return messages


def _word_for(words: dict[str, int]) -> str:
    # A word that no template contains, and that none changes by trimming or by changing case.
    word = "zq" + "".join(chr(ord("a") + int(digit)) for digit in f"{len(words):04}") + "qz"
    words[word] = len(words)
    return word
