"""A model's own chat template as a chat format.

The template is rendered with placeholders for contents, once for each order of roles, so that only its
own text can hold special tokens: a content goes to the tokenizer as data, whatever it says. What is
trained on is what the template marks as generated, or without marks what comes after each prompt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataprep.core.errors import RowError, TemplateError, TokenizerError
from dataprep.tokens.formats.base import (
    Messages,
    Plan,
    Segment,
    Slot,
    check_date,
    filled,
    fingerprint_of,
    read_messages,
)
from dataprep.tokens.formats.jinja_sandbox import BEGIN, END, ChatTemplate
from dataprep.tokens.formats.template_files import TOKENS, ModelTemplate, read_template

Span = tuple[int, int]
SHOWN = 40  # characters around the place where two texts part


@dataclass(frozen=True)
class _Sheet:
    """What the template makes of messages with certain roles.

    Attributes:
        plan: its pieces.
        pieces: its text, and the numbers of the messages whose contents stand in it.
        trimmed: for each message, whether its content is trimmed on the left, and on the right.
        bare: the same, where a special token swallows the white space beside it.
        ends: the special tokens that come first after assistants' contents.
    """

    plan: Plan
    pieces: tuple[str | int, ...]
    trimmed: tuple[tuple[bool, bool], ...]
    bare: tuple[frozenset[int], frozenset[int]]
    ends: frozenset[str]


@dataclass
class TemplateFormat:
    """A model's own chat template as a chat format; ``chat_format_of`` makes it."""

    template: ModelTemplate
    special_tokens: tuple[str, ...]
    strip: bool = False
    date: str | None = None
    _sheets: dict[tuple[str, ...], _Sheet] = field(default_factory=dict, repr=False)
    _compiled: ChatTemplate | None = field(default=None, repr=False)

    name = "template"
    exact = False  # a template may write a space before an answer, and train on it

    @classmethod
    def read_from(
        cls, path: str | Path, *, strip: bool, date: str | None, special_tokens: Collection[str] = ()
    ) -> TemplateFormat:
        """The template in a model directory or file; see ``chat_format_of``."""
        check_date(date)
        template = read_template(path)
        names = sorted(set(special_tokens) or template.special_tokens, key=lambda name: (-len(name), name))
        if not names:
            raise TokenizerError(
                f"{path}: no special tokens are known; give a model directory that lists them"
            )
        chat_format = cls(template, tuple(names), strip, date)
        if not template.variables and (used := chat_format._chat.uses(TOKENS)):
            raise TemplateError(
                f"{path}: the chat template writes {' and '.join(used)}, and nothing here says what that is; "
                "give the model directory, whose tokenizer_config.json does"
            )
        try:  # what is wrong with a template is found before any row
            chat_format._sheet(("user", "assistant"))
        except RowError as error:
            raise TemplateError(f"{path}: not even a question and an answer: {error}") from None
        return chat_format

    def __post_init__(self) -> None:
        facts = (self.template.text, sorted(self.template.variables.items()), self.special_tokens)
        swallowing = sorted(self.template.before), sorted(self.template.after)
        self.fingerprint = fingerprint_of(self.name, self.strip, self.date, facts, swallowing)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_compiled": None}  # compiled templates cannot be pickled

    @property
    def ends(self) -> frozenset[str]:
        """The special tokens that end an assistant's turn, trained or not."""
        return self._sheet(("user", "assistant")).ends

    def plan(self, roles: tuple[str, ...]) -> Plan:
        """The fixed pieces and the places of contents, for messages with these roles."""
        return self._sheet(roles).plan

    def read(self, messages: Messages) -> tuple[tuple[str, ...], list[str]]:
        """The messages' roles, and their contents as the template writes them.

        Raises:
            RowError: they are no chat row, or the template refuses them or changes a content.
        """
        roles, given = read_messages(messages, self.strip)
        sheet = self._sheet(roles)
        contents = [_trimmed(text, *sides) for text, sides in zip(given, sheet.trimmed, strict=True)]
        expected = "".join([contents[each] if isinstance(each, int) else each for each in sheet.pieces])
        real = self._render(roles, given)
        if real != expected:
            raise RowError("the chat template changes a content", _parting(expected, real))
        for side, numbers in enumerate(sheet.bare):
            for number in numbers:
                if _trimmed(contents[number], side == 0, side == 1) != contents[number]:
                    raise RowError(
                        "white space beside a special token",
                        f"the tokenizer swallows it in messages[{number}]: strip contents",
                    )
        return roles, contents

    def segments(self, messages: Messages) -> list[Segment]:
        """The pieces of a conversation, in order."""
        roles, contents = self.read(messages)
        return filled(self.plan(roles), contents)

    @property
    def _chat(self) -> ChatTemplate:
        if self._compiled is None:
            self._compiled = ChatTemplate(self.template.text, self.template.variables, self.date)
        return self._compiled

    def _render(self, roles: tuple[str, ...], contents: list[str], **options: bool) -> str:
        pairs = zip(roles, contents, strict=False)
        return self._chat.render([{"role": role, "content": text} for role, text in pairs], **options)

    def _sheet(self, roles: tuple[str, ...]) -> _Sheet:
        if roles not in self._sheets:
            self._sheets[roles] = self._make_sheet(roles)
        return self._sheets[roles]

    def _make_sheet(self, roles: tuple[str, ...]) -> _Sheet:
        places = [_placeholder(number) for number in range(len(roles))]
        text, spans = self._marked(roles, places)
        for number, place in enumerate(places):
            if place not in text:
                raise RowError(
                    "the chat template leaves out or changes a content",
                    f"messages[{number}], {roles[number]}",
                )
        if not spans:
            spans = self._after_prompts(roles, places, text)
        numbers = {place: number for number, place in enumerate(places)}
        known = re.compile("|".join(map(re.escape, [*places, *self.special_tokens])))
        plan, bare = self._swallow([*_cut(text, known, spans, numbers)])
        return _Sheet(
            plan,
            tuple(numbers.get(each, each) for each in re.split(f"({'|'.join(places)})", text)),
            self._trims(roles, places),
            bare,
            _ends(plan, roles),
        )

    def _marked(self, roles: tuple[str, ...], places: list[str]) -> tuple[str, list[Span]]:
        """The text, and what the template marks as generated in it."""
        parts = re.split(f"([{BEGIN}{END}])", self._render(roles, places, marks=True))
        text, spans, start = "", [], 0
        for part in parts:
            if part == BEGIN:
                start = len(text)
            elif part == END:
                spans.append((start, len(text)))
            else:
                text += part
        if text != (plain := self._render(roles, places)):
            raise RowError("the chat template's marks change its text", _parting(plain, text))
        return text, spans

    def _after_prompts(self, roles: tuple[str, ...], places: list[str], text: str) -> list[Span]:
        """What comes after each prompt, to the end of the turn; each text must begin with the one before."""
        spans = []
        for number in [number for number, role in enumerate(roles) if role == "assistant"]:
            turns = number + 1
            prompt = self._render(roles[:number], places[:number], prompt=True)
            after = self._render(roles[:turns], places[:turns])
            start = self._answer(after, prompt, places[number]) if after.startswith(prompt) else 0
            end = self._end(after, start, places[number])
            for shorter, longer in ((prompt, after), (after[:end], text)):
                if not longer.startswith(shorter):
                    raise RowError(
                        "the chat template is not prefix-safe",
                        f"no mask can be told: with {turns} of {len(roles)} messages, "
                        f"{_parting(shorter, longer)}; mark what is generated with "
                        "{% generation %}, or lay the messages out by a named chat format",
                    )
            between = text[len(prompt) : text.index(places[number])]
            if between.strip() and prompt == self._render(roles[:number], places[:number]):
                raise RowError(
                    "the chat template writes no prompt for an assistant",
                    f"add_generation_prompt adds nothing, so that no mask can be told: found {between!r} "
                    "before an answer; mark what is generated with {% generation %}",
                )
            spans.append((start, end))
        return spans

    def _answer(self, text: str, prompt: str, place: str) -> int:
        """Where an answer begins: after the prompt, and after what the template itself writes before it.

        Such as Qwen3's empty block of thoughts: what no row says is not trained on.
        """
        content = max(text.find(place), len(prompt))
        return content if text[len(prompt) : content].strip() else len(prompt)

    def _end(self, text: str, start: int, place: str) -> int:
        """The end of a turn: after the first special token behind the content, else of the text."""
        content = max(text.find(place, start), start) + len(place)
        found = re.compile("|".join(map(re.escape, self.special_tokens))).search(text, content)
        return found.end() if found else len(text)

    def _trims(self, roles: tuple[str, ...], places: list[str]) -> tuple[tuple[bool, bool], ...]:
        """Which contents lose the white space around them."""
        text = self._render(roles, [f" \n\t{place}\t\n " for place in places])
        return tuple((f" \n\t{place}" not in text, f"{place}\t\n " not in text) for place in places)

    def _swallow(self, pieces: list[Segment | Slot]) -> tuple[Plan, tuple[frozenset[int], frozenset[int]]]:
        """The pieces without the white space that special tokens beside it swallow."""
        pieces, left = _swallowed(pieces, self.template.after, str.lstrip)
        pieces, right = _swallowed(pieces[::-1], self.template.before, str.rstrip)
        return tuple(pieces[::-1]), (left, right)


