"""Templates: what is printed, what is left out, and what is refused."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import RowError, TemplateError
from dataprep.core.records import Example
from dataprep.datasets.templates import FIELDS, Template, chat_renderer, compile_text, parse_template
from tests import strategies as some

KNOWN = [
    "question", "context", "choices", "answer", "answer_label", "answer_text", "solution", "tests",
    "rationale", "reasoning", "id",
]  # fmt: skip
FULL = Example(
    "Which metal floats?",
    "choice",
    id="q7",
    source="own",
    context="Water weighs 1 kg a litre.",
    choices=("iron", "lithium"),
    answer="lithium",
    answer_label="b",
    solution="It weighs 0.5 kg a litre.",
    tests=("assert f(1)", "assert f(2)"),
    reasoning="Is lithium light?",
    rationales={"first": "Lithium is light.", "second": "Iron is not."},
)


def values_of(example):
    """The fields' texts, worked out by hand; None where absent."""
    label = example.answer_label
    return {
        "question": example.question,
        "context": example.context,
        "choices": "\n".join(f"({'abcd'[i]}) {text}" for i, text in enumerate(example.choices)) or None,
        "answer": f"({label}) {example.answer}" if label else example.answer,
        "answer_label": label,
        "answer_text": example.answer,
        "solution": example.solution,
        "tests": "\n".join(example.tests) or None,
        "rationale": next(iter((example.rationales or {}).values()), "") or None,
        "reasoning": example.reasoning,
        "id": example.identify(),
    }


def contents(line):
    """The messages' contents by role."""
    return {message["role"]: message["content"] for message in json.loads(line)["messages"]}


def test_the_fields_are_the_promised_ones():
    """Templates of users keep working: the fields have the names that the docs list."""
    assert list(FIELDS) == KNOWN


def test_an_example_without_a_rationale_leaves_its_section_out():
    """No teacher, or one that said nothing, is an absent field."""
    for rationales in (None, {}, {"first": ""}):
        bare = Example("Which?", "choice", rationales=rationales)
        assert compile_text("{question}\n\nBecause: {rationale}")(bare) == "Which?"


@pytest.mark.parametrize("field", KNOWN)
def test_each_field_prints_its_text(field):
    """Every field gives its text, alone and between other words."""
    expected = values_of(FULL)[field]
    assert compile_text(f"{{{field}}}")(FULL) == expected
    assert compile_text(f"<{{{field}}}>\n{{question}}")(FULL) == f"<{expected}>\nWhich metal floats?"


def test_sections_go_where_a_field_is_absent():
    """A section that names an absent field is left out whole, the others stay."""
    render = compile_text("Read:\n{context}\n\n{question}\n\nChoices {id}:\n{choices}\n\nThink.")
    bare = Example("Which metal floats?", "choice", id="q8", choices=("iron",))
    assert render(FULL).startswith("Read:\nWater weighs")
    assert render(bare) == "Which metal floats?\n\nChoices q8:\n(a) iron\n\nThink."
    assert render(Example("Which?", "choice")) == "Which?\n\nThink."
    assert compile_text("{context}\n\n{solution}")(bare) is None


def test_blank_lines_and_line_ends_around_sections_do_not_matter():
    r"""Outer blank lines, more than one blank line and \r\n in a template file change nothing."""
    for text in (
        "{context}\n\n{question}",
        "\n\n{context}\n\n\n\n{question}\n\n",
        "{context}\r\n\r\n{question}\r\n",
    ):
        assert compile_text(text)(FULL) == "Water weighs 1 kg a litre.\n\nWhich metal floats?"


def test_a_line_of_spaces_is_a_blank_line():
    """A blank line that an editor filled with spaces divides sections as well: nothing is lost with it."""
    assert compile_text("{context}\n  \n{question}")(Example("Which?", "choice")) == "Which?"


@pytest.mark.parametrize("text", ["{{question}} is {question}", "{{{question}}}", "a }} b {{ {question}"])
def test_doubled_braces_are_braces(text):
    """{{ and }} print as braces, as in str.format."""
    assert compile_text(text)(FULL) == text.format(question=FULL.question)


@pytest.mark.parametrize("text", ["100% {question} %s %(x)s %%", "{question}\\n\\{question}$1 $question"])
def test_only_braces_mean_something(text):
    """Percent, dollar and backslash in a template are printed as they are."""
    assert compile_text(text)(FULL) == text.format(question=FULL.question)


