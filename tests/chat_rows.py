"""Chat rows as models have them today: some by name, and a strategy for rows of any shape."""

import json

from hypothesis import strategies as st


def call(name, arguments, number=0):
    """A tool call as OpenAI writes it."""
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name, **properties):
    """A tool's schema."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {
        "type": "function",
        "function": {"name": name, "description": f"The {name}.", "parameters": parameters},
    }


WEATHER = tool("weather", city={"type": "string"}, days={"type": "array", "items": {"type": "integer"}})
SEARCH = tool(
    "search", query={"type": "string", "enum": ["a", "b"]}, options={"type": "object", "properties": {}}
)
TOOLS = [WEATHER, SEARCH]


def user(text):
    """A question."""
    return {"role": "user", "content": text}


def assistant(text=None, **fields):
    """An answer."""
    return {"role": "assistant"} | ({} if text is None else {"content": text}) | fields


_ASKED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [call("weather", {"city": "Paris", "days": [1, 2]})],
}
_TOLD = {"role": "tool", "tool_call_id": "call_0", "name": "weather", "content": "12 and lazy"}
_SYSTEM = {"role": "system", "content": "Be brief."}

# Rows by name; a template refuses some of them.
ROWS = {
    "one turn": {"messages": [user("What is lazy?"), assistant("the dog.")]},
    "system": {"messages": [_SYSTEM, user("the quick fox?"), assistant("the dog is\nthis: 12.")]},
    "two turns": {
        "messages": [_SYSTEM, user("a"), assistant("the dog"), user("And then?"), assistant("jumps over")]
    },
    "two turns without system": {
        "messages": [user("a"), assistant("the dog"), user("And then?"), assistant("jumps over")]
    },
    "white space": {
        "messages": [
            user("  two  spaces \n"), assistant("\n\nthe\n\ndog \t"), user("\nx"), assistant("  a ")
        ]
    },
    "developer": {"messages": [_SYSTEM | {"role": "developer"}, user("a?"), assistant("the fox")]},
    "reasoning": {"messages": [user("a?"), assistant("12", reasoning_content="the dog is\nlazy")]},
    "reasoning in each turn": {
        "messages": [
            user("a?"), assistant("12", reasoning_content="think of\n\nthe fox\n"),
            user("b?"), assistant("\n1,000", reasoning="\n  and over "),
        ]
    },
    "reasoning in the first turn": {
        "messages": [user("a?"), assistant("12", thinking="the dog"), user("b?"), assistant("the fox")]
    },
    "thoughts in a content": {"messages": [user("a?"), assistant("<think>\nlazy\n</think>\n\nthe dog")]},
    "empty thoughts in a content": {
        "messages": [user("a?"), assistant("<think>\n\n</think>\n\nthe dog <b>is</b>")]
    },
    "a tag of thoughts alone beside a call": {
        "messages": [user("a?"), _ASKED | {"content": " <think>\n"}, _TOLD, assistant("12 it is.")],
        "tools": TOOLS,
    },
    "tools": {"messages": [_SYSTEM, user("a?"), assistant("the dog")], "tools": TOOLS},
    "call": {"messages": [user("a?"), _ASKED], "tools": TOOLS},
    "call with its result": {
        "messages": [_SYSTEM, user("a?"), _ASKED, _TOLD, assistant("12 it is.")], "tools": TOOLS
    },
    "calls with content and reasoning": {
        "messages": [
            user("a?"),
            assistant(
                "Let me look.", reasoning_content="call it",
                tool_calls=[
                    call("weather", {"city": "Paris", "days": []}, 0),
                    call("search", '{"query":  "a", "options": {"b": [null, 1.5, "\\u00e9"]}}', 1),
                ],
            ),
            _TOLD | {"content": "lazy"},
            _TOLD | {"tool_call_id": "call_1", "name": "search", "content": "{}"},
            assistant("So: lazy.", reasoning_content="the dog"),
        ],
        "tools": TOOLS,
    },
    "calls as objects": {
        "messages": [
            user("a?"),
            assistant("", tool_calls=[call("search", {"query": 'a "b"\n', "options": {"é": True}}, 0),
                                      call("weather", {"city": "漢", "days": [3]}, 1)]),
            _TOLD | {"name": "search", "content": "x\n"}, _TOLD | {"tool_call_id": "call_1", "content": " y"},
            assistant("both"), user("And now?"), assistant("the fox", reasoning_content="over"),
        ],
        "tools": TOOLS,
    },
    "parts": {
        "messages": [
            user([{"type": "text", "text": "the dog"}, {"type": "text", "text": " is?"}]),
            assistant([{"type": "text", "text": "lazy"}, {"type": "text", "text": "\nand quick"}]),
        ]
    },
    "two questions": {"messages": [user("a"), user("b"), assistant("the dog")]},
    "two answers": {"messages": [user("a"), assistant("the dog"), assistant("the fox")]},
    "an answer first": {"messages": [assistant("Hello, user"), user("a"), assistant("the dog")]},
    "without thinking": {
        "messages": [user("a"), assistant("the dog")], "chat_template_kwargs": {"enable_thinking": False}
    },
}  # fmt: skip


# --- rows of any shape

# What stands at the borders of templates, tokens and JSON; no name of a special token is among them.
_FRAGMENTS = (
    "the", " dog", "quick", " ", "\n", "\n\n", "\t", "é", "漢", "👩\u200d👧", "1,000", "'s", '"', "\\", "{",
    "}}", "{{ x }}", "{% y %}", ":", "[INST]", "ASSISTANT:", "<result>", "/think", "\r\n", "\u00a0",
    "e\u0301",
)  # fmt: skip
# Templates cut contents at these. Where they are added tokens, they stand for text here and for tokens there.
_MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "\n</think>\n\n")
_NAMES = ("city", "days", "query", "a_b", "x1")


def _texts(marks):
    fragments = st.sampled_from(_FRAGMENTS + (_MARKS if marks else ()))
    return st.lists(fragments, min_size=1, max_size=6).map("".join).filter(str.strip)


def _values(texts):
    names = st.sampled_from(_NAMES)
    leaves = texts | st.integers(-9, 10**12) | st.booleans() | st.none() | st.just(1.5) | st.just("")
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
        max_leaves=4,
    )


@st.composite
def tool_rows(draw, marks=True):
    """Chat rows of any shape: roles, reasoning, tools, calls and their results, parts, white space.

    Args:
        draw: Hypothesis's.
        marks: whether contents can have marks such as ``</think>``.
    """
    texts = _texts(marks)
    texts = texts | st.sampled_from(("the dog", "12")) | texts.map(lambda text: f" {text}\n")
    as_parts = draw(st.integers(0, 9)) == 0

    def content():
        text = draw(texts)
        if as_parts and draw(st.booleans()):
            return [{"type": "text", "text": text}, {"type": "text", "text": draw(texts)}]
        return text

    def answer(**fields):
        if thinking and draw(st.booleans()):
            fields[draw(st.sampled_from(("reasoning_content", "thinking", "reasoning")))] = draw(texts)
        return {"role": "assistant", "content": content()} | fields

    def calls():
        for number in range(draw(st.integers(1, 2))):
            arguments = draw(st.dictionaries(st.sampled_from(_NAMES), _values(texts), max_size=3))
            name = draw(st.sampled_from(("weather", "search")))
            yield call(name, json.dumps(arguments) if as_json else arguments, number)

    thinking, calling, as_json = draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 2)) == 0
    first = draw(st.sampled_from((None, "system", "system", "developer")))
    messages = [{"role": first, "content": content()}] if first else []
    for _ in range(draw(st.integers(1, 3))):
        messages += [user(content()) for _ in range(1 + (draw(st.integers(0, 9)) == 0))]
        while calling and draw(st.integers(0, 2)) == 0:
            asked = answer(tool_calls=[*calls()])
            asked["content"] = draw(st.sampled_from((asked["content"], None, "")))
            if asked["content"] is None and draw(st.booleans()):
                del asked["content"]
            messages.append(asked)
            for made in asked["tool_calls"]:
                told = {"role": "tool", "tool_call_id": made["id"], "name": made["function"]["name"]}
                messages.append(told | {"content": content()})
        messages += [answer() for _ in range(1 + (draw(st.integers(0, 9)) == 0))]
    row = {"messages": messages}
    if calling or draw(st.integers(0, 3)) == 0:
        row["tools"] = TOOLS
    # Thoughts although there should be none are a row that says two things.
    if not thinking and draw(st.integers(0, 3)) == 0 and "think>" not in json.dumps(messages):
        row["chat_template_kwargs"] = {"enable_thinking": False}
    return row
