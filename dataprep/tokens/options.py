"""Options of token shards, and a conversation in tokens that is cut where it is too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from dataprep.core.errors import RowDropped, RowError, UsageError
from dataprep.core.ignored_fields import NOT_VARIABLES
from dataprep.core.options import canonical_date, check, option

# Options of commands import this name, so nothing heavy may be imported here: `--help` must answer at once.
TRUNCATIONS = ("error", "drop", "truncate")
LOSSES = ("all", "last", "marked")


@dataclass(slots=True)
class Encoded:
    """A conversation in tokens."""

    ids: list[int]  # token ids, L of them
    mask: bytearray  # L bytes: 1 where the token is in the loss, else 0


def spans_of(mask: bytes | bytearray) -> list[tuple[int, int]]:
    """Return the spans of tokens in the loss as (first, one after the last): the answers, in order.

    >>> spans_of(bytes([0, 1, 1, 0, 1]))
    [(1, 3), (4, 5)]
    """
    spans, start = [], mask.find(1)
    while start >= 0:
        end = mask.find(0, start)
        end = len(mask) if end < 0 else end
        spans.append((start, end))
        start = mask.find(1, end)
    return spans


class Truncated(NamedTuple):
    """A row that is short enough, and how many of its answers were shortened or removed."""

    encoded: Encoded
    cut_answers: int = 0


def truncate(encoded: Encoded, max_length: int, truncation: str = "error") -> Truncated:
    """Shorten a row to at most ``max_length`` tokens, or raise ``RowError`` or ``RowDropped``."""
    if truncation not in TRUNCATIONS or max_length < 1:
        raise UsageError(
            f"expected 1 token or more, and one of {', '.join(TRUNCATIONS)}; "
            f"found {max_length} and {truncation!r}"
        )
    length = len(encoded.ids)
    if length <= max_length:
        return Truncated(encoded)
    lengths = f"found {length:,} tokens; expected at most {max_length:,}"
    if truncation == "error":
        raise RowError("too many tokens", f"{lengths}: drop or truncate such rows, or allow more")
    if truncation == "drop":
        raise RowDropped("too many tokens", lengths)
    # Questions are never cut. The row ends with the last answer of which at least one token fits; a question
    # that loses its whole answer is removed with it.
    spans = spans_of(encoded.mask)
    kept = [span for span in spans if span[0] < max_length]
    if not kept:
        raise RowDropped("no room for an answer", lengths)
    # A shortened answer gets no end-of-turn token: that would teach the model to stop in the middle.
    end = min(kept[-1][1], max_length)
    cut = sum(last > end for _, last in spans)
    return Truncated(Encoded(encoded.ids[:end], encoded.mask[:end]), cut)


def first_difference(first: Sequence[object], second: Sequence[object]) -> int | None:
    """Return the index at which two sequences first differ, or ``None`` if they are equal.

    >>> first_difference("abc", "abd"), first_difference("ab", "abc"), first_difference("a", "a")
    (2, 2, None)
    """
    pairs = zip(first, second, strict=False)
    at = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
    if at is None and len(first) != len(second):
        return min(len(first), len(second))
    return at


def parse_template_args(texts: Sequence[str]) -> dict[str, Any]:
    """Return the variables in texts such as ``enable_thinking=false``.

    >>> parse_template_args(["enable_thinking=false", "effort=high"])
    {'enable_thinking': False, 'effort': 'high'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise UsageError(f"--template-arg {text}: expected NAME=VALUE, such as enable_thinking=false")
        if name in NOT_VARIABLES:
            from_where = "it comes from the row or the command"
            raise UsageError(f"--template-arg {text}: {name} is no variable of a template; {from_where}")
        if name in found:
            raise UsageError(f"--template-arg {text}: {name} is given twice; give it once")
        try:
            found[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[name] = value
    return found


def write_template_args(variables: Mapping[str, Any]) -> list[str]:
    """Return the texts that ``parse_template_args`` makes the variables of."""
    return [f"{name}={orjson.dumps(value).decode('utf-8')}" for name, value in variables.items()]


TEMPLATE_ARG: dict[str, Any] = {
    "help": "Variable of the chat template, such as enable_thinking=false; can be repeated. VALUE is JSON or "
    "text; a row's own chat_template_kwargs win.",
    "flag": "--template-arg",
    "metavar": "NAME=VALUE",
    "parse": parse_template_args,
    "write": write_template_args,
}
LOSS: dict[str, Any] = {
    "help": "Assistant messages in the loss: all but those marked as not, the last one, or those marked.",
    "choices": LOSSES,
}
SPLIT_THINKING = "Read <think>…</think> at the beginning of an answer as its reasoning."


@dataclass(frozen=True, slots=True)
class TextOptions:
    """Options of texts and of the loss mask; each field has the help text of its flag."""

    strip: bool = option(False, "Strip white space around contents.")
    date: str | None = option(
        None, "Date that the chat format writes, such as 2024-07-26 or '26 Jul 2024'.", metavar="DATE"
    )
    template_args: Mapping[str, Any] = option(dict, **TEMPLATE_ARG)
    loss: str = option("all", **LOSS)
    split_thinking: bool = option(False, SPLIT_THINKING)

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "date", canonical_date(self.date))


# The manifest of shards lists the options in this order: another order would change its bytes.
@dataclass(frozen=True, slots=True)
class ShardOptions(TextOptions):
    """The options of making shards; each field has the help text of its flag.

    Raises:
        UsageError: a value is not accepted, or two options exclude each other.
    """

    pack: int | None = option(None, "Pack documents into sequences of N tokens.", metavar="N", min=2)
    split_long: bool = option(False, "Divide documents that are longer than a sequence.")
    seed: int = option(42, "Seed of the sequences' order.", metavar="N")
    max_length: int | None = option(
        None,
        "Maximum number of tokens per row. Defaults to N of --pack; with --student, to 256.",
        metavar="N",
    )
    truncation: str = option(
        "error", "What to do with longer rows. With --student, defaults to truncate.", choices=TRUNCATIONS
    )

    def __post_init__(self) -> None:
        TextOptions.__post_init__(self)  # `super()` does not find a class with slots
        if self.max_length is not None and self.max_length < 2:  # not a `min` of the flag: --student takes 1
            raise UsageError(f"--max-length {self.max_length}: must be 2 or more")
        if self.split_long and self.pack is None:
            raise UsageError("--split-long needs --pack N: it divides documents longer than a sequence")
        if self.pack and self.max_length and self.max_length > self.pack and not self.split_long:
            raise UsageError(
                f"--max-length {self.max_length} is longer than a sequence (--pack {self.pack}): "
                "give --split-long, or a shorter length"
            )

    @property
    def limit(self) -> int | None:
        """Maximum number of tokens per row; ``None`` for any number."""
        return self.pack if self.max_length is None and not self.split_long else self.max_length
