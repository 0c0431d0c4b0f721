"""A model's own chat template as a chat format.

The template is rendered once for each order of roles, with placeholders for the contents. So only its own
text can hold special tokens: a content goes to the tokenizer as data, whatever it says. The loss mask covers
what the template marks as generated; without marks, what follows each prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataprep.core.errors import RowError, TemplateError, TokenizerError
from dataprep.tokens.formats.base import (
    Messages,
    Plan,
    Segment,
    Slot,
    Turns,
    check_date,
    fingerprint_of,
    read_messages,
)
from dataprep.tokens.formats.model_template import (
    BEGIN,
    END,
    TOKENS,
    ChatTemplate,
    ModelTemplate,
    read_template,
)
from dataprep.tokens.options import first_difference

Span = tuple[int, int]
CONTEXT = 40  # characters of each text in a message about a difference


@dataclass(frozen=True)
class _Rendered:
    """The output of the template for messages with certain roles."""

    plan: Plan
    pieces: tuple[str | int, ...]  # its text, with the indexes of messages in place of their contents
    trims: tuple[
        tuple[bool, bool], ...
    ]  # for each message, whether its content is trimmed on the left, and right
    # The messages whose contents stand after, and before, a special token that swallows white space.
    bare: tuple[frozenset[int], frozenset[int]]
    stop_tokens: frozenset[str]  # the special tokens that come first after assistants' contents


@dataclass
class TemplateFormat:
    """A model's own chat template as a chat format; ``chat_format_of`` makes it."""

    template: ModelTemplate
    special_tokens: tuple[str, ...]
    strip: bool = False
    date: str | None = None
    _rendered: dict[tuple[str, ...], _Rendered] = field(default_factory=dict, repr=False)
    _compiled: ChatTemplate | None = field(default=None, repr=False)

    name = "template"
    exact = False  # a template may write a space before an answer, and mark it as generated

    @classmethod
    def read_from(
        cls, path: str | Path, *, strip: bool, date: str | None, special_tokens: Collection[str] = ()
    ) -> TemplateFormat:
        """Return the template of a model directory or file; see ``chat_format_of``."""
        check_date(date)
        template = read_template(path)
        # The longest name first, so that the search for them never finds a part of a longer one.
        names = sorted(set(special_tokens) or template.special_tokens, key=lambda name: (-len(name), name))
        if not names:
            raise TokenizerError(
                f"{path}: no special tokens are known; give a model directory that lists them"
            )
        chat_format = cls(template, tuple(names), strip, date)
        try:
            used = chat_format._chat.uses(TOKENS)
        except TemplateError as error:
            raise TemplateError(f"{path}: {error}") from None
        if used and not template.variables:
            raise TemplateError(
                f"{path}: the chat template writes {' and '.join(used)}, which nothing here defines; "
                "give the model directory, whose tokenizer_config.json does"
            )
        try:  # find what is wrong with a template before any row is read
            chat_format._render_roles(("user", "assistant"))
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
    def stop_tokens(self) -> frozenset[str]:
        """The special tokens that end an assistant's turn, in the loss or not."""
        return self._render_roles(("user", "assistant")).stop_tokens

    def plan(self, roles: tuple[str, ...]) -> Plan:
        """Return the pieces of conversations with these roles; see ``ChatFormat``."""
        return self._render_roles(roles).plan

    def read(self, messages: Messages) -> Turns:
        """Return the roles of the messages, and their contents as the template writes them."""
        roles, given = read_messages(messages, self.strip)
        rendered = self._render_roles(roles)
        contents = [_trim(text, *sides) for text, sides in zip(given, rendered.trims, strict=True)]
        expected = "".join(
            [contents[piece] if isinstance(piece, int) else piece for piece in rendered.pieces]
        )
        # The row itself is rendered too: a template may treat some contents in a way of its own.
        real = self._render(roles, given)
        if real != expected:
            raise RowError("the chat template changes a content", _difference(expected, real))
        for side, indexes in enumerate(rendered.bare):
            for index in indexes:
                if _trim(contents[index], side == 0, side == 1) != contents[index]:
                    raise RowError(
                        "white space beside a special token",
                        f"the tokenizer swallows it in messages[{index}]: strip contents (--strip)",
                    )
        return roles, contents

    def jinja(self) -> str:
        """Return the model's own template, unchanged."""
        return self.template.text

    @property
    def _chat(self) -> ChatTemplate:
        if self._compiled is None:
            self._compiled = ChatTemplate(self.template.text, self.template.variables, self.date)
        return self._compiled

    def _render(self, roles: tuple[str, ...], contents: list[str], **options: bool) -> str:
        pairs = zip(roles, contents, strict=False)
        return self._chat.render([{"role": role, "content": text} for role, text in pairs], **options)

    def _render_roles(self, roles: tuple[str, ...]) -> _Rendered:
        if roles not in self._rendered:
            self._rendered[roles] = self._make_rendered(roles)
        return self._rendered[roles]

    def _make_rendered(self, roles: tuple[str, ...]) -> _Rendered:
        words = [_placeholder(index) for index in range(len(roles))]
        text, spans = self._marked(roles, words)
        for index, word in enumerate(words):
            if word not in text:
                raise RowError(
                    "the chat template leaves out or changes a content", f"messages[{index}], {roles[index]}"
                )
        # Marks are the template's own word on what is generated; without them, prefixes are compared.
        if not spans:
            spans = self._after_prompts(roles, words, text)
        indexes = {word: index for index, word in enumerate(words)}
        known = re.compile("|".join(map(re.escape, [*words, *self.special_tokens])))
        pieces = [*_cut(text, known, spans, indexes)]
        pieces, left = _swallow(pieces, self.template.after, str.lstrip)
        pieces, right = _swallow(pieces[::-1], self.template.before, str.rstrip)
        plan = tuple(pieces[::-1])
        return _Rendered(
            plan,
            tuple(indexes.get(piece, piece) for piece in re.split(f"({'|'.join(words)})", text)),
            self._trims(roles, words),
            (left, right),
            _stop_tokens(plan, roles),
        )

    def _marked(self, roles: tuple[str, ...], words: list[str]) -> tuple[str, list[Span]]:
        """Return the text, and the spans that the template marks as generated."""
        parts = re.split(f"([{BEGIN}{END}])", self._render(roles, words, marks=True))
        text, spans, start = "", [], 0
        for part in parts:
            if part == BEGIN:
                start = len(text)
            elif part == END:
                spans.append((start, len(text)))
            else:
                text += part
        # A template may trim or repeat what it marked, and then the spans would be wrong.
        if text != (plain := self._render(roles, words)):
            raise RowError("the chat template's marks change its text", _difference(plain, text))
        return text, spans

    def _after_prompts(self, roles: tuple[str, ...], words: list[str], text: str) -> list[Span]:
        """Return the span after each prompt up to the end of the turn, for a template without marks."""
        spans = []
        for index in [index for index, role in enumerate(roles) if role == "assistant"]:
            count = index + 1
            prompt = self._render(roles[:index], words[:index], prompt=True)
            after = self._render(roles[:count], words[:count])
            start = self._answer_start(after, prompt, words[index]) if after.startswith(prompt) else 0
            end = self._turn_end(after, start, words[index])
            # Otherwise a model that is asked with the prompt would see another text than in training.
            for shorter, longer in ((prompt, after), (after[:end], text)):
                if not longer.startswith(shorter):
                    raise RowError(
                        "the chat template is not prefix-safe",
                        f"the loss mask is unknown: with {count} of {len(roles)} messages, "
                        f"{_difference(shorter, longer)}; mark what is generated with "
                        "{% generation %}, or use a named chat format",
                    )
            # A header that only the full conversation has would be in the loss although no prompt ends there.
            between = text[len(prompt) : text.index(words[index])]
            if between.strip() and prompt == self._render(roles[:index], words[:index]):
                raise RowError(
                    "the chat template writes no prompt for an assistant",
                    f"add_generation_prompt adds nothing, so the loss mask is unknown: found {between!r} "
                    "before an answer; mark what is generated with {% generation %}",
                )
            spans.append((start, end))
        return spans

    def _answer_start(self, text: str, prompt: str, word: str) -> int:
        # Some templates write text of their own between the prompt and the content, for example Qwen3's
        # empty block of thoughts. No row says it, so it is not in the loss.
        content = max(text.find(word), len(prompt))
        return content if text[len(prompt) : content].strip() else len(prompt)

    def _turn_end(self, text: str, start: int, word: str) -> int:
        """Return the end of a turn: after the first special token behind the content, else of the text."""
        content = max(text.find(word, start), start) + len(word)
        match = re.compile("|".join(map(re.escape, self.special_tokens))).search(text, content)
        return match.end() if match else len(text)

    def _trims(self, roles: tuple[str, ...], words: list[str]) -> tuple[tuple[bool, bool], ...]:
        # Found by rendering contents with white space around them, not by reading the template.
        text = self._render(roles, [f" \n\t{word}\t\n " for word in words])
        return tuple((f" \n\t{word}" not in text, f"{word}\t\n " not in text) for word in words)


