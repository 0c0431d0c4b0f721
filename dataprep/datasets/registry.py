"""One module a dataset; a module's name is the dataset's name on the command line.

A converter module has

- a docstring: what the set is, where it comes from, its licence, and a sample row;
- ``SOURCE``: what it is published as (a ``records.Source``);
- ``USER`` and ``ASSISTANT``: its default wording (see ``templates``);
- ``convert(row) -> Example``, pure; its keyword-only arguments are the dataset's own options;
- where the published file is no JSON Lines, ``rows(document)``: the rows of the whole JSON document;
- where one published file holds several splits, ``split_of(row, scheme)`` and ``SCHEMES``;
- where a second file holds the rows' labels, ``LABELS``: its name, and the field that a label becomes;
- where the row's fields are named by the user (the option ``columns``), ``mapped_fields(columns)`` and
  ``has_field(row, path)``.

Nothing is registered anywhere: ``names`` lists this folder.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Literal, Protocol, cast, get_args, get_origin, get_type_hints

from dataprep.core.errors import UsageError
from dataprep.core.records import Example, Source
from dataprep.datasets import converters

ALIASES: Mapping[str, str] = {
    "obqa": "openbookqa",
    "riddle": "riddlesense",
    "aqua": "aqua_rat",
    "csqa": "commonsense_qa",
}
"""Other names that sets are known by, on the command line and as folders in ``raw/``."""


class Converter(Protocol):
    """What a converter module holds."""

    SOURCE: Source
    USER: str
    ASSISTANT: str
    convert: Callable[..., Example]


def names() -> list[str]:
    """Return the datasets that have a converter, sorted."""
    return sorted(
        module.name for module in pkgutil.iter_modules(converters.__path__) if module.name != "choices"
    )


def canonical(name: str) -> str:
    """A dataset's own name: aliases, upper case and hyphens do not matter."""
    plain = name.lower().replace("-", "_")
    return ALIASES.get(plain, plain)


def load(name: str) -> Converter:
    """The converter module of a dataset; upper case and hyphens in the name do not matter.

    Raises:
        UsageError: there is none.
    """
    known = names()
    module = canonical(name)
    if module not in known:
        near = get_close_matches(module, [*known, *ALIASES], 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"unknown dataset {name!r}: {hint}the datasets are {', '.join(known)}")
    return cast(Converter, import_module(f"{converters.__name__}.{module}"))


def options(converter: Converter) -> Mapping[str, tuple[Any, ...]]:
    """A converter's own options, each with the values it may have (none: any)."""
    parameters = inspect.signature(converter.convert).parameters.values()
    hints = get_type_hints(converter.convert)
    return {
        p.name: get_args(hints[p.name]) if get_origin(hints[p.name]) is Literal else ()
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
    }


def rows_of(converter: Converter | None, document: Any) -> Iterator[Any]:
    """The rows in a JSON document: as its converter reads it, or an array of rows, or one row."""
    if converter is not None and hasattr(converter, "rows"):
        yield from converter.rows(document)
    elif isinstance(document, list):
        yield from document
    else:
        yield document
