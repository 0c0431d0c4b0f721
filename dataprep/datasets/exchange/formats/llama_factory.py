"""Rows for LLaMA-Factory: ShareGPT rows, with an entry in ``dataset_info.json`` beside the output.

LLaMA-Factory skips a conversation whose turns do not alternate, with a warning in its log. Here such a row is
an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import InputError, UsageError
from dataprep.datasets.exchange.account import EMPTY, Account
from dataprep.datasets.exchange.formats import sharegpt

NAME = "llama-factory"
_INFO = "dataset_info.json"
_ASKS, _ANSWERS = {"human", "observation"}, {"gpt", "function_call"}


def write(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the row as LLaMA-Factory reads it, with all columns that its entry names."""
    made = sharegpt.write(row, account)
    turns = made["conversations"]
    system = ""
    if turns[0]["from"] == "system":
        system = turns.pop(0)["value"]
        if not system:
            account.change(EMPTY)
    sides = [turn["from"] for turn in turns]
    alternate = _ASKS.issuperset(sides[::2]) and _ANSWERS.issuperset(sides[1::2])
    if not sides or len(sides) % 2 or not alternate:
        shown = " ".join(sides) or "no turns"
        expected = "expected human or observation, then gpt or function_call, in turn"
        account.leave_out("this order of turns", f"found {shown}; {expected}; it would skip the row")
    # All rows have both columns, and these come first.
    return {"conversations": turns, "system": system, "tools": ""} | made


def check_output(output: str) -> None:
    """Raise an error if the rows or their entry cannot be written there."""
    files.check_local(output, f"--to {NAME}")
    if output == files.STDIO or Path(output).is_char_device():
        raise UsageError(f"--to {NAME} writes {_INFO} beside its output: give -o FILE")
    form = files.format_of(output)
    if form.compression:
        raise UsageError(f"{output}: LLaMA-Factory reads no compressed files; give a .jsonl or .json file")
    _entries(output)


def finish(output: str) -> str:
    """Write the entry of an output into ``dataset_info.json``, and return that file's path."""
    path = Path(output).parent / _INFO
    entry = {
        "file_name": Path(output).name,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "system": "system", "tools": "tools"},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "observation_tag": "observation",
            "function_tag": "function_call",
            "system_tag": "system",
        },
    }
    entries = _entries(output) | {Path(output).name.partition(".")[0]: entry}
    files.write_text(orjson.dumps(entries, option=orjson.OPT_INDENT_2).decode() + "\n", str(path))
    return str(path)


def _entries(output: str) -> dict[str, Any]:
    path = Path(output).parent / _INFO
    if not path.exists():
        return {}
    try:
        entries = orjson.loads(files.read_text(str(path)))
    except orjson.JSONDecodeError as error:
        raise InputError(path, f"not JSON: {error}; the entry of {output} is added to it") from None
    if type(entries) is not dict:
        raise InputError(path, "found no object; expected the entries of LLaMA-Factory's datasets by name")
    return entries
