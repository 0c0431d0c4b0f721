"""Formats of other tools: rows as their documentation shows them, and nothing is lost silently."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.conversations import find_in_row, reasoning_of
from dataprep.core.errors import DataprepError, InputError, RowDropped, RowError, UsageError
from dataprep.datasets.exchange import registry
from dataprep.datasets.exchange.account import Account
from dataprep.datasets.exchange.rewriting import Rewriter
from tests.strategies import filled_texts, json_values, result_or_error, texts

BOTH = sorted(set(registry.names("read")) & set(registry.names("write")))
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def read(name, row, *, lossy=False):
    """The chat row of another tool's row, and what was counted."""
    account = Account("a chat row", lossy=lossy)
    return registry.load(name, "read").read(row, account), account.pending


def write(name, row, *, lossy=False):
    """Another tool's row of a chat row, and what was counted."""
    account = Account(name, lossy=lossy)
    return registry.load(name, "write").write(row, account), account.pending


def user(text, **fields):
    """A user's message."""
    return {"role": "user", "content": text, **fields}


def answer(text, **fields):
    """An assistant's message."""
    return {"role": "assistant", "content": text, **fields}


def call(name, arguments, **fields):
    """A tool call."""
    return {**fields, "type": "function", "function": {"name": name, "arguments": arguments}}


