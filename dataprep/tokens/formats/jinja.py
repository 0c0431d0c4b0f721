"""A model's own chat template as a chat format.

Each row is rendered, and its text is encoded as `transformers` encodes it, except that only the template's
own text can hold special tokens. Rows of one shape, which differ in their texts alone, share a plan. It was
made with words in place of the texts, and fits a row if it gives what the template makes of the row itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from dataprep.core.conversations import Finding, stripped
from dataprep.core.errors import RowError, TemplateError, TokenizerError
from dataprep.tokens.formats.base import (
    NAMED,
    TOOLS,
    Losses,
    Plan,
    Row,
    Segment,
    Slot,
    Written,
    check_date,
    fingerprint_of,
    keys_without_effect,
)
from dataprep.tokens.formats.model_template import (
    MARKS,
    TOKENS,
    ChatTemplate,
    ModelTemplate,
    read_template,
)
from dataprep.tokens.formats.pieces import GUARD, Span, cut, data_of, guarded, joined_parts, tool_names
from dataprep.tokens.formats.shapes import Rendered, Shape, Skeleton, exchange, word_of
from dataprep.tokens.formats.spans import UNKNOWN, SpanFinder, Turns
from dataprep.tokens.options import first_difference

CONTEXT = 40  # characters of each text in a message about a difference
SHAPES = 1024  # the maximum number of shapes of rows that are kept
_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
# Marks of thoughts: a template may look for them in a content, and write its own in their place.
_THOUGHTS = re.compile(r"</?(?:think|thinking|thought)>|\[/?THINK\]", re.IGNORECASE)


@dataclass
class TemplateFormat:
    """A model's own chat template as a chat format; ``chat_format_of`` makes it."""

    template: ModelTemplate
    special_tokens: tuple[str, ...]
    strip: bool = False
    date: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)  # `chat_template_kwargs` for all rows
    _skeletons: dict[bytes, Skeleton | None] = field(default_factory=dict, repr=False)
    _seen: set[bytes] = field(default_factory=set, repr=False)
    _compiled: dict[str, ChatTemplate] = field(default_factory=dict, repr=False)

    name = "template"
    exact = False  # a template may write a space before an answer, and mark it as generated

    @classmethod
    def read_from(
        cls,
        path: str | Path,
        *,
        strip: bool,
        date: str | None,
        special_tokens: Collection[str] = (),
        arguments: Mapping[str, Any] | None = None,
    ) -> TemplateFormat:
        """Return the template of a model directory or file; see ``chat_format_of``."""
        check_date(date)
        template = read_template(path)
        names = special_tokens or template.special_tokens
        if not names:
            raise TokenizerError(
                f"{path}: no special tokens are known; give a model directory that lists them"
            )
        chat_format = cls(template, tuple(names), strip, date, dict(arguments or {}))
        try:
            used = chat_format._chat().uses(TOKENS)
        except TemplateError as error:
            raise TemplateError(f"{path}: {error}") from None
        if used and not template.variables:
            raise TemplateError(
                f"{path}: the chat template writes {' and '.join(used)}, which nothing here defines; "
                "give the model directory, whose tokenizer_config.json does"
            )
        try:  # find what is wrong with a template before any row is read
            chat_format._probe()
        except RowError as error:
            raise TemplateError(f"{path}: not even a question and an answer: {error}") from None
        return chat_format

    def __post_init__(self) -> None:
        # The longest name first, so that the search for them never finds a part of a longer one.
        self.special_tokens = tuple(sorted({*self.special_tokens}, key=lambda name: (-len(name), name)))
        texts = self.template.text, *sorted(self.template.others.items())
        facts = (texts, sorted(self.template.variables.items()), self.special_tokens)
        swallowing = sorted(self.template.before), sorted(self.template.after)
        arguments = sorted(self.arguments.items())
        given = (arguments,) if arguments else ()
        self.fingerprint = fingerprint_of(self.name, self.strip, self.date, facts, swallowing, *given)

    def __getstate__(self) -> dict[str, Any]:
        # Compiled templates cannot be pickled, and plans are compared by identity.
        kept = {name: value for name, value in self.__dict__.items() if name not in _MADE}
        return kept | {"_compiled": {}, "_skeletons": {}, "_seen": set()}

    @cached_property
    def stop_tokens(self) -> frozenset[str]:
        """The special tokens that end an assistant's turn."""
        ends: set[str] = set()
        inside: set[str] = set()
        for options in ({}, {"turns": 2}, {"reasoning": True}):
            try:
                rendered = self._probe(**options)
            except RowError:
                continue
            for start, end in [span for spans in rendered.spans.values() for span in spans]:
                written = rendered.text[start:end].rstrip()
                names = self._special.findall(written)
                ended = [*names[-1:]] if names and written.endswith(names[-1]) else []
                ends |= {*ended}
                inside |= {*names[: len(names) - len(ended)]}
        # Some templates write the token that ends a turn behind the reasoning too.
        return frozenset(ends - inside) or frozenset(ends)

    @cached_property
    def notes(self) -> tuple[Finding, ...]:
        """The facts about the template's loss mask that lint tells once."""
        rendered = self._probe()
        start, end = rendered.spans[1][0][0], rendered.spans[1][-1][1]
        written, found = rendered.text[start:end], []
        if not written.rstrip().endswith(self.special_tokens):
            detail = f"no special token is in the loss behind {written[-CONTEXT:]!r}"
            found.append(Finding("no end of turn", f"{detail}: the model does not learn to stop"))
        if self._is_marked({}):
            turn = self._finder({}).find(exchange(), rendered.text).spans[1]
            if start < turn[0][0] or end > turn[-1][1]:
                detail = f"{written!r} is in the loss, as its {{% generation %}} marks say"
                found.append(Finding("marks hold more than an answer", detail))
        return tuple(found)

    def _probe(self, **options: Any) -> Rendered:
        """Return the text for an exchange; contents are parts if the template does not take texts."""
        problem: RowError | None = None
        for parts in (False, True):
            messages = exchange(parts=parts, **options)
            try:
                return self._rendered(messages, {}, self._render(messages, {}))
            except RowError as error:
                problem = problem or error
                if error.reason == UNKNOWN:
                    break
        assert problem is not None
        raise problem

    def write(self, row: Row, losses: Losses = None) -> Written:
        """Return a row as the template writes it; see ``ChatFormat``."""
        messages = self._stripped(row["messages"])
        real = self._render(messages, row)
        shape = Shape.of(messages, row)
        skeleton = None
        if shape.key and not any(map(self._special.search, [*shape.texts, *joined_parts(messages)])):
            skeleton = self._skeleton(shape, row)
        if skeleton is not None and (texts := skeleton.fill(shape, real)) is not None:
            if losses not in skeleton.plans:
                skeleton.plans[losses] = self._plan(skeleton.rendered, losses, skeleton.words)
            return Written(skeleton.plans[losses], texts, skeleton.rendered.left_out)
        rendered = self._rendered(messages, row, real)
        return Written(self._plan(rendered, losses), [], rendered.left_out)

    def prompt(self, row: Row) -> Written:
        """Return a row up to where the answer begins; see ``ChatFormat``."""
        messages = self._stripped(row["messages"])
        text = self._render(messages, row, prompt=True)
        self._check_names(messages, row, text, prompt=True)
        return Written(self._plan(Rendered(text, {}), None), [])

    def jinja(self) -> str:
        """Return the model's own template, unchanged."""
        return self.template.text

    def _chat(self, tools: bool = False) -> ChatTemplate:
        text = self.template.text_for(tools)
        if text not in self._compiled:
            self._compiled[text] = ChatTemplate(text, self.template.variables, self.date)
        return self._compiled[text]

    @cached_property
    def _special(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self.special_tokens)))

    @cached_property
    def _strict(self) -> Collection[str]:
        """The special tokens that may not come from a row: those that the tokenizer's files call special."""
        return self.template.special_tokens or frozenset(self.special_tokens)

    def _stripped(self, messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        return stripped(messages) if self.strip else messages

    def _render(
        self,
        messages: Sequence[Mapping[str, Any]],
        row: Row,
        *,
        prompt: bool = False,
        marks: tuple[str, str] | None = None,
    ) -> str:
        arguments = {**self.arguments, **(row.get("chat_template_kwargs") or {})}
        tools = row.get("tools")
        return self._chat(tools is not None).render(
            messages, tools=tools, arguments=arguments, prompt=prompt, marks=marks
        )

    def _skeleton(self, shape: Shape, row: Row) -> Skeleton | None:
        """Return the text for rows of a shape; ``None`` if it says nothing about them."""
        if shape.key not in self._skeletons:
            # Plain shapes are few. Others may be as many as rows, so they are made for the second row.
            known = self._seen
            if any(shape.kinds) and shape.key not in known:
                if len(known) < SHAPES:
                    known.add(shape.key)
                return None
            if len(self._skeletons) >= SHAPES:
                return None
            self._skeletons[shape.key] = self._make_skeleton(shape, row)
        return self._skeletons[shape.key]

    def _make_skeleton(self, shape: Shape, row: Row) -> Skeleton | None:
        words = {word_of(number): number for number in range(len(shape.texts))}
        try:
            rendered = self._rendered(shape.messages, row, self._render(shape.messages, row))
        except RowError:  # the row itself may be taken, or has a better reason
            return None
        found = re.findall("|".join(words), rendered.text)
        # A template that repeats a text or changes it is asked again for each row.
        if len(found) != len(set(found)):
            return None
        parts = re.split(f"({'|'.join(words)})", rendered.text)
        bare = self._bare(rendered, words)
        return Skeleton(tuple(words.get(part, part) for part in parts), rendered, words, bare)

    def _rendered(self, messages: Sequence[Mapping[str, Any]], row: Row, real: str) -> Rendered:
        """Return the text of a row with what is in the loss."""
        self._check_names(messages, row, real)
        finder = self._finder(row)
        if self._is_marked(row):
            spans, left_out = self._generated(messages, row, real, finder)
        else:
            spans, left_out = finder.find(messages, real)
        if not spans:
            raise RowError(
                "the chat template leaves the answers out",
                f"no token of {real[:CONTEXT]!r} would be in the loss; if the template expects parts, "
                'give contents as [{"type": "text", "text": …}]',
            )
        left_out = (*left_out, *(kind for message in messages for kind in keys_without_effect(message, real)))
        # A row of tools whose names are not in the text says nothing of them to the model.
        if row.get("tools") and not any(name in real for name in tool_names(row["tools"])):
            left_out = (*left_out, TOOLS)
        return Rendered(real, spans, left_out)

    def _finder(self, row: Row) -> SpanFinder:
        return SpanFinder(lambda part, prompt: self._render(part, row, prompt=prompt), self._special)

    def _is_marked(self, row: Row) -> bool:
        return _GENERATION.search(self.template.text_for(row.get("tools") is not None)) is not None

    def _generated(
        self, messages: Sequence[Mapping[str, Any]], row: Row, real: str, finder: SpanFinder
    ) -> Turns:
        """Return the spans that the template marks as generated, by message."""
        marks, used = MARKS, 0
        while marks[0] in real or marks[1] in real:
            used += 1
            marks = chr(ord(MARKS[0]) + 2 * used), chr(ord(MARKS[1]) + 2 * used)
        parts = re.split(f"([{''.join(marks)}])", self._render(messages, row, marks=marks))
        text, marked, start = "", [], 0
        for part in parts:
            if part == marks[0]:
                start = len(text)
            elif part == marks[1]:
                marked.append((start, len(text)))
            else:
                text += part
        # A template may trim or repeat what it marked, and then the spans would be wrong.
        if text != real:
            raise RowError("the chat template's marks change its text", _difference(real, text))
        try:
            turns = finder.find(messages, real)
        except RowError:  # the author's marks are enough to tell what is in the loss
            turns = Turns({}, ())
        answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        spans: dict[int, list[Span]] = {}
        for at, (start, end) in enumerate(marked):
            inside = [number for number, found in turns.spans.items() if start <= found[0][1] - 1 < end]
            number = inside[0] if inside else answers[at] if len(marked) == len(answers) else -1 - at
            if start < end:
                spans.setdefault(number, []).append((start, end))
        return Turns(spans, turns.left_out)

    def _check_names(
        self, messages: Sequence[Mapping[str, Any]], row: Row, real: str, *, prompt: bool = False
    ) -> None:
        """Raise ``RowError`` if a special token in the text comes from the row and not from the template."""
        for where, value in data_of(messages, row):
            for match in self._special.finditer(value):
                name = match.group()
                # `<think>` is no special token of Qwen's files: there it is a word of the vocabulary.
                if name not in self._strict:
                    continue
                if not (_THOUGHTS.fullmatch(name) and self._reads_thoughts(messages, row, real, prompt)):
                    hint = "is the text in a chat format already?"
                    if _THOUGHTS.fullmatch(name):
                        hint = "move the thinking into reasoning_content with --split-thinking"
                    raise RowError(NAMED, f"{where}: found {name!r} in the text; {hint}")

    def _reads_thoughts(
        self, messages: Sequence[Mapping[str, Any]], row: Row, real: str, prompt: bool
    ) -> bool:
        """Return whether the template looks for marks of thoughts in answers, and writes its own."""
        broken = [
            {**message, "content": _THOUGHTS.sub(guarded, message["content"])}
            if isinstance(message.get("content"), str)
            else message
            for message in messages
        ]
        try:
            return self._render(broken, row, prompt=prompt).replace(GUARD, "") != real
        except RowError:
            return True

    def _plan(self, rendered: Rendered, losses: Losses, words: Mapping[str, int] | None = None) -> Plan:
        """Return the pieces of a text: special tokens, slots, and the text between them."""
        chosen = sorted(
            (span, number)
            for number, spans in rendered.spans.items()
            for span in spans
            if losses is None or (0 <= number < len(losses) and losses[number])
        )
        pieces = cut(
            rendered.text,
            self._known(words or {}),
            [span for span, _ in chosen],
            words or {},
            self._swallowing,
        )
        where = tuple("generated" if number < 0 else f"messages[{number}]" for _, number in chosen)
        return Plan(tuple(pieces), joined=True, where=where)

    def _known(self, words: Iterable[str]) -> re.Pattern[str]:
        return (
            re.compile("|".join(map(re.escape, [*words, *self.special_tokens]))) if words else self._special
        )

    @property
    def _swallowing(self) -> tuple[frozenset[str], frozenset[str]]:
        return self.template.before, self.template.after

    def _bare(self, rendered: Rendered, words: Mapping[str, int]) -> tuple[frozenset[int], frozenset[int]]:
        pieces = [*cut(rendered.text, self._known(words), [], words, self._swallowing)]
        behind: set[int] = set()
        before: set[int] = set()
        for one, other in pairwise(pieces):
            if isinstance(other, Slot) and isinstance(one, Segment) and one.text in self.template.after:
                behind.add(other.index)
            if isinstance(one, Slot) and isinstance(other, Segment) and other.text in self.template.before:
                before.add(one.index)
        return frozenset(behind), frozenset(before)


# Made when they are asked for, and again in another process.
_MADE = ("stop_tokens", "notes", "_special", "_strict")


def _difference(expected: str, found: str) -> str:
    at = first_difference(expected, found) or 0
    start = max(0, at - CONTEXT // 2)
    shown = [repr(text[start : at + CONTEXT]) for text in (found, expected)]
    return f"at character {at} found {shown[0]}, expected {shown[1]}"
