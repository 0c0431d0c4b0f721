"""Rows keep every nested value to the byte through Parquet and CSV, and mean the same from other tools."""

import copy
import json

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep import merge_files, read_rows, write_rows
from dataprep.core.conversations import find_in_row
from tests import strategies as some
from tests.tables import table

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": []},
    },
}
SAY = {"type": "function", "function": {"parameters": {}, "name": "say", "x": None}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
SAID = {"function": {"name": "say", "arguments": '{"text": null}'}}
USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}


def chat(*messages, **fields):
    """A chat row."""
    return {"messages": list(messages)} | fields


def through(rows, path):
    """The rows as they are read back from a file of another format, as JSON."""
    write_rows(rows, path)
    return [orjson.dumps(row) for _, row in read_rows(path)]


ROWS = [
    [chat(USER, ANSWER)],
    [chat(USER, ANSWER, tools=[ADD]), chat(USER, ANSWER, tools=[SAY]), chat(USER, ANSWER)],
    [chat(USER, ANSWER, tools=[ADD]), chat(USER, ANSWER, tools=json.dumps([SAY]))],
    [chat(USER, ANSWER, tools=[ADD]), chat(USER, ANSWER, tools=None), chat(USER, ANSWER)],
    [chat(USER, ANSWER, tools="[]"), chat(USER, ANSWER, tools="")],
    [chat(USER, {"role": "assistant", "tool_calls": [CALL, SAID]}, {"role": "tool", "content": "2"}, ANSWER)],
    [chat(USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, ANSWER)],
    [chat(USER | {"tool_calls": None}, {"role": "assistant", "tool_calls": [CALL]})],
    [chat(USER | {"content": None}, {"role": "assistant", "tool_calls": "[]"})],
    [chat(USER, ANSWER | {"reasoning_content": "Hm."}, chat_template_kwargs={"enable_thinking": False})],
    [chat(USER, ANSWER | {"loss": True}), chat(USER | {"loss": None}, ANSWER | {"loss": False})],
    [chat(USER, {"content": [{"type": "text", "text": "Hi"}], "role": "user"}, ANSWER)],
    [chat({"content": "x", "role": "user"}, ANSWER)],
    [chat({"content": "x", "role": "user"}, {"content": "x", "role": "assistant"})],
    [chat(USER, ANSWER), chat()],
    [chat(USER, ANSWER), {"messages": None}, {"messages": "[]"}],
    [chat(USER, None), chat("x")],
    [chat(USER, ANSWER | {"score": 1}), chat(USER, ANSWER | {"score": 0.5})],
    [{"a": {}}],
    [{"a": {"b": 1}}, {"a": {"b": 1, "c": None}}, {"a": None}, {}, {"a": {"c": 1, "b": 1}}],
    [{"a": {"b": [1, None, 2.0]}}],
    [{"a": [1]}, {"a": [2.5]}],
    [{"a": [{"b": 1}, None]}],
    [{"a": [{"b": {"c": None}}, {"b": None}]}],
    [{"a": "x", "b": 1}, {"b": 2, "a": "y"}, {"b": None}, {"c": "z"}],
    [{"a": None}, {}, {"a": "x"}],
    [{"__keys__": "x", "a": 1}, {"a": 1, "__keys__": "y"}],
    [{"a": [[], [None]]}, {"a": []}],
    [{"rationales": {"r1": "a"}}, {"rationales": {"llm": "b"}}],
    [{"answer": {"label": "a", "text": "x"}}, {"answer": "x"}],
]


@table("rows", ROWS)
def test_rows_come_back_from_parquet_to_the_byte(tmp_path_factory, rows):
    """No key is added, dropped, moved or turned into null, whatever a column would make of it."""
    path = str(tmp_path_factory.mktemp("parquet") / "a.parquet")
    assert through(rows, path) == [orjson.dumps(row) for row in rows]


_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | some.texts(6)
_nested = st.lists(some.json_values(), max_size=3) | st.dictionaries(
    some.texts(3), some.json_values(), max_size=3
)
_message = st.fixed_dictionaries(
    {"role": st.sampled_from(("user", "assistant", "tool"))},
    optional={
        "content": st.none() | some.texts(6) | st.just([{"type": "text", "text": "x"}]),
        "tool_calls": st.none() | _nested | st.lists(st.sampled_from((CALL, SAID)), max_size=2),
        "reasoning_content": st.none() | some.texts(4),
        "loss": st.booleans(),
        "x": some.json_values(),
    },
).flatmap(lambda message: st.permutations(list(message.items())).map(dict))


def _messages_of(row):
    return row["messages"]