# Rows as the other tools' documentation has them, and the chat rows that they mean.
READ = {
    "sharegpt": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"messages": [user("Hi"), answer("Hello")]},
    ),
    "sharegpt of LLaMA-Factory with a system prompt and tools": (
        "sharegpt",
        {
            "conversations": [
                {"from": "human", "value": "Weather in Rome?"},
                {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
                {"from": "observation", "value": '{"degrees": 20}'},
                {"from": "gpt", "value": "20 degrees."},
            ],
            "system": "Be brief.",
            "tools": '[{"name": "weather", "description": "Get it", "parameters": {"type": "object"}}]',
        },
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                user("Weather in Rome?"),
                {"role": "assistant", "tool_calls": [call("weather", {"city": "Rome"})]},
                {"role": "tool", "content": '{"degrees": 20}'},
                answer("20 degrees."),
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "weather",
                        "description": "Get it",
                        "parameters": {"type": "object"},
                    },
                }
            ],
        },
    ),
    "sharegpt with role and content, and several calls": (
        "sharegpt",
        {
            "conversations": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Both?"},
                {
                    "role": "function_call",
                    "content": '[{"name":"a","arguments":{}},{"name":"b","arguments":{}}]',
                },
                {"role": "tool", "content": "1"},
            ]
        },
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                user("Both?"),
                {"role": "assistant", "tool_calls": [call("a", {}), call("b", {})]},
                {"role": "tool", "content": "1"},
            ]
        },
    ),
    "sharegpt of axolotl with weights, and an id": (
        "sharegpt",
        {
            "id": "x1",
            "conversations": [
                {"from": "user", "value": "1?", "weight": None},
                {"from": "assistant", "value": "2", "weight": 0},
            ],
        },
        {"messages": [user("1?"), answer("2", weight=0)], "id": "x1"},
    ),
    "alpaca": (
        "alpaca",
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"messages": [user("Add.\n1 and 2"), answer("3")]},
    ),
    "alpaca of LLaMA-Factory with history": (
        "alpaca",
        {
            "instruction": "And now?",
            "input": "",
            "output": "c",
            "system": "S",
            "history": [["a?", "a"], ["b?", "b"]],
        },
        {
            "messages": [
                {"role": "system", "content": "S"},
                *(user("a?"), answer("a"), user("b?"), answer("b")),
                *(user("And now?"), answer("c")),
            ]
        },
    ),
    "openai": (
        "openai",
        {
            "messages": [
                user("Weather?"),
                {"role": "assistant", "tool_calls": [call("weather", '{"city": "Rome"}', id="call_1")]},
                {"role": "tool", "tool_call_id": "call_1", "content": "20"},
                answer("20 degrees.", weight=1),
            ],
            "tools": [WEATHER],
            "parallel_tool_calls": True,
        },
        {
            "messages": [
                user("Weather?"),
                {"role": "assistant", "tool_calls": [call("weather", '{"city": "Rome"}', id="call_1")]},
                {"role": "tool", "tool_call_id": "call_1", "content": "20"},
                answer("20 degrees.", weight=1),
            ],
            "tools": [WEATHER],
        },
    ),
    "openai with the old functions": (
        "openai",
        {
            "messages": [
                user("Weather?"),
                {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}},
                {"role": "function", "name": "weather", "content": "20"},
            ],
            "functions": [WEATHER["function"]],
        },
        {
            "messages": [
                user("Weather?"),
                {"role": "assistant", "tool_calls": [call("weather", "{}")]},
                {"role": "tool", "name": "weather", "content": "20"},
            ],
            "tools": [WEATHER],
        },
    ),
    "prompts of TRL as texts": (
        "prompt-completion",
        {"prompt": "The sky is", "completion": " blue."},
        {"messages": [user("The sky is"), answer(" blue.")]},
    ),
    "prompts of TRL as messages": (
        "prompt-completion",
        {"prompt": [user("1?"), answer("2"), user("3?")], "completion": [answer("4")], "tools": "[]"},
        {"messages": [user("1?"), answer("2", loss=False), user("3?"), answer("4")], "tools": []},
    ),
    "text": ("text", {"text": "The sky is blue."}, {"messages": [answer("The sky is blue.")]}),
    "harmony": (
        "harmony-json",
        {
            "messages": [
                {
                    "role": "system",
                    "name": None,
                    "content": [
                        {
                            "type": "system_content",
                            "model_identity": "You are ChatGPT, a large language model trained by OpenAI.",
                            "reasoning_effort": "High",
                            "knowledge_cutoff": "2024-06",
                            "channel_config": {
                                "valid_channels": ["analysis", "commentary", "final"],
                                "channel_required": True,
                            },
                        }
                    ],
                },
                {
                    "role": "developer",
                    "name": None,
                    "content": [
                        {
                            "type": "developer_content",
                            "instructions": "Always respond in riddles",
                            "tools": {
                                "functions": {
                                    "name": "functions",
                                    "tools": [
                                        {"name": "weather", "description": "Get it", "parameters": None}
                                    ],
                                }
                            },
                        }
                    ],
                },
                {"role": "user", "name": None, "content": [{"type": "text", "text": "Weather in Tokyo?"}]},
                {"role": "assistant", "content": "We need the tool.", "channel": "analysis"},
                {
                    "role": "assistant",
                    "content": [{"type": "text", "text": '{"location": "Tokyo"}'}],
                    "channel": "commentary",
                    "recipient": "functions.weather",
                    "content_type": "json",
                },
                {"role": "tool", "name": "functions.weather", "content": '{"temperature": 20}'},
                {"role": "assistant", "content": "Now a riddle.", "channel": "analysis"},
                {"role": "assistant", "content": "I am warm.", "channel": "final"},
            ]
        },
        {
            "messages": [
                {"role": "developer", "content": "Always respond in riddles"},
                user("Weather in Tokyo?"),
                {
                    "role": "assistant",
                    "reasoning_content": "We need the tool.",
                    "tool_calls": [call("weather", '{"location": "Tokyo"}')],
                },
                {"role": "tool", "name": "weather", "content": '{"temperature": 20}'},
                {"role": "assistant", "reasoning_content": "Now a riddle.", "content": "I am warm."},
            ],
            "tools": [{"type": "function", "function": {"name": "weather", "description": "Get it"}}],
            "chat_template_kwargs": {
                "model_identity": "You are ChatGPT, a large language model trained by OpenAI.",
                "reasoning_effort": "high",
            },
        },
    ),
}


