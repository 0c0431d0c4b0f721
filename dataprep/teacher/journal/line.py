"""Make, check and classify the lines of a journal.

A line is an answer or a failure::

    {"id": "…", "key": "…", "teacher": "gpt-4o", "model": "gpt-4o", "sample": 0, "max_tokens": 512,
     "response": "(b)", "finish_reason": "stop", "reasoning": null,
     "usage": {"prompt_tokens": 83, "completion_tokens": 3}, "logprobs": [{"token": "b", "logprob": -0.1,
     "top": {"b": -0.1, "a": -2.4}}], "attempts": 1, "latency": 0.41, "time": "2026-11-21T10:00:00Z",
     "error": null}

A failure has ``"response": null`` and ``"error": {"status": 500, "type": "server_error", "message": "…",
"retryable": true}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from dataprep.core.errors import RowError
from dataprep.core.records import describe
from dataprep.models.sampling import GenerationConfig

Outcome = Literal["ok", "length", "refused", "empty", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "length", "refused", "empty", "failed")

# Why an answer ended, in the words of OpenAI, vLLM, TGI, Mistral, Gemini, Anthropic and Cohere.
_WHOLE = frozenset(["stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"])
_CUT_OFF = frozenset(["length", "max_tokens", "model_length", "max_length"])
_REFUSED = frozenset(["content_filter", "refusal", "safety", "recitation", "blocklist", "prohibited_content"])


def new_line(
    identity: str,
    key: str,
    teacher: str,
    sample: int,
    config: GenerationConfig,
    *,
    attempts: int = 1,
    latency: float | None = None,
) -> dict[str, Any]:
    """Return a line of this moment without answer or error, which are still to be filled in."""
    return {
        "id": identity,
        "key": key,
        "teacher": teacher,
        "model": config.model,
        "sample": sample,
        "max_tokens": config.max_tokens,
        "response": None,
        "finish_reason": None,
        "reasoning": None,
        "usage": None,
        "logprobs": None,
        "attempts": attempts,
        "latency": latency,
        "time": now(),
        "error": None,
    }


def now() -> str:
    """Return the time in UTC, as ``2026-11-21T10:00:00Z``."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def outcome_of(line: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a line; only ``ok`` is a complete answer.

    ``failed``: no answer came, or it ended for an unknown reason. ``refused``: the teacher declined or a
    filter intervened. ``length``: ``max_tokens`` cut the answer off. ``empty``: the answer has no text.
    """
    if line["error"] is not None:
        return "refused" if line["error"].get("type") == "content_filter" else "failed"
    reason = (line["finish_reason"] or "").lower()
    if reason in _REFUSED:
        return "refused"
    if reason in _CUT_OFF:
        return "length"
    # An unknown reason is a failure: half an answer that passes for a whole one would be a wrong label.
    if reason not in _WHOLE:
        return "failed"
    return "ok" if (line["response"] or "").strip() else "empty"


def check_response(row: Any) -> dict[str, Any]:
    """Return the row if it is a line of a journal."""
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
    """Return a text with U+FFFD for each half of a surrogate pair, which no file can hold."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
