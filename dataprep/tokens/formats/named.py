"""The chat formats that are known by name: Llama 3, ChatML and Llama 2."""

from __future__ import annotations

from dataclasses import dataclass, field

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

DATE_LINES = "Cutting Knowledge Date: December 2023\nToday Date: {}\n\n"
"""What Llama 3.2's own template writes before every system message."""


@dataclass
class _Named:
    """What the three have in common."""

    strip: bool = False
    date: str | None = None
    _plans: dict[tuple[str, ...], Plan] = field(default_factory=dict, repr=False)

    name = ""
    ends = frozenset[str]()
    exact = True

    def __post_init__(self) -> None:
        check_date(self.date)
        self.fingerprint = fingerprint_of(self.name, self.strip, self.date)

    def plan(self, roles: tuple[str, ...]) -> Plan:
        if roles not in self._plans:
            self._plans[roles] = tuple(self._pieces(roles))
        return self._plans[roles]

    def read(self, messages: Messages) -> tuple[tuple[str, ...], list[str]]:
        return read_messages(messages, self.strip)

    def segments(self, messages: Messages) -> list[Segment]:
        roles, contents = self.read(messages)
        return filled(self.plan(roles), contents)

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        raise NotImplementedError


class Llama3(_Named):
    r"""``<|begin_of_text|>``, and for each message header, ``\n\n``, content and ``<|eot_id|>``.

    Source: Meta's prompt format, https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3/
    With a date, a system message comes first even where the row has none, as in Llama 3.2's own template.
    """

    name = "llama3"
    ends = frozenset({"<|eot_id|>"})

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        pieces: list[Segment | Slot] = [Segment("<|begin_of_text|>", special=True)]
        dated = DATE_LINES.format(self.date) if self.date else ""
        if dated and roles[0] != "system":
            pieces += [*self._header("system"), Segment(dated), Segment("<|eot_id|>", special=True)]
        for number, role in enumerate(roles):
            trained = role == "assistant"
            pieces += self._header(role)
            if dated and role == "system":
                pieces.append(Segment(dated))
            pieces += [Slot(number, trained), Segment("<|eot_id|>", special=True, trained=trained)]
        return pieces

    @staticmethod
    def _header(role: str) -> list[Segment]:
        begin, end = "<|start_header_id|>", "<|end_header_id|>"
        return [Segment(begin, special=True), Segment(role), Segment(end, special=True), Segment("\n\n")]


class ChatML(_Named):
    r"""For each message ``<|im_start|>role\n``, content, ``<|im_end|>\n``; that newline is not trained."""

    name = "chatml"
    ends = frozenset({"<|im_end|>"})

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        pieces: list[Segment | Slot] = []
        for number, role in enumerate(roles):
            trained = role == "assistant"
            pieces += [
                Segment("<|im_start|>", special=True),
                Segment(f"{role}\n"),
                Slot(number, trained),
                Segment("<|im_end|>", special=True, trained=trained),
                Segment("\n"),
            ]
        return pieces


class Llama2(_Named):
    """``<s>[INST] question [/INST] answer </s>``, the system message inside the first question.

    Source: Meta's reference, https://github.com/meta-llama/llama/blob/main/llama/generation.py
    """

    name = "llama2"
    ends = frozenset({"</s>"})
    exact = False

    def _pieces(self, roles: tuple[str, ...]) -> list[Segment | Slot]:
        pieces: list[Segment | Slot] = []
        system = roles[0] == "system"
        for number in range(int(system), len(roles), 2):
            pieces += [Segment("<s>", special=True), Segment("[INST] ")]
            if system and number == 1:
                pieces += [Segment("<<SYS>>\n"), Slot(0), Segment("\n<</SYS>>\n\n")]
            pieces += [
                Slot(number),
                Segment(" [/INST]"),
                Segment(" ", trained=True),
                Slot(number + 1, trained=True),
                Segment(" ", trained=True),
                Segment("</s>", special=True, trained=True),
            ]
        return pieces


LAYOUTS = {chat_format.name: chat_format for chat_format in (Llama3, ChatML, Llama2)}