def _placeholder(number: int) -> str:
    """A word that no template has in it, whatever it does with white space or case."""
    return "zq" + "".join(chr(ord("a") + int(digit)) for digit in f"{number:04}") + "qz"


def _trimmed(text: str, left: bool, right: bool) -> str:
    text = text.lstrip() if left else text
    return text.rstrip() if right else text


def _cut(
    text: str, known: re.Pattern[str], spans: list[Span], numbers: dict[str, int]
) -> Iterator[Segment | Slot]:
    """The pieces of a text: special tokens, contents, and what is between, cut where the mask changes."""
    borders = sorted({border for span in spans for border in span})

    def trained(position: int) -> bool:
        return any(start <= position < end for start, end in spans)

    def plain(start: int, end: int) -> Iterator[Segment]:
        for border in [each for each in borders if start < each < end] + [end]:
            if start < border:
                yield Segment(text[start:border], trained=trained(start))
            start = border

    position = 0
    for match in known.finditer(text):
        yield from plain(position, match.start())
        position = match.end()
        if any(match.start() < border < position for border in borders):
            raise RowError("the chat template marks a part as generated", f"a part of {match.group()!r}")
        if match.group() in numbers:
            yield Slot(numbers[match.group()], trained(match.start()))
        else:
            yield Segment(match.group(), special=True, trained=trained(match.start()))
    yield from plain(position, len(text))


