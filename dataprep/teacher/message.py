"""Read the parts of an answer's message: its texts, calls of tools, and log-probabilities."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from dataprep.core.records import describe
from dataprep.teacher.journal.line import without_halves, writable

LONGEST_MESSAGE = 500
# The fields of a part, or of an object in place of a text, that can hold words.
_WORDS = ("text", "output_text", "content", "value", "refusal", "thinking", "reasoning", "summary")


def said_in(content: Any) -> tuple[str | None, str | None, str | None]:
    """Return the text, the thinking and the refusal in a message's content, however it is divided."""
    if content is None or type(content) is str:
        return content, None, None
    parts = content if isinstance(content, list) else [content]
    said: dict[str, list[str]] = {"text": [], "thinking": [], "refusal": []}
    for part in parts:
        kind = str(part.get("type", "")) if isinstance(part, Mapping) else ""
        name = "thinking" if re.search(r"think|reason|summary", kind) else "text"
        if words := words_in(part):
            said["refusal" if kind == "refusal" else name].append(words)
    text, thinking, refusal = ("".join(words) if words else None for words in said.values())
    # Values without a type are the answer itself, such as an object that a proxy parsed; images have a type.
    if not any(said.values()) and not all(isinstance(part, Mapping) and "type" in part for part in parts):
        text = as_json(content)
    return text, thinking, refusal


def words_in(value: Any) -> str:
    """Return the words in a part: its text, or those of the parts in it."""
    if isinstance(value, list):
        return "".join(map(words_in, value))
    if isinstance(value, Mapping):
        return next((words for name in _WORDS if (words := words_in(value.get(name)))), "")
    return value if type(value) is str else ""


def as_json(value: Any) -> str:
    """Return a value as JSON, or its beginning if it is none."""
    with suppress(ValueError, RecursionError):
        return json.dumps(value, ensure_ascii=False, default=str)
    return describe(value, LONGEST_MESSAGE)


def logprobs_in(value: Any) -> list[dict[str, Any]] | None:
    """Return ``{"token", "logprob", "top": {token: logprob}}`` for each token; ``None`` if malformed."""
    # An answer without usable log-probabilities is still an answer.
    try:
        content = value["content"]
        return [_token(entry) for entry in content] if isinstance(content, list) else None
    except (KeyError, TypeError, AttributeError):
        return None


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    others = [(other["token"], other["logprob"]) for other in entry.get("top_logprobs") or ()]
    for token, logprob in [(entry["token"], entry["logprob"]), *others]:
        if type(token) is not str or not (logprob is None or isinstance(logprob, int | float)):
            raise TypeError
    top = {without_halves(token): logprob for token, logprob in others if logprob is not None}
    return {"token": without_halves(entry["token"]), "logprob": entry["logprob"], "top": top}


def sound_calls(calls: list[Any] | None) -> list[Any] | None:
    """Return calls of tools as a file can hold them: nearly always as they are."""
    try:
        orjson.dumps(calls)
    except TypeError:  # half a surrogate pair, a huge number, or a hundred lists in each other
        written: list[Any] = writable(calls)
        return written
    return calls
