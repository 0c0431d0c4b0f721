"""Find the fields of other tools that would have no effect.

Many tools let a row say what is learned, or what the model is shown. dataprep reads some of these fields
(``MESSAGE_KEYS``, ``ROW_KEYS``). A field that it does not read must not be ignored silently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from dataprep.core.records import describe

REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""The names of an assistant's reasoning; the first one that has a text is read."""
LOSS_FIELDS = ("loss", "weight", "train")
"""The names of a message's loss mark."""
MESSAGE_KEYS = frozenset(
    {"role", "content", "tool_calls", "tool_call_id", "name", *REASONING_FIELDS, *LOSS_FIELDS}
)
"""The keys of a message that dataprep reads."""
ROW_KEYS = frozenset({"messages", "tools", "chat_template_kwargs"})
"""The keys of a chat row that dataprep reads, besides ``id`` and ``source``."""

NOT_VARIABLES = frozenset(
    {"messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template"}
)
"""What a template gets by other ways than ``chat_template_kwargs``: from the row, the command, the model."""

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
    **dict.fromkeys(("thought", "thoughts", "documents", "attachments", "prefix"), _SHOWN),
    **dict.fromkeys(("image", "images", "image_url", "audio", "audios", "video", "videos"), _SHOWN),
    **dict.fromkeys(("chat_template", "chat_template_kwargs", "template_kwargs"), _SHOWN),
    **dict.fromkeys(("add_generation_prompt", "continue_final_message"), _SHOWN),
}
# In a row these are facts about it, for example its name, or the log-probabilities that distillation reads.
_NAMES_IN_MESSAGES = {
    **dict.fromkeys(("learn", "logprobs", "eot", "eos", "end_turn"), _LEARNED),
    **dict.fromkeys(("should_train", "do_train", "is_train", "is_training", "no_train"), _LEARNED),
    **dict.fromkeys(("supervise", "supervised", "labels", "is_rejected", "is_chosen"), _LEARNED),
    **dict.fromkeys(("name", "partial", "refusal", "channel", "recipient", "parts"), _SHOWN),
    **dict.fromkeys(("rationale", "cot", "chain_of_thought", "experimental_attachments"), _SHOWN),
}
# In a row, where the value is a boolean.
_ANSWER_IS_GOOD = ("label", "kto_tag")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class Finding(NamedTuple):
    """One fault of a row: the kind that faults are counted under, and the detail."""

    kind: str
    detail: str


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
        if (learned and meaning is not _LEARNED) or is_empty(value):
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
    known = MESSAGE_KEYS if in_message else ROW_KEYS
    for name in names:
        if name in known:
            continue
        meaning = _LEARNED if name in _ANSWER_IS_GOOD and not in_message else _meaning(str(name), in_message)
        if meaning is not None:
            told.append((name, meaning))
    return tuple(told)


@lru_cache(maxsize=1024)
def unknown_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys of a message that are neither read nor findings of ``find_ignored``."""
    told = {name for name, _ in _told(names, True)}
    return tuple(name for name in names if name not in MESSAGE_KEYS and name not in told)


def _meaning(name: str, in_message: bool) -> str | None:
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return None
    joined = "_".join(words)
    meaning = _NAMES.get(joined) or _FIRST_WORDS.get(words[0])
    if meaning is None and in_message:
        meaning = _NAMES_IN_MESSAGES.get(joined)
    return meaning or next((_WORDS[word] for word in words if word in _WORDS), None)


def is_empty(value: Any) -> bool:
    """Return whether a value says nothing: null, white space, or only such values."""
    values = [value]
    # Not recursive, because JSON can be nested as deeply as Python calls can.
    while values:
        value = values.pop()
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif value is not None and not (isinstance(value, str) and not value.strip()):
            return False
    return True
