"""Find and load converters: one module per dataset, named as on the command line.

A converter module has

- a docstring: what the dataset is, its source and licence, and a sample row;
- ``SOURCE``: how it is published (a ``records.Source``);
- ``USER`` and ``ASSISTANT``, if its default wording is not that of multiple choice (see ``templates``);
- ``convert(row) -> Example``, pure; its keyword-only arguments are the dataset's own options. It raises
  ``RowError`` for a malformed row and ``RowDropped`` for a sound one that the options leave out;
- ``rows(document)``, if it is published as a JSON document: yields the document's rows;
- ``split_of(row, scheme)`` and ``SCHEMES``, if one file holds several splits;
- ``LABELS``, if a second file holds the rows' labels: the file's name, and the field for a label;
- ``mapped_fields(columns)`` and ``has_field(row, path)``, if the user names the fields (``--map``).
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

# Other names of datasets, on the command line and as folders in `raw/`.
ALIASES = {"obqa": "openbookqa", "riddle": "riddlesense", "aqua": "aqua_rat", "csqa": "commonsense_qa"}


class Converter(Protocol):
    """The attributes that every converter module has."""

    SOURCE: Source
    convert: Callable[..., Example]


def names() -> list[str]:
    """Return the datasets that have a converter, sorted."""
    # There is no list to keep up to date: every module in the folder but the shared one is a dataset.
    return sorted({module.name for module in pkgutil.iter_modules(converters.__path__)} - {"choices"})


def canonical(name: str) -> str:
    """Return a dataset's own name; aliases, upper case and hyphens do not matter."""
    # Module names cannot have hyphens, and the hub's names do.
    plain = name.lower().replace("-", "_")
    return ALIASES.get(plain, plain)


def aliases(name: str) -> list[str]:
    """Return the other names of a dataset, given its own."""
    return [alias for alias, meant in ALIASES.items() if meant == name]


def load(name: str) -> Converter:
    """Import the converter module of a dataset, given its name or alias."""
    known = names()
    module = canonical(name)
    if module not in known:
        # A typing error is more likely than a wish for an unknown dataset.
        near = get_close_matches(module, [*known, *ALIASES], 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"unknown dataset {name!r}: {hint}the datasets are {', '.join(known)}")
    return cast(Converter, import_module(f"{converters.__name__}.{module}"))


def options(converter: Converter) -> Mapping[str, tuple[Any, ...]]:
    """Return a converter's own options, each with its accepted values (none for any)."""
    # The signature is the only declaration: an option cannot be listed and then not be accepted.
    parameters = inspect.signature(converter.convert).parameters.values()
    hints = get_type_hints(converter.convert)
    names = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return {name: get_args(hints[name]) if get_origin(hints[name]) is Literal else () for name in names}


def rows_of(converter: Converter | None, document: Any) -> Iterator[Any]:
    """Yield the rows of a JSON document: as its converter reads it, or an array of rows, or one row."""
    if converter is not None and hasattr(converter, "rows"):
        yield from converter.rows(document)
    elif isinstance(document, list):
        yield from document
    else:
        yield document