@pytest.mark.parametrize("case", READ)
def test_rows_are_read_as_their_documentation_has_them(case):
    """A row that follows a tool's documentation becomes the chat row that it means, and is recognised."""
    name, row, expected = READ[case]
    before = copy.deepcopy(row)
    assert read(name, row)[0] == expected
    assert row == before
    assert registry.guess([row], "rows") == name


THINKING = {
    "messages": [
        user("1 + 1?"),
        {"role": "assistant", "reasoning_content": "Easy.", "content": "2", "loss": False},
        user("And 2 + 2?"),
        answer("4"),
    ],
    "chat_template_kwargs": {"enable_thinking": True},
    "id": "r1",
}
CALLING = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        user("Weather?"),
        {"role": "assistant", "tool_calls": [call("weather", {"city": "Rome"}, id="c1")]},
        {"role": "tool", "content": "20", "tool_call_id": "c1", "name": "weather"},
        answer("20 degrees."),
    ],
    "tools": [WEATHER],
}
WRITTEN = {
    "sharegpt": (
        CALLING,
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "Weather?"},
                {
                    "from": "function_call",
                    "value": '{"name":"weather","arguments":{"city":"Rome"},"id":"c1"}',
                },
                {"from": "observation", "value": "20", "tool_call_id": "c1", "name": "weather"},
                {"from": "gpt", "value": "20 degrees."},
            ],
            "tools": json.dumps([WEATHER], separators=(",", ":")),
        },
    ),
    "llama-factory": (
        CALLING,
        {
            "conversations": [
                {"from": "human", "value": "Weather?"},
                {
                    "from": "function_call",
                    "value": '{"name":"weather","arguments":{"city":"Rome"},"id":"c1"}',
                },
                {"from": "observation", "value": "20", "tool_call_id": "c1", "name": "weather"},
                {"from": "gpt", "value": "20 degrees."},
            ],
            "system": "Be brief.",
            "tools": json.dumps([WEATHER], separators=(",", ":")),
        },
    ),
    "openai": (
        CALLING,
        CALLING
        | {
            "messages": [
                *CALLING["messages"][:2],
                {"role": "assistant", "tool_calls": [call("weather", '{"city":"Rome"}', id="c1")]},
                *CALLING["messages"][3:],
            ]
        },
    ),
    "trl": (CALLING, CALLING | {"tools": json.dumps([WEATHER], separators=(",", ":"))}),
    "prompt-completion": (
        THINKING,
        {
            "prompt": [
                user("1 + 1?"),
                {"role": "assistant", "reasoning_content": "Easy.", "content": "2"},
                user("And 2 + 2?"),
            ],
            "completion": [answer("4")],
            "chat_template_kwargs": {"enable_thinking": True},
            "id": "r1",
        },
    ),
    "alpaca": (
        {"messages": [user("1?"), answer("2"), user("3?"), answer("4")], "id": "r1"},
        {"instruction": "3?", "input": "", "output": "4", "system": "", "history": [["1?", "2"]], "id": "r1"},
    ),
    "axolotl": (
        {"messages": [user("1?"), answer("2", weight=0, thinking="Hm.")], "tools": [WEATHER]},
        {
            "messages": [user("1?"), answer("2", reasoning_content="Hm.", train=False)],
            "tools": [
                {"type": "function", "function": {"name": "weather", "parameters": '{"type":"object"}'}}
            ],
        },
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_rows_are_written_as_the_tools_read_them(name):
    """Each format has the fields and the conventions of the tool that reads it."""
    row, expected = WRITTEN[name]
    before = copy.deepcopy(row)
    assert write(name, row)[0] == expected
    assert row == before


LOSSES = [
    ("sharegpt", THINKING, ["reasoning", "loss marks", "chat_template_kwargs"]),
    ("sharegpt", {"messages": [{"role": "developer", "content": "S"}, user("?")]}, ["the developer role"]),
    ("sharegpt", {"messages": [user("?"), answer("!", mood="good")]}, ["other fields of messages"]),
    (
        "sharegpt",
        {"messages": [user("?"), {"role": "assistant", "content": "I ask.", "tool_calls": [call("a", {})]}]},
        ["content beside tool calls"],
    ),
    (
        "sharegpt",
        {"messages": [user([{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {}}])]},
        ["parts of contents that are no text"],
    ),
    ("alpaca", {"messages": [user("?"), answer("!")], "tools": [WEATHER]}, ["tools"]),
    ("openai", THINKING, ["reasoning", "chat_template_kwargs", "other fields of rows"]),
    ("prompt-completion", {"messages": [user("?"), answer("!"), user("?"), answer("!")]},
     ["the loss of earlier answers"]),
    ("trl", THINKING, ["loss marks"]),
    ("axolotl", THINKING, ["chat_template_kwargs"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "kinds"), LOSSES)
def test_what_a_format_cannot_carry_is_an_error_or_counted(name, row, kinds):
    """Without --lossy the first loss stops the row and is named; with it each is counted by its kind."""
    with pytest.raises(RowError, match=f"{name} cannot carry") as error:
        write(name, row)
    assert error.value.reason.endswith(tuple(kinds))
    assert "--lossy" in error.value.detail
    lost = [kind for way, kind in write(name, row, lossy=True)[1] if way == "lost"]
    assert sorted(lost) == sorted(kinds)


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("alpaca", [user("?"), user("?"), answer("!")]),
        ("alpaca", CALLING["messages"]),
        ("alpaca", [user("?"), answer("", thinking="Hm.")]),
        ("sharegpt", [user("?", tool_calls=[call("a", {})])]),
        ("openai", [user("?", tool_calls=[call("a", {})])]),
        ("openai", [user("?"), answer(None, reasoning="Hm.")]),
        ("sharegpt", [user("?"), {"role": "assistant", "reasoning_content": "Hm."}]),
        ("prompt-completion", [answer("!")]),
        ("prompt-completion", [answer("!"), user("?")]),
        ("llama-factory", [user("?"), answer("!"), answer("!")]),
        ("llama-factory", [user("?")]),
    ],
)
def test_rows_that_a_format_has_no_order_for_are_left_out(name, messages):
    """With --lossy such a row is dropped with its reason, and LLaMA-Factory has nothing to skip silently."""
    with pytest.raises(RowError) as error:
        write(name, {"messages": messages})
    assert not isinstance(error.value, RowDropped)
    with pytest.raises(RowDropped):
        write(name, {"messages": messages}, lossy=True)


