"""The chat formats that have a name, such as Llama 3 and ChatML, each with its Jinja template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from dataprep.core.conversations import content_text, plain_roles, reasoning_of
from dataprep.core.errors import RowError
from dataprep.core.ignored_fields import is_empty
from dataprep.tokens.formats.base import (
    REASONING,
    TOOLS,
    Losses,
    Plan,
    Roles,
    Row,
    Segment,
    Slot,
    Written,
    check_date,
    fingerprint_of,
    keys_without_effect,
)

DATE_LINES = "Cutting Knowledge Date: December 2023\nToday Date: {}\n\n"
"""What Llama 3.2's own template writes before every system message."""


@dataclass
class _Named:
    """The base class of the named formats, which write roles and texts and nothing else of a row."""

    strip: bool = False
    date: str | None = None
    _plans: dict[tuple[Roles, Losses], Plan] = field(default_factory=dict, repr=False)

    name = ""
    stop_tokens = frozenset[str]()
    exact = True
    notes = ()

    def __post_init__(self) -> None:
        check_date(self.date)
        self.fingerprint = fingerprint_of(self.name, self.strip, self.date)

    def write(self, row: Row, losses: Losses = None) -> Written:
        roles, texts, left_out = self._read(row)
        # There are few orders of roles in a file, and a plan is the same for all rows of one.
        if (plan := self._plans.get((roles, losses))) is None:
            in_loss = losses or [role == "assistant" for role in roles]
            where = tuple(f"messages[{index}]" for index, chosen in enumerate(in_loss) if chosen)
            plan = Plan(tuple(self._pieces(roles, in_loss)), where=where)
            self._plans[roles, losses] = plan
        return Written(plan, texts, left_out)

    def prompt(self, row: Row) -> Written:
        answer = {"role": "assistant", "content": "."}
        roles, texts, left_out = self._read({**row, "messages": [*row["messages"], answer]})
        in_loss = [False] * (len(roles) - 1) + [True]
        pieces = [*takewhile(lambda piece: not piece.in_loss, self._pieces(roles, in_loss))]
        return Written(Plan(tuple(pieces)), texts, left_out)

    def jinja(self) -> str:
        trim = " | trim" if self.strip else ""
        return "\n".join(self._template(f"(message['content']{trim})")) + "\n"

    def _read(self, row: Row) -> tuple[Roles, list[str], tuple[str, ...]]:
        """Return the roles and texts of a row, and the kinds of what is left out."""
        messages, left_out = row["messages"], []
        if (roles := plain_roles(messages)) is not None:
            texts = [message["content"] for message in messages]
        else:
            roles = tuple(message["role"] for message in messages)
            texts = [self._text_of(message, f"messages[{at}]") for at, message in enumerate(messages)]
            left_out = [REASONING for message in messages if reasoning_of(message)]
            left_out += [kind for message in messages for kind in keys_without_effect(message)]
        if row.get("tools"):
            left_out.append(TOOLS)
        if row.get("chat_template_kwargs"):
            left_out.append("chat_template_kwargs")
        return roles, [text.strip() for text in texts] if self.strip else texts, tuple(left_out)

    def _text_of(self, message: Mapping[str, Any], where: str) -> str:
        calls = not is_empty(message.get("tool_calls"))
        if calls or message["role"] == "tool":
            what = "tool calls" if calls else "results of tools"
            raise RowError(
                f"the chat format {self.name} writes no {what}",
                f"{where}: use --chat-format template with a model whose template does",
            )
        text = content_text(message.get("content"))
        if not text.strip():
            raise RowError(
                f"the chat format {self.name} writes no reasoning", f"{where} has reasoning and no content"
            )
        return text

    def _pieces(self, roles: Roles, in_loss: Sequence[bool]) -> Iterator[Segment | Slot]:
        raise NotImplementedError

    def _template(self, content: str) -> list[str]:
        """Return the lines of the Jinja template; ``content`` is the expression for a message's content."""
        raise NotImplementedError


