"""Read replies of the chat-completions protocol, whatever a server sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from dataprep.core.records import describe
from dataprep.teacher.journal.line import without_halves

LONGEST_MESSAGE = 500
MOST_TOKENS = 1 << 40
# Timeout, conflict, too early, too many requests; server errors are retried too.
_RETRYABLE = frozenset([408, 409, 425, 429])
_FATAL = frozenset([401, 404])
SERVER_ERROR = 500


class RequestError(Exception):
    """Raised for a request without an answer; it becomes a line of the journal.

    Attributes:
        type: the kind of failure, in the server's words or ours.
        message: the details.
        status: the HTTP status; ``None`` if no reply came.
        retryable: whether asking again can help.
        fatal: whether every other request would fail as well: the key is refused, the model is unknown, or
            the account has no credit.
        after: seconds that the server asks to wait; ``None`` if it does not say.
        free: whether the attempt does not count, because the fault was ours.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        status: int | None = None,
        retryable: bool = True,
        fatal: bool = False,
        after: float | None = None,
        free: bool = False,
    ) -> None:
        super().__init__(kind, message)
        self.type = kind
        self.message = message
        self.status = status
        self.retryable = retryable
        self.fatal = fatal
        self.after = after
        self.free = free

    @property
    def shown(self) -> str:
        """The message, cut to the length of a line."""
        # Not cut before this: a secret that is cut in two would not be recognized and redacted.
        cut = self.message[: LONGEST_MESSAGE - 1] + "…"
        return self.message if len(self.message) <= LONGEST_MESSAGE else cut

    def to_json(self) -> dict[str, Any]:
        """Return the ``error`` of a line of the journal."""
        return {
            "status": self.status,
            "type": self.type,
            "message": self.shown,
            "retryable": self.retryable,
        }

    def __str__(self) -> str:
        status = f"{self.status} " if self.status else ""
        return f"{status}{self.type}: {self.shown}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the answers in a reply."""

    response: str | None
    finish_reason: str | None
    reasoning: str | None = None
    logprobs: list[dict[str, Any]] | None = None

    def fields(self, usage: dict[str, Any] | None) -> dict[str, Any]:
        """Return the fields of the answer in a line of the journal."""
        return {
            "response": self.response,
            "finish_reason": self.finish_reason,
            "reasoning": self.reasoning,
            "usage": usage,
            "logprobs": self.logprobs,
        }


def answers_of(data: bytes | Mapping[str, Any]) -> tuple[list[Answer], dict[str, Any] | None]:
    """Return the answers in a chat completion, and its usage.

    Raises:
        RequestError: the reply is not JSON, is an error, or has no choices or no text.
    """
    body = _parsed(data) if isinstance(data, bytes) else data
    if not isinstance(body, Mapping):
        raise _malformed(f"expected an object, found {describe(body)}")
    if isinstance(body.get("error"), Mapping) and "choices" not in body:
        raise error_of(None, body)
    choices = body.get("choices")
    if type(choices) is not list or not choices:
        raise _malformed(f"expected answers in 'choices', found {describe(choices)}")
    usage = body.get("usage")
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
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    # Some servers send half an emoji, ``NaN`` or a byte order mark, which strict parsers refuse.
    text = data.decode("utf-8-sig", "replace")
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        shown = text[:LONGEST_MESSAGE]
        found = f"found {len(data):,} bytes that begin with {shown!r}" if data.strip() else "found nothing"
        raise _malformed(f"expected JSON, {found}") from None


def _malformed(message: str) -> RequestError:
    return RequestError("malformed_reply", message)


def _counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    # A count of another type would break the sums of this run and of later ones.
    return {
        name: count
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        if type(count := usage.get(name)) is int and 0 <= count < MOST_TOKENS
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


def _logprobs(found: Any) -> list[dict[str, Any]] | None:
    """Return ``{"token", "logprob", "top": {token: logprob}}`` for each token."""
    content = found.get("content") if isinstance(found, Mapping) else None
    if not isinstance(content, list):
        return None
    try:
        return [_token(each) for each in content]
    except (KeyError, TypeError, AttributeError):
        return None


def _token(each: Mapping[str, Any]) -> dict[str, Any]:
    others = [(other["token"], other["logprob"]) for other in each.get("top_logprobs") or ()]
    for token, logprob in [(each["token"], each["logprob"]), *others]:
        if type(token) is not str or not (logprob is None or isinstance(logprob, int | float)):
            raise TypeError
    top = {without_halves(token): logprob for token, logprob in others if logprob is not None}
    return {"token": without_halves(each["token"]), "logprob": each["logprob"], "top": top}


def error_of(
    status: int | None, body: Any, *, should_retry: str | None = None, after: float | None = None
) -> RequestError:
    """Return the error in an error's body, as OpenAI, Azure, vLLM, Ollama and llama.cpp write it.

    Args:
        status: the HTTP status, if there is one.
        body: the parsed body, or its text.
        should_retry: the server's advice, ``"true"`` or ``"false"`` (OpenAI's ``x-should-retry``).
        after: seconds that the server asks to wait.
    """
    error = body.get("error", body) if isinstance(body, Mapping) else body
    kind, code, message = "", "", ""
    if isinstance(error, Mapping):
        kind, code = str(error.get("type") or ""), str(error.get("code") or "")
        message = str(error.get("message") or error.get("detail") or error)
    else:
        message = str(error or "")
    if code and not code.isdigit():
        kind = code
    if "content_filter" in (kind, code):
        return RequestError("content_filter", message, status=status, retryable=False)
    # OpenAI sends status 429 for an account without credit, which no waiting helps.
    if kind == "insufficient_quota":
        return RequestError(kind, message, status=status, retryable=False, fatal=True)
    retryable = status is None or status in _RETRYABLE or status >= SERVER_ERROR
    if should_retry in ("true", "false"):
        retryable = should_retry == "true"
    return RequestError(
        kind or "http_error", message, status=status, retryable=retryable, fatal=status in _FATAL, after=after
    )
