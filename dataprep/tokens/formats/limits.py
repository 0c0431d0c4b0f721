"""Limits for chat templates: the time of a rendering, and the size of what one step of it makes.

A template is a program from a downloaded directory, so it may loop without an end or ask for a huge text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

# Seconds that one rendering may take; a long conversation takes a few milliseconds.
SECONDS = 10.0
# Rounds of loops and calls of macros after which the clock is looked at.
ROUNDS = 10_000
# Bits of a number, items of a repeated text or list, and the width of a filled text, that a template may
# compute in one step. No clock can stop such a step.
LARGEST = 1 << 20
# A width of at least eight digits in a format such as `%99999999d` or `{:>99999999}`.
_WIDE = re.compile(r"%[^%a-zA-Z]*\d{8}|\{[^}]*\d{8}")
# A format whose widths are arguments, such as `%*d` or `{:{}}`.
_GIVEN = re.compile(r"%[^%a-zA-Z]*\*|\{[^{}]*:[^{}]*\{")
# Filters and methods that make a text or a list as large as a number says.
FILTERS = ("batch", "center", "indent", "slice", "wordwrap")
_METHODS = frozenset({"center", "expandtabs", "ljust", "rjust", "to_bytes", "zfill"})


class Limit:
    """The limit of a template's time, which counts from the first ``ROUNDS`` on."""

    # A row's few rounds cost two subtractions: a look at the clock for each would take a third of its time.
    left = ROUNDS
    end: float | None = None

    def take(self, rounds: int) -> None:
        """Count rounds; raise ``TimeoutError`` if the time is over."""
        self.left -= rounds
        if self.left < 0:
            self.left, now = ROUNDS, time.monotonic()
            if self.end is None:
                self.end = now + SECONDS
            elif now > self.end:
                raise TimeoutError

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the items of a loop whose number is not known before."""
        for item in items:
            self.take(1)
            yield item


def check_numbers(*values: Any) -> None:
    """Raise ``OverflowError`` if a number that a step takes is too large."""
    for value in values:
        if isinstance(value, int) and value > LARGEST:
            raise OverflowError(f"a number given to a filter or function is too large: {value}")


def check_format(text: Any, values: Iterable[Any]) -> None:
    """Raise ``OverflowError`` if a format would make its values too wide."""
    if isinstance(text, str):
        if _WIDE.search(text):
            raise OverflowError(f"a width in the format {text[:40]!r} is too large")
        if _GIVEN.search(text):
            check_numbers(*values)


def checked(made: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that refuses numbers that are too large."""

    @wraps(made)  # with jinja's own marks
    def with_check(*args: Any, **options: Any) -> Any:
        check_numbers(*args, *options.values())
        return made(*args, **options)

    return with_check


def takes_width(call: Any) -> bool:
    """Return whether a method makes a text as wide as an argument; refuse a width that is in its text."""
    name, text = getattr(call.node, "attr", None), getattr(getattr(call.node, "node", None), "value", None)
    if name not in ("format", "format_map"):
        return name in _METHODS
    check_format(text, ())
    return isinstance(text, str) and bool(_GIVEN.search(text))


def check_size(operator: str, left: Any, right: Any) -> None:
    """Raise ``OverflowError`` if a product or a power would be too large."""
    if operator == "**":
        size = left.bit_length() * right if isinstance(left, int) and isinstance(right, int) else 0
    elif isinstance(left, int) and isinstance(right, int):
        size = left.bit_length() + right.bit_length()
    else:
        sized, count = (right, left) if isinstance(left, int) else (left, right)
        size = len(sized) * count if hasattr(sized, "__len__") and isinstance(count, int) else 0
    if size > LARGEST:
        raise OverflowError(f"the result of {operator} is too large")
