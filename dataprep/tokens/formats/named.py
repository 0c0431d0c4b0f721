"""The chat formats that have a name: Llama 3, ChatML and Llama 2, each with its Jinja template."""

from __future__ import annotations

from dataclasses import dataclass, field

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

DATE_LINES = "Cutting Knowledge Date: December 2023\nToday Date: {}\n\n"
"""What Llama 3.2's own template writes before every system message."""


@dataclass
class _Named:
    """What the named formats share."""

    strip: bool = False
    date: str | None = None
    _plans: dict[tuple[str, ...], Plan] = field(default_factory=dict, repr=False)

    name = ""
    stop_tokens = frozenset[str]()
    exact = True

    def __post_init__(self) -> None:
        check_date(self.date)
        self.fingerprint = fingerprint_of(self.name, self.strip, self.date)

    def plan(self, roles: tuple[str, ...]) -> Plan:
        # There are few orders of roles in a file, and a plan is the same for all rows of one.
        if roles not in self._plans:
            self._plans[roles] = tuple(self._pieces(roles))
        return self._plans[roles]

    def read(self, messages: Messages) -> Turns:
        return read_messages(messages, self.strip)

    def jinja(self) -> str:
        trim = " | trim" if self.strip else ""
        return "\n".join(self._template(f"(message['content']{trim})")) + "\n"

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
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

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        pieces: list[Segment | Slot] = [Segment("<|begin_of_text|>", special=True)]
        dated = DATE_LINES.format(self.date) if self.date else ""
        # With a date, Llama 3.2's own template writes a system message even where the row has none.
        if dated and roles[0] != "system":
            pieces += [*self._header("system"), Segment(dated), Segment("<|eot_id|>", special=True)]
        for index, role in enumerate(roles):
            in_loss = role == "assistant"
            pieces += self._header(role)
            if dated and role == "system":
                pieces.append(Segment(dated))
            pieces += [Slot(index, in_loss), Segment("<|eot_id|>", special=True, in_loss=in_loss)]
        return pieces

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

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        pieces: list[Segment | Slot] = []
        for index, role in enumerate(roles):
            in_loss = role == "assistant"
            pieces += [
                Segment("<|im_start|>", special=True),
                Segment(f"{role}\n"),
                Slot(index, in_loss),
                Segment("<|im_end|>", special=True, in_loss=in_loss),
                Segment("\n"),
            ]
        return pieces

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

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        pieces: list[Segment | Slot] = []
        system = roles[0] == "system"
        for index in range(int(system), len(roles), 2):
            pieces += [Segment("<s>", special=True), Segment("[INST] ")]
            if system and index == 1:
                pieces += [Segment("<<SYS>>\n"), Slot(0), Segment("\n<</SYS>>\n\n")]
            pieces += [
                Slot(index),
                Segment(" [/INST]"),
                Segment(" ", in_loss=True),
                Slot(index + 1, in_loss=True),
                Segment(" ", in_loss=True),
                Segment("</s>", special=True, in_loss=True),
            ]
        return pieces

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


FORMATS = {chat_format.name: chat_format for chat_format in (Llama3, ChatML, Llama2)}
