"""Find which parts of a rendered conversation an assistant has written.

The texts of the row are found by their marks. In the loss is each assistant's turn from its first text on,
with what the template writes between its texts, up to the special tokens that end the turn. Other renderings
tell where a turn's header ends and where the next one begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from dataprep.core.conversations import content_text
from dataprep.core.errors import RowError
from dataprep.tokens.formats.base import CALLS, CONTENT, REASONING
from dataprep.tokens.formats.marks import Marks, Place, word_for
from dataprep.tokens.formats.pieces import Span

Message = Mapping[str, Any]
Places = Mapping[int, Sequence[Place]]

UNKNOWN = "the loss mask is unknown"
_INSTEAD = "mark what is generated with {% generation %}, or use a named chat format"
# Texts are compared by whole words, tags, and single white space: `<think>` and `<tool_call>` begin with the
# same two characters and have nothing in common.
_UNIT = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|\w+|.", re.DOTALL)
# How to mark a row, from what tells most to what disturbs a template least.
_WAYS = (Marks(), Marks(answers_only=True), Marks(answers_only=True, names_only=True))
# Characters before the end of a turn that must be those of another turn for both to end alike.
_SHARED = 12
_QUESTION = {"role": "user", "content": "zq"}
_ANSWER = {"role": "assistant", "content": "zq"}


class Turns(NamedTuple):
    """The turns of assistants in a rendered conversation."""

    # By the index of the message: the turn, and special tokens behind it that belong to it. Messages that the
    # template leaves out have none.
    spans: dict[int, list[Span]]
    left_out: tuple[str, ...]  # the kinds of values that the template left out


@dataclass
class SpanFinder:
    """Finds what assistants have written in the texts of one template.

    Attributes:
        render: renders messages, with the prompt of an answer behind them or without.
        special: finds the special tokens.
    """

    render: Callable[[Sequence[Message], bool], str]
    special: re.Pattern[str]
    # By the index of the answer, in one row: the text behind the last mark also has the white space that
    # ends the message before it, so rows share nothing.
    _prompts: dict[int, tuple[str, str]] = field(default_factory=dict, init=False)

    def find(self, messages: Sequence[Message], real: str) -> Turns:
        """Return what assistants have written in ``real``, the template's text, or raise ``RowError``."""
        way, kinds, places = self._places(messages, real)
        spans: dict[int, list[Span]] = {}
        left_out: list[str] = []
        # Turns of one kind between the same texts begin and end alike. Conversations with tools have many of
        # them, and each would need renderings of all messages before it.
        alike: dict[tuple[Any, ...], list[int]] = {}
        closed: dict[tuple[Any, ...], tuple[str, list[int]]] = {}
        for number, message in enumerate(messages):
            here = places.get(number, ())
            left_out += sorted(kinds.get(number, set()) - {place.kind for place in here})
            if message["role"] != "assistant":
                continue
            marks, known = way, places
            kind = _kind_of(messages, number)
            blank = not content_text(message.get("content")).strip()
            if not here or (blank and kind not in alike):
                alike[kind] = []
                empty = replace(way, empty=number)
                text, found = self.look(messages, replace(empty))
                # The place of an empty content counts if there is nothing else, or behind results of calls.
                if text == real and number in found and (not here or _is_behind(found, number)):
                    marks, here, known = empty, found[number], found
                    del alike[kind]
                elif not here:
                    marks, here = empty, _empty_place(number, text, found, places, real)
            if not here:
                continue
            inside = [other for other, listed in known.items() if listed[0].position <= here[-1].position]
            turn = _Turn(self, messages, number, marks, 1 + max([number, *inside]))
            others = _positions(known, number)
            groups = _groups(here, others)
            for at, group in enumerate(groups):
                start, end = group[0].position, group[-1].position
                before = max((position for position in others if position <= start), default=0)
                after = min((position for position in others if position >= end), default=None)
                # Some templates write a tool's result inside the turn of its call.
                gap = real[before:start]
                if at == 0:
                    key = (*kind, _first(group)[1:3], gap)
                    if key not in alike:
                        alike[key] = [turn.start(_first(group), gap)]
                    start = before + alike[key][0]
                elif group[0].kind != CALLS:
                    start -= _length_before(content_text(message.get("content")), gap, real[start:after])
                gap, key = real[end:after], (*kind, at - len(groups), group[-1].kind)
                ends = _same_ends(gap, *closed[key]) if key in closed else []
                if not ends:
                    inner = at < len(groups) - 1
                    ends = [turn.part_end(group[-1], gap)] if inner else turn.ends(group[-1], gap)
                    closed[key] = gap, ends
                borders = [end + border for border in ends]
                pairs = [(start, borders[0]), *zip(borders[1::2], borders[2::2], strict=True)]
                spans.setdefault(number, []).extend(pairs)
        return Turns(spans, tuple(left_out))

    def _places(self, messages: Sequence[Message], real: str) -> tuple[Marks, dict[int, set[str]], Places]:
        """Return the first way of marking that does not change the text, what it marks and what it finds."""
        word = word_for(real)
        for way in _WAYS:
            marks = replace(way, word=word)
            text, places = self.look(messages, marks)
            if text == real:
                return replace(way, word=word), marks.kinds, places
        raise RowError(UNKNOWN, f"the chat template changes texts by what they say: {_INSTEAD}")

    def look(self, messages: Sequence[Message], marks: Marks, *, prompt: bool = False) -> tuple[str, Places]:
        """Return the text of messages and the places of their marks; nothing if the template refuses them."""
        try:
            return marks.find(self.render(marks.mark(messages), prompt))
        except RowError:
            return "", {}

    def prompt(self, messages: Sequence[Message], number: int, way: Marks) -> tuple[str, str]:
        """Return what stands between the last text before an answer and the answer, and its last part.

        The last part, which the template writes as the prompt of an answer, is empty if it writes none.
        """
        if number not in self._prompts:
            prompt, added = self._prompt(messages[:number], way)
            self._prompts[number] = prompt if number else "", added or self._prompt([_QUESTION], way)[1]
        return self._prompts[number]

    def _prompt(self, messages: Sequence[Message], way: Marks) -> tuple[str, str]:
        texts = []
        for prompt in (True, False):
            text, places = self.look(messages, replace(way), prompt=prompt) if messages else ("", {})
            last = max(_positions(places), default=0)
            texts.append(text[last:])
        return texts[0], texts[0][_common(*texts) :]