def test_openai_gets_ids_for_calls_and_their_results():
    """OpenAI refuses calls without ids; they are counted, and a result without any call is an error."""
    calls = [call("a", {}), call("b", "{}")]
    messages = [user("?"), {"role": "assistant", "tool_calls": calls}]
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    made, counted = write("openai", {"messages": messages + results})
    assert [item["id"] for item in made["messages"][1]["tool_calls"]] == ["call_0", "call_1"]
    assert [message["tool_call_id"] for message in made["messages"][2:]] == ["call_0", "call_1"]
    assert counted.count(("changed", "ids of tool calls added")) == 4
    with pytest.raises(RowError, match="malformed tool calls"):
        write("openai", {"messages": [user("?"), {"role": "assistant", "tool_calls": 7}]})
    with pytest.raises(RowError, match="a tool result without a call"):
        write("openai", {"messages": [*messages, *results, results[0]]})


@pytest.mark.parametrize(
    ("calls", "results", "ids", "answered"),
    [
        ([call("a", "{}", id="call_1"), call("b", "{}")], [{}, {"tool_call_id": "call_1"}],
         ["call_1", "call_2"], ["call_2", "call_1"]),
        ([call("a", "{}"), call("b", "{}", id="call_0")], [{"tool_call_id": "call_0"}, {}],
         ["call_1", "call_0"], ["call_0", "call_1"]),
        ([call("a", "{}", id="x"), call("b", "{}", id="y")], [{"name": "b"}, {"name": "a"}],
         ["x", "y"], ["y", "x"]),
        ([call("a", "{}"), call("a", "{}")], [{"name": "a"}, {"name": "a"}],
         ["call_0", "call_1"], ["call_0", "call_1"]),
    ],
)  # fmt: skip
def test_ids_for_openai_are_unique_and_of_the_right_call(calls, results, ids, answered):
    """A result without an id answers the call of its name, and none that another result names."""
    tools = [{"role": "tool", "content": "1", **result} for result in results]
    made, _ = write("openai", {"messages": [user("?"), {"role": "assistant", "tool_calls": calls}, *tools]})
    assert [item["id"] for item in made["messages"][1]["tool_calls"]] == ids
    assert [message["tool_call_id"] for message in made["messages"][2:]] == answered


