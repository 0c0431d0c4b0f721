r"""Alpaca rows: ``{"instruction": "…", "input": "…", "output": "…", "system": "…", "history": []}``.

As LLaMA-Factory reads them: the user says the instruction, a newline and the input; ``history`` has the
earlier questions and answers, which are in the loss too. Stanford's own rows have the first three fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import describe
from dataprep.datasets.exchange.account import EMPTY, Account
from dataprep.datasets.exchange.rows import (
    all_plain,
    check_said,
    lose_rest,
    messages_of,
    role_of,
    text_of,
    with_other_fields,
    with_row_fields,
)

NAME = "alpaca"
_OWN = ("instruction", "input", "output", "system", "history")
_CARRIED = ("role", "content")


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row looks like one of this format."""
    return "instruction" in row and "output" in row


def read(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the chat row of an alpaca row."""
    instruction, extra, output = _text(row, "instruction"), _text(row, "input"), _text(row, "output")
    for name in ("instruction", "output"):
        if name not in row:
            fields = ", ".join(map(repr, row)) or "none"
            raise RowError(f"missing field {name!r}", f"the row's fields are {fields}")
    if row["output"] is None:  # a model would learn to answer with nothing
        raise RowError("field 'output' is not a string", "found null; expected an answer")
    messages = []
    if system := _text(row, "system"):
        messages.append({"role": "system", "content": system})
    for question, answer in _history(row):
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    asked = f"{instruction}\n{extra}" if instruction and extra else instruction or extra
    if not asked:
        raise RowError("empty instruction", "expected a text in 'instruction' or in 'input'")
    messages.append({"role": "user", "content": asked})
    messages.append({"role": "assistant", "content": output})
    return with_other_fields({"messages": messages}, row, _OWN, account)


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if type(value) is str:
        return value
    if value is None:
        return ""
    raise RowError(f"field {name!r} is not a string", f"found {describe(value)}")


def _history(row: Mapping[str, Any]) -> list[list[str]]:
    history = row.get("history")
    if not history:
        return []
    pairs = history if type(history) is list else [history]
    for number, pair in enumerate(pairs):
        if type(pair) is not list or len(pair) != 2 or not all(type(text) is str for text in pair):
            found = f"history[{number}] is {describe(pair)}"
            raise RowError("malformed history", f'{found}; expected ["question", "answer"]')
    return pairs


def write(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the alpaca row of a chat row."""
    messages = messages_of(row)
    texts = [message["content"] for message in messages] if all_plain(messages) else _texts(messages, account)
    roles = [message["role"] for message in messages]
    system = ""
    if roles[0] in ("system", "developer"):
        if roles[0] == "developer":
            account.lose("the developer role", "messages[0] is written as the system prompt")
        system = texts[0]
        if not system:
            account.change(EMPTY)
        del texts[0], roles[0]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        shown = " ".join(message["role"] for message in messages)
        expected = "expected an optional system message, then user and assistant in turn"
        account.leave_out("this order of roles", f"found {shown}; {expected}")
    if not texts[-2]:
        raise RowError("empty content", "the last user message is empty; alpaca needs an instruction")
    made = {
        "instruction": texts[-2],
        "input": "",
        "output": texts[-1],
        "system": system,
        # All rows have all fields, because readers take the columns of a file from its first rows.
        "history": [texts[number : number + 2] for number in range(0, len(texts) - 2, 2)],
    }
    return with_row_fields(made, row, account, reserved=_OWN, lost=("tools", "chat_template_kwargs"))


def _texts(messages: list[Any], account: Account) -> list[str]:
    texts = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        role = role_of(message, place)
        if role == "tool" or message.get("tool_calls"):
            account.leave_out("tool calls and their results", f"{place} is one")
        text = text_of(message, place, account)
        lose_rest(message, _CARRIED, place, account, role)
        check_said(message, text, place, account)
        texts.append(text or "")
    return texts