class Llama3(_Named):
    r"""``<|begin_of_text|>``, then for each message a header, ``\n\n``, the content and ``<|eot_id|>``.

    Source: Meta's prompt format, https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3/
    """

    name = "llama3"
    stop_tokens = frozenset({"<|eot_id|>"})

    def _pieces(self, roles: Roles, in_loss: Sequence[bool]) -> Iterator[Segment | Slot]:
        yield Segment("<|begin_of_text|>", special=True)
        dated = DATE_LINES.format(self.date) if self.date else ""
        # With a date, Llama 3.2's own template writes a system message even where the row has none.
        if dated and roles[0] != "system":
            yield from [*self._header("system"), Segment(dated), Segment("<|eot_id|>", special=True)]
        for index, (role, learned) in enumerate(zip(roles, in_loss, strict=True)):
            yield from self._header(role)
            if dated and role == "system":
                yield Segment(dated)
            yield Slot(index, learned)
            yield Segment("<|eot_id|>", special=True, in_loss=learned)

    @staticmethod
    def _header(role: str) -> list[Segment]:
        begin, end = "<|start_header_id|>", "<|end_header_id|>"
        return [Segment(begin, special=True), Segment(role), Segment(end, special=True), Segment("\n\n")]

    def _template(self, content: str) -> list[str]:
        begin, end = "<|start_header_id|>", "<|end_header_id|>\n\n"
        dated, system = [], []
        if self.date:
            before, _, after = DATE_LINES.partition("{}")
            dated = [
                f"{{%- if date_string is not defined %}}{{%- set date_string = {_quoted(self.date)} %}}"
                "{%- endif %}",
                f"{{%- set date_lines = {_quoted(before)} + date_string + {_quoted(after)} %}}",
                "{%- if not messages or messages[0]['role'] != 'system' %}",
                f"    {{{{- {_quoted(begin + 'system' + end)} + date_lines + '<|eot_id|>' }}}}",
                "{%- endif %}",
            ]
            system = ["    {%- if message['role'] == 'system' %}{{- date_lines }}{% endif %}"]
        header = f"{_quoted(begin)} + message['role'] + {_quoted(end)}"
        return [
            "{{- '<|begin_of_text|>' }}",
            *dated,
            "{%- for message in messages %}",
            f"    {{{{- {header} }}}}",
            *system,
            *_message(content, "<|eot_id|>"),
            "{%- endfor %}",
            *_prompt(begin + "assistant" + end),
        ]


class ChatML(_Named):
    r"""For each message ``<|im_start|>role\n``, the content, ``<|im_end|>\n``.

    The loss mask ends with ``<|im_end|>``; it does not cover the newline behind it.
    """

    name = "chatml"
    stop_tokens = frozenset({"<|im_end|>"})

    def _pieces(self, roles: Roles, in_loss: Sequence[bool]) -> Iterator[Segment | Slot]:
        for index, (role, learned) in enumerate(zip(roles, in_loss, strict=True)):
            yield Segment("<|im_start|>", special=True)
            yield Segment(f"{role}\n")
            yield Slot(index, learned)
            yield Segment("<|im_end|>", special=True, in_loss=learned)
            yield Segment("\n")

    def _template(self, content: str) -> list[str]:
        return [
            "{%- for message in messages %}",
            "    {{- '<|im_start|>' + message['role'] + '\\n' }}",
            *_message(content, "<|im_end|>"),
            "    {{- '\\n' }}",
            "{%- endfor %}",
            *_prompt("<|im_start|>assistant\n"),
        ]


