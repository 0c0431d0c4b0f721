"""Read replies of the chat-completions protocol, whatever a server sends."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import orjson

from dataprep.core.records import describe
from dataprep.teacher.journal.line import UNKNOWN, is_refusing, outcome_of, without_halves
from dataprep.teacher.message import (
    LONGEST_MESSAGE,
    as_json,
    logprobs_in,
    said_in,
    sound_calls,
    words_in,
)

LONGEST_ERROR = 100_000
_MOST_TOKENS = 1 << 40
_DIGITS = 6
# Timeout, conflict, too early, too many requests; server errors are retried too.
_RETRYABLE = frozenset([408, 409, 425, 429])
# The key is refused, the account has no credit, the model or address is unknown.
_FATAL = frozenset([401, 402, 404])
_NO_CREDIT = re.compile(r"insufficient_(?:quota|balance|credits|funds)|billing|exceeded_current_quota")
# The same in words, for servers whose errors have no code for it. Not "quota": that of a minute passes.
_NO_CREDIT_WORDS = re.compile(r"\bcredit balance|insufficient (?:balance|credit|fund)", re.IGNORECASE)
# A refused prompt in words: xAI, Zhipu and proxies send no code. A blocked account is not a refusal.
_REFUSING_WORDS = re.compile(
    r"(?!.*\b(?:account|organi[sz]ation|key)\b)(?:.*\bcontent violates|.*\bsafety system"
    r"|.*\b(?:prompt|input|content)\b.{0,40}\b(?:was|been|is) (?:flagged|blocked)|.*敏感内容)",
    re.IGNORECASE | re.DOTALL,
)

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
# The fields of an error that say what is wrong, and those that are read by themselves.
_MESSAGES = ("message", "detail", "msg", "error_description", "title", "reason")
_READ = frozenset([*_MESSAGES, "type", "error_type", "code", "param", "status", "object", "error"])

# The words with which errors name a field of a request, and its flag. The first one that fits is meant.
_FLAGS = {
    "max_completion_tokens": ("max_completion_tokens", "--max-tokens-field or --max-tokens"),
    "max_tokens": ("max_tokens|maximum context length", "--max-tokens"),
    "temperature": ("temperature", "--temperature (below 0 leaves it to the server)"),
    "logprobs": ("logprobs", "--logprobs"),
    "top_logprobs": ("top_logprobs", "--logprobs"),
    "n": (
        r"""['"`]n['"`]|\bn (?:must|should|is|has|can)|\bn ?[=!<>]+ ?1|one (?:completion )?choice"""
        "|(?:multiple|number of) (?:choices|completions)",
        "--n",
    ),
    "model": (r"\bmodel\b.* (?:not|unknown|invalid)\b|(?:unknown|invalid|no such) model", "--model"),
    "extra": ("unrecogni[sz]ed|unknown (?:field|param|argument)|extra (?:field|input)|unexpected", "--param"),
}


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
    param: str = ""  # The field of the request that the server objects to, in its words.

    def __post_init__(self) -> None:
        self.type, self.message = without_halves(self.type) or "", without_halves(self.message) or ""

    @property
    def shown(self) -> str:
        """The message, cut to the length of a line."""
        # Not cut before this: a secret that is cut in two would not be recognized and redacted.
        cut = self.message[: LONGEST_MESSAGE - 1] + "…"
        return self.message if len(self.message) <= LONGEST_MESSAGE else cut

    @property
    def advice(self) -> str:
        """The change that helps before the requests are sent again; empty if the error does not tell."""
        no_credit = 402 if self.fatal and _has_no_credit(self.type, self.message) else None
        for known in (no_credit, self.status, self.type):
            if known in _ADVICE:
                return _ADVICE[known]
        flags = (flag for name, (_, flag) in _FLAGS.items() if self.status and self.is_about(name))
        return f"change {flag}" if (flag := next(flags, "")) else ""

    def is_about(self, field: str) -> bool:
        """Return whether the server objects to a field of the request, one of those that flags set."""
        if self.param:
            # A field that no flag of its own sets came from `--param`, except the prompt.
            other = self.param not in _FLAGS and not self.param.startswith("messages")
            return self.param == field or (field == "extra" and other)
        return re.search(_FLAGS[field][0], self.message, re.IGNORECASE) is not None

    @property
    def refused(self) -> bool:
        """True if a filter or a moderator refused the prompt."""
        return is_refusing(self.type)

    def to_json(self) -> dict[str, Any]:
        """Return the ``error`` of a line of the journal."""
        return {"status": self.status, "type": self.type, "message": self.shown, "retryable": self.retryable}

    def __str__(self) -> str:
        status = f"{self.status} " if self.status else ""
        return f"{status}{self.type}: {self.shown}"


