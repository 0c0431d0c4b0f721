"""Check that a chat row is well-formed.

A chat row is a JSON object with a list ``messages``: an optional system message, then user and assistant
messages in turn, an assistant message last. Each message is an object with a known ``role`` and a non-empty
string ``content``. Fields with which other tools say what is learned, or what the model is shown, are faults,
because they would have no effect: ``find_ignored`` knows their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from dataprep.core.errors import RowError
from dataprep.core.jsonl import find_lost, parse_line
from dataprep.core.records import describe

ROLES = ("system", "user", "assistant")
_SOUND_FIELDS = {"role", "content"}

IGNORED = "field without effect"  # the kind of the findings of `find_ignored`
_LEARNED, _SHOWN = "what is learned", "what the model is shown"
# The words of a name that has one of these words anywhere: `loss_weight`, `assistant_masks`, `toolCalls`.
_WORDS = {
    **dict.fromkeys(("weight", "weights", "loss", "mask", "masks", "masked"), _LEARNED),
    **dict.fromkeys(("trainable", "learnable"), _LEARNED),
    **dict.fromkeys(("tool", "tools", "reasoning", "think", "thinking"), _SHOWN),
}
# The first word of a name, because `operating_system` and `score_chosen` say something else.
_FIRST_WORDS = {
    **dict.fromkeys(("train", "training", "chosen", "rejected"), _LEARNED),
    **dict.fromkeys(("system", "function", "functions"), _SHOWN),
}
_NAMES = {
    **dict.fromkeys(("ignore", "ignored", "skip", "masking"), _LEARNED),
    **dict.fromkeys(
        (
            "thought",
            "thoughts",
            "documents",
            "prefix",
            "image",
            "images",
            "audio",
            "audios",
            "video",
            "videos",
        ),
        _SHOWN,
    ),
    **dict.fromkeys(
        ("chat_template", "chat_template_kwargs", "template_kwargs", "image_url", "attachments"), _SHOWN
    ),
    **dict.fromkeys(("add_generation_prompt", "continue_final_message"), _SHOWN),
}
# In a row these are facts about it, for example its name, or the log-probabilities that distillation reads.
_NAMES_IN_MESSAGES = {
    **dict.fromkeys(("learn", "logprobs", "eot", "eos", "end_turn"), _LEARNED),
    **dict.fromkeys(("should_train", "do_train", "is_train", "is_training", "no_train"), _LEARNED),
    **dict.fromkeys(("supervise", "supervised", "labels", "is_rejected", "is_chosen"), _LEARNED),
    **dict.fromkeys(
        (
            "name",
            "partial",
            "refusal",
            "channel",
            "recipient",
            "parts",
            "rationale",
            "cot",
            "chain_of_thought",
            "experimental_attachments",
        ),
        _SHOWN,
    ),
}
# In a row, where the value is a boolean.
_ANSWER_IS_GOOD = ("label", "kto_tag")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class Finding(NamedTuple):
    """One fault of a row: the kind that faults are counted under, and the detail."""

    kind: str
    detail: str


def find_in(item: bytes | Any) -> Iterator[Finding]:
    """Yield what is wrong with a row as ``read_items`` gives it: a line, or a parsed value."""
    if isinstance(item, bytes):
        yield from find_in_line(item)
    elif isinstance(item, dict):
        yield from find_in_row(item)
    else:
        yield Finding("not a JSON object", f"found {describe(item)}")


def find_in_line(line: bytes) -> Iterator[Finding]:
    """Yield what is wrong with a line of a chat file."""
    try:
        row = parse_line(line)
    except RowError as error:
        yield Finding(error.reason, error.detail)
        return
    yield from (Finding(error.reason, error.detail) for error in find_lost(line, row))
    yield from find_in_row(row)


def find_in_row(row: dict[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with a parsed chat row."""
    if "messages" not in row:
        fields = ", ".join(map(repr, row)) or "none"
        yield Finding("no messages", f"expected a field 'messages'; the row's fields are {fields}")
        return
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        yield Finding("no messages", f"'messages' is {describe(messages)}; expected a non-empty list")
        return
    yield from find_ignored(row)
    roles = []
    for number, message in enumerate(messages):
        role, findings = _look_at(message, f"messages[{number}]")
        roles.append(role)
        yield from findings
    # With an unknown role, a second finding about the order would only repeat the first.
    if None not in roles:
        yield from _order_of(roles)


