"""Declare the options of a command once, as fields of a dataclass.

A field declares its flag, help text, default, and the values that it accepts::

    @dataclass(frozen=True)
    class TrainOptions:
        epochs: float = option(1.0, "Number of passes over the rows.", above=0)

        def __post_init__(self) -> None:
            check(self)

``dataprep.cli.options`` builds the flags from such fields, and reads their values from a TOML file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date as Date
from functools import cache
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dataprep.core.errors import UsageError
from dataprep.core.urls import is_url


@dataclass(frozen=True)
class Option:
    """The appearance of a field on the command line."""

    help: str
    flag: str = ""  # the flag, such as `--eval`; with `/--no-eval` for a pair. Defaults to the field's name
    metavar: str | None = None  # placeholder for the value in the help text
    choices: tuple[str, ...] = ()  # accepted values; empty for any value
    min: float | None = None  # smallest accepted number
    max: float | None = None  # largest accepted number
    above: float | None = None  # number that the value must exceed
    # Converts the flag's value to the field's. A field that holds a tuple or a mapping gets the list of
    # all values of its flag.
    parse: Callable[[Any], Any] | None = None
    # Converts a mapping to the values of its flag; by default each item is NAME=VALUE.
    write: Callable[[Any], list[str]] | None = None
    kind: Any = None  # type of the flag's value, where it is not the field's
    shown: Any = None  # default as the flag's value, where it is not the field's
    is_path: bool = False  # whether the value can be a local path; a recorded run keeps it as an absolute one
    instead_of: str | None = None  # field of another option, which a file gives in vain if this flag is given
    names: tuple[str, ...] = ()  # values of a path's option that are no paths, whatever files there are

    @property
    def key(self) -> str:
        """Return the option's name in a file: ``--learning-rate`` is ``learning_rate``."""
        return self.flag.partition("/")[0].lstrip("-").replace("-", "_")


def option(default: Any, help: str, **settings: Any) -> Any:
    """Return a dataclass field that is an option; ``settings`` are further attributes of ``Option``.

    A default that is a class, such as ``dict``, makes a new one for each object.
    """
    # Not `field(metadata=…)` at each field: with a function, a misspelled setting is an error.
    metadata = {"option": Option(help, **settings)}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(options: Any) -> Iterator[tuple[str, Option, Any]]:
    """Yield name, option and default of each field that is an option; of a dataclass or an object of one."""
    for item in fields(options):
        if found := item.metadata.get("option"):
            flag = found.flag or "--" + item.name.replace("_", "-")
            # A factory is called each time, as callers may change what they get.
            default = item.default_factory() if callable(item.default_factory) else item.default
            yield item.name, replace(found, flag=flag), default


def check(options: Any) -> None:
    """Check that each option of a dataclass has an accepted value, as the command line checks its flags."""
    hints = _hints(type(options))
    for name, found, _ in options_of(options):
        value = getattr(options, name)
        if value is not None and found.choices and value not in found.choices:
            raise UsageError(f"{found.flag} {value}: must be one of {', '.join(found.choices)}")
        if not _fits(value, hints[name]):
            raise UsageError(f"{found.flag} {value!r}: expected {_name_of(hints[name])}")
        if value is None:
            continue
        # Written so that NaN, which compares as false with everything, is out of every range.
        if found.above is not None and not found.above < value < float("inf"):
            raise UsageError(f"{found.flag} {value}: must be a number above {found.above}")
        if found.min is not None and not found.min <= value < float("inf"):
            raise UsageError(f"{found.flag} {value}: must be {found.min} or more")
        if found.max is not None and value > found.max:
            raise UsageError(f"{found.flag} {value}: must be {found.max} or less")


# Reading annotations takes longer than checking values; they are the same for all objects of a class.
_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


