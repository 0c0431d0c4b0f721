"""From a conversation to token ids and loss mask, segment by segment, never by searching."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from dataprep.errors import UsageError
from dataprep.tokens.continuing import encode_after, goes_on
from dataprep.tokens.tokenizer import Tokenizer

Messages = Sequence[Mapping[str, Any]]

Laid = tuple[tuple[str, ...], list[str]]
"""The roles of a conversation, and its contents as a layout writes them."""

NAMES = ("llama3", "chatml", "llama2", "template")


@dataclass(slots=True)
class Encoded:
    """A conversation in tokens.

    Attributes:
        ids: token ids, L of them.
        mask: L bytes, 1 where the token is trained on and 0 elsewhere.
    """

    ids: list[int]
    mask: bytearray


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a conversation.

    Attributes:
        text: a text to be encoded as data, or the name of a special token.
        special: whether it is the latter.
        trained: whether its tokens are trained on.
    """

    text: str
    special: bool = False
    trained: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a message's content; ``message`` is its number, the rest as in ``Segment``."""

    message: int
    trained: bool = False


Plan = tuple[Segment | Slot, ...]
"""What a layout makes of messages with certain roles: fixed pieces and the places of contents."""


class Layout(Protocol):
    """How a model wants conversations to be written; picklable.

    Attributes:
        name: one of ``NAMES``.
        fingerprint: differs whenever a conversation may be laid out otherwise: the name, the options,
            a template's text.
        exact: an answer's trained text is its content and nothing else, not even white space around it.
    """

    name: str
    fingerprint: str
    exact: bool

    @property
    def ends(self) -> frozenset[str]:
        """The special tokens that end an assistant's turn."""

    def plan(self, roles: tuple[str, ...]) -> Plan:
        """The fixed pieces and the places of contents, for messages with these roles.

        Raises:
            RowError: messages with these roles cannot be laid out.
        """

    def read(self, messages: Messages) -> Laid:
        """The messages' roles, and their contents as the layout writes them.

        Raises:
            RowError: the messages are no chat row: an unknown role, no text, no assistant.
        """

    def segments(self, messages: Messages) -> list[Segment]:
        """The pieces of a conversation, in order. Trained: assistants' contents and their end of turn.

        Raises:
            RowError: the messages cannot be laid out.
        """


def layout_of(
    name: str,
    *,
    strip: bool = False,
    date: str | None = None,
    path: str | Path | None = None,
    specials: Collection[str] = (),
) -> Layout:
    """A layout by its name.

    Args:
        name: one of ``NAMES``.
        strip: contents are stripped of outer white space.
        date: such as ``"26 Jul 2024"``: written into the system message as Llama 3.2's own template
            does (``llama3``), or given to the template (``template``).
        path: ``template`` only: a model directory, or a jinja file.
        specials: ``template`` only: the names of the tokenizer's special tokens. Default: those that the
            model directory lists.

    Raises:
        UsageError: there is no such layout, or it has no such option.
        TemplateError: the template cannot be used.
        FileError: the template cannot be read.
        MissingDependencyError: ``template`` without jinja2.
    """
    from dataprep.tokens import named_layouts, template_layout

    if name not in NAMES:
        raise UsageError(f"there is no layout {name!r}; expected one of {', '.join(NAMES)}")
    if name == "template":
        if path is None:
            raise UsageError("the layout 'template' needs a model directory or a jinja file")
        return template_layout.TemplateLayout.read_from(path, strip=strip, date=date, specials=specials)
    if path is not None:
        raise UsageError(f"the layout {name!r} is fixed; only 'template' reads a template")
    if date is not None and name != "llama3":
        raise UsageError(f"the layout {name!r} writes no date; 'llama3' and 'template' do")
    return named_layouts.LAYOUTS[name](strip=strip, date=date)


def layout_for(
    name: str,
    tokenizer: Tokenizer,
    place: str | Path | None,
    *,
    template: str | Path | None = None,
    strip: bool = False,
    date: str | None = None,
) -> Layout:
    """A layout for a tokenizer; a model's own template is in the directory of its tokenizer.

    Args:
        name: one of ``NAMES``.
        tokenizer: the tokenizer.
        place: the file or directory that it was read from.
        template: ``template`` only: another model directory, or a jinja file.
        strip: contents are stripped of outer white space.
        date: as ``layout_of`` has it.

    Raises:
        UsageError, TemplateError, FileError, MissingDependencyError: as ``layout_of``.
    """
    check_template(name, template)
    if name != "template":
        return layout_of(name, strip=strip, date=date)
    if template is None and place is not None:
        template = place if Path(place).is_dir() else Path(place).parent
    return layout_of(name, strip=strip, date=date, path=template, specials=tuple(tokenizer.specials))


def check_template(name: str, template: str | Path | None) -> None:
    """Raise ``UsageError`` where a template is given to a layout that reads none."""
    if template is not None and name != "template":
        raise UsageError("--template needs --layout template")


def encode_chat(tokenizer: Tokenizer, layout: Layout, messages: Messages) -> Encoded:
    """A conversation's ids and mask, built together.

    Texts that no special token parts and that are trained on alike are encoded as one; where the mask
    changes, the text is cut, as it is at the end of a prompt.

    Raises:
        RowError: the messages cannot be laid out, or hold no valid Unicode.
        TokenizerError: the tokenizer lacks a special token of the layout.
    """
    encoded = Encoded([], bytearray())
    before: bool | None = None
    for (special, trained), group in groupby(
        layout.segments(messages), key=lambda segment: (segment.special, segment.trained)
    ):
        run = list(group)
        if special:
            ids = [tokenizer.special(segment.text) for segment in run]
        else:
            text = "".join(segment.text for segment in run)
            ids = encode_after(tokenizer, text) if goes_on(tokenizer, before) else tokenizer.encode(text)
        before = special
        encoded.ids += ids
        encoded.mask += bytes([trained]) * len(ids)
    return encoded