@pytest.mark.parametrize("value", ["100% %s {x} {{x}} {question}", "\\1 $1 %(a)s", '"}]}'])
def test_values_are_never_read_as_templates(value):
    """What stands in a dataset is printed as it is, also where it looks like a field."""
    example = Example(value, "math", answer=value)
    line = chat_renderer(Template("{id} %d {{", "Q: {question}!", "{answer} {question}"))(example)
    assert contents(line)["user"] == f"Q: {value}!"
    assert contents(line)["assistant"] == f"{value} {value}"
    assert contents(line)["system"] == f"{example.id} %d {{"


@pytest.mark.parametrize(
    "text", ["{anwser}", "{}", "{0}", "{question.x}", "{question[0]}", "{ question }", "{Question}"]
)
def test_an_unknown_field_is_an_error_that_lists_the_known_ones(text):
    """A misspelt field is named, with all the fields there are."""
    with pytest.raises(TemplateError) as caught:
        compile_text(f"{{question}}\n\nand {text}", "user")
    message = str(caught.value)
    assert message.startswith("user: ")
    assert text in message
    assert all(f"{{{field}}}" in message for field in KNOWN)


@pytest.mark.parametrize("text", ["{question:>10}", "{question!r}", "{question!s:x}", "{answer:{id}}"])
def test_format_and_conversion_are_refused(text):
    """A template is wording, not code: no format specification and no conversion."""
    with pytest.raises(TemplateError, match=re.escape(text)):
        compile_text(text)


@pytest.mark.parametrize(
    "text", ["{", "}", "{question", "question}", "{question}}", "{question!", "{question!}"]
)
def test_an_unpaired_brace_is_a_template_error(text):
    """A brace that pairs with no other is refused, however the formatter puts it."""
    with pytest.raises(TemplateError):
        compile_text(text)


@given(st.text("{}!:[]. aq\n") | some.texts())
def test_any_text_compiles_or_raises_a_template_error(text):
    """No template text ends in anything but a renderer or dataprep's own error."""
    found = some.result_or_error(compile_text, text)
    if isinstance(found, TemplateError):
        assert str(found).startswith("template: ")
    else:
        assert isinstance(found(FULL), str | None)


@st.composite
def sections(draw):
    """A section of a template: literal pieces with fields between them, and the fields."""
    literal = some.texts(4).map(lambda text: re.sub("\n+|\r", " ", text).strip())
    section, fields = "", draw(st.lists(st.sampled_from(KNOWN), max_size=4))
    for field in [None, *fields]:
        section += "" if field is None else f"{{{field}}}"
        section += draw(literal).replace("{", "{{").replace("}", "}}")
    return section, fields


@pytest.mark.medium
@given(
    user=st.lists(sections(), min_size=1, max_size=4),
    assistant=st.lists(sections(), min_size=1, max_size=3),
    system=st.lists(sections(), max_size=2),
    example=some.examples(),
    with_id=st.booleans(),
)
def test_rendering_is_str_format_of_the_whole_sections(user, assistant, system, example, with_id):
    """The JSON holds exactly what str.format makes of each section whose fields are all present."""
    # A template whose every section is blank is refused elsewhere.
    user, assistant, system = ([each for each in parts if each[0]] for parts in (user, assistant, system))
    user, assistant = user or [("?", [])], assistant or [("!", [])]
    example.source = "own"
    values = values_of(example)
    expected = {}
    for role, parts in (("system", system), ("user", user), ("assistant", assistant)):
        whole = [text.format(**values) for text, fields in parts if None not in [values[f] for f in fields]]
        if parts:
            expected[role] = "\n\n".join(whole)
    texts = ["\n\n".join(text for text, _ in parts) for parts in (system, user, assistant)]
    renderer = chat_renderer(Template(*texts), with_id=with_id)
    if "" in expected.values():
        with pytest.raises(RowError, match=r"empty (system|user|assistant) message"):
            renderer(example)
        return
    row = {"messages": [{"role": role, "content": text} for role, text in expected.items()]}
    line = renderer(example)
    assert b"\n" not in line
    assert json.loads(line) == (row | {"id": values["id"], "source": "own"} if with_id else row)