@pytest.mark.parametrize("order", [("thinking", "reasoning"), ("reasoning", "thinking")])
def test_a_second_reasoning_is_lost_for_axolotl(order):
    """Only the text that everything else reads is written; the other one is counted."""
    row = {"messages": [user("?"), answer("!", **{name: f"by {name}" for name in order})]}
    with pytest.raises(RowError, match=r"messages\[1\].reasoning is a second one"):
        write("axolotl", row)
    made, counted = write("axolotl", row, lossy=True)
    assert made["messages"][1] == answer("!", reasoning_content="by thinking")
    assert ("lost", "reasoning") in counted


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("sharegpt", {"conversations": []}, "no conversations"),
        ("sharegpt", {"messages": []}, "no conversations"),
        ("sharegpt", {"conversations": ["?"]}, "malformed turn"),
        ("sharegpt", {"conversations": [{"from": "bing", "value": "?"}]}, "unknown role"),
        ("sharegpt", {"conversations": [{"from": ["human"], "value": "?"}]}, "unknown role"),
        ("sharegpt", {"conversations": [{"from": "human", "value": 7}]}, "a turn without text"),
        ("sharegpt", {"conversations": [{"from": "function_call", "value": "call it"}]},
         "function calls that are no JSON"),
        ("sharegpt", {"conversations": [{"from": "function_call", "value": "[1]"}]}, "malformed tool calls"),
        ("sharegpt", {"conversations": [{"from": "gpt", "value": "x"}], "tools": "none"},
         "tools that are no JSON"),
        ("sharegpt", {"conversations": [{"from": "system", "value": "x"}], "system": "y"},
         "two system prompts"),
        ("alpaca", {"instruction": "?"}, "missing field 'output'"),
        ("alpaca", {"instruction": "?", "output": None}, "field 'output' is not a string"),
        ("alpaca", {"instruction": 1, "output": "x"}, "field 'instruction' is not a string"),
        ("alpaca", {"instruction": "", "output": "x"}, "empty instruction"),
        ("alpaca", {"instruction": "?", "output": "x", "history": [["?"]]}, "malformed history"),
        ("openai", {"messages": [{"role": "human", "content": "?"}]}, "unknown role"),
        ("openai", {"messages": [user("?")], "parallel_tool_calls": False},
         "a chat row cannot carry parallel_tool_calls"),
        ("openai", {"messages": [user("?"), answer(None, refusal="No.")]}, "a message without content"),
        ("openai", {"messages": [user(7)]}, "content is no text"),
        ("openai", {"messages": ["?"]}, "malformed message"),
        ("prompt-completion", {"prompt": "?"}, "no completion"),
        ("prompt-completion", {"prompt": "?", "completion": [{"role": "assistant"}]},
         "a message without content"),
        ("harmony-json", {"messages": [answer("x", name="Bob", channel="analysis")]},
         "a chat row cannot carry names of messages"),
        ("prompt-completion", {"prompt": "?", "completion": [user("?")]}, "a completion that is no answer"),
        ("text", {"text": " "}, "no text"),
        ("text", {"document": "x"}, "no text"),
        ("harmony-json", {"messages": [{"role": "assistant", "content": 1}]}, "content is no text"),
        ("harmony-json", {"messages": [{"role": "assistant", "content": "x", "channel": "aside"}]},
         "unknown channel"),
        ("harmony-json", {"messages": [{"role": "system", "content": []}]}, "no messages"),
        ("harmony-json", {"messages": [{"role": "assistant", "content": "x", "channel": "commentary"}]},
         "a chat row cannot carry words beside tool calls (channel commentary)"),
        ("harmony-json", {"messages": [{"role": "assistant", "content": "x", "recipient": "browser.open"}]},
         "a chat row cannot carry calls of built-in tools"),
    ],
)  # fmt: skip
def test_bad_rows_are_errors_that_name_what_was_found(name, row, reason):
    """A row that does not follow its format raises dataprep's own error, with a reason to count under."""
    with pytest.raises(RowError) as error:
        read(name, row)
    assert error.value.reason == reason


