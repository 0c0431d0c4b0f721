"""From an Example to a conversation: the wording of the system, user and assistant messages.

A template is text with named fields in braces. Blank lines divide it into sections, and a section is
printed only where the example has every field it names, so nothing is ever printed half::

    user = '''
    {context}

    Question: {question}

    Choices:
    {choices}
    '''

An example without choices gets the first two sections; one without a context the second. ``{{`` and
``}}`` stand for the braces themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from string import Formatter

import orjson

from dataprep.core.errors import RowError, TemplateError
from dataprep.core.records import LETTERS, Example

DEFAULT_SYSTEM = (
    "You are a helpful assistant that can solve math word problems, write Python functions, "
    "and answer reading comprehension questions."
)

# For teachers and students that are to name a choice and say nothing else.
LETTER_SYSTEM = (
    "You are a helpful assistant that answers multiple-choice questions. "
    "Reply with the letter of the right choice and nothing else."
)

_LABELS = [f"({letter}) " for letter in LETTERS]

Getter = Callable[[Example], str | None]
_dumps = orjson.dumps
_BETWEEN = b'},{"role":"assistant","content":'


def _lettered(example: Example) -> str | None:
    if len(example.choices) > len(LETTERS):
        raise RowError(
            "too many choices", f"found {len(example.choices)}; there are letters for {len(LETTERS)}"
        )
    lines = [label + text for label, text in zip(_LABELS, example.choices, strict=False)]
    return "\n".join(lines) or None


def _answer(example: Example) -> str | None:
    label = example.answer_label
    return example.answer if label is None else f"({label}) {example.answer}"


def _rationale(example: Example) -> str | None:
    return next(iter(example.rationales.values()), None) or None if example.rationales else None


FIELDS: Mapping[str, Getter] = {
    "question": attrgetter("question"),
    "context": attrgetter("context"),
    "choices": _lettered,
    "answer": _answer,
    "answer_label": attrgetter("answer_label"),
    "answer_text": attrgetter("answer"),
    "solution": attrgetter("solution"),
    "tests": lambda example: "\n".join(example.tests) or None,
    "rationale": _rationale,
    "id": lambda example: example.identify(),
}


@dataclass(frozen=True)
class Template:
    """The three messages' templates. An empty ``system`` leaves the system message out."""

    system: str
    user: str
    assistant: str

    def __post_init__(self) -> None:
        for role in ("system", "user", "assistant"):
            if any("\ud800" <= character <= "\udfff" for character in getattr(self, role)):
                raise TemplateError(f"{role}: the text is not valid Unicode")
            compile_text(getattr(self, role), role)
            if role != "system" and not getattr(self, role).strip():
                raise TemplateError(f"the {role} template is empty; only the system message can be left out")

    def with_parts(self, parts: Mapping[str, str]) -> Template:
        """This template with the given messages in place of its own.

        Raises:
            TemplateError: a part is no message, or its text cannot be understood.
        """
        for role in parts:
            _check_role(role, "template")
        return Template(
            **({"system": self.system, "user": self.user, "assistant": self.assistant} | dict(parts))
        )


def _check_role(role: str, name: str) -> None:
    if role not in ("system", "user", "assistant"):
        raise TemplateError(
            f"{name}: unknown key {role!r}; a template has the keys system, user and assistant"
        )


def parse_template(text: str, name: str = "template") -> dict[str, str]:
    """The messages that a template file sets: a TOML text with ``system``, ``user``, ``assistant``.

    Raises:
        TemplateError: no TOML, an unknown key, a value that is no string, an unknown field.
    """
    import tomllib

    try:
        parts = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TemplateError(f"{name}: not a TOML file: {error}") from None
    for role, value in parts.items():
        _check_role(role, name)
        if not isinstance(value, str):
            raise TemplateError(f"{name}: {role} is not a string")
        compile_text(value, f"{name}: {role}")
    return parts


def read_template(path: str) -> dict[str, str]:
    """Return the messages that a template file sets.

    Raises:
        FileError: the file cannot be read.
        TemplateError: as for ``parse_template``.
    """
    from dataprep.core.io import read_text

    return parse_template(read_text(path), path)


_COSTLY = frozenset(["choices", "tests"])
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


