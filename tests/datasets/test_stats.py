"""The figures of stats against Python's statistics and a count by hand."""

import json
import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import DataprepError, InputError, UsageError
from dataprep.datasets.checks.stats import stats, stats_of_files
from tests import strategies as some


def chat(user, assistant="ok", **more):
    """A chat row of one turn."""
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"messages": messages, **more}


def lengths_of(rows):
    """The lengths of the texts by role, collected by hand."""
    found = {}
    for row in rows:
        for message in row["messages"]:
            found.setdefault(message["role"], []).append(len(message["content"]))
    return found


@pytest.mark.medium
@given(st.lists(some.chat_rows(), min_size=1, max_size=12))
def test_lengths_are_those_of_python(rows):
    """Count, least, median, 95th percentile and most by role are what Python's statistics gives."""
    found = stats(rows)
    expected = lengths_of(rows)
    assert set(found.characters) == set(expected)
    for role, lengths in expected.items():
        figures = found.characters[role]
        assert (figures.texts, figures.min, figures.max) == (len(lengths), min(lengths), max(lengths))
        assert figures.median == statistics.median(lengths)
        ordered, place = sorted(lengths), 0.95 * (len(lengths) - 1)
        near = {ordered[int(place)], ordered[min(round(place + 0.5), len(ordered) - 1)]}
        assert figures.p95 in near


def test_the_percentile_of_many_rows():
    """Of 101 texts with 0 to 100 characters the 95th percentile has 95, whatever their order."""
    figures = stats([chat("x" * (37 * number % 101)) for number in range(101)]).characters["user"]
    assert (figures.min, figures.median, figures.p95, figures.max) == (0, 50, 95, 100)


@pytest.mark.parametrize(
    ("text", "length"), [("e\u0301", 2), ("é", 1), ("👩‍🚀", 3), ("𝔘", 1), ("\u2028", 1), ("", 0)]
)
def test_characters_are_code_points(text, length):
    """A character is a Unicode code point: no byte and no UTF-16 unit."""
    assert stats([chat(text)]).characters["user"].max == length


@given(
    st.lists(
        st.tuples(some.chat_rows(), st.sampled_from(("a", "b")), st.sampled_from((None, "gsm8k"))), max_size=5
    ),
    st.lists(st.integers(0, 4), max_size=8),
)
def test_duplicates_are_rows_with_the_content_of_an_earlier_one(pool, picks):
    """Rows whose content, id and source aside, an earlier row has are counted, whatever their keys' order."""
    rows = []
    for number, pick in enumerate(picks):
        if pick < len(pool):
            row, key, source = pool[pick]
            row = {key: 1} | row | {"id": f"r{number}"} | ({"source": source} if source else {})
            rows.append(dict(reversed(row.items())) if number % 2 else row)
    contents = {
        json.dumps({k: v for k, v in row.items() if k not in ("id", "source")}, sort_keys=True)
        for row in rows
    }
    found = stats(rows)
    assert (found.rows, found.duplicates) == (len(rows), len(rows) - len(contents))


def test_a_near_duplicate_is_none():
    """Only exact duplicates count: another case, space or key is another row."""
    rows = [chat("Hi"), chat("hi"), chat("Hi "), chat("Hi", more=1), chat("Hi", "OK")]
    assert stats(rows).duplicates == 0
    assert stats([*rows, chat("Hi", id="7", source="x")]).duplicates == 1


@given(st.lists(st.sampled_from(("gsm8k", "mbpp", "squad", "")), max_size=12))
def test_sources_are_counted(names):
    """Rows are counted by their source field; rows without one under what they were given as."""
    found = stats([chat("Hi", source=name) for name in names])
    expected = {name or "the given rows": names.count(name) for name in names}
    assert found.sources == expected
    assert list(found.sources.values()) == sorted(expected.values(), reverse=True)


@given(st.lists(st.integers(0, 400) | st.just(5000), min_size=1, max_size=40))
def test_the_histogram_covers_every_row_once(lengths):
    """Each row is in exactly one bin, bins adjoin and do not overlap, the counts are right."""
    bins = stats([chat("x" * length, "") for length in lengths]).histogram
    assert 1 <= len(bins) <= 12
    assert (bins[0].low, bins[-1].high) == (min(lengths), max(lengths))
    assert all(later.low == earlier.high + 1 for earlier, later in pairwise(bins))
    for each in bins:
        assert each.rows == sum(each.low <= length <= each.high for length in lengths)
    assert sum(each.rows for each in bins) == len(lengths)


def test_the_length_of_a_row_is_that_of_all_its_messages():
    """The histogram counts a whole conversation's characters."""
    row = {"messages": [{"role": role, "content": "xxx"} for role in ("system", "user", "assistant")]}
    assert [(each.low, each.high, each.rows) for each in stats([row]).histogram] == [(9, 9, 1)]


def test_no_rows_have_no_figures():
    """An empty iterable is described as empty."""
    found = stats([])
    assert (found.rows, found.sources, found.characters) == (0, {}, {})
    assert (found.duplicates, found.histogram) == (0, [])


def test_rows_that_are_no_chats_are_described_by_field():
    """Raw rows and Examples get figures too: texts by the field they stand in."""
    rows = [{"question": "abc", "answer": "d", "n": 1}, {"question": "a", "answer": ""}]
    figures = stats(rows).characters
    assert {name: (each.texts, each.min, each.max) for name, each in figures.items()} == {
        "question": (2, 1, 3),
        "answer": (2, 0, 1),
    }


