"""A teacher's response to one request: the lines of the journal, and what a line amounts to.

One line, an answer or a failure::

    {"id": "…", "key": "…", "teacher": "gpt-4o", "model": "gpt-4o", "sample": 0, "max_tokens": 512,
     "response": "(b)", "finish_reason": "stop", "reasoning": null,
     "usage": {"prompt_tokens": 83, "completion_tokens": 3}, "logprobs": [{"token": "b", "logprob": -0.1,
     "top": {"b": -0.1, "a": -2.4}}], "attempts": 1, "latency": 0.41, "time": "2026-11-21T10:00:00Z",
     "error": null}

and where there is no answer, ``"response": null`` and ``"error": {"status": 500, "type": "server_error",
"message": "…", "retryable": true}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from dataprep.core.errors import RowError
from dataprep.core.records import describe

Outcome = Literal["ok", "length", "refused", "empty", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "length", "refused", "empty", "failed")

# Why an answer ended, in the words of OpenAI, vLLM, TGI, Mistral, Gemini, Anthropic and Cohere.
_WHOLE = frozenset(["stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"])
_CUT_OFF = frozenset(["length", "max_tokens", "model_length", "max_length"])
_REFUSED = frozenset(["content_filter", "refusal", "safety", "recitation", "blocklist", "prohibited_content"])


def outcome_of(line: Mapping[str, Any]) -> Outcome:
    """What a line of the journal amounts to.

    ``failed``: no answer came, or it ended for a reason that is none of the known ones. ``refused``: the
    teacher declined or a filter cut in. ``length``: the answer stops where ``max_tokens`` were used up.
    ``empty``: an answer without text. ``ok``: none of these; only this one is an answer.
    """
    if line["error"] is not None:
        return "refused" if line["error"].get("type") == "content_filter" else "failed"
    reason = (line["finish_reason"] or "").lower()
    if reason in _REFUSED:
        return "refused"
    if reason in _CUT_OFF:
        return "length"
    if reason not in _WHOLE:
        return "failed"
    return "ok" if (line["response"] or "").strip() else "empty"


def check_response(row: Any) -> dict[str, Any]:
    """The row, where it is a line of the journal.

    Raises:
        RowError: a field that every line has is missing or of another type.
    """
    if type(row) is not dict:
        raise RowError("not a response", f"expected an object, found {describe(row)}")
    for name in ("id", "key", "teacher"):
        if type(row.get(name)) is not str:
            raise RowError("not a response", f"expected a text in {name!r}, found {describe(row.get(name))}")
    for name, kind in (("response", str), ("finish_reason", str), ("error", dict)):
        if name not in row or not isinstance(row[name], kind | None):
            found = describe(row.get(name)) if name in row else "no such field"
            raise RowError("not a response", f"expected {kind.__name__} or null in {name!r}, found {found}")
    if row["error"] is None and row["response"] is None and row["finish_reason"] is None:
        raise RowError("not a response", "it has neither a response nor an error")
    return row


def without_halves(text: str | None) -> str | None:
    """A text without halves of surrogate pairs, which no file can hold: each becomes U+FFFD."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