@st.composite
def _tables(draw):
    """Rows of any shape; a field that is not nested has one type, as a table needs."""
    kinds = {
        "messages": st.none() | st.lists(_message, max_size=3) | some.chat_rows().map(_messages_of),
        "tools": st.none() | some.texts(4) | _nested | st.lists(st.sampled_from((ADD, SAY)), max_size=2),
        "meta": st.none() | _nested,
        "text": st.none() | some.texts(6),
        "number": st.none() | st.integers(-(2**63), 2**63 - 1),
        "score": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "": st.none() | st.booleans(),
    }
    names = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, unique=True))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        kept = draw(st.lists(st.sampled_from(names), unique=True))
        rows.append({name: draw(kinds[name]) for name in kept})
    return rows if any(rows) else [{"text": "x"}]


@pytest.mark.medium
@settings(deadline=None, max_examples=settings().max_examples * 3)
@given(_tables())
def test_rows_of_any_shape_come_back_from_parquet(tmp_path_factory, rows):
    """JSON Lines, Parquet, JSON Lines: the same bytes."""
    path = str(tmp_path_factory.mktemp("parquet") / "a.parquet")
    assert through(rows, path) == [orjson.dumps(row) for row in rows]


@pytest.mark.medium
@settings(deadline=None)
@given(st.lists(some.tool_rows() | some.chat_rows(), min_size=1, max_size=3))
def test_rows_of_models_come_back_from_parquet(tmp_path_factory, rows):
    """Rows with reasoning, tools and calls, beside plain ones."""
    path = str(tmp_path_factory.mktemp("parquet") / "a.parquet")
    assert through(rows, path) == [orjson.dumps(row) for row in rows]


def test_plain_messages_are_a_list_of_objects(tmp_path):
    """Other tools read roles and contents as columns; only calls and tools are JSON text."""
    path = str(tmp_path / "a.parquet")
    write_rows([chat(USER, ANSWER)], path)
    text = pl.Struct({"role": pl.String, "content": pl.String})
    assert pl.read_parquet_schema(path) == {"messages": pl.List(text)}
    thinks = {"role": "assistant", "content": "4", "reasoning_content": "Hm.", "tool_calls": [CALL]}
    write_rows([chat(USER, ANSWER, tools=[ADD]), chat(USER, thinks)], path)
    assert pl.read_parquet(path).to_dicts() == [
        {
            "messages": [
                message | {"reasoning_content": None, "tool_calls": None} for message in (USER, ANSWER)
            ],
            "tools": json.dumps([ADD], separators=(",", ":")),
        },
        {
            "messages": [
                USER | {"reasoning_content": None, "tool_calls": None},
                thinks | {"tool_calls": json.dumps([CALL], separators=(",", ":"))},
            ],
            "tools": None,
        },
    ]


def test_a_column_that_is_taken_out_takes_its_notes_along(tmp_path):
    """A program that keeps the metadata and not the columns makes a file that can be read."""
    path, other = str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")
    write_rows([{"a": 1, "b": [ADD]}, {"b": None}, {"a": None, "c": 1}], path)
    notes = pl.read_parquet_metadata(path)
    assert json.loads(notes["dataprep"])["keys"] == "__keys__"
    frame = pl.read_parquet(path)
    for kept in (["a", "b"], ["b", "__keys__"], ["c"]):
        frame.select(kept).write_parquet(other, metadata={"dataprep": notes["dataprep"]})
        assert len(list(read_rows(other))) == 3
    for wrong in ("", "x", "[]", "{}", '{"absent": 7}'):
        frame.write_parquet(other, metadata={"dataprep": wrong})
        assert next(read_rows(other))[1]["a"] == 1


# Files of other programs


CALLS = chat(USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, tools=[ADD])
OTHER_CALL = {"id": "c2", "type": "function", "function": {"name": "say", "arguments": {"x": 1.5}}}
OTHERS = [CALLS, chat(USER, ANSWER | {"tool_calls": [OTHER_CALL]}, tools=[SAY]), chat(USER, ANSWER)]


def without_nulls(value):
    """A value without the keys that hold null."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return list(map(without_nulls, value)) if isinstance(value, list) else value


def test_a_file_of_polars_means_the_same(tmp_path):
    """The nulls that stand for absent keys are left out of messages and tools."""
    path = str(tmp_path / "a.parquet")
    pl.DataFrame(OTHERS).write_parquet(path)
    rows = [row for _, row in read_rows(path)]
    assert [row["messages"] for row in rows] == [without_nulls(row["messages"]) for row in OTHERS]
    assert rows[0]["tools"] == [ADD]
    assert [list(find_in_row(row, strict=True)) for row in rows] == [[]] * 3


def test_nulls_of_other_columns_stay(tmp_path):
    """Whether a null says something is only known of chat rows."""
    path = str(tmp_path / "a.parquet")
    pl.DataFrame([{"a": {"x": 1}}, {"a": {"y": 2}}]).write_parquet(path)
    assert [row for _, row in read_rows(path)] == [{"a": {"x": 1, "y": None}}, {"a": {"x": None, "y": 2}}]


def of_datasets(rows, path, features=None):
    """Write rows as the datasets library does."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows, features=features).to_parquet(path)


