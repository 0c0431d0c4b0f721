"""Render an Example as a conversation: system, user and assistant message.

A template is text with named fields in braces. Blank lines divide it into sections. A section is printed
only if the example has every field that it names::

    user = '''
    {context}

    Question: {question}

    Choices:
    {choices}
    '''

An example without choices gets the first two sections; one without a context and choices gets the second.
``{{`` and ``}}`` stand for the braces themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from string import Formatter

import orjson

from dataprep.core.errors import RowError, TemplateError, UsageError
from dataprep.core.io import read_text
from dataprep.core.records import LETTERS, Example
from dataprep.datasets import registry as converters
from dataprep.datasets.chat_rows import SEPARATOR
from dataprep.datasets.converters.choices import CHOICE_ASSISTANT, CHOICE_USER

DEFAULT_SYSTEM = (
    "You are a helpful assistant that can solve math word problems, write Python functions, "
    "and answer reading comprehension questions."
)

# For teachers and students that must name a choice and write nothing else.
LETTER_SYSTEM = (
    "You are a helpful assistant that answers multiple-choice questions. "
    "Reply with the letter of the right choice and nothing else."
)

_LABELS = [f"({letter}) " for letter in LETTERS]

Getter = Callable[[Example], str | None]
Renderer = Callable[[Example], bytes]
_dumps = orjson.dumps
_BETWEEN = b'},{"role":"assistant","content":'


def _lettered(example: Example) -> str | None:
    # Only `convert qa` and Examples of other tools can have more choices than letters.
    if len(example.choices) > len(LETTERS):
        found = f"found {len(example.choices)}; there are letters for {len(LETTERS)}"
        raise RowError("too many choices", found)
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
    "reasoning": attrgetter("reasoning"),
    "id": lambda example: example.identify(),
}


@dataclass(frozen=True)
class Template:
    """The templates of the three messages.

    Attributes:
        system: the system message; empty leaves it out.
        user: the user message.
        assistant: the assistant message.

    Raises:
        TemplateError: a text is ill-formed, names an unknown field, or is empty (other than ``system``).
    """

    system: str
    user: str
    assistant: str

    def __post_init__(self) -> None:
        # A mistake is found here, before any file is opened, and not at the first row.
        for role in ("system", "user", "assistant"):
            # Lone surrogates come from command-line arguments that are not UTF-8; JSON cannot hold them.
            if any("\ud800" <= character <= "\udfff" for character in getattr(self, role)):
                raise TemplateError(f"{role}: the text is not valid Unicode")
            compile_text(getattr(self, role), role)
            if role != "system" and not getattr(self, role).strip():
                raise TemplateError(f"the {role} template is empty; only the system message can be left out")

    def with_parts(self, parts: Mapping[str, str]) -> Template:
        """Return this template with the given messages in place of its own.

        Raises:
            TemplateError: a part is not a message, or its text is ill-formed.
        """
        for role in parts:
            _check_role(role, "template")
        return replace(self, **parts)


def _check_role(role: str, name: str) -> None:
    if role not in ("system", "user", "assistant"):
        known = "a template has the keys system, user and assistant"
        raise TemplateError(f"{name}: unknown key {role!r}; {known}")


def read_template(path: str) -> dict[str, str]:
    """Return the messages that a template file sets."""
    return parse_template(read_text(path), path)


def parse_template(text: str, name: str = "template") -> dict[str, str]:
    """Parse a template file: TOML with any of ``system``, ``user`` and ``assistant``."""
    # Imported here: most runs have no template file.
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


def default_template(source: str | None) -> Template:
    """Return the default wording of a dataset; without one of its own, that of multiple choice."""
    name = converters.canonical(source) if source else ""
    converter = converters.load(name) if converters.is_name(name) else None
    user, assistant = (
        getattr(converter, "USER", CHOICE_USER),
        getattr(converter, "ASSISTANT", CHOICE_ASSISTANT),
    )
    return Template(DEFAULT_SYSTEM, user, assistant)


def wording(dataset: str, answer_style: str | None) -> Template:
    """Return the default wording of a dataset; with a style, that of its answers is changed."""
    template = default_template(dataset)
    if answer_style is None:
        return template
    if "{choices}" not in template.user:
        raise UsageError(f"{dataset} is no multiple-choice set: it has no --answer-style")
    if answer_style == "letter":
        return template.with_parts({"system": LETTER_SYSTEM, "assistant": "{answer_label}"})
    if answer_style == "text":
        return template.with_parts({"assistant": template.assistant.replace("{answer}", "{answer_text}")})
    return template


def source_renderer(parts: Mapping[str, str], *, with_id: bool = False) -> Renderer:
    """Return a function that renders Examples, each in the default wording of the dataset it came from.

    ``parts`` are messages (``system``, ``user``, ``assistant``) in place of the default ones.
    """

    @cache
    def renderer_of(source: str | None) -> Renderer:
        return chat_renderer(default_template(source).with_parts(parts), with_id=with_id)

    renderer_of(None)  # a mistake in a part is found before any row is read
    return lambda example: renderer_of(example.source)(example)


# Fields that are put together from several texts: too costly to compute twice.
_COSTLY = frozenset(["choices", "tests"])
# Lines of spaces divide sections too: editors leave them behind.
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


def compile_text(text: str, name: str = "template") -> Getter:
    """Compile a template to a function: an Example's text, or ``None`` if each section lacks a field."""
    sources = _BLANK_LINES.split(text.strip().replace("\r\n", "\n"))
    texts = [section.strip("\n") for section in sources if section.strip()]
    whole = _filled(*_parse_section("\n\n".join(texts), name))
    if len(texts) == 1:
        return whole
    sections = [_filled(*_parse_section(section, name)) for section in texts]
    # Try the whole text first if its fields cost nothing: nearly every row has every field.
    plain = not _COSTLY.intersection(field for _, field, _, _ in Formatter().parse(text) if field)

    def render(example: Example) -> str | None:
        printed = whole(example) if plain else None
        if printed is None:
            parts = [part for section in sections if (part := section(example)) is not None]
            printed = "\n\n".join(parts) or None
        return printed

    return render


