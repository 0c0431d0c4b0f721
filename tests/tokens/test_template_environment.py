"""What a chat template sees and can call, and which of several templates is taken: as in transformers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import DataprepError, RowError, TemplateError
from dataprep.tokens.formats.model_template import ChatTemplate, has_template, read_template

transformers = pytest.importorskip("transformers")
from transformers.utils.chat_template_utils import render_jinja_template  # noqa: E402

TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "b": 1, "a": 2}}}
]
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Köln <&>"}}}
MESSAGES = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Weather?"}], "name": None},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning": "Look it up."},
    {"role": "tool", "tool_call_id": "1", "content": "7 °C"},
    {"role": "assistant", "content": "It is cold.", "thinking": "7 is cold."},
]
EVERY = "{% for m in messages %}"
STEPS = {
    "keys": EVERY + "{{ m.keys() | list }}{% endfor %}",
    "null values": EVERY + "{{ m.content is defined }}{{ m.name is defined }}{{ m.content }}{% endfor %}",
    "reasoning": EVERY + "{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.reasoning }};{% endfor %}",
    "tojson": "{{ tools | tojson }}{{ messages[2].tool_calls | tojson(indent=2) }}",
    "tojson, all options": "{{ tools | tojson(ensure_ascii=True, separators=(',', ':'), sort_keys=True) }}",
    "tojson, by position": "{{ messages[2] | tojson(True, 1, (',', ' : '), True) }}",
    "dict": "{{ dict(a=1, b=[2]) }}{{ dict([('x', 1)]) }}{{ dict.fromkeys(['a', 'b'], 0) }}",
    "namespace": "{% set n = namespace(a=1, self=2) %}{% set n.a = n.a + 1 %}{{ n.a }}{{ n.self }}",
    "loop controls": EVERY + "{% if loop.index == 2 %}{% continue %}{% endif %}{{ m.role }}"
    "{% if loop.index == 4 %}{% break %}{% endif %}{% endfor %}",
    "items": "{% for k, v in (tools[0].function | items) %}{{ k }}={{ v }};{% endfor %}",
    "generation": EVERY + "{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}",
    "macros": "{% macro f(x, y=2) %}{{ x }}{{ y }}{{ caller is defined }}{% endmacro %}"
    "{{ f(1) }}{{ f(3, 4) }}",
    "what is defined": "{{ tools is defined }}{{ tools is none }}{{ documents is defined }}"
    "{{ documents is none }}"
    "{{ enable_thinking is defined }}{{ enable_thinking }}"
    "{{ add_generation_prompt }}{{ strftime_now is defined }}"
    "{{ builtin_tools is defined }}",
    "trimmed blocks": "  {% if true %}\n    {{ messages[0].content }}\n  {% endif %}\n x\n",
    "variables": "{{ bos_token }}{{ eos_token }}{{ unk_token is defined }}",
    "a variable of the row": "{{ bos_token }}{{ depth + 1 }}{{ options.deep[0] }}",
    "tests and filters": "{{ messages | selectattr('role', 'equalto', 'tool') "
    "| map(attribute='content') | list }}"
    "{{ messages[1].content is string }}{{ messages[1].content is mapping }}{{ tools[0] | length }}",
    "text": "{{ ' a b '.strip().split(' ')[-1] }}{{ 'abc'[1:] }}"
    "{{ '%s-%d' % ('x', 2) }}{{ messages[0].role ~ 1 }}",
}
VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}
KWARGS = {"enable_thinking": False, "depth": 2, "options": {"deep": ["x"]}, "bos_token": "<other>"}


def reference(text, messages, tools, arguments, prompt):
    """Return what transformers renders."""
    chat = [{name: value for name, value in message.items() if value is not None} for message in messages]
    rendered, _ = render_jinja_template(
        [chat], tools=tools, chat_template=text, add_generation_prompt=prompt, **{**VARIABLES, **arguments}
    )
    return rendered[0]


@pytest.mark.parametrize("name", STEPS)
def test_a_template_writes_what_it_writes_in_transformers(name):
    """Names, filters, null values, aliases of reasoning: each step gives the same text, with and without."""
    text = STEPS[name]
    template = ChatTemplate(text, VARIABLES, "26 Jul 2024")
    for arguments in (KWARGS, {"depth": 1, "options": {"deep": "y"}, "date_string": "x"}):
        for prompt in (False, True):
            found = template.render(MESSAGES, tools=TOOLS, arguments=arguments, prompt=prompt)
            assert found == reference(text, MESSAGES, TOOLS, arguments, prompt)


def test_a_template_sees_no_tools_where_a_row_has_none():
    """`tools` is none, as in transformers, and a text of the row's own does not stay for the next row."""
    text = "{{ tools is none }}{{ enable_thinking is defined }}"
    template = ChatTemplate(text, VARIABLES, None)
    assert template.render(MESSAGES, arguments={"enable_thinking": True}) == "TrueTrue"
    assert template.render(MESSAGES) == reference(text, MESSAGES, None, {}, False) == "TrueFalse"


