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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from string import Formatter
from typing import Any

import orjson

from dataprep.errors import RowError, TemplateError
from dataprep.records import LETTERS, Example

DEFAULT_SYSTEM = (
    "You are a helpful assistant that can solve math word problems, write Python functions, "
    "and answer reading comprehension questions."
)

Getter = Callable[[Example], str | None]
_dumps = orjson.dumps


def _lettered(example: Example) -> str | None:
    lines = (f"({LETTERS[i]}) {text}" for i, text in enumerate(example.choices))
    return "\n".join(lines) or None


def _answer(example: Example) -> str | None:
    if example.answer_label is not None:
        return f"({example.answer_label}) {example.answer}"
    return example.answer


FIELDS: Mapping[str, Getter] = {
    "question": attrgetter("question"),
    "context": attrgetter("context"),
    "choices": _lettered,
    "answer": _answer,
    "answer_label": attrgetter("answer_label"),
    "answer_text": attrgetter("answer"),
    "solution": attrgetter("solution"),
    "tests": lambda example: "\n".join(example.tests) or None,
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
            compile_text(getattr(self, role), role)

    def with_parts(self, parts: Mapping[str, str]) -> Template:
        """This template with the given messages in place of its own."""
        return Template(
            **({"system": self.system, "user": self.user, "assistant": self.assistant} | dict(parts))
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
        if role not in ("system", "user", "assistant"):
            raise TemplateError(
                f"{name}: unknown key {role!r}; a template has the keys system, user and assistant"
            )
        if not isinstance(value, str):
            raise TemplateError(f"{name}: {role} is not a string")
        compile_text(value, f"{name}: {role}")
    return parts


def compile_text(text: str, name: str = "template") -> Getter:
    """A function that renders a template text for an Example; ``None`` where no section is left.

    Raises:
        TemplateError: an unknown field, a format or conversion after a field, an unpaired brace.
    """
    parsed = [
        _parse_section(section.strip("\n"), name)
        for section in text.strip().replace("\r\n", "\n").split("\n\n")
        if section.strip()
    ]
    whole = _filled("\n\n".join(form for form, _ in parsed), [f for _, fields in parsed for f in fields])
    if len(parsed) == 1:
        return whole
    sections = [_filled(form, fields) for form, fields in parsed]

    def render(example: Example) -> str | None:
        printed = whole(example)  # nearly every row has every field
        if printed is None:
            parts = [part for section in sections if (part := section(example)) is not None]
            printed = "\n\n".join(parts) or None
        return printed

    return render


def _filled(form: str, fields: Sequence[str]) -> Getter:
    """A function that fills ``form`` with an Example's fields; ``None`` where one is absent.

    This is the row path: one and two fields, which is what most templates have, go without a loop.
    """
    getters = [FIELDS[field] for field in fields]
    if form == "%s":
        return getters[0]
    if len(getters) == 1:
        (get,) = getters

        def one(example: Example) -> str | None:
            value = get(example)
            return None if value is None else form % (value,)

        return one
    if len(getters) == 2:
        first, second = getters

        def two(example: Example) -> str | None:
            value, other = first(example), second(example)
            return None if value is None or other is None else form % (value, other)

        return two

    def many(example: Example) -> str | None:
        values = tuple([get(example) for get in getters])
        return None if None in values else form % values

    return many


def _parse_section(section: str, name: str) -> tuple[str, list[str]]:
    """A section as a ``%`` format and the fields that fill it, in order."""
    form, fields = "", []
    try:
        pieces = list(Formatter().parse(section))
    except ValueError as error:
        raise TemplateError(f"{name}: {error}; write {{{{ or }}}} for a brace that is no field") from None
    for literal, field, spec, conversion in pieces:
        form += literal.replace("%", "%%")
        if field is None:
            continue
        if field not in FIELDS or spec or conversion:
            found = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            known = " ".join(f"{{{known}}}" for known in FIELDS)
            raise TemplateError(f"{name}: unknown field {{{found}}}; the fields are {known}")
        form += "%s"
        fields.append(field)
    return form, fields


class ChatRenderer:
    """Renders Examples as chat rows: picklable, and built for the row path.

    What is the same in every row is turned to JSON once; a row costs two short texts turned to JSON.
    """

    def __init__(self, template: Template, *, with_id: bool = False) -> None:
        self.template = template
        self.with_id = with_id
        self._compile()

    def _compile(self) -> None:
        self._system = compile_text(self.template.system, "system")
        self._user = compile_text(self.template.user, "user")
        self._assistant = compile_text(self.template.assistant, "assistant")
        # A system message without fields is the same in every row, and turned to JSON only here.
        fixed = not any(field for _, field, _, _ in Formatter().parse(self.template.system))
        self._head = self._head_of(Example("", "")) if fixed else None

    def __getstate__(self) -> dict[str, Any]:
        return {"template": self.template, "with_id": self.with_id}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._compile()

    def __call__(self, example: Example) -> bytes:
        """The chat row as one line of JSON, without its newline.

        Raises:
            RowError: a message is empty because the example lacks the fields of all its sections.
        """
        user, assistant = self._user(example), self._assistant(example)
        if user is None or assistant is None:
            raise _empty("user" if user is None else "assistant")
        head = self._head or self._head_of(example)
        tail = self._tail_of(example) if self.with_id else b"}]}"
        return b"".join((head, _dumps(user), _BETWEEN, _dumps(assistant), tail))

    def _head_of(self, example: Example) -> bytes:
        """All that precedes the user message's content."""
        system = b""
        if self.template.system.strip():
            content = self._system(example)
            if content is None:
                raise _empty("system")
            system = b'{"role":"system","content":%b},' % _dumps(content)
        return b'{"messages":[%b{"role":"user","content":' % system

    def _tail_of(self, example: Example) -> bytes:
        """All that follows the assistant message's content."""
        names = _dumps(example.identify()), _dumps(example.source)
        return b'}],"id":%b,"source":%b}' % names


_BETWEEN = b'},{"role":"assistant","content":'


def _empty(role: str) -> RowError:
    return RowError(
        f"empty {role} message",
        f"the example lacks the fields that every section of the {role} template names",
    )