def _filled(section: Sequence[str], fields: Sequence[str]) -> Getter:
    """Return a function that puts an Example's fields between the literal pieces of ``section``."""
    # This is the row path. One and two fields, as most templates have, need no loop.
    getters = [FIELDS[field] for field in fields]
    if len(getters) == 1:
        (head, tail), (get,) = section, getters
        if not head and not tail:
            return get

        def one(example: Example) -> str | None:
            value = get(example)
            return None if value is None else f"{head}{value}{tail}"

        return one

    if len(getters) == 2:
        before, between, after = section
        first, second = getters

        def two(example: Example) -> str | None:
            value, other = first(example), second(example)
            if value is None or other is None:
                return None
            return f"{before}{value}{between}{other}{after}"

        return two

    start, *tails = section

    def several(example: Example) -> str | None:
        values = [get(example) for get in getters]
        if None in values:
            return None
        return start + "".join([f"{value}{tail}" for value, tail in zip(values, tails, strict=True)])

    return several


def _parse_section(section: str, name: str) -> tuple[list[str], list[str]]:
    """Return a section's literal pieces and the fields between them: one piece more than fields."""
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


def chat_renderer(template: Template, *, with_id: bool = False, system_into_user: bool = False) -> Renderer:
    """Return a function that renders an Example as a chat row: one line of JSON without its newline.

    It raises ``RowError`` if the example lacks the fields of all sections of a message. With
    ``system_into_user`` the system text stands before the user's, in one message.
    """
    # The JSON around the two texts is the same in every row, so it is made here, once.
    user = compile_text(template.user, "user")
    assistant = compile_text(template.assistant, "assistant")
    system = template.system
    if system_into_user and system.strip():
        user, system = _joined(compile_text(system, "system"), user), ""
    head_of = _head_renderer(system)
    fixed = not any(field for _, field, _, _ in Formatter().parse(system))
    # A system message without fields, the usual case, is rendered once.
    head = head_of(Example("", "")) if fixed else None
    # Thinking that a message shows is not kept beside it once more.
    beside = not names_field(template, "reasoning")

    def render(example: Example) -> bytes:
        asked, answered = user(example), assistant(example)
        if asked is None or answered is None:
            raise _empty("user" if asked is None else "assistant")
        start = head_of(example) if head is None else head
        end = b"}]}"
        if with_id:
            end = b'}],"id":%b,"source":%b}' % (_dumps(example.identify()), _dumps(example.source))
        if example.reasoning is not None and beside:
            end = b',"reasoning_content":%b%b' % (_dumps(example.reasoning), end)
        return b"".join((start, _dumps(asked), _BETWEEN, _dumps(answered), end))

    return render


def names_field(template: Template, name: str) -> bool:
    """Return whether one of the messages of a template has a field."""
    texts = (template.system, template.user, template.assistant)
    return any(field == name for text in texts for _, field, _, _ in Formatter().parse(text))


def _joined(system: Getter, user: Getter) -> Getter:
    def render(example: Example) -> str | None:
        before, asked = system(example), user(example)
        if before is None:
            raise _empty("system")
        return None if asked is None else before + SEPARATOR + asked

    return render


def _head_renderer(system: str) -> Renderer:
    """Return a function that renders everything before the user message's content."""
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


def _empty(role: str) -> RowError:
    return RowError(
        f"empty {role} message",
        f"the example lacks the fields that every section of the {role} template names",
    )


def question_of(example: Example) -> str:
    """Return the question that a student of rationales is asked: context, question and lettered choices."""
    choices = FIELDS["choices"](example)
    lines = (example.context, example.question, "Answer Choices:" if choices else None, choices)
    return "\n".join(line for line in lines if line)
