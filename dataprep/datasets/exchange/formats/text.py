"""Plain texts: ``{"text": "…"}``, which trainers of language models learn whole.

A chat row has no text without a role. It becomes an answer without a question: one assistant message, which
is in the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.errors import RowError
from dataprep.core.records import describe
from dataprep.datasets.exchange.account import Account
from dataprep.datasets.exchange.rows import with_other_fields

NAME = "text"
YIELDS = True
_OWN = ("text",)


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row looks like one of this format."""
    return type(row.get("text")) is str


def read(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Return the chat row of a text: one assistant message."""
    text = row.get("text")
    if type(text) is not str or not text.strip():
        found = describe(text) if "text" in row else f"the fields {', '.join(map(repr, row)) or 'none'}"
        raise RowError("no text", f"found {found}; expected a field 'text' with a text")
    made = {"messages": [{"role": "assistant", "content": text}]}
    return with_other_fields(made, row, _OWN, account)