def test_a_rendered_text_beside_other_fields_does_not_hide_the_format():
    """Stanford's alpaca set has a text in each row, which is the prompt with the answer."""
    row = {"instruction": "Add.", "input": "1, 1", "output": "2", "text": "Below is … Add. … 2"}
    assert registry.guess([row], "alpaca.jsonl") == "alpaca"
    assert registry.guess([{"messages": [user("?")], "text": "?"}], "chat.jsonl") == "openai"
    assert registry.guess([{"text": "?"}], "text.jsonl") == "text"


@pytest.mark.parametrize("name", ["openai", "prompt-completion"])
def test_parts_that_are_no_text_are_an_error_or_counted(name):
    """A chat row has texts only; a message that had nothing else leaves the row out."""
    parts = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "x"}}]

    def row(*messages):
        other = {"prompt": [*messages], "completion": [answer("!")]}
        return {"messages": [*messages, answer("!")]} if name == "openai" else other

    with pytest.raises(RowError, match=r"\.content\[1\] is a part of type the string 'image_url'; --lossy"):
        read(name, row(user(parts)))
    made, counted = read(name, row(user(parts)), lossy=True)
    assert made == {"messages": [user(parts[:1]), answer("!")]}
    assert counted == [("lost", "parts of contents that are no text")]
    with pytest.raises(RowDropped, match="messages without text"):
        read(name, row(user(parts[1:])), lossy=True)


def test_thinking_in_front_of_calls_stays_where_other_words_are_lost():
    """What is lost is counted as what it is: the words beside the calls, and not the thinking."""
    message = answer("<think>\nI ask.\n</think>\n\nLet me see.", tool_calls=[call("weather", {})])
    made, counted = write("sharegpt", {"messages": [user("?"), message]}, lossy=True)
    value = made["conversations"][1]["value"]
    assert value == '<think>\nI ask.\n</think>\n\n{"name":"weather","arguments":{}}'
    assert counted == [("lost", "content beside tool calls")]


def test_names_of_speakers_stay():
    """Harmony's authors can have names, also those that are no tools."""
    row = {"messages": [user("Hi", name="Ann"), answer("Hello", name="Bob", channel="final")]}
    made, counted = read("harmony-json", row)
    assert made == {"messages": [user("Hi", name="Ann"), answer("Hello", name="Bob")]}
    assert counted == []


def test_the_guess_says_what_it_cannot_tell():
    """Rows of no known format, and rows that look like two, ask for --from."""
    with pytest.raises(InputError, match=r"fields of the first row are 'question'.*--from"):
        registry.guess([{"question": "?"}], "qa.jsonl")
    with pytest.raises(InputError, match="look like openai and like prompt-completion"):
        registry.guess([{"prompt": "?", "completion": "!", "messages": [user("?")]}], "both.jsonl")
    with pytest.raises(InputError, match="of the first row are 'text'; those of a later one are 'prompt'"):
        registry.guess([{"text": "!"}, {"text": "?"}, {"prompt": "?"}], "mixed.jsonl")
    with pytest.raises(InputError, match="there are no rows; give --from"):
        registry.guess([], "numbers.jsonl")
    with pytest.raises(UsageError, match="--from vicuna: must be one of alpaca"):
        registry.load("vicuna", "read")