@dataclass
class _Turn:
    """One assistant message in its conversation."""

    finder: SpanFinder
    messages: Sequence[Message]
    number: int
    way: Marks
    until: int  # the number of messages up to its end; more than up to this one if results stand inside it

    def start(self, first: Place, gap: str) -> int:
        """Return where in the text before its first mark what the assistant has written begins."""
        prompt, added = self.finder.prompt(self.messages, self.number, self.way)
        header = _common(gap, prompt)
        # Nothing comes before the first message that could tell, and a turn may end otherwise as the last.
        if added and header < len(prompt or added) and added in gap:
            header = gap.rfind(added) + len(added)
        if self._is_structured(first):
            before = self._around_content[0]
            common = _common(gap, before)
            # A call may begin as a content does, but only all that stands before a content is no part of it.
            return max(header, common if common == len(before) or not header else 0)
        if header == len(gap) and header in (0, len(prompt)):
            return header
        # No row says what the template writes before any content, such as an empty block of thoughts. The
        # rest belongs to the content, for example its white space.
        around = self._around_content
        own = _common(gap, around[0]) if any(around) else len(gap)
        # The tag that opens the reasoning is learned too, unless the prompt of an answer has it. Instead of
        # it, the template may write an empty block before a content.
        if first.kind == REASONING and (own < len(around[0]) or header > own):
            return header
        header = min(header, own)
        return own if gap[header:own].strip() else header

    def ends(self, last: Place, gap: str) -> list[int]:
        """Return where in the text behind its last mark the turn ends, and the borders of further tokens."""
        closing = self._closing(gap)
        common = gap[: _common(gap, closing)]
        # Text before the closing of a bare content belongs to the turn: the rest of a call, a tag at the end
        # of a content or behind reasoning without one.
        alone = self._around_content[1]
        if alone and common.endswith(alone):
            syntax = len(common) - len(alone)
        else:
            syntax = -1 if self._is_structured(last) else 0
        names = [*self.finder.special.finditer(common, max(syntax, 0))]
        if names and syntax < 0:
            return [names[-1].end()]
        if names:
            return [names[0].end(), *(border for name in names[1:] for border in name.span())]
        return [self._first_end(gap, len(common)) if self.finder.special.search(closing) else len(common)]

    def _first_end(self, gap: str, common: int) -> int:
        """Return where a turn ends if the last turn ends by another token than the turns before."""
        names = [*self.finder.special.finditer(gap)]
        added = self.finder.prompt(self.messages, self.number, self.way)[1]
        header = self.finder.special.match(added)
        # Headers often begin alike, and otherwise with one special token each.
        if header and header.group() in gap:
            names = [name for name in names if name.end() <= gap.rindex(header.group())]
        elif header:
            names = names[:-1]
        return names[0].end() if names else common

    def part_end(self, last: Place, gap: str) -> int:
        """Return where in the text behind a mark the template ends what it writes for a part of the turn."""
        text, places = self.finder.look(self.messages[: self.number + 1], replace(self.way))
        position = next(
            (at.position for at in places.get(self.number, ()) if at.mark == last.mark and not at.opens), None
        )
        if position is None:
            return 0
        after = min((at for at in _positions(places) if at > position), default=None)
        return _common(gap, text[position:after])

    def _closing(self, gap: str) -> str:
        """Return the text that closes the turn where it is the last one."""
        if self.until == len(self.messages):
            return gap
        # Before the prompt of another answer stands all that ends the turn, and no header of a message.
        messages = self.messages[: self.until]
        added = self.finder.prompt(self.messages, self.number, self.way)[1]
        if added and (text := self._behind(messages, prompt=True)).endswith(added):
            return text.removesuffix(added)
        return self._behind(messages)

    def _behind(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        text, places = self.finder.look(messages, replace(self.way), prompt=prompt)
        return text[places[self.number][-1].position :] if self.number in places else ""

    def _is_structured(self, place: Place) -> bool:
        """Return whether the template writes something around the text, as around the name of a call."""
        parts = isinstance(self.messages[self.number].get("content"), list)
        return place.kind == CALLS or (parts and place.kind == CONTENT)

    @cached_property
    def _around_content(self) -> tuple[str, str]:
        """Return the texts before and behind the answer if it is a content alone."""
        before, behind = "", ""
        # A template may refuse the result of a call that is not there, and then nothing follows the answer.
        for rest in (self.messages[self.number + 1 :], ()):
            text, places = self.finder.look(
                [*self.messages[: self.number], _ANSWER, *rest], replace(self.way)
            )
            if self.number not in places:
                continue
            first, last = places[self.number][0].position, places[self.number][-1].position
            others = [
                at.position for other, listed in places.items() if other != self.number for at in listed
            ]
            before = before or text[max((at for at in others if at <= first), default=0) : first]
            behind = text[last:]  # of the last one: as the last message
        return before, behind


def _kind_of(messages: Sequence[Message], number: int) -> tuple[Any, ...]:
    """Return the kind of a turn: what it has, how many calls, and the roles of the messages beside it."""
    message = messages[number]
    said = tuple(name for name, value in message.items() if value or name == "role")
    roles = [other["role"] for other in messages[max(0, number - 1) : number + 2]]
    return said, len(message.get("tool_calls") or ()), number == 0, number == len(messages) - 1, tuple(roles)


def _same_ends(gap: str, known: str, ends: Sequence[int]) -> list[int]:
    """Return the ends of a turn in a text that ends as the text behind another turn; none if it does not."""
    # The end of the call before it may be another one, for example a number, but not the end of the turn.
    shared = len(known) - max(0, ends[0] - _SHARED)
    moved = len(gap) - len(known)
    if not gap or gap[-shared:] != known[-shared:] or shared > len(gap):
        return []
    return [border + moved for border in ends]


def _empty_place(number: int, text: str, found: Places, places: Places, real: str) -> list[Place]:
    """Return the place of an empty content in ``real``, by what stands behind it if it is not empty."""
    if number not in found:
        return []
    behind = text[found[number][-1].position : _after(found, number, len(text))]
    end = _after(places, number, len(real))
    position = end - len(behind)
    earlier = {other: here for other, here in places.items() if other < number}
    if position < max(_positions(earlier), default=0) or not real[:end].endswith(behind):
        return []
    return [Place(position, CONTENT, opens, -1) for opens in (True, False)]


def _first(places: Sequence[Place]) -> Place:
    """Return the first place; at the same position, the one of a reasoning inside a content."""
    first = places[0]
    return next((at for at in places if at.position == first.position and at.kind == REASONING), first)


def _length_before(content: str, gap: str, rest: str) -> int:
    """Return how much of a content stands before its first mark: white space and tags."""
    for length in range(min(len(gap), len(content)), 0, -1):
        if gap.endswith(content[:length]) and rest.startswith(content[length:].rstrip()):
            return length
    return 0


def _groups(here: Sequence[Place], others: Sequence[int]) -> list[list[Place]]:
    """Return the marks of a message, divided where marks of other messages stand between them."""
    groups = [[here[0]]]
    for one, other in pairwise(here):
        divided = any(one.position < position <= other.position for position in others) and other.opens
        if divided:
            groups.append([])
        groups[-1].append(other)
    return groups


def _is_behind(places: Places, number: int) -> bool:
    """Return whether the last mark of a message stands behind marks of the message that follows it."""
    return any(at.position <= places[number][-1].position for at in places.get(number + 1, ()))


def _positions(places: Places, without: int = -1) -> list[int]:
    return [at.position for message, listed in places.items() if message != without for at in listed]


def _after(places: Places, number: int, end: int) -> int:
    return min((at.position for other, here in places.items() if other > number for at in here), default=end)


def _common(first: str, second: str) -> int:
    """Return the length of the beginning that two texts have in common, in whole words and tags."""
    length = 0
    for one, other in zip(_UNIT.finditer(first), _UNIT.finditer(second), strict=False):
        if one.group() != other.group():
            break
        length = one.end()
    return length