_ADVICE: dict[object, str] = {
    "connection_error": "start the server, or check --base-url",
    "no_prompt_logprobs": "ask a server that has them, such as vLLM, or leave out --choice-probs likelihood",
    "malformed_reply": "check --base-url, which often ends in /v1",
    401: "check the key: --api-key-env names its variable",
    402: "add credit to the account",
    404: "check --model and --base-url",
}


@dataclass(frozen=True)
class Answer:
    """One of the answers in a reply."""

    response: str | None
    finish_reason: str | None
    reasoning: str | None = None
    logprobs: list[dict[str, Any]] | None = None
    flags: tuple[str, ...] = ()  # Names in ``FLAGS``.
    tool_calls: list[Any] | None = None  # As they came, if the teacher was given tools.
    # The request's choices, each with its "text" and its "log_likelihood" as the answer, if that was asked.
    choices: list[dict[str, Any]] | None = None

    def fields(self, usage: dict[str, Any] | None) -> dict[str, Any]:
        """Return the fields of the answer in a line of the journal."""
        fields = vars(self) | {"usage": usage, "flags": list(self.flags)}
        for name in ("flags", "tool_calls", "choices"):
            if not fields[name]:
                del fields[name]
        return fields


def scored_choices(texts: Sequence[str], values: Sequence[float]) -> list[dict[str, Any]]:
    """Return the ``choices`` of an answer, of their texts and log-likelihoods in nats."""
    return [
        {"text": text, "log_likelihood": round(value, _DIGITS)}
        for text, value in zip(texts, values, strict=True)
    ]


# The answers to a request, and their usage.
Reply = tuple[list[Answer], dict[str, Any] | None]


def answers_of(data: bytes | Mapping[str, Any], *, tools: bool = False) -> Reply:
    """Return the answers in a chat completion, and its usage; ``tools`` says whether the teacher had any."""
    body = parsed(data) if isinstance(data, bytes) else data
    if not isinstance(body, Mapping):
        raise _malformed(f"expected an object, found {describe(body)}")
    choices, usage = body.get("choices"), body.get("usage")
    if type(choices) is not list or not choices:
        raise _no_answers(body)
    answers: list[Answer] = []
    error = None
    for choice in choices:
        try:
            answers.append(_answer(choice, tools))
        except RequestError as bad:
            error = bad
    # Good answers next to a bad one were paid for, and are kept.
    if not answers and error is not None:
        raise error
    return answers, _counts(usage) if isinstance(usage, Mapping) else None


def flagged(answers: Sequence[Answer], usage: Mapping[str, Any], limit: int, fewest: int) -> list[Answer]:
    """Return a reply's answers, flagged where the server's counts contradict what it says.

    Args:
        answers: all answers of the reply.
        usage: the reply's token counts, as ``answers_of`` returns them.
        limit: the most tokens that each of them may have.
        fewest: a lower bound of the prompt's tokens.
    """
    # A server that does not count says 0.
    cut = 0 < usage.get("prompt_tokens", 0) < fewest
    full = usage.get("completion_tokens") == limit * len(answers)
    if not (cut or full):
        return list(answers)
    kept = []
    for answer in answers:
        at_limit = full and outcome_of(answer.fields(None) | {"error": None}) == "ok"
        flags = ("prompt_cut",) * cut + ("at_limit",) * at_limit
        kept.append(replace(answer, flags=answer.flags + flags))
    return kept


def _no_answers(body: Mapping[str, Any]) -> RequestError:
    """Return the error in a reply of status 200 without answers."""
    if body.get("error"):
        return error_of(None, body)
    # Azure and Gemini leave the answers out where the prompt was blocked, and say so elsewhere.
    filters = [found for name in ("prompt_filter_results", "promptFeedback") if (found := body.get(name))]
    if re.search(r"'filtered': True|'blockReason': '", str(filters)):
        return RequestError("content_filter", f"the prompt was blocked: {as_json(filters)}", retryable=False)
    if not body.get("choices") and any(body.get(name) for name in _MESSAGES):
        return error_of(None, body)
    return _malformed(f"expected answers in 'choices', found {describe(body.get('choices'))}")


def error_body(data: bytes) -> Any:
    """Return the parsed body of an error, or its text."""
    with suppress(RequestError):
        return parsed(data)
    return data[:LONGEST_ERROR].decode("utf-8", "replace")


def parsed(data: bytes) -> Any:
    """Return the JSON of a reply; raise ``RequestError`` if it is none."""
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