def test_an_empty_system_leaves_the_message_out():
    """With --system '' a row begins with the user's message."""
    for system in ("", "  \n\n "):
        line = chat_renderer(Template(system, "{question}", "{answer}"))(FULL)
        assert [message["role"] for message in json.loads(line)["messages"]] == ["user", "assistant"]


def test_a_system_message_may_have_fields():
    """A system message with fields is another one in each row."""
    renderer = chat_renderer(Template("Passage: {context}", "{question}", "{answer}"))
    other = Example("Which?", "choice", context="Mercury is heavy.", answer="iron")
    assert contents(renderer(FULL))["system"] == "Passage: Water weighs 1 kg a litre."
    assert contents(renderer(other))["system"] == "Passage: Mercury is heavy."


def test_a_row_has_the_messages_and_nothing_else():
    """A chat row is the messages alone; id and source come with --with-id only."""
    template = Template("Be kind.", "{question}", "{answer}")
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Which metal floats?"},
        {"role": "assistant", "content": "(b) lithium"},
    ]
    assert json.loads(chat_renderer(template)(replace(FULL, reasoning=None))) == {"messages": messages}
    with_id = json.loads(chat_renderer(template, with_id=True)(replace(FULL, reasoning=None)))
    assert with_id == {"messages": messages, "id": "q7", "source": "own"}


def test_thinking_is_beside_the_answer_unless_a_message_shows_it():
    """A template that names the field has it in its text, and the row has it once."""
    row = json.loads(chat_renderer(Template("", "{question}", "{answer}"), with_id=True)(FULL))
    assert row["messages"][-1] == {
        "role": "assistant", "content": "(b) lithium", "reasoning_content": "Is lithium light?"
    }  # fmt: skip
    row = json.loads(chat_renderer(Template("", "{question}", "{reasoning} {answer}"))(FULL))
    assert row["messages"][-1] == {"role": "assistant", "content": "Is lithium light? (b) lithium"}


@pytest.mark.parametrize(("user", "assistant", "role"), [
    ("{context}", "{answer}", "user"),
    ("{question}", "{answer}\n\n{solution}", "assistant"),
])  # fmt: skip
def test_a_message_without_a_section_is_a_row_error(user, assistant, role):
    """A message that would be empty is a bad row with the role named, never an empty message."""
    with pytest.raises(RowError, match=f"empty {role} message"):
        chat_renderer(Template("", user, assistant))(Example("Which?", "choice"))


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_an_empty_user_or_assistant_template_is_refused(role):
    """Only the system message can be left out."""
    parts = {"system": "", "user": "{question}", "assistant": "{answer}"} | {role: " \n"}
    with pytest.raises(TemplateError, match=f"the {role} template is empty"):
        Template(**parts)


# Template files


def test_a_template_file_sets_the_messages_it_names():
    """A TOML file may hold any of the three keys; the others keep the default wording."""
    parts = parse_template("user = '''\n{question}\n'''\nsystem = \"\"")
    template = Template("Be kind.", "Q", "{answer}").with_parts(parts)
    assert template == Template("", "{question}\n", "{answer}")
    assert parse_template("") == {}
    assert parse_template("# only a comment\r\n") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user = ", r"mine\.toml: not a TOML file"),
        ("\nuser: x", r"mine\.toml: not a TOML file: .*line 2"),
        ('user = "a"\nuser = "b"', r"mine\.toml: not a TOML file"),
        ('usr = "{question}"', r"mine\.toml: unknown key 'usr'.*system, user and assistant"),
        ("user = 5", r"mine\.toml: user is not a string"),
        ("[user]\nx = 1", r"mine\.toml: user is not a string"),
        ('assistant = "{label}"', r"mine\.toml: assistant: unknown field \{label\}"),
        ('system = "{"', r"mine\.toml: system: "),
    ],
)
def test_a_bad_template_file_is_named(text, message):
    """What is wrong with a template file is said with the file's name."""
    with pytest.raises(TemplateError, match=message):
        parse_template(text, "mine.toml")


@given(some.texts())
def test_any_template_file_parses_or_raises_a_template_error(text):
    """No text in place of a TOML file ends in anything but dataprep's own error."""
    found = some.result_or_error(parse_template, text)
    assert str(found) if isinstance(found, TemplateError) else set(found) <= {"system", "user", "assistant"}