def test_files_are_described_together(tmp_path):
    """Rows of several files are counted under their files, and duplicates across them are found."""
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    lines = [json.dumps(chat(text)) for text in ("one", "two", "two")]
    paths[0].write_text("\n".join(lines[:2]) + "\n\n")
    paths[1].write_text(lines[2] + "\n" + json.dumps(chat("three", source="squad")))
    found = stats_of_files(paths)
    assert found.sources == {str(paths[0]): 2, str(paths[1]): 1, "squad": 1}
    assert (found.rows, found.duplicates) == (4, 1)
    assert json.loads(json.dumps(found.to_json()))["characters"]["user"]["max"] == 5
    assert stats(paths[0]) == stats_of_files(paths[:1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ('{"messages": 1}', r"rows\.jsonl:1: 'messages' is not a list"),
        ('{"messages": []}\n{"messages": [1]}', r"rows\.jsonl:2: malformed message.*dataprep validate"),
        ("\n{", r"rows\.jsonl:2: not JSON"),
        ("[]", r"rows\.jsonl:1: not a JSON object"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, text, message):
    """What cannot be counted is an error with file and line."""
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        stats_of_files([path])


@pytest.mark.parametrize("text", ["[1, 2]", '["x"]', "[null]", "[[]]"])
def test_a_document_of_other_values_is_refused(tmp_path, text):
    """The rows of a JSON array must be objects, as lines must."""
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a JSON object"):
        stats_of_files([path])


def test_a_deeply_nested_row_is_counted_or_refused(tmp_path):
    """A row nested deeper than the writer of JSON goes ends in figures or dataprep's own error."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [], "x": ' + "[" * 900 + "]" * 900 + "}")
    found = some.result_or_error(stats_of_files, [path])
    assert str(path) in str(found) if isinstance(found, DataprepError) else found.rows == 1


@given(st.lists(some.json_objects(("messages", "source", "id")), max_size=4))
def test_any_rows_are_described_or_refused(rows):
    """No JSON objects end in anything but figures or dataprep's own error."""
    found = some.result_or_error(stats, rows)
    assert str(found) if isinstance(found, DataprepError) else found.rows == len(rows)


def test_no_file_is_a_usage_error():
    """Stats without a file says what to give."""
    with pytest.raises(UsageError):
        stats_of_files([])


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOL = {"type": "function", "function": {"name": "add"}}


def rows_with_parts():
    """Rows with reasoning, tools, tool calls, text parts and loss marks."""
    asked = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "bc"}]}
    calls = {"role": "assistant", "tool_calls": [CALL, CALL], "content": None, "reasoning": "Hmm."}
    result = {"role": "tool", "content": "2", "tool_call_id": None}
    answer = {"role": "assistant", "content": "Two", "loss": True}
    other = {"role": "assistant", "content": "One", "weight": 0}
    return [
        {"messages": [asked, calls, result, answer], "tools": [TOOL, TOOL], "chat_template_kwargs": {"a": 1}},
        {
            "messages": [asked, other, asked, answer],
            "tools": json.dumps([TOOL]),
            "chat_template_kwargs": None,
        },
    ]


def test_what_chat_rows_have_beside_contents_is_counted(run, tmp_path):
    """Reasoning, tools, tool calls and loss marks are counted, and their texts are described."""
    figures = stats(rows_with_parts())
    assert figures.roles == {"user": 3, "assistant": 4, "tool": 1}
    assert figures.parts == {
        "rows with tools": 2,
        "tools": 3,
        "rows with chat_template_kwargs": 1,
        "reasoning texts": 1,
        "tool calls": 2,
        "loss: true": 2,
        "loss: false": 1,
    }
    lengths = {name: (each.texts, each.max) for name, each in figures.characters.items()}
    calls = len(json.dumps([CALL, CALL], separators=(",", ":")))
    assert lengths == {
        "user": (3, 3), "reasoning": (1, 4), "tool calls": (1, calls), "tool": (1, 1), "assistant": (3, 3),
    }  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows_with_parts())))
    done = run("stats", "rows.jsonl")
    assert done.code == 0
    assert b"in chat rows" in done.out
    assert b"reasoning texts" in done.out
    assert json.loads(run("stats", "rows.jsonl", "--json").out)["parts"] == figures.parts


def test_plain_rows_have_no_table_of_parts(run, tmp_path):
    """Rows with contents alone are described as before."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(chat("Hi", tools=None)))
    assert b"in chat rows" not in run("stats", "rows.jsonl").out
    found = json.loads(run("stats", "rows.jsonl", "--json").out)
    assert found["roles"] == {"user": 1, "assistant": 1}
    assert "parts" not in found


def test_rows_with_other_tools_are_no_duplicates():
    """The same messages with other tools, or other calls, are another row to learn."""
    row = chat("Hi")
    assert stats([row, row | {"tools": [TOOL]}, row | {"tools": [TOOL, TOOL]}]).duplicates == 0
    first, second = (chat("Hi") for _ in range(2))
    second["messages"][1]["tool_calls"] = [CALL]
    assert stats([first, second]).duplicates == 0
    assert stats([second, second]).duplicates == 1


@pytest.mark.parametrize(
    "message", [{"role": "user"}, {"role": "user", "content": 7}, {"role": "user", "content": ["x"]}, "x"]
)
def test_a_message_without_a_text_is_refused(message):
    """What validate calls a fault has no length."""
    with pytest.raises(DataprepError, match="malformed message"):
        stats([{"messages": [message]}])