@pytest.mark.medium
def test_a_file_of_datasets_means_the_same(tmp_path):
    """Its structs, its JSON columns and tools as JSON texts are read as rows that are sound."""
    datasets = pytest.importorskip("datasets")
    path = str(tmp_path / "a.parquet")
    of_datasets(OTHERS, path)
    rows = [row for _, row in read_rows(path)]
    assert [row["messages"] for row in rows] == [without_nulls(row["messages"]) for row in OTHERS]
    text = datasets.Value("string")
    message = {"role": text, "content": text, "tool_calls": datasets.Json()}
    features = datasets.Features({"messages": datasets.List(message), "tools": datasets.Json()})
    of_datasets(OTHERS, path, features)
    rows = [row for _, row in read_rows(path)]
    assert [row["tools"] for row in rows] == [[ADD], [SAY], None]
    assert [row["messages"] for row in rows] == [without_nulls(row["messages"]) for row in OTHERS]
    as_text = [copy.deepcopy(row) | {"tools": json.dumps(row["tools"])} for row in OTHERS[:2]]
    for row in as_text:
        for message in row["messages"]:
            message["tool_calls"] = json.dumps(message["tool_calls"]) if "tool_calls" in message else None
    of_datasets(as_text, path)
    rows = [row for _, row in read_rows(path)]
    assert [json.loads(row["tools"]) for row in rows] == [[ADD], [SAY]]
    assert rows[0]["messages"][1]["tool_calls"] == [CALL]
    assert [list(find_in_row(row, strict=True)) for row in rows] == [[]] * 2


@pytest.mark.medium
def test_datasets_reads_what_is_written(tmp_path):
    """Roles and contents are columns for `load_dataset`, and tools are the JSON texts that TRL takes."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    path = str(tmp_path / "a.parquet")
    write_rows([chat(USER, ANSWER, tools=[ADD]), chat(USER, ANSWER, tools=[SAY])], path)
    loaded = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path / "c"))
    assert loaded["messages"][0] == [USER, ANSWER]
    assert list(map(json.loads, loaded["tools"])) == [[ADD], [SAY]]
    # What datasets writes of it is read as the same rows, with tools as text.
    loaded.to_parquet(path)
    rows = [row for _, row in read_rows(path)]
    assert [row["messages"] for row in rows] == [[USER, ANSWER]] * 2
    assert [json.loads(row["tools"]) for row in rows] == [[ADD], [SAY]]


# CSV, and the commands


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz"])
def test_chat_rows_come_back_from_delimited_tables(tmp_path, suffix):
    """Messages, tools and arguments of templates are JSON text in a cell, and come back to the byte."""
    path = str(tmp_path / f"a{suffix}")
    message = {"role": "assistant", "content": None, "tool_calls": [CALL, SAID], "x": {"y": None}}
    rows = [
        chat(USER, message, ANSWER, tools=[SAY, ADD], chat_template_kwargs={"a": None}, id="r1"),
        chat(USER, ANSWER, tools=[], chat_template_kwargs={}, id="r2"),
    ]
    assert through(rows, path) == [orjson.dumps(row) for row in rows]
    write_rows([chat(USER, ANSWER, tools=None), chat(USER, ANSWER, tools=[ADD])], path)
    assert [row for _, row in read_rows(path)] == [chat(USER, ANSWER), chat(USER, ANSWER, tools=[ADD])]
    write_rows([{"choices": ["a", "b"], "n": 1}], path)
    assert [row for _, row in read_rows(path)] == [{"choices": '["a","b"]', "n": "1"}]


@given(st.lists(_message, min_size=1, max_size=3), st.lists(st.sampled_from((ADD, SAY)), max_size=2))
def test_messages_of_any_shape_come_back_from_csv(tmp_path_factory, messages, tools):
    """Whatever a message holds, its cell holds it."""
    rows = [{"messages": messages, "tools": tools}]
    path = str(tmp_path_factory.mktemp("csv") / "a.csv")
    assert through(rows, path) == [orjson.dumps(row) for row in rows]


def test_merging_keeps_rows_to_the_byte(tmp_path):
    """JSON Lines through a merge into Parquet, and from there into JSON Lines again."""
    first, second, back = (str(tmp_path / name) for name in ("a.jsonl", "b.parquet", "c.jsonl"))
    rows = [row for made in ROWS[:12] for row in made]
    write_rows(rows, first)
    merge_files([first], second, shuffle=False)
    merge_files([second], back, shuffle=False)
    with open(first, "rb") as before, open(back, "rb") as after:
        assert before.read() == after.read()