def _placeholder(index: int) -> str:
    # A word that no template contains, and that none changes by trimming or by changing case.
    return "zq" + "".join(chr(ord("a") + int(digit)) for digit in f"{index:04}") + "qz"


def _trim(text: str, left: bool, right: bool) -> str:
    text = text.lstrip() if left else text
    return text.rstrip() if right else text


def _cut(
    text: str, known: re.Pattern[str], spans: list[Span], indexes: dict[str, int]
) -> Iterator[Segment | Slot]:
    """Yield special tokens, slots, and the text between them, cut where the loss mask changes."""
    borders = sorted({border for span in spans for border in span})

    def in_loss(position: int) -> bool:
        return any(start <= position < end for start, end in spans)

    def plain(start: int, end: int) -> Iterator[Segment]:
        for border in [border for border in borders if start < border < end] + [end]:
            if start < border:
                yield Segment(text[start:border], in_loss=in_loss(start))
            start = border

    position = 0
    for match in known.finditer(text):
        yield from plain(position, match.start())
        position = match.end()
        if any(match.start() < border < position for border in borders):
            raise RowError("the chat template marks a part as generated", f"a part of {match.group()!r}")
        if match.group() in indexes:
            yield Slot(indexes[match.group()], in_loss(match.start()))
        else:
            yield Segment(match.group(), special=True, in_loss=in_loss(match.start()))
    yield from plain(position, len(text))


