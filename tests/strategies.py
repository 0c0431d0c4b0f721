"""Strategies that several tests share: texts, JSON values, raw rows of each dataset, Examples, chat rows."""

import json
import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from dataprep.core.errors import DataprepError
from dataprep.core.records import Example

# What breaks text handling more often than random characters do.
AWKWARD = (
    "\r\n", "\u2028", "\u0085", "\ufeff", "e\u0301", "שלום", "👩‍👩‍👧", "\x00", "\\", '"', "####", "<<1+1=2>>",
    "{", "}", "%s", "```", "\t", " ", "\n\n", ":", "\\u003a", "1,000", "𝔘", "</s>",
)  # fmt: skip


def result_or_error(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """What a call returns, or dataprep's own error; any other error fails the test."""
    try:
        return call(*arguments, **keywords)
    except DataprepError as error:
        return error


def texts(max_size: int = 40) -> st.SearchStrategy[str]:
    """Any text that JSON in UTF-8 can hold: no lone surrogates."""
    character = st.characters(codec="utf-8")
    return st.lists(character | st.sampled_from(AWKWARD), max_size=max_size).map("".join)


def filled_texts(max_size: int = 40) -> st.SearchStrategy[str]:
    """Texts with something else than white space in them."""
    return texts(max_size).filter(str.strip)


def stripped_texts(max_size: int = 40) -> st.SearchStrategy[str]:
    """Non-empty texts without outer white space."""
    return filled_texts(max_size).map(str.strip)


def padded(text: str) -> st.SearchStrategy[str]:
    """The text with some white space around it."""
    space = st.sampled_from(("", " ", "\n", "\t \r\n", "\u00a0", "\u2028"))
    return st.tuples(space, space).map(lambda around: around[0] + text + around[1])


def json_values(max_leaves: int = 12) -> st.SearchStrategy[Any]:
    """Anything a JSON text can hold."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts(8)
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(4), inner, max_size=4),
        max_leaves=max_leaves,
    )


def json_objects(names: tuple[str, ...] = ()) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects; some of their keys are among ``names``, and any value may stand under them."""
    keys = st.sampled_from(names) | texts(4) if names else texts(4)
    return st.dictionaries(keys, json_values() | filled_texts(8), max_size=6)


# Without the characters that mean something in a GSM8K answer.
_plain = texts(12).map(lambda text: re.sub("[#<>]", "", text))
_annotations = _plain.map(lambda text: f"<<{text}>>")


@st.composite
def gsm8k_rows(draw: st.DrawFn) -> dict[str, Any]:
    """Well-formed GSM8K rows, with none, one or several ``####`` and calculator annotations."""
    solution = "".join(draw(st.lists(_plain | _annotations | st.just("####"), max_size=6)))
    final = draw(_plain.map(str.strip).filter(bool))
    answer = draw(padded(solution)) + "####" + draw(padded(final))
    if draw(st.booleans()):
        answer = draw(padded(f"{final} {solution.replace('#', '')}"))
    return {"question": draw(filled_texts()), "answer": answer}


def code_lines() -> st.SearchStrategy[list[str]]:
    """Lines of code: the first and last are not blank, the last has no white space at its end."""
    line = texts(12).map(lambda text: re.sub("[\r\n]", "", text))
    whole = line.map(str.strip).filter(bool)
    first = st.tuples(st.sampled_from(("", "    ", "\t")), whole).map("".join)
    return st.tuples(first, st.lists(line, max_size=3), whole).map(lambda t: [t[0], *t[1], t[2]])


@st.composite
def mbpp_rows(draw: st.DrawFn) -> dict[str, Any]:
    """Well-formed MBPP rows: the full set's and the sanitized one's, some fields absent."""
    lines = draw(code_lines())
    newline = draw(st.sampled_from(("\n", "\r\n")))
    around = st.sampled_from(("", newline, newline * 2))
    row: dict[str, Any] = {
        draw(st.sampled_from(("text", "prompt"))): draw(filled_texts()),
        "code": draw(around) + newline.join(lines) + draw(around),
        "task_id": draw(st.integers(1, 974)),
    }
    if draw(st.booleans()):
        row["test_list"] = draw(st.lists(texts(10), max_size=3))
    extra = draw(st.sampled_from(("none", "setup", "imports")))
    if extra == "setup":
        row["test_setup_code"] = draw(texts(10))
    elif extra == "imports":
        row["test_imports"] = draw(st.lists(texts(10), max_size=2))
    return row


@st.composite
def squad_rows(draw: st.DrawFn, answerable: bool = True) -> dict[str, Any]:
    """Well-formed SQuAD rows: as a document holds them, or as the hub does."""
    found = draw(st.lists(filled_texts(10), min_size=1, max_size=3)) if answerable else []
    row: dict[str, Any] = {"context": draw(filled_texts()), "question": draw(filled_texts())}
    if draw(st.booleans()):
        row["answers"] = {"text": found, "answer_start": [0] * len(found)}
    else:
        row["answers"] = [{"text": text, "answer_start": 0} for text in found]
        if draw(st.booleans()):
            row["is_impossible"] = not answerable
    if draw(st.booleans()):
        row["id"] = draw(stripped_texts(8))
    return row


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Sound Examples with any of the fields present."""
    optional = st.none() | stripped_texts()
    lists = st.lists(texts(8), max_size=4).map(tuple)
    answer, label = draw(optional), None
    choices = draw(st.lists(stripped_texts(8), max_size=4).map(tuple))
    if choices and answer is not None:  # it is one of them
        place = draw(st.integers(0, len(choices) - 1))
        answer, label = choices[place], "abcd"[place]
    return Example(
        question=draw(stripped_texts()),
        task=draw(st.sampled_from(("math", "code", "reading", "choice"))),
        id=draw(optional),
        source=draw(optional),
        context=draw(optional),
        choices=choices,
        answer=answer,
        answer_label=label,
        solution=draw(optional),
        tests=draw(lists),
        rationales=draw(st.none() | st.dictionaries(texts(4), texts(8), min_size=1, max_size=2)),
    )


@st.composite
def chat_rows(draw: st.DrawFn) -> dict[str, Any]:
    """Well-formed chat rows of one to three turns, with or without a system message, id and source."""
    roles = ["system"] * draw(st.booleans()) + ["user", "assistant"] * draw(st.integers(1, 3))
    row: dict[str, Any] = {"messages": [{"role": role, "content": draw(filled_texts(12))} for role in roles]}
    if draw(st.booleans()):
        row |= {"id": draw(texts(6)), "source": draw(stripped_texts(6))}
    return row


@st.composite
def tool_rows(draw: st.DrawFn) -> dict[str, Any]:
    """Well-formed chat rows with reasoning, tools, calls, results, parts of text and loss marks."""
    names = draw(st.lists(st.sampled_from(("add", "say", "find")), min_size=1, max_size=2, unique=True))
    parts = st.lists(filled_texts(6), min_size=1, max_size=2).map(
        lambda found: [{"type": "text", "text": text} for text in found]
    )
    marks = st.sampled_from(({}, {}, {"loss": True}, {"loss": False}, {"weight": 0}, {"train": True}))
    objects = st.dictionaries(texts(3), json_values(4), max_size=2)
    arguments = objects | objects.map(json.dumps)
    messages: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 3))):
        role = draw(st.sampled_from(("system", "developer", "user")))
        messages.append({"role": role, "content": draw(filled_texts(8) | parts)})
        if draw(st.booleans()):
            with_id = draw(st.booleans())
            calls = [
                ({"id": f"c{len(messages)}{number}"} if with_id else {})
                | {"type": "function", "function": {"name": name, "arguments": draw(arguments)}}
                for number, name in enumerate(draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)))
            ]
            text = draw(st.sampled_from(({}, {"content": None}, {"content": ""}, {"content": "I call."})))
            messages.append({"role": "assistant", "tool_calls": calls} | text | draw(marks))
            for call in calls if draw(st.booleans()) else ():
                given_id = {"tool_call_id": call["id"]} if with_id else {"name": call["function"]["name"]}
                messages.append({"role": "tool", "content": draw(texts(6))} | given_id)
        name = draw(st.sampled_from(("reasoning_content", "reasoning", "thinking")))
        thought = {name: draw(filled_texts(8))} if draw(st.booleans()) else {}
        messages.append(
            {"role": "assistant", "content": draw(filled_texts(8) | parts)} | thought | draw(marks)
        )
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in names]
    row: dict[str, Any] = {"messages": messages}
    if draw(st.booleans()):
        row["tools"] = draw(st.sampled_from((tools, json.dumps(tools))))
    if draw(st.booleans()):
        row["chat_template_kwargs"] = draw(st.dictionaries(texts(3), json_values(3), max_size=2))
    return row
