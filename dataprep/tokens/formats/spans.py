"""Find which parts of a rendered conversation an assistant has written.

The texts of the row are found by their marks. In the loss is each assistant's turn from its first text on,
with what the template writes between its texts, up to the special tokens that end the turn. Other renderings
tell where a turn's header ends and where the next one begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dataprep.core.errors import RowError
from dataprep.tokens.formats.base import CALLS, REASONING
from dataprep.tokens.formats.marks import Marks, Place
from dataprep.tokens.formats.pieces import Span

Message = Mapping[str, Any]
Places = Mapping[int, Sequence[Place]]

UNKNOWN = "the loss mask is unknown"
_INSTEAD = "mark what is generated with {% generation %}, or use a named chat format"
# Texts are compared by whole words, tags, and single white space: `<think>` and `<tool_call>` begin with the
# same two characters and have nothing in common.
_UNIT = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|\w+|.", re.DOTALL)
# How to mark a row, from what tells most to what disturbs a template least.
_WAYS: tuple[dict[str, bool], ...] = ({}, {"whole": False}, {"whole": False, "answers_only": True})


class Turns(NamedTuple):
    """What assistants have written in a rendered conversation."""

    spans: dict[int, Span]  # by the index of the message; those that the template leaves out have none
    left_out: tuple[str, ...]  # the kinds of values that the template left out


@dataclass
class SpanFinder:
    """Finds what assistants have written in the texts of one template.

    Attributes:
        render: renders messages, with the prompt of an answer behind them or without.
        special: finds the special tokens.
        prompts: the prompts of answers that were rendered, by what they depend on; filled here.
        depends: what prompts depend on besides the message before them.
    """

    render: Callable[[Sequence[Message], bool], str]
    special: re.Pattern[str]
    prompts: dict[tuple[str, ...], str] = field(default_factory=dict)
    depends: tuple[str, ...] = ()

    def find(self, messages: Sequence[Message], real: str) -> Turns:
        """Return what assistants have written in ``real``, the template's text, or raise ``RowError``."""
        way, kinds, places = self._places(messages, real)
        spans: dict[int, Span] = {}
        left_out: list[str] = []
        for number, message in enumerate(messages):
            here = places.get(number, ())
            left_out += sorted(kinds.get(number, set()) - {place.kind for place in here})
            if message["role"] != "assistant" or not here:
                continue
            start, end = here[0].position, here[-1].position
            others = [place.position for other, listed in places.items() if other != number for place in listed]
            if any(start < position < end for position in others):
                raise RowError(UNKNOWN, f"the template writes messages into messages[{number}]: {_INSTEAD}")
            before = max((position for position in others if position <= start), default=0)
            after = min((position for position in others if position >= end), default=None)
            start = before + self._start(messages, number, way, here[0], real[before:start])
            spans[number] = start, end + self._end(messages, number, way, real[end:after])
        return Turns(spans, tuple(left_out))

    def _places(
        self, messages: Sequence[Message], real: str
    ) -> tuple[dict[str, bool], dict[int, set[str]], Places]:
        """Return the first way of marking that does not change the text, what it marks and what it finds."""
        for way in _WAYS:
            marks = Marks(**way)
            text, places = self._look(messages, marks)
            if text == real:
                return way, marks.kinds, places
        raise RowError(UNKNOWN, f"the chat template changes texts by what they say: {_INSTEAD}")

    def _look(self, messages: Sequence[Message], marks: Marks) -> tuple[str, Places]:
        """Return the text of messages and the places of their marks; nothing if the template refuses them."""
        try:
            return marks.find(self.render(marks.mark(messages), False))
        except RowError:
            return "", {}

    def _start(
        self, messages: Sequence[Message], number: int, way: Mapping[str, bool], first: Place, gap: str
    ) -> int:
        """Return where in the text before its first mark what the assistant has written begins."""
        header = _header_end(gap, self._prompt(messages, number))
        if not first.opens and header is None:
            raise RowError(UNKNOWN, f"messages[{number}] loses its beginning: {_INSTEAD}")
        if first.kind == CALLS or header is None and first.kind == REASONING:
            return max(self._common_with_content(messages, number, way, gap), header or 0)
        # The tag that opens the reasoning is learned too, unless the prompt of an answer has it. What else
        # the template writes before a content, such as an empty block of thoughts, no row says.
        if header is not None and (first.kind == REASONING or not first.opens or not gap[header:].strip()):
            return header
        return len(gap)

    def _prompt(self, messages: Sequence[Message], number: int) -> str:
        """Return what the template writes as the prompt of an answer behind the messages before it."""
        key = (*self.depends, messages[number - 1]["role"] if number else "")
        if key not in self.prompts:
            try:
                prompt = self.render(messages[:number], True)
                prompt = prompt[_common(prompt, self.render(messages[:number], False)) :]
            except RowError:  # a template may refuse messages that no answer follows
                prompt = ""
            self.prompts[key] = prompt
        return self.prompts[key]

    def _common_with_content(
        self, messages: Sequence[Message], number: int, way: Mapping[str, bool], gap: str
    ) -> int:
        """Return how much of the text before an answer is there too if the answer is a content alone."""
        answer = [{"role": "assistant", "content": "zq"}]
        # A template may refuse the result of a call that is not there, and then nothing follows the answer.
        for rest in (messages[number + 1 :], ()):
            text, places = self._look([*messages[:number], *answer, *rest], Marks(**way))
            if number in places:
                start = places[number][0].position
                every = [place.position for listed in places.values() for place in listed]
                before = max((position for position in every if position < start), default=0)
                return _common(gap, text[before:start])
        return 0

    def _end(self, messages: Sequence[Message], number: int, way: Mapping[str, bool], gap: str) -> int:
        """Return where in the text behind a turn's last mark the special tokens end that end the turn."""
        closing = gap
        if number < len(messages) - 1:
            # As the last message, it has all that ends its turn behind it and no header.
            text, places = self._look(messages[: number + 1], Marks(**way))
            closing = text[places[number][-1].position :] if number in places else ""
        common = gap[: _common(gap, closing)]
        if names := [*self.special.finditer(common)]:
            return names[-1].end()
        # Some templates end the last turn by another token than the turns before. But a turn may have no end
        # at all, and then the next special token is that of a header.
        name = self.special.search(gap) if self.special.search(closing) else None
        return name.end() if name else len(common)


def _header_end(gap: str, prompt: str) -> int | None:
    """Return where the last header in a text ends: the longest beginning of a prompt that is there."""
    cuts = [match.end() for match in _UNIT.finditer(prompt)]
    for cut in reversed(cuts):
        if not prompt[:cut].strip():
            break
        if (at := gap.rfind(prompt[:cut])) >= 0:
            return at + cut
    return None


def _common(first: str, second: str) -> int:
    """Return the length of the beginning that two texts have in common, in whole words and tags."""
    length = 0
    for one, other in zip(_UNIT.finditer(first), _UNIT.finditer(second), strict=False):
        if one.group() != other.group():
            break
        length = one.end()
    return length
