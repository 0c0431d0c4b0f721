"""Read replies of the chat-completions protocol, whatever a server sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any

import orjson

from dataprep.core.records import describe
from dataprep.teacher.journal.line import without_halves

LONGEST_MESSAGE = 500
_MOST_TOKENS = 1 << 40
# Timeout, conflict, too early, too many requests; server errors are retried too.
_RETRYABLE = frozenset([408, 409, 425, 429])
_FATAL = frozenset([401, 404])


# Compared and hashed by identity, as other exceptions are.
@dataclass(eq=False)
class RequestError(Exception):
    """Raised for a request without an answer; it becomes a line of the journal."""

    type: str  # The kind of failure, in the server's words or ours.
    message: str
    _: KW_ONLY
    status: int | None = None  # The HTTP status; `None` if no reply came.
    retryable: bool = True  # True if asking again can help.
    # True if every other request would fail as well: the key is refused, the model is unknown, or the account
    # has no credit.
    fatal: bool = False
    after: float | None = None  # Seconds that the server asks to wait; `None` if it does not say.
    free: bool = False  # The attempt does not count, because the fault was ours.

    @property
    def shown(self) -> str:
        """The message, cut to the length of a line."""
        # Not cut before this: a secret that is cut in two would not be recognized and redacted.
        cut = self.message[: LONGEST_MESSAGE - 1] + "…"
        return self.message if len(self.message) <= LONGEST_MESSAGE else cut

    def to_json(self) -> dict[str, Any]:
        """Return the ``error`` of a line of the journal."""
        return {"status": self.status, "type": self.type, "message": self.shown, "retryable": self.retryable}

    def __str__(self) -> str:
        status = f"{self.status} " if self.status else ""
        return f"{status}{self.type}: {self.shown}"


@dataclass(frozen=True)
class Answer:
    """One of the answers in a reply."""

    response: str | None
    finish_reason: str | None
    reasoning: str | None = None
    logprobs: list[dict[str, Any]] | None = None

    def fields(self, usage: dict[str, Any] | None) -> dict[str, Any]:
        """Return the fields of the answer in a line of the journal."""
        return vars(self) | {"usage": usage}


# The answers to a request, and their usage.
Reply = tuple[list[Answer], dict[str, Any] | None]


def answers_of(data: bytes | Mapping[str, Any]) -> Reply:
    """Return the answers in a chat completion, and its usage."""
    body = _parsed(data) if isinstance(data, bytes) else data
    if not isinstance(body, Mapping):
        raise _malformed(f"expected an object, found {describe(body)}")
    choices, usage = body.get("choices"), body.get("usage")
    if isinstance(body.get("error"), Mapping) and "choices" not in body:
        raise error_of(None, body)
    if type(choices) is not list or not choices:
        raise _malformed(f"expected answers in 'choices', found {describe(choices)}")
    answers: list[Answer] = []
    error = None
    for choice in choices:
        try:
            answers.append(_answer(choice))
        except RequestError as bad:
            error = bad
    # Good answers next to a bad one were paid for, and are kept.
    if not answers and error is not None:
        raise error
    return answers, _counts(usage) if isinstance(usage, Mapping) else None


def _parsed(data: bytes) -> Any:
    with suppress(orjson.JSONDecodeError):
        return orjson.loads(data)
    # Some servers send half an emoji, ``NaN`` or a byte order mark, which strict parsers refuse.
    text = data.decode("utf-8-sig", "replace")
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        shown = text[:LONGEST_MESSAGE]
        content = f"{len(data):,} bytes that begin with {shown!r}" if data.strip() else "nothing"
        raise _malformed(f"expected JSON, found {content}") from None


def _malformed(message: str) -> RequestError:
    return RequestError("malformed_reply", message)


def _counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    # A count of another type would break the sums of this run and of later ones.
    return {
        name: count
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        if type(count := usage.get(name)) is int and 0 <= count < _MOST_TOKENS
    }


def _answer(choice: Any) -> Answer:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise _malformed(f"expected a message in each choice, found {describe(choice)}")
    text, refusal = _text(message.get("content")), message.get("refusal")
    reason = choice.get("finish_reason")
    if type(reason) is not str:
        raise _malformed(f"expected a finish_reason, found {describe(reason)}: the answer may not be whole")
    # OpenAI puts a refusal in a field of its own and says "stop".
    if type(refusal) is str and refusal and not (text or "").strip():
        text, reason = refusal, "refusal"
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    thought = reasoning if type(reasoning) is str else None
    return Answer(without_halves(text), reason, without_halves(thought), _logprobs(choice.get("logprobs")))


def _text(content: Any) -> str | None:
    # Some servers send a text in parts.
    if content is None or type(content) is str:
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        parts = [part.get("text") for part in content if part.get("type", "text") == "text"]
        if all(type(part) is str for part in parts):
            return "".join(part for part in parts if part is not None)
    raise _malformed(f"expected a text as 'content', found {describe(content)}")


def _logprobs(value: Any) -> list[dict[str, Any]] | None:
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


def error_of(
    status: int | None, body: Any, *, should_retry: str | None = None, after: float | None = None
) -> RequestError:
    """Return the error in a parsed or plain body, as OpenAI, Azure, vLLM, Ollama and llama.cpp write it.

    ``should_retry`` is the server's advice, "true" or "false" (OpenAI's ``x-should-retry``).
    """
    error = body.get("error", body) if isinstance(body, Mapping) else body
    kind, code, message = "", "", str(error or "")
    if isinstance(error, Mapping):
        kind, code = str(error.get("type") or ""), str(error.get("code") or "")
        message = str(error.get("message") or error.get("detail") or error)
    if code and not code.isdigit():
        kind = code
    if "content_filter" in (kind, code):
        return RequestError("content_filter", message, status=status, retryable=False)
    # OpenAI sends status 429 for an account without credit, which no waiting helps.
    if kind == "insufficient_quota":
        return RequestError(kind, message, status=status, retryable=False, fatal=True)
    retryable = status is None or status in _RETRYABLE or status >= 500
    if should_retry in ("true", "false"):
        retryable = should_retry == "true"
    return RequestError(
        kind or "http_error", message, status=status, retryable=retryable, fatal=status in _FATAL, after=after
    )