class Llama2(_Named):
    """``<s>[INST] question [/INST] answer </s>``, the system message inside the first question.

    Source: Meta's reference, https://github.com/meta-llama/llama/blob/main/llama/generation.py
    """

    name = "llama2"
    stop_tokens = frozenset({"</s>"})
    exact = False  # the spaces around an answer are in the loss

    def _pieces(self, roles: Roles, in_loss: Sequence[bool]) -> Iterator[Segment | Slot]:
        system = roles[0] == "system"
        turns = roles[system:]
        if turns != ("user", "assistant") * (len(turns) // 2):
            raise RowError(
                "roles out of order",
                f"found {' '.join(roles)}; the chat format {self.name} expects an optional system message, "
                "then user and assistant in turn",
            )
        for index in range(int(system), len(roles), 2):
            learned = in_loss[index + 1]
            yield Segment("<s>", special=True)
            yield Segment("[INST] ")
            if system and index == 1:
                yield Segment("<<SYS>>\n")
                yield Slot(0)
                yield Segment("\n<</SYS>>\n\n")
            yield Slot(index)
            yield Segment(" [/INST]")
            yield Segment(" ", in_loss=learned)
            yield Slot(index + 1, in_loss=learned)
            yield Segment(" ", in_loss=learned)
            yield Segment("</s>", special=True, in_loss=learned)

    def _template(self, content: str) -> list[str]:
        system = content.replace("message[", "messages[0][")
        # There is no `add_generation_prompt` part: a prompt ends with the question, and answers begin with a
        # space whatever the tokenizer does.
        return [
            "{%- for message in messages %}",
            "    {%- if message['role'] == 'user' %}",
            "        {{- '<s>[INST] ' }}",
            "        {%- if loop.index0 == 1 and messages[0]['role'] == 'system' %}",
            f"            {{{{- '<<SYS>>\\n' + {system} + '\\n<</SYS>>\\n\\n' }}}}",
            "        {%- endif %}",
            f"        {{{{- {content} + ' [/INST]' }}}}",
            "    {%- elif message['role'] == 'assistant' %}",
            *_answer(f"' ' + {content}", " </s>"),
            "    {%- elif not (message['role'] == 'system' and loop.first) %}",
            "        {{- raise_exception('expected roles system, user and assistant, system only first') }}",
            "    {%- endif %}",
            "{%- endfor %}",
        ]


@dataclass
class Plain(_Named):
    r"""Roles by name: ``User: question\n\nAssistant: answer<|endoftext|>``, for base models without marks.

    The token at the end is the tokenizer's own for the end of a text. The space before an answer is in the
    loss: a model writes it with the answer's first word.
    """

    end: str = "<|endoftext|>"

    name = "plain"
    exact = False  # the space before an answer is in the loss

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stop_tokens = frozenset({self.end})
        self.fingerprint = fingerprint_of(self.name, self.strip, self.end)

    def _pieces(self, roles: Roles, in_loss: Sequence[bool]) -> Iterator[Segment | Slot]:
        for index, (role, learned) in enumerate(zip(roles, in_loss, strict=True)):
            if role == "assistant":
                yield Segment("Assistant:")
                yield Segment(" ", in_loss=learned)
                yield Slot(index, learned)
                yield Segment(self.end, special=True, in_loss=learned)
            else:
                yield Segment(f"{role.capitalize()}: ")
                yield Slot(index)
                yield Segment("\n\n")

    def _template(self, content: str) -> list[str]:
        return [
            "{%- for message in messages %}",
            "    {%- if message['role'] == 'assistant' %}",
            "        {{- 'Assistant:' }}",
            *_answer(f"' ' + {content}", self.end),
            "    {%- else %}",
            f"        {{{{- message['role'] | capitalize + ': ' + {content} + '\\n\\n' }}}}",
            "    {%- endif %}",
            "{%- endfor %}",
            *_prompt("Assistant:"),
        ]


def _message(content: str, end: str) -> list[str]:
    """Return the lines for a content and its end-of-turn token, marked where the loss mask covers them."""
    return [
        "    {%- if message['role'] == 'assistant' %}",
        *_answer(content, end),
        "    {%- else %}",
        f"        {{{{- {content} + {_quoted(end)} }}}}",
        "    {%- endif %}",
    ]


def _answer(content: str, end: str) -> list[str]:
    return [
        "    {%- generation %}",
        f"        {{{{- {content} + {_quoted(end)} }}}}",
        "    {%- endgeneration %}",
    ]


def _prompt(text: str) -> list[str]:
    return ["{%- if add_generation_prompt %}", f"    {{{{- {_quoted(text)} }}}}", "{%- endif %}"]


def _quoted(text: str) -> str:
    """Return a Jinja string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


FORMATS = {chat_format.name: chat_format for chat_format in (Llama3, ChatML, Llama2, Plain)}