def compile_text(text: str, name: str = "template") -> Getter:
    """A function that renders a template text for an Example; ``None`` where no section is left.

    Raises:
        TemplateError: an unknown field, a format or conversion after a field, an unpaired brace.
    """
    texts = [
        section.strip("\n")
        for section in _BLANK_LINES.split(text.strip().replace("\r\n", "\n"))
        if section.strip()
    ]
    whole = _filled(*_parse_section("\n\n".join(texts), name))
    if len(texts) == 1:
        return whole
    sections = [_filled(*_parse_section(section, name)) for section in texts]
    # Trying the whole text first pays where nearly every row has every field and fields cost nothing.
    plain = not _COSTLY.intersection(field for _, field, _, _ in Formatter().parse(text) if field)

    def render(example: Example) -> str | None:
        printed = whole(example) if plain else None
        if printed is None:
            parts = [part for section in sections if (part := section(example)) is not None]
            printed = "\n\n".join(parts) or None
        return printed

    return render


def _filled(section: Sequence[str], fields: Sequence[str]) -> Getter:
    """A function that puts an Example's fields between the literal pieces of ``section``.

    It gives ``None`` where one of the fields is absent. This is the row path: one and two fields, which
    is what most templates have, go without a loop.
    """
    getters = [FIELDS[field] for field in fields]
    if len(getters) == 1:
        return _around(section[0], section[1], getters[0])
    if len(getters) == 2:
        before, between, after = section
        first, second = getters

        def two(example: Example) -> str | None:
            value, other = first(example), second(example)
            if value is None or other is None:
                return None
            return f"{before}{value}{between}{other}{after}"

        return two

    head, *tails = section

    def many(example: Example) -> str | None:
        values = [get(example) for get in getters]
        if None in values:
            return None
        return head + "".join([f"{value}{tail}" for value, tail in zip(values, tails, strict=True)])

    return many


def _around(before: str, after: str, get: Getter) -> Getter:
    if not before and not after:
        return get

    def one(example: Example) -> str | None:
        value = get(example)
        return None if value is None else f"{before}{value}{after}"

    return one


def _parse_section(section: str, name: str) -> tuple[list[str], list[str]]:
    """A section's literal pieces and the fields between them: one piece more than fields."""
    pieces, fields = [""], []
    try:
        parsed = list(Formatter().parse(section))
    except ValueError as error:
        raise TemplateError(f"{name}: {error}; write {{{{ or }}}} for a brace that is no field") from None
    for literal, field, spec, conversion in parsed:
        pieces[-1] += literal
        if field is None:
            continue
        if field not in FIELDS or spec or conversion:
            found = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            known = " ".join(f"{{{known}}}" for known in FIELDS)
            raise TemplateError(f"{name}: unknown field {{{found}}}; the fields are {known}")
        fields.append(field)
        pieces.append("")
    return pieces, fields


def chat_renderer(template: Template, *, with_id: bool = False) -> Callable[[Example], bytes]:
    """A function that renders an Example as a chat row: one line of JSON, without its newline.

    What is the same in every row is turned to JSON here, once; a row costs two short texts turned to JSON.
    The function raises ``RowError`` where the example lacks the fields of all sections of a message.
    """
    user = compile_text(template.user, "user")
    assistant = compile_text(template.assistant, "assistant")
    head_of = _head_renderer(template.system)
    fixed = not any(field for _, field, _, _ in Formatter().parse(template.system))
    head = head_of(Example("", "")) if fixed else None

    def render(example: Example) -> bytes:
        asked, answered = user(example), assistant(example)
        if asked is None or answered is None:
            raise _empty("user" if asked is None else "assistant")
        start = head_of(example) if head is None else head
        end = _end_with_id(example) if with_id else b"}]}"
        return b"".join((start, _dumps(asked), _BETWEEN, _dumps(answered), end))

    return render


def _head_renderer(system: str) -> Callable[[Example], bytes]:
    """A function that renders all that precedes the user message's content."""
    if not system.strip():
        return lambda _: b'{"messages":[{"role":"user","content":'
    compiled = compile_text(system, "system")

    def head(example: Example) -> bytes:
        content = compiled(example)
        if content is None:
            raise _empty("system")
        message = b'{"messages":[{"role":"system","content":%b},{"role":"user","content":'
        return message % _dumps(content)

    return head


def _end_with_id(example: Example) -> bytes:
    """All that follows the assistant message's content, in a row with ``id`` and ``source``."""
    return b'}],"id":%b,"source":%b}' % (_dumps(example.identify()), _dumps(example.source))


def _empty(role: str) -> RowError:
    return RowError(
        f"empty {role} message",
        f"the example lacks the fields that every section of the {role} template names",
    )