@pytest.mark.parametrize(
    "step", ["{% set n = namespace(_a=1) %}", "{% set n = namespace() %}{% set n._a = 1 %}"]
)
def test_a_namespace_keeps_no_hidden_attribute(step):
    """What transformers refuses is an error of the row here."""
    with pytest.raises(RowError, match="underscore"):
        ChatTemplate(step, {}, None).render([])


fields = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"])},
    optional={
        "content": st.one_of(st.none(), st.text(), st.lists(st.fixed_dictionaries({"text": st.text()}))),
        "reasoning_content": st.one_of(st.none(), st.text()),
        "thinking": st.one_of(st.none(), st.text()),
        "reasoning": st.one_of(st.none(), st.text()),
        "tool_calls": st.one_of(st.none(), st.lists(st.dictionaries(st.text(), st.integers()))),
    },
)


@given(st.lists(fields, max_size=4), st.one_of(st.none(), st.lists(st.dictionaries(st.text(), st.text()))))
def test_any_messages_look_the_same_to_a_template(messages, tools):
    """A template that writes all it sees writes what it writes in transformers."""
    text = EVERY + "{{ m }}{% endfor %}{{ tools }}{{ tools | tojson }}"
    given_messages = json.dumps(messages)
    found = ChatTemplate(text, VARIABLES, None).render(messages, tools=tools)
    assert found == reference(text, messages, tools, {}, False)
    assert json.dumps(messages) == given_messages


def test_a_row_with_a_system_message_is_told_where_it_can_go():
    """If the template takes the row without its system message; other refusals have no such hint."""
    no_system = "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    row = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    hint = "No system role; it takes the system text in .*: `dataprep convert chat --system-into-user`"
    with pytest.raises(RowError, match=hint):
        ChatTemplate(no_system, {}, None).render(row)
    for text, messages in (
        ("{{ raise_exception('Never') }}", row),
        (no_system, row[:1]),
        ("{{ raise_exception('Never') }}", row[1:]),
    ):
        with pytest.raises(RowError, match=r"refuses it: (Never|No system role)$"):
            ChatTemplate(text, {}, None).render(messages)


def test_a_call_without_content_is_told_that_the_template_wants_one():
    """If the template takes the row with empty contents; the message is named."""
    text = "{% for message in messages %}{{ message.role + ': ' + message.content }}{% endfor %}"
    row = [{"role": "user", "content": "U"}, {"role": "assistant", "content": None, "tool_calls": []}]
    hint = r"""no attribute 'content'; it takes messages without a content if they have "content": ""$"""
    with pytest.raises(RowError, match=hint):
        ChatTemplate(text, {}, None).render(row)
    with pytest.raises(RowError, match=r"refuses it: Never$"):
        ChatTemplate("{{ raise_exception('Never') }}", {}, None).render(row)


CALLS = [
    {"id": "c", "type": "function", "function": {"name": "add", "arguments": arguments}}
    for arguments in ({"a": 1}, '{"a": 1}')
]


