"""Make, read, check and classify the lines of a journal.

A line is an answer or a failure::

    {"id": "…", "key": "…", "teacher": "gpt-4o", "model": "gpt-4o", "sample": 0, "max_tokens": 512,
     "response": "(b)", "finish_reason": "stop", "reasoning": null,
     "usage": {"prompt_tokens": 83, "completion_tokens": 3}, "logprobs": [{"token": "b", "logprob": -0.1,
     "top": {"b": -0.1, "a": -2.4}}], "attempts": 1, "latency": 0.41, "time": "2026-11-21T10:00:00Z",
     "error": null}

A failure has ``"response": null`` and ``"error": {"status": 500, "type": "server_error", "message": "…",
"retryable": true}``. An answer that may not be what it seems has a further field ``"flags"``, a list of names
in ``FLAGS``. One that calls tools has ``"tool_calls"``, the list as the server sent it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from dataprep.core.errors import InputError, RowError
from dataprep.core.jsonl import MAX_LINE, parse_line, too_long
from dataprep.core.records import describe
from dataprep.models.sampling import GenerationConfig

if TYPE_CHECKING:
    from dataprep.core.io import FileBytes

Outcome = Literal["ok", "unknown", "length", "refused", "empty", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "unknown", "length", "refused", "empty", "failed")
# Doubts about answers, which nevertheless count as the server reports them.
FLAGS = {
    "at_limit": "ended by itself with exactly --max-tokens tokens, so it may be cut off",
    "prompt_cut": "the server counted fewer prompt tokens than the prompt has words, so it may have cut it",
    "half_character": "half of a surrogate pair was replaced by U+FFFD, because no file can hold it",
}
# The finish reason in the journal where the server gave none.
UNKNOWN = "unknown"

# Why an answer ended, in the words of OpenAI, vLLM, TGI, Mistral, Gemini, Anthropic, Cohere and others.
_WHOLE = frozenset(["stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed"])
_CUT_OFF = frozenset(["length", "max_tokens", "model_length", "max_length", "max_output_tokens"])
_REFUSED = frozenset(
    [
        "content_filter",
        "content_filtered",
        "refusal",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "sensitive",
        "error_toxic",
        "guardrail_intervened",
    ]
)
# The answer is a call of a tool; without the calls in the line it is no answer.
_CALLED = frozenset(["tool_calls", "tool_use", "function_call"])
# The answer was given up.
_BROKEN = frozenset(
    [
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "error",
        "timeout",
        "network_error",
        "interrupted",
        "incomplete",
        "malformed_function_call",
        "insufficient_system_resource",
    ]
)
_KNOWN = _WHOLE | _CUT_OFF | _REFUSED | _CALLED | _BROKEN
# Errors for a prompt that a filter or a moderator refused, without the marks between their words.
_REFUSING = re.compile(
    r"contentfilter|policyviolation|invalidprompt|datainspectionfailed"
    r"|moderation|promptblocked|prohibitedcontent|sensitivecontent"
)
# Levels of nesting, and characters of a value that is no JSON, in a line.
DEEPEST = 50
LONGEST_TEXT = 1_000
_BOM = b"\xef\xbb\xbf"


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

    ``failed``: no answer came, or the server gave it up. ``refused``: the teacher declined or a filter
    intervened. ``length``: ``max_tokens`` cut the answer off. ``empty``: the answer has no text and calls no
    tool.
    ``unknown``: the answer has a text, but the server did not say why it ended, or in words of its own.
    """
    if line["error"] is not None:
        return "refused" if is_refusing(line["error"].get("type")) else "failed"
    reason, calls = _plain(line["finish_reason"]), bool(line.get("tool_calls"))
    has_text = calls or bool((line["response"] or "").strip())
    if reason in _REFUSED:
        return "refused"
    if reason in _CUT_OFF:
        return "length"
    if reason in _WHOLE or (calls and reason in _CALLED):
        return "ok" if has_text else "empty"
    # Not `ok`: half an answer that passes for a whole one would be a wrong label. Not `failed`: it is paid
    # for, and would be asked again in every run.
    return "unknown" if has_text and reason not in _CALLED | _BROKEN else "failed"


def is_known(reason: str | None) -> bool:
    """Return whether a finish reason is one of the words that ``outcome_of`` knows."""
    return _plain(reason) in _KNOWN


def is_refusing(error_type: Any) -> bool:
    """Return whether an error of this type means that the prompt was refused."""
    return bool(_REFUSING.search(re.sub(r"[^a-z]", "", str(error_type or "").lower())))


def _plain(reason: str | None) -> str:
    return (reason or "").strip().lower().replace("-", "_")


