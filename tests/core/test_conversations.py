"""Chat rows with reasoning, tools and loss marks: what is sound, and what each fault is called."""

import json
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.conversations import (
    IGNORED,
    content_text,
    find_in_row,
    loss_of,
    parsed_row,
    reasoning_of,
    split_thinking,
)
from dataprep.core.errors import MissingDependencyError, RowError
from dataprep.tokens.formats.base import check_row
from tests import strategies as some
from tests.tables import table

USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "4"}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
ADD = {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": SCHEMA}}
SAY = {"name": "say", "description": "Say a text."}


def call(name="add", arguments=None, **more):
    """A tool call."""
    return {"type": "function", "function": {"name": name, "arguments": arguments or {"a": 2, "b": 2}}} | more


def calls(*made, **more):
    """An assistant's message that calls tools."""
    return {"role": "assistant", "tool_calls": list(made)} | more


def result(**more):
    """A tool's message."""
    return {"role": "tool", "content": "4"} | more


def told(*messages, **fields):
    """A row that ends with an answer."""
    return {"messages": [USER, *messages, ANSWER]} | fields


def text(*parts):
    """A content of text parts."""
    return [{"type": "text", "text": part} for part in parts]


THINKS = {"role": "assistant", "content": "4", "reasoning_content": "2 and 2 make 4."}
IMAGE = {"type": "image_url", "image_url": {"url": "x.png"}}

SOUND = [
    told(THINKS),
    told({"role": "assistant", "reasoning_content": "Hm."}),
    told({"role": "assistant", "content": None, "thinking": "Hm."}, USER),
    told({"role": "assistant", "content": "", "reasoning": "Hm."}, USER),
    told(calls(call())),
    told(calls(call(), content=None)),
    told(calls(call(), content="")),
    told(calls(call(), content="I add.", reasoning_content="Hm."), result()),
    told(calls(call(arguments='{"a": 2, "b": 2}'))),
    told(calls(call(id="c1"), call(id="c2")), result(tool_call_id="c2"), result(tool_call_id="c1")),
    told(calls(call(), call("say")), result(name="say"), result(name="add")),
    told(calls(call()), result(tool_call_id="c1", name="add")),
    told(calls(call(id="c1")), result(tool_call_id="c1", content="")),
    told(calls(call()), result(), tools=[ADD]),
    told(calls(call("say", {"x": 1})), result(), tools=[ADD, SAY]),
    told(calls(call()), result(), tools=json.dumps([ADD])),
    told(tools=[ADD]),
    told(tools=[]),
    told(tools=None),
    told(tools=""),
    told(tools="null"),
    told(tools="[]"),
    told(chat_template_kwargs={"enable_thinking": False}),
    told(chat_template_kwargs='{"enable_thinking": false}'),
    told(chat_template_kwargs=None),
    told(chat_template_kwargs={"add_generation_prompt": False, "tools": None, "documents": [{"text": "x"}]}),
    told({"role": "developer", "content": "Be brief."}),
    told({"role": "user", "content": text("2 + 2", "?")}),
    told({"role": "user", "content": [{"type": "text", "text": "Hi", "image_url": None}]}),
    told(USER | {"name": "Ada"}),
    *(told(ANSWER | mark) for mark in ({"loss": True}, {"loss": False}, {"weight": 0}, {"weight": 1.0})),
    *(told(ANSWER | mark) for mark in ({"train": False}, {"loss": True, "weight": 1}, {"loss": None})),
    # A table has every key in every message.
    told(USER | dict.fromkeys(("tool_calls", "tool_call_id", "reasoning_content", "name", "loss"))),
    told(ANSWER | {"tool_calls": [{"id": None, "function": {"name": None, "arguments": None}}]}),
    told(THINKS | {"reasoning": "2 and 2 make 4."}),
    told(ANSWER | {"timestamp": 17}),
]


@table("row", SOUND)
def test_rows_as_models_have_them_are_sound(row):
    """Reasoning, tool calls with and without content, tools, parts of text and loss marks are no faults."""
    assert list(find_in_row(row)) == []
    assert list(find_in_row(row, strict_tools=True)) == []


MALFORMED_CALL = [
    "add", None, {}, {"function": "add"}, {"function": {}}, {"function": {"name": 1, "arguments": {}}},
    {"name": "add", "arguments": {}}, call() | {"type": "custom"}, call(id=7),
]  # fmt: skip
FAULTS = [
    (told({"role": "assistant", "content": None}), "content is no string", "messages[1].content is null"),
    (told({"role": "assistant", "content": " ", "reasoning": "\n"}), "empty content", "' '"),
    (told({"role": "user", "content": []}), "empty content", "a list []"),
    (told({"role": "user", "content": text("", " ")}), "empty content", "a list"),
    (told(calls(call()), {"role": "tool", "content": None}), "content is no string", "null"),
    (told({"role": "user", "content": [IMAGE]}), "content part that is no text", "'image_url'; expected"),
    (told({"role": "user", "content": ["Hi"]}), "content part that is no text", "content[0] is the string"),
    (told({"role": "user", "content": [{"text": "Hi"}]}), "content part that is no text", "type is null"),
    (told({"role": "user", "content": [{"type": "text"}]}), "content part that is no text", "text is null"),
    *(
        (told(calls(call(), made)), "malformed tool call", "messages[1].tool_calls[1]")
        for made in MALFORMED_CALL
    ),
    (told({"role": "assistant", "tool_calls": call()}), "malformed tool call", "an object"),
    *(
        (told(calls(call(arguments=given))), "malformed arguments", shown)
        for given, shown in ((7, "a number 7"), ("{", "'{'"), ("[1]", "'[1]'"), ([1], "a list [1]"))
    ),
    (told(calls({"function": {"name": "add"}})), "malformed arguments", "arguments is missing"),
    (told(result()), "tool result without a call", "messages[1]"),
    (told(calls(call()), result(), result()), "tool result without a call", "messages[3]"),
    (told(calls(call()), result(name="say")), "tool result without a call", "'say'"),
    (told(result(), calls(call())), "tool result without a call", "messages[1]"),
    (told(calls(call(id="c1")), result(tool_call_id="c2")), "tool result without a call", "'c1'"),
    (
        told(calls(call("div")), tools=[ADD, SAY]),
        "unknown tool",
        "'div'; the tools of the row are 'add', 'say'",
    ),
    *(
        (told(tools=tools), "malformed tools", "tools")
        for tools in ("add", "[", '{"a": 1}', 7, {"a": 1}, ["add"], [{"a": 1}], [{"function": {"name": 1}}])
    ),
    (told(chat_template_kwargs="x"), "malformed chat_template_kwargs", "'x'"),
    (told(chat_template_kwargs=[1]), "malformed chat_template_kwargs", "a list [1]"),
    *(
        (told(chat_template_kwargs={name: value}), IGNORED, f"chat_template_kwargs.{name} is")
        for name, value in (("add_generation_prompt", True), ("tools", [1]), ("chat_template", "x"))
    ),
    (told(ANSWER | {"reasoning_content": ["Hm."]}), "field is no string", "reasoning_content is a list"),
    (told(USER | {"name": 7}), "field is no string", "name is a number 7"),
    (told(ANSWER | {"reasoning": "a", "thinking": "b"}), "several reasoning texts", "thinking and reasoning"),
    (told(USER | {"reasoning_content": "Hm."}), IGNORED, "messages[1].reasoning_content"),
    (told(USER | {"tool_calls": [call()]}), IGNORED, "messages[1].tool_calls"),
    (told(ANSWER | {"tool_call_id": "c1"}), IGNORED, "messages[1].tool_call_id"),
    *(
        (told(ANSWER | mark), "malformed loss mark", "; expected ")
        for mark in ({"weight": 0.5}, {"weight": "1"}, {"loss": 1}, {"train": "yes"}, {"loss": [True]})
    ),
    (told(ANSWER | {"loss": True, "weight": 0}), "loss marks that differ", "loss a boolean True, weight"),
]


@table(("row", "kind", "shown"), FAULTS)
def test_each_fault_has_its_kind(row, kind, shown):
    """One fault is one finding, which says where it is and what was found."""
    (finding,) = find_in_row(row)
    assert finding.kind == kind
    assert shown in finding.detail


@table(("row", "kind", "shown"), FAULTS)
def test_no_chat_format_gets_a_row_with_a_fault(row, kind, shown):
    """What validate finds stops a row before it is written as tokens."""
    with pytest.raises(RowError, match=kind) as caught:
        check_row(row)
    assert shown in caught.value.detail


@table(
    ("key", "value", "expected"),
    [
        ("timestamp", 17, ["unknown key"]),
        ("timestamp", None, []),
        ("metadata", {}, []),
        ("tool_calls", None, []),
        ("content", [{"type": "text", "text": "4", "cache_control": {"type": "x"}}], ["unknown key"]),
        ("content", [{"type": "text", "text": "4", "image_url": None}], []),
    ],
)
def test_unknown_keys_are_findings_when_they_are_to_be(key, value, expected):
    """Strict, a key that dataprep does not know is a fault; otherwise it is counted."""
    row = told(ANSWER | {key: value})
    assert list(find_in_row(row)) == []
    assert [finding.kind for finding in find_in_row(row, strict=True)] == expected
    counts: Counter[str] = Counter()
    for counted in (row, told(), row):
        assert list(find_in_row(counted, unknown=counts)) == []
    assert counts.total() == 2 * len(expected)


# Arguments and schemas


@table(
    ("arguments", "expected"),
    [
        ({"a": 1, "b": 2}, []),
        ('{"a": 1, "b": 2}', []),
        ({"a": 1}, ["arguments: 'b' is a required property"]),
        (
            {"a": 1, "b": "2"},
            ["arguments.b: '2' is not of type 'integer'"],
        ),
    ],
)
def test_arguments_must_fit_the_schema_if_it_is_asked_for(arguments, expected):
    """With strict_tools the arguments of a call are checked by the parameters of its tool."""
    row = told(calls(call(arguments=arguments)), result(), tools=[ADD])
    assert list(find_in_row(row)) == []
    place = "messages[1].tool_calls[0] calls 'add': "
    findings = [finding.detail for finding in find_in_row(row, strict_tools=True)]
    assert findings == [place + problem for problem in expected]


@table(
    ("schema", "kinds"),
    [
        (None, []),
        ({}, []),
        ({"type": "objekt"}, ["malformed tools"]),
        ("x", ["malformed tools"]),
        ({"$ref": "https://example.invalid/schema.json"}, ["arguments do not fit the schema"]),
        ({"$defs": {"a": {"type": "object"}}, "$ref": "#/$defs/a"}, []),
        ({"$ref": "#"}, ["arguments do not fit the schema"]),
    ],
)
def test_schemas_of_any_kind_are_judged(schema, kinds):
    """A schema that is none is a fault of the tools; nothing is fetched, and no loop is endless."""
    tool = {"type": "function", "function": {"name": "add", "parameters": schema}}
    row = told(calls(call()), result(), tools=[tool])
    assert [finding.kind for finding in find_in_row(row, strict_tools=True)] == kinds


def test_schemas_need_a_package(monkeypatch):
    """Without jsonschema, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    monkeypatch.setattr("dataprep.core.optional.find_spec", lambda _: None)
    from dataprep.core.tool_calls import _checker_of

    _checker_of.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"dataprep\[tools\]"):
        list(find_in_row(told(calls(call()), tools=[ADD]), strict_tools=True))


# Whatever a row holds

_messages = st.lists(
    some.json_objects(("role", "content", "tool_calls", "reasoning", "loss", "tool_call_id", "name"))
    | st.fixed_dictionaries(
        {"role": st.sampled_from(("user", "assistant", "tool"))},
        optional={
            "content": some.json_values(),
            "tool_calls": some.json_values() | st.lists(st.just(call()) | some.json_objects(("function",))),
            "tool_call_id": some.json_values(),
        },
    ),
    min_size=1,
    max_size=4,
)


@given(some.tool_rows())
def test_a_sound_row_of_any_kind_gives_nothing(row):
    """No reasoning, no tool call and no result is a fault for what its texts hold."""
    assert list(find_in_row(row, strict=True, strict_tools=True)) == []
    check_row(row)


@given(some.tool_rows(), st.data())
def test_a_result_for_another_call_is_found(row, data):
    """Whatever else a row holds, a result of a call that it does not have is a fault."""
    place = data.draw(st.integers(0, len(row["messages"]) - 1))
    row["messages"].insert(place, {"role": "tool", "content": "x", "name": "no such tool"})
    assert [finding.kind for finding in find_in_row(row)] == ["tool result without a call"]


@pytest.mark.medium
@given(_messages, some.json_values() | st.lists(some.json_objects(("function", "name"))), some.json_values())
def test_any_row_is_judged(messages, tools, kwargs):
    """No row ends in anything but findings, and every finding can be shown."""
    row = {"messages": messages, "tools": tools, "chat_template_kwargs": kwargs}
    before = json.dumps(row)
    for finding in find_in_row(row, strict=True, strict_tools=True, unknown=Counter()):
        assert finding.kind
        assert finding.detail
    assert json.dumps(row) == before


@pytest.mark.parametrize("name", ["tools", "chat_template_kwargs"])
@pytest.mark.parametrize("depth", [300, 1000])
def test_deep_nesting_is_judged(name, depth):
    """Tools that are nested deeper than Python calls go are no crash."""
    value = json.loads("[" * 900 + "]" * 900) if depth > 900 else json.loads("[" * depth + "1" + "]" * depth)
    tool = ADD | {"function": ADD["function"] | {"parameters": {"type": "object", "x": value}}}
    list(find_in_row(told(calls(call()), tools=[tool]), strict_tools=True))
    list(find_in_row(told(**{name: value}), strict_tools=True))


# What is read of a message


@table(
    ("message", "expected"),
    [
        ({}, None),
        ({"reasoning_content": "a", "thinking": "a"}, "a"),
        ({"reasoning_content": None, "thinking": " ", "reasoning": "b\n"}, "b\n"),
        ({"reasoning": ["a"]}, None),
    ],
)
def test_reasoning_is_read_from_its_names(message, expected):
    """The first name with a text is read, as it is."""
    assert reasoning_of(message) == expected


@table(
    ("message", "expected"),
    [
        ({}, None), ({"loss": None}, None), ({"loss": True}, True), ({"loss": False}, False),
        ({"weight": 0}, False), ({"weight": 1.0}, True), ({"train": False}, False),
        ({"loss": None, "train": True}, True),
    ],
)  # fmt: skip
def test_the_loss_mark_is_read_from_its_names(message, expected):
    """A message without a mark says nothing about the loss."""
    assert loss_of(message) is expected


@table(
    ("content", "expected"),
    [("a", "a"), (None, ""), ("", ""), ([], ""), (text("a", "b\n"), "ab\n")],
)
def test_the_text_of_a_content(content, expected):
    """Parts are joined without anything between them."""
    assert content_text(content) == expected


def test_texts_of_json_are_parsed_for_templates():
    """Tools as JSON text, as TRL has them, reach a template as a list; a row without them is not copied."""
    row = told(tools=json.dumps([ADD]), chat_template_kwargs='{"a": 1}', id="x")
    assert parsed_row(row) == told(tools=[ADD], chat_template_kwargs={"a": 1}, id="x")
    assert row["tools"] == json.dumps([ADD])
    assert parsed_row(sound := told(tools=[ADD])) is sound


@table(
    ("message", "content", "reasoning"),
    [
        ({"content": "<think>\n2+2\n</think>\n\n4"}, "4", "2+2"),
        ({"content": "<think>2+2</think>4"}, "4", "2+2"),
        ({"content": "\n<think> a\n\nb </think>\n c"}, " c", " a\n\nb "),
        ({"content": "<think>a</think>"}, "", "a"),
        ({"content": "<think>\n\n</think>\n\n4"}, "4", None),
        ({"content": "<think>a</think>b</think>c"}, "b</think>c", "a"),
        ({"content": "<think>4"}, "<think>4", None),
        ({"content": "4 <think>a</think>"}, "4 <think>a</think>", None),
        ({"content": "a</think>4"}, "a</think>4", None),
        ({"content": "<think>b</think>4", "reasoning": "a"}, "<think>b</think>4", "a"),
        ({"content": None, "tool_calls": [call()]}, None, None),
        ({"content": text("<think>a</think>b")}, text("b"), "a"),
        ({"content": text("<think>\na\n</think>", "b")}, text("", "b"), "a"),
        ({"content": text("b", "<think>a</think>")}, text("b", "<think>a</think>"), None),
        ({"content": text("<think>a", "</think>b")}, text("<think>a", "</think>b"), None),
        ({"content": []}, [], None),
        ({"content": [{"type": "image"}, "x"]}, [{"type": "image"}, "x"], None),
    ],
)
def test_thinking_is_split_off(message, content, reasoning):
    """A think block at the beginning becomes reasoning; everything else stays as it is."""
    row = {"messages": [USER, {"role": "assistant"} | message], "id": "r1"}
    before = json.dumps(row)
    split = split_thinking(row)
    assert json.dumps(row) == before
    assert (split["messages"][0], split["id"]) == (USER, "r1")
    assert (split["messages"][1]["content"], reasoning_of(split["messages"][1])) == (content, reasoning)


def test_only_an_assistant_thinks():
    """A user who writes about think blocks is left alone."""
    row = {"messages": [{"role": "user", "content": "<think>a</think>b"}, ANSWER]}
    assert split_thinking(row) == row
    assert split_thinking({"text": "x"}) == {"text": "x"}