def _answer(choice: Any, tools: bool) -> Answer:
    message = choice.get("message", choice.get("delta")) if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping):
        raise _malformed(f"expected a message in each choice, found {describe(choice)}")
    reason = _reason(choice.get("finish_reason"))
    if not isinstance(message, Mapping):
        # An answer of the older completions protocol, or one that a filter removed.
        if type(choice.get("text")) is not str and not _is_refusal(reason):
            raise _without_message(choice)
        message = {"content": choice.get("text")}
    text, thought, refusal = said_in(message.get("content"))
    if type(message.get("refusal")) is str:
        refusal = message["refusal"] or refusal
    thought = next((words for name in _THOUGHTS if (words := words_in(message.get(name)))), thought)
    # OpenAI puts a refusal in a field of its own and says "stop".
    if refusal and not (text or "").strip():
        text, reason = refusal, "refusal"
    given = message.get("tool_calls") or None
    calls = given if tools and type(given) is list else None
    # A call of a tool that the teacher does not have is no answer, but it is what was paid for.
    if not text and calls is None and (given := given or message.get("function_call")):
        text, reason = as_json(given), "tool_calls"
    if not (text or "").strip():
        if choice.get("error") and not (thought or calls or _is_refusal(reason)):
            raise error_of(None, choice)
        if reason == UNKNOWN and not (thought or calls):
            raise _malformed(f"expected a text or a finish_reason, found {describe(choice)}")
    kept = without_halves(text), without_halves(reason), without_halves(thought)
    sound = sound_calls(calls)
    flags = () if kept == (text, reason, thought) and sound is calls else ("half_character",)
    return Answer(*kept, logprobs_in(choice.get("logprobs")), flags, sound)


def _without_message(choice: Mapping[str, Any]) -> RequestError:
    if choice.get("error"):
        return error_of(None, choice)
    return _malformed(f"expected a message in each choice, found {describe(choice)}")


def _reason(value: Any) -> str:
    # An answer without a reason is kept as one that may not be whole: asked again, it would be paid again.
    if not value:
        return UNKNOWN
    return value if type(value) is str else as_json(value)


def _is_refusal(reason: str) -> bool:
    return outcome_of({"error": None, "finish_reason": reason, "response": None}) == "refused"


def error_of(
    status: int | None, body: Any, *, should_retry: str | None = None, after: float | None = None
) -> RequestError:
    """Return the error in a parsed or plain body, as OpenAI, Azure, vLLM, Ollama and llama.cpp write it.

    ``should_retry`` is the server's advice, "true" or "false" (OpenAI's ``x-should-retry``).
    """
    # Gemini's errors are a list of one.
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    error = (body.get("error") or body) if isinstance(body, Mapping) else body
    if isinstance(body, Mapping) and type(error) is str:
        error = {**body, "message": error}
    kind, code, param, message = "", "", "", str(error or "")
    if isinstance(error, Mapping):
        kind = str(error.get("type") or error.get("error_type") or "")
        code, param, message = str(error.get("code") or ""), str(error.get("param") or ""), _message(error)
    if code.isdecimal():
        # Proxies answer with status 200 and tell the real one in the body.
        status = int(code) if status is None and code[0] in "45" and len(code) == 3 else status
    elif code:
        kind = code
    known: dict[str, Any] = {"status": status, "param": param}
    if (status or 0) < 500 and (refusal := _refusal(error, kind, status)):
        return RequestError(refusal, message, retryable=False, **known)
    # OpenAI sends status 429 for an account without credit, which no waiting helps.
    if _has_no_credit(kind, message):
        return RequestError(kind, message, retryable=False, fatal=True, **known)
    retryable = status is None or status in _RETRYABLE or status >= 500
    if should_retry in ("true", "false"):
        retryable = should_retry == "true"
    fatal = status in _FATAL
    return RequestError(kind or "http_error", message, retryable=retryable, fatal=fatal, after=after, **known)


def _has_no_credit(kind: str, message: str) -> bool:
    return bool(_NO_CREDIT.search(kind) or _NO_CREDIT_WORDS.search(message))


def _refusal(error: Any, kind: str, status: int | None) -> str:
    """Return the word with which an error says that the prompt was refused; empty if it does not."""
    if not isinstance(error, Mapping):
        return ""
    inner, more = error.get("innererror"), error.get("metadata")
    words = [kind, str(error.get("type") or ""), str(inner.get("code")) if isinstance(inner, Mapping) else ""]
    # OpenRouter says what it flagged in a prompt, and no word for it.
    if isinstance(more, Mapping) and ("flagged_input" in more or more.get("reasons")):
        words.append("moderation")
    if status in (400, 403, 422) and _REFUSING_WORDS.match(_message(error)):
        words.append("moderation")
    return next(filter(is_refusing, words), "")


def _message(error: Mapping[str, Any]) -> str:
    """Return an error's message, and behind it whatever else the error says."""
    message = next((error[name] for name in _MESSAGES if error.get(name)), None)
    if message is None:
        return str(error)
    text = message if type(message) is str else as_json(message)
    rest = {name: value for name, value in error.items() if name not in _READ and value}
    return f"{text} {as_json(rest)}" if rest else text
