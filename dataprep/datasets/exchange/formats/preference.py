"""Preference pairs: ``{"prompt": […], "chosen": […], "rejected": […]}``, as TRL's ``DPOTrainer`` reads them.

The rows are pairs already, not chat rows. They are read in the shapes that tools have:

- TRL: prompt, chosen and rejected as texts or as messages; also without a prompt, where both conversations
  begin with the same messages; and with a prompt as text beside two whole conversations;
- OpenAI: ``{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}``;
- LLaMA-Factory: ``conversations`` or ``instruction`` and ``input``, with ``chosen`` and ``rejected``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.errors import RowDropped, RowError
from dataprep.core.records import describe
from dataprep.datasets.exchange.account import Account
from dataprep.datasets.exchange.formats import alpaca, sharegpt
from dataprep.datasets.exchange.rows import all_plain, messages_of, role_of, tools_text, with_other_fields

NAME = "preference"
_OWN: tuple[str, ...] = ("prompt", "chosen", "rejected", "tools")
_OPENAI = ("input", "preferred_output", "non_preferred_output")


def write(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return a pair as TRL reads it."""
    tools, own = row.get("tools"), tuple(_OWN)
    if "preferred_output" in row and type(row.get("input")) is dict:
        asked = row["input"]
        prompt = _messages(asked, "messages", "user", account)
        chosen = _messages(row, "preferred_output", "assistant", account)
        rejected = _messages(row, "non_preferred_output", "assistant", account)
        tools, own = asked.get("tools"), _OPENAI
    elif not {"chosen", "rejected"} <= row.keys():
        fields = ", ".join(map(repr, row)) or "none"
        hint = "`dataprep collect --to preference` makes pairs of several answers"
        raise RowError("no pair", f"expected 'chosen' and 'rejected'; the row's fields are {fields}; {hint}")
    elif "conversations" in row:
        own = ("conversations", "system", "chosen", "rejected", "tools")
        prompt = sharegpt.read({name: row[name] for name in own[:2] if name in row}, account)["messages"]
        chosen, rejected = (_turns(row, name, account) for name in ("chosen", "rejected"))
    elif "instruction" in row:
        own = ("instruction", "input", "system", "history", "chosen", "rejected", "tools")
        asked = {name: row[name] for name in own[:4] if name in row} | {"output": ""}
        prompt = alpaca.read(asked, account)["messages"][:-1]
        chosen, rejected = (_messages(row, name, "assistant", account) for name in ("chosen", "rejected"))
    else:
        chosen, rejected = (_messages(row, name, "assistant", account) for name in ("chosen", "rejected"))
        prompt, chosen, rejected = _split(row, chosen, rejected, account)
    if chosen == rejected:
        raise RowDropped("chosen and rejected are the same")
    made: dict[str, Any] = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    if tools:
        made["tools"] = tools_text(tools, account)
    return with_other_fields(made, row, own, account)


def _messages(row: Mapping[str, Any], name: str, role: str, account: Account) -> list[Any]:
    value = row.get(name)
    if type(value) is str:
        account.change("texts written as messages")
        return [{"role": role, "content": value}]
    if type(value) is dict:
        value = [value]
    messages = messages_of({name: value} if value is not None else row, name)
    if not all_plain(messages):
        for number, message in enumerate(messages):
            role_of(message, f"{name}[{number}]")
    return messages


def _turns(row: Mapping[str, Any], name: str, account: Account) -> list[Any]:
    value = row[name]
    turns = value if type(value) is list else [value]
    made: list[Any] = sharegpt.read({"conversations": turns}, account)["messages"]
    return made


def _split(
    row: Mapping[str, Any], chosen: list[Any], rejected: list[Any], account: Account
) -> tuple[list[Any], list[Any], list[Any]]:
    """Return prompt, chosen and rejected where both answers may be whole conversations."""
    whole = chosen[0]["role"] != "assistant"
    if not whole and row.get("prompt") is not None:
        return _messages(row, "prompt", "user", account), chosen, rejected
    count = 0
    for ours, theirs in zip(chosen, rejected, strict=False):
        if ours != theirs:
            break
        count += 1
    if type(row["chosen"]) is str or not whole:
        raise RowError("no prompt", "expected a field 'prompt', or two conversations with the same beginning")
    # Where one conversation is the beginning of the other, the last message is still an answer.
    count = min(count, len(chosen) - 1, len(rejected) - 1)
    prompt = row.get("prompt")
    if type(prompt) is str and all(message.get("content") != prompt for message in chosen[:count]):
        found = f"'prompt' is {describe(prompt)}"
        account.lose("a prompt beside whole conversations", f"{found}, and is in neither conversation")
    elif prompt is not None:
        account.change("prompts taken from the conversations")
    if not count:
        raise RowError("no prompt", "the two conversations have no beginning in common")
    return chosen[:count], chosen[count:], rejected[count:]