ARGUMENTS = st.dictionaries(texts(3), json_values(4), max_size=3)
CALLS = st.builds(
    lambda name, arguments, extra: {**extra, "type": "function", "function": {"name": name, **arguments}},
    texts(4),
    st.one_of(
        st.just({}),
        st.fixed_dictionaries({"arguments": ARGUMENTS}),
        st.fixed_dictionaries({"arguments": ARGUMENTS.map(json.dumps) | texts(3) | json_values(2)}),
    ),
    st.dictionaries(st.sampled_from(("id", "type", "index")), texts(3) | st.none(), max_size=1),
)
CONTENTS = st.one_of(
    texts(6),
    texts(6),
    st.none(),
    st.lists(texts(4).map(lambda text: {"type": "text", "text": text})),
    json_values(3),
)
OPTIONAL = {
    "reasoning_content": texts(4) | st.none(),
    "thinking": texts(4),
    "tool_calls": st.none() | st.lists(CALLS, max_size=2),
    "tool_call_id": texts(3),
    "name": texts(3) | st.none(),
    "loss": st.booleans() | st.none(),
    "weight": st.sampled_from((0, 1, 1.0, None)),
    "train": st.booleans(),
    "from": texts(2),
    "mood": json_values(3),
}
ROLES = st.sampled_from(("system", "developer", "user", "assistant", "tool"))
FREE = st.builds(
    lambda role, content, fields: {"role": role, **content, **fields},
    ROLES,
    st.just({}) | CONTENTS.map(lambda content: {"content": content}),
    st.fixed_dictionaries({}, optional=OPTIONAL),
)
USUAL = st.builds(
    lambda role, content, fields: {"role": role, "content": content, **fields},
    ROLES,
    texts(6),
    st.just({})
    | st.fixed_dictionaries({}, optional={"loss": st.booleans(), "weight": st.sampled_from((0, 1))}),
)


def _in_turn(texts_of, system, fields):
    roles = ["user", "assistant"] * len(texts_of)
    said = [{"role": role, "content": text} for role, text in zip(roles, texts_of, strict=False)]
    return [{"role": "system", "content": system}] * (system is not None) + [
        message | (extra if message["role"] == "assistant" else {})
        for message, extra in zip(said, [*fields, *[{}] * len(said)], strict=False)
    ]


TURNS = st.builds(
    _in_turn,
    st.lists(texts(6), min_size=2, max_size=6),
    st.none() | texts(4),
    st.lists(st.sampled_from(({}, {"loss": False}, {"loss": True}, {"weight": 0})), max_size=6),
)
TOOLS = st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": ARGUMENTS}), max_size=2)
ROWS = st.builds(
    lambda messages, fields: {"messages": messages, **fields},
    st.one_of(st.lists(FREE, min_size=1, max_size=4), st.lists(USUAL, min_size=1, max_size=5), TURNS),
    st.just({})
    | st.fixed_dictionaries(
        {},
        optional={
            "tools": TOOLS | texts(4) | json_values(2),
            "chat_template_kwargs": ARGUMENTS,
            "id": json_values(2),
            **dict.fromkeys(("conversations", "system", "prompt", "text", "history", "input"), texts(3)),
            "parallel_tool_calls": st.booleans(),
        },
    ),
)


@given(row=ROWS, name=st.sampled_from(BOTH), lossy=st.booleans())
def test_the_way_back_gives_the_row_or_the_difference_is_counted(row, name, lossy):
    """Nothing is lost silently: what import(export(row)) does not give back was an error or was counted."""
    before = copy.deepcopy(row)
    try:
        written, counted = write(name, row, lossy=lossy)
    except RowError:
        return
    finally:
        assert row == before
    assert lossy or not any(way == "lost" for way, _ in counted)
    written = json.loads(json.dumps(written))
    back = result_or_error(read, name, written)
    # An error says what does not come back too.
    if not isinstance(back, RowError) and back[0] != row:
        assert counted or back[1], (written, back[0])