def check_response(row: Any) -> dict[str, Any]:
    """Return the row if it is a line of a journal."""
    if type(row) is not dict:
        raise RowError("not a response", f"expected an object, found {describe(row)}")
    for name in ("id", "key", "teacher"):
        if type(row.get(name)) is not str:
            raise RowError("not a response", f"expected a text in {name!r}, found {describe(row.get(name))}")
    for name, kind in (("response", str), ("finish_reason", str), ("error", dict)):
        if name not in row or not isinstance(row[name], kind | None):
            value = describe(row.get(name)) if name in row else "no such field"
            raise RowError("not a response", f"expected {kind.__name__} or null in {name!r}, found {value}")
    if row["error"] is None and row["response"] is None and row["finish_reason"] is None:
        raise RowError("not a response", "it has neither a response nor an error")
    return row


def without_halves(text: str | None) -> str | None:
    """Return a text with U+FFFD for each half of a surrogate pair, which no file can hold."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def writable(value: Any, depth: int = 0) -> Any:
    """Return a value that JSON can hold: as it is where possible, else as text."""
    if isinstance(value, str):
        return without_halves(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 1 << 63:
        return value
    if depth < DEEPEST and isinstance(value, Mapping):
        return {without_halves(str(name)): writable(item, depth + 1) for name, item in value.items()}
    if depth < DEEPEST and isinstance(value, list | tuple):
        return [writable(item, depth + 1) for item in value]
    return without_halves(describe(value, LONGEST_TEXT))


def sample_of(row: Mapping[str, Any]) -> int:
    """Return which of several samples of one request a line is, counted from 0."""
    sample = row.get("sample", 0)
    if sample is None:
        return 0
    if type(sample) is not int or sample < 0:
        raise RowError("not a response", f"expected a number from 0 on in 'sample', found {describe(sample)}")
    return sample


class JournalReader:
    """The lines of several journals, one journal after the other.

    A line's offset is the number of bytes before it, counted through all journals.
    """

    def __init__(self, journals: Sequence[tuple[str, FileBytes | bytes]]) -> None:
        self._journals = journals
        self._bases = list(accumulate((len(text) for _, text in journals), initial=0))[:-1]
        self.torn: list[str] = []  # incomplete last lines as path:line, once all lines were read

    def lines(self, progress: Callable[[int], None] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield offset and row of every line, in order.

        The last line of a journal may be incomplete: without a newline, and not JSON. It is skipped and
        listed in ``torn``. ``progress`` is called with the number of bytes of each line.
        """
        self.torn.clear()
        for (path, text), base in zip(self._journals, self._bases, strict=True):
            rows = 0
            for number, (begin, end) in enumerate(_spans(text), 1):
                if end - begin > MAX_LINE:
                    raise too_long(path, number)
                line = text[begin:end]
                if progress is not None:
                    progress(end - begin + 1)
                if not line.strip():
                    continue
                rows += 1
                try:
                    row = parse_line(line)
                except RowError as error:
                    # A killed writer leaves such a line only at the end. Elsewhere a person must decide
                    # whether it was an answer.
                    if end == len(text) and error.reason in ("not JSON", "not UTF-8"):
                        self.torn.append(_where(path, number))
                        continue
                    advice = "restore the line, or remove it to have it asked again"
                    raise InputError(_where(path, number), f"{error}; {advice}") from None
                try:
                    check_response(row)
                    sample_of(row)
                except RowError as error:
                    expected = "expected the lines of a journal of responses"
                    raise InputError(_where(path, number), f"{error}; {expected}") from None
                yield base + begin, row
            if not rows:
                raise InputError(path, "the file is empty; expected the lines of a journal of responses")

    def row(self, offset: int) -> dict[str, Any]:
        """Return the row at an offset."""
        _, text, begin = self._at(offset)
        end = text.find(b"\n", begin)
        return parse_line(text[begin : end if end >= 0 else len(text)])

    def where(self, offset: int) -> str:
        """Return ``path:line`` of the row at an offset, for messages."""
        path, text, begin = self._at(offset)
        return _where(path, next(n for n, (start, _) in enumerate(_spans(text), 1) if start == begin))

    def _at(self, offset: int) -> tuple[str, FileBytes | bytes, int]:
        number = bisect_right(self._bases, offset) - 1
        return *self._journals[number], offset - self._bases[number]


def _spans(text: FileBytes | bytes) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each line, without its newline."""
    begin, length = len(_BOM) if text[: len(_BOM)] == _BOM else 0, len(text)
    while begin < length:
        end = text.find(b"\n", begin)
        yield begin, end if end >= 0 else length
        begin = end + 1 if end >= 0 else length


def _where(path: str, number: int) -> str:
    return f"{'standard input' if path == '-' else path}:{number}"
