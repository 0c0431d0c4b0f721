"""Rows divided into titled texts."""

from hypothesis import given

from dataprep.inspect.blocks import TextBlock, blocks_of
from tests.strategies import json_values


def test_every_text_of_a_chat_row_is_a_block():
    """Tools, reasoning, calls, results and other fields come in the order of reading."""
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Ferry?"}]},
            {
                "role": "assistant",
                "reasoning_content": "A timetable.",
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "departures", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "c", "name": "departures", "content": "14:05"},
            {"role": "assistant", "content": "At 14:05.", "loss": False},
        ],
        "tools": [],
        "id": "row-1",
    }
    assert list(blocks_of(row)) == [
        TextBlock("user", "text", "", "Ferry?"),
        TextBlock("assistant", "reasoning", "reasoning", "A timetable."),
        TextBlock("assistant", "call", "departures", "{}"),
        TextBlock("tool", "text", "departures c", "14:05"),
        TextBlock("assistant", "text", "", "At 14:05."),
        TextBlock("assistant", "field", "loss", "false"),
        TextBlock("", "field", "id", "row-1"),
    ]


@given(json_values())
def test_any_value_can_be_shown(value):
    """A malformed row is what a person wants to look at, so nothing in it is an error."""
    for row in (value, {"messages": value}, {"messages": [value]}, {"messages": [{"tool_calls": value}]}):
        assert all(isinstance(block.text, str) for block in blocks_of(row))