def find_ignored(row: Mapping[str, Any], place: str = "", *, learned: bool = False) -> list[Finding]:
    """Return the fields that say what is learned or shown to the model, and would have no effect.

    Fields with an empty value, as Parquet files have them, say nothing.

    Args:
        row: a row, or with ``place`` a message.
        place: where the message is in its row.
        learned: find only the fields that say what is learned, in rows without messages.
    """
    findings = []
    for name, meaning in _told(tuple(row), bool(place)):
        value = row[name]
        # KTO's label says whether the answer is a good one. Other labels are those of classifiers.
        if name in _ANSWER_IS_GOOD and (learned or type(value) is not bool):
            continue
        if (learned and meaning is not _LEARNED) or _is_empty(value):
            continue
        field = f"{place}.{name}" if place else f"the field {name!r}"
        told = f"{field} is {describe(value)}: it says {meaning}, and dataprep would ignore it"
        findings.append(Finding(IGNORED, f"{told}; remove the field, or leave the row out"))
    return findings


# The rows of a file have the same few sets of names, and nearly always none of them tells anything.
@lru_cache(maxsize=1024)
def _told(names: tuple[str, ...], in_message: bool) -> tuple[tuple[str, str], ...]:
    """Return the names that may say something, each with what it says."""
    told = []
    for name in names:
        meaning = _LEARNED if name in _ANSWER_IS_GOOD and not in_message else _meaning(str(name), in_message)
        if meaning is not None:
            told.append((name, meaning))
    return tuple(told)


def _meaning(name: str, in_message: bool) -> str | None:
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return None
    joined = "_".join(words)
    meaning = _NAMES.get(joined) or _FIRST_WORDS.get(words[0])
    if meaning is None and in_message:
        meaning = _NAMES_IN_MESSAGES.get(joined)
    return meaning or next((_WORDS[word] for word in words if word in _WORDS), None)


def _is_empty(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list):
        return all(map(_is_empty, value))
    return value is None or (isinstance(value, str) and not value.strip())


def _look_at(message: Any, place: str) -> tuple[str | None, list[Finding]]:
    """Return a message's role, or ``None`` if it is unknown, and what is wrong with the message."""
    if not isinstance(message, dict):
        expected = 'expected {"role": …, "content": …}'
        return None, [Finding("malformed message", f"{place} is {describe(message)}; {expected}")]
    findings = []
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        found = describe(role) if "role" in message else "missing"
        detail = f"{place}.role is {found}; expected one of {', '.join(ROLES)}"
        findings.append(Finding("unknown role", detail))
    if not isinstance(content, str):
        found = describe(content) if "content" in message else "missing"
        findings.append(Finding("content is no string", f"{place}.content is {found}"))
    elif not content.strip():
        findings.append(Finding("empty content", f"{place}.content is {describe(content)}"))
    # Nearly all messages have these two fields only.
    if message.keys() != _SOUND_FIELDS:
        findings.extend(find_ignored(message, place))
    return (role if role in ROLES else None), findings


def _order_of(roles: list[str | None]) -> Iterator[Finding]:
    turns = roles[1:] if roles[0] == "system" else roles
    expected = [("user", "assistant")[number % 2] for number in range(len(turns))]
    shown = " ".join(str(role) for role in roles)
    if turns != expected:
        rule = "an optional system message, then user and assistant in turn"
        yield Finding("roles out of order", f"found {shown}; expected {rule}")
    elif not turns or turns[-1] != "assistant":
        yield Finding("no assistant at the end", f"found {shown}; expected an assistant message last")