@st.composite
def sound_rows(draw):
    """Well-formed rows with reasoning, tool calls, their results, tools and marks, for each in some rows."""
    kinds = draw(st.sets(st.sampled_from(("reasoning", "calls", "ids", "marks", "parts", "text arguments"))))
    messages = [{"role": "system", "content": "S"}] * draw(st.booleans())
    for turn in range(draw(st.integers(1, 3))):
        messages.append(user([{"type": "text", "text": "?"}] if "parts" in kinds else draw(filled_texts(4))))
        marks = {"loss": draw(st.booleans())} if "marks" in kinds else {}
        thought = {"reasoning_content": draw(filled_texts(4))} if "reasoning" in kinds else {}
        if "calls" in kinds:
            arguments = draw(ARGUMENTS)
            ids = {"id": f"c{turn}"} if "ids" in kinds else {}
            made = call("weather", json.dumps(arguments) if "text arguments" in kinds else arguments, **ids)
            messages.append({"role": "assistant", "tool_calls": [made], **thought, **marks})
            of_call = {"tool_call_id": f"c{turn}"} if ids else {}
            messages.append({"role": "tool", "content": "20", **of_call})
        messages.append(answer(draw(filled_texts(4)), **thought, **marks))
    return {"messages": messages, **({"tools": [WEATHER]} if "calls" in kinds else {})}


@given(row=sound_rows(), name=st.sampled_from(BOTH), think=st.booleans(), lossy=st.booleans())
def test_sound_rows_come_back_sound(row, name, think, lossy):
    """What goes through a format is a row that `validate` accepts, also after losses, or no row at all."""
    assert not list(find_in_row(row))
    line = result_or_error(Rewriter(name, "write", lossy=lossy, think=think), row)
    if isinstance(line, RowError):
        assert "cannot carry" in line.reason
        return
    back = json.loads(Rewriter(name, "read", lossy=lossy, think=think)(json.loads(line)))
    assert not list(find_in_row(back))
    if think:
        said = [[reasoning_of(message) for message in made["messages"]] for made in (row, back)]
        assert [text and text.strip("\n") for text in said[0]] == said[1]


@given(row=ROWS, name=st.sampled_from(registry.names("write")), lossy=st.booleans())
def test_no_row_breaks_a_writer(row, name, lossy):
    """A chat row of any shape is written or refused with dataprep's own error."""
    assert result_or_error(lambda: json.dumps(write(name, row, lossy=lossy)[0]))


FIELDS = ("messages", "conversations", "instruction", "output", "input", "history", "prompt", "completion")
FIELDS += ("text", "system", "tools", "functions", "chosen", "rejected", "preferred_output")
TURN = st.fixed_dictionaries(
    {},
    optional={
        "from": st.sampled_from(("human", "gpt", "function_call", "tool", "nobody")),
        "value": texts(4) | CONTENTS,
        "role": ROLES | st.just("function"),
        "content": CONTENTS | st.lists(st.fixed_dictionaries({"type": st.just("system_content")})),
        "channel": st.sampled_from(("analysis", "final", "commentary", None)) | json_values(1),
        "recipient": st.sampled_from(("functions.a", "browser.open", None)) | json_values(1),
        "function_call": json_values(2),
        **OPTIONAL,
    },
)
FOREIGN = st.dictionaries(st.sampled_from(FIELDS), st.lists(TURN, max_size=3) | texts(3) | json_values(3))


@given(row=FOREIGN, lossy=st.booleans())
def test_no_row_breaks_a_reader(row, lossy):
    """Another tool's row of any shape is read or refused with dataprep's own error, in each format."""
    for name in registry.names("read"):
        before = copy.deepcopy(row)
        made = result_or_error(read, name, row, lossy=lossy)
        if not isinstance(made, DataprepError):
            assert made[0]["messages"]
            assert json.dumps(made[0])
        assert row == before
        registry.load(name, "read").matches(row)
    assert result_or_error(write, "preference", row, lossy=lossy)
