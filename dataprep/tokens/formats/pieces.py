"""Cut the text of a template into special tokens and the texts between them; list the texts of a row."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from dataprep.core.conversations import content_text
from dataprep.tokens.formats.base import Row, Segment, Slot

Span = tuple[int, int]
GUARD = "\ufdd5"  # breaks a name, so that it is not found


def data_of(messages: Sequence[Mapping[str, Any]], row: Row) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every string of a row that a template may write."""
    for number, message in enumerate(messages):
        for text in _strings({name: value for name, value in message.items() if name != "role"}):
            yield f"messages[{number}]", text
        for text in joined_parts([message]):
            yield f"messages[{number}]", text
    for name in ("tools", "chat_template_kwargs"):
        for text in _strings(row.get(name)):
            yield name, text


def joined_parts(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the text of each content of several parts; it may hold a name that none of the parts has."""
    for message in messages:
        content = message.get("content")
        if type(content) is list and len(content) > 1:
            yield content_text(content)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield name
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def tool_names(tools: Any) -> Iterator[str]:
    """Yield the names of the tools of a row."""
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, Mapping):
            inner = tool.get("function")
            name = inner.get("name") if isinstance(inner, Mapping) else tool.get("name")
            if isinstance(name, str):
                yield name


def guarded(match: re.Match[str]) -> str:
    """Return a name that is broken by ``GUARD``."""
    name = match.group()
    return f"{name[0]}{GUARD}{name[1:]}"


def cut(
    text: str,
    known: re.Pattern[str],
    spans: Sequence[Span],
    words: Mapping[str, int],
    swallowing: tuple[Collection[str], Collection[str]],
) -> Iterator[Segment | Slot]:
    """Yield special tokens, slots, and the text between them, cut where the loss mask changes.

    Special tokens of the names in ``swallowing`` take the white space before them, or behind them, as their
    tokenizers do.
    """
    borders = sorted({border for span in spans for border in span})
    before, after = swallowing

    def in_loss(position: int) -> bool:
        return any(start <= position < end for start, end in spans)

    def plain(start: int, end: int) -> Iterator[Segment]:
        for border in [border for border in borders if start < border < end] + [end]:
            if start < border:
                yield Segment(text[start:border], in_loss=in_loss(start))
            start = border

    position = 0
    for match in known.finditer(text):
        name, start, end = match.group(), match.start(), match.end()
        while name in before and start > position and text[start - 1].isspace():
            start -= 1
        yield from plain(position, start)
        # A token is in the loss if a part of it is, as for transformers.
        learned = any(first < end and match.start() < last for first, last in spans)
        yield Slot(words[name], learned) if name in words else Segment(name, special=True, in_loss=learned)
        position = end
        while name in after and position < len(text) and text[position].isspace():
            position += 1
    yield from plain(position, len(text))