@pytest.mark.parametrize(
    ("text", "fields", "hint"),
    [
        (
            "{{ message.content + '' }}",
            {"content": [{"type": "text", "text": "a"}]},
            "contents that are one string",
        ),
        (
            "{{ message.tool_calls[0].function.arguments.items() }}",
            {"tool_calls": CALLS[1:]},
            "that are objects",
        ),
        (
            "{{ message.tool_calls[0].function.arguments + '' }}",
            {"tool_calls": CALLS[:1]},
            "that are JSON text",
        ),
        (
            "{{ message.content + '' }}{{ message.tool_calls[0].function.arguments.items() }}",
            {"content": None, "tool_calls": CALLS[1:]},
            '"content": "" and tool calls with arguments that are objects',
        ),
        (
            "{{ raise_exception('No developer') if message.role == 'developer' }}",
            {"role": "developer", "content": "D"},
            "No developer; it takes the role 'system' in place of 'developer'",
        ),
        ("{{ message.content[0].text.strip() }}", {"content": "a"}, "contents that are lists of parts"),
    ],
)
def test_a_row_of_another_form_is_told_the_form_that_the_template_takes(text, fields, hint):
    """If the template takes the row with that change, or with two of them; the row stays as it is."""
    row = [{"role": "assistant"} | fields]
    before = json.dumps(row)
    with pytest.raises(RowError) as caught:
        ChatTemplate(f"{{% for message in messages %}}{text}{{% endfor %}}", {}, None).render(row)
    assert hint in caught.value.detail
    assert json.dumps(row) == before


# --- which template

FILES = {
    "one in the configuration": {"tokenizer_config.json": {"chat_template": "A"}},
    "several in the configuration": {
        "tokenizer_config.json": {
            "chat_template": [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "T"}]
        }
    },
    "several without one for tools": {
        "tokenizer_config.json": {
            "chat_template": [{"name": "default", "template": "A"}, {"name": "rag", "template": "R"}]
        }
    },
    "a file": {"chat_template.jinja": "F", "tokenizer_config.json": {"chat_template": "A"}},
    "a file and a folder": {
        "chat_template.jinja": "F\n",
        "additional_chat_templates/tool_use.jinja": "T\n",
        "additional_chat_templates/rag.v2.jinja": "R",
        "tokenizer_config.json": {"chat_template": "A"},
    },
}


def directory(tmp_path, contents):
    """Write files of a model directory with a tokenizer."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "<s>": 1}, unk_token="a"))
    made.add_special_tokens(["<s>"])
    made.save(str(tmp_path / "tokenizer.json"))
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        text = content
        if isinstance(content, dict):
            text = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **content})
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_the_template_is_the_one_that_transformers_chooses(tmp_path, name):
    """By file, by folder or by the configuration; another one for rows with tools, if there is one."""
    folder = directory(tmp_path, FILES[name])
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = read_template(folder)
    assert has_template(folder)
    assert ours.text_for(False) == theirs.get_chat_template()
    assert ours.text_for(True) == theirs.get_chat_template(tools=[])


def test_the_file_of_a_processor_is_read(tmp_path):
    """`chat_template.json`, which models with images have: taken where the tokenizer has no template."""
    template = EVERY + "{{ '<s>' + m.content + '<s>' }}{% endfor %}"
    folder = directory(tmp_path, {"chat_template.json": {"chat_template": template}})
    assert has_template(folder)
    assert read_template(folder).text == template
    (folder / "chat_template.jinja").write_text("<s>other")
    assert read_template(folder).text == "<s>other"


WRONG = {
    "no default": ({"additional_chat_templates/rag.jinja": "R"}, "found only rag; expected"),
    "none": ({}, "found no chat template; expected"),
    "no text": ({"chat_template.json": {"chat_template": 3}}, "found no chat template; expected"),
    "no object": ({"chat_template.json": "[]"}, "expected a JSON object"),
    "no name": ({"tokenizer_config.json": {"chat_template": [{"template": "A"}]}}, "found no chat template"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_directory_without_a_default_template_is_an_error(tmp_path, name):
    """The error says what was found, and where templates are looked for."""
    contents, reason = WRONG[name]
    with pytest.raises(DataprepError, match=reason) as caught:
        read_template(directory(tmp_path, contents))
    assert isinstance(caught.value, TemplateError) or "JSON" in str(caught.value)