# The types of options, each with the values that it takes and its name. A boolean is a number to Python only.
_TYPES: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "True or False"),
    int: ((Integral,), "a whole number"),
    float: ((Real,), "a number"),
    str: ((str, PathLike), "a text"),
    tuple: ((tuple, list), "a list"),
    Mapping: ((Mapping,), "names with their values"),
}


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if (origin or hint) not in _TYPES:
        return hint is Any or not isinstance(hint, type) or isinstance(value, hint)
    kinds, _ = _TYPES[origin or hint]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return False
    return not isinstance(value, tuple | list) or all(_fits(item, inner[0]) for item in value)


def _name_of(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_name_of(each) for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    return _TYPES.get(get_origin(hint) or hint, ((), "another type"))[1]


def check_whole(flag: str, value: Any, least: int | None = None) -> None:
    """Raise ``UsageError`` unless a value is a whole number, and not below the least one."""
    if isinstance(value, bool) or not isinstance(value, Integral) or (least is not None and value < least):
        more = "" if least is None else f", {least} or more"
        raise UsageError(f"{flag} {value!r}: must be a whole number{more}")


def parse_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Split texts such as ``question,answer`` at their commas."""
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


def canonical_date(date: str | None) -> str | None:
    """Return a date such as ``2024-07-26`` in the form ``26 Jul 2024``, and any other text as it is.

    >>> canonical_date("2024-07-26")
    '26 Jul 2024'
    """
    if date is None:
        return None
    try:
        return Date.fromisoformat(date).strftime("%d %b %Y") if len(date) == len("2024-07-26") else date
    except ValueError:
        return date


def parse_delimiter(text: str) -> str:
    """Return the character between a table's cells; ``tab`` is a name for it."""
    character = "\t" if text in ("tab", "\\t") else text
    if len(character) != 1 or character in '"\r\n\0' or character.isalnum():
        raise UsageError(f"--delimiter {text!r}: expected one character, such as ';', or tab")
    return character


def parse_size(text: str) -> int:
    """Return the bytes in a text such as ``256M`` or ``2G`` (powers of 1,024)."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    number, shift = text.strip().upper().removesuffix("B").removesuffix("I"), 0
    if number and number[-1] in units:
        number, shift = number[:-1], units[number[-1]]
    try:
        # Through float, so that 1.5G is a size too.
        size = int(float(number) * (1 << shift))
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise UsageError(f"{text!r} is not a size: expected a number with K, M or G, such as 256M")
    return size


def to_config(options: Any) -> dict[str, Any]:
    """Return the options of an object as ``--config`` reads them: values of their flags, by key.

    Local paths become absolute, so that the options also hold in another working directory.
    """
    values = {}
    for name, found, _ in options_of(options):
        value = getattr(options, name)
        if found.is_path and value is not None:
            # A name on the hub is no path either, and stays as it is.
            value = value if value in found.names else absolute(value)
        elif found.write is not None:
            value = found.write(value)
        elif isinstance(value, Mapping):
            value = [f"{key}={item}" for key, item in value.items()]
        values[found.key] = list(value) if isinstance(value, tuple) else value
    return values


def absolute(path: str) -> str:
    """Return a path that exists as an absolute one; other texts, such as a name on the hub, as they are."""
    return str(Path(path).resolve()) if not is_url(path) and Path(path).exists() else path


def to_toml(values: Mapping[str, Any]) -> str:
    """Return strings, numbers, booleans and lists of these as TOML, a line for each; leave out ``None``."""
    lines = []
    for key, value in values.items():
        if value is not None:
            name = key if key.isascii() and key.isidentifier() else _toml(key)
            lines.append(f"{name} = {_toml(value)}\n")
    return "".join(lines)


def _toml(value: Any) -> str:
    # Before the numbers: a boolean is an int to Python.
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A basic string has JSON's escapes, but neither halves of surrogate pairs, which JSON needs for
        # characters beyond U+FFFF when it is ASCII, nor a bare DEL.
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, int | float):
        return repr(value)  # also `inf` and `nan` are spelled as in TOML
    return f"[{', '.join(map(_toml, value))}]"