def _swallowed(
    pieces: list[Segment | Slot], names: Collection[str], strip: Any
) -> tuple[list[Segment | Slot], frozenset[int]]:
    """Pieces without the white space after special tokens of these names; the contents next to one."""
    kept: list[Segment | Slot] = []
    beside, bare = False, set()
    for piece in pieces:
        if isinstance(piece, Slot):
            bare |= {piece.message} if beside else set()
            beside = False
        elif piece.special:
            beside = piece.text in names
        elif beside:
            text = strip(piece.text)
            beside = not text
            if text:
                kept.append(Segment(text, trained=piece.trained))
            continue
        kept.append(piece)
    return kept, frozenset(bare)


def _ends(plan: Plan, roles: tuple[str, ...]) -> frozenset[str]:
    ends, answered = set(), False
    for piece in plan:
        if isinstance(piece, Slot):
            answered = roles[piece.message] == "assistant"
        elif piece.special and answered:
            ends.add(piece.text)
            answered = False
    return frozenset(ends)


def _parting(expected: str, found: str) -> str:
    """Where two texts part, for a message."""
    pairs = zip(expected, found, strict=False)
    place = next((number for number, (one, other) in enumerate(pairs) if one != other), None)
    if place is None:
        place = min(len(expected), len(found))
    start = max(0, place - SHOWN // 2)
    shown = [repr(text[start : place + SHOWN]) for text in (found, expected)]
    return f"at character {place} found {shown[0]}, expected {shown[1]}"