def _swallow(
    pieces: list[Segment | Slot], names: Collection[str], strip: Callable[[str], str]
) -> tuple[list[Segment | Slot], frozenset[int]]:
    r"""Remove the white space after special tokens of these names; return the contents that follow one too.

    For ``names`` with ``<a>``, and ``<a>`` before a text::

        <a> "\n" " Hi" → <a> "Hi"
        <a> "\n" {0}   → <a> {0}, and message 0 is bare: white space at its beginning would be lost
        "x" {0}        → "x" {0}
    """
    kept: list[Segment | Slot] = []
    bare: set[int] = set()
    swallows = False  # whether a special token of these names, and since then white space alone, came before
    for piece in pieces:
        if isinstance(piece, Slot):
            if swallows:
                bare.add(piece.message)
            swallows = False
        elif piece.special:
            swallows = piece.text in names
        elif swallows:
            text = strip(piece.text)
            swallows = not text
            if text:
                kept.append(Segment(text, in_loss=piece.in_loss))
            continue
        kept.append(piece)
    return kept, frozenset(bare)


def _stop_tokens(plan: Plan, roles: tuple[str, ...]) -> frozenset[str]:
    names, answered = set(), False
    for piece in plan:
        if isinstance(piece, Slot):
            answered = roles[piece.message] == "assistant"
        elif piece.special and answered:
            names.add(piece.text)
            answered = False
    return frozenset(names)


def _difference(expected: str, found: str) -> str:
    at = first_difference(expected, found) or 0
    start = max(0, at - CONTEXT // 2)
    shown = [repr(text[start : at + CONTEXT]) for text in (found, expected)]
    return f"at character {at} found {shown[0]}, expected {shown[1]}"
