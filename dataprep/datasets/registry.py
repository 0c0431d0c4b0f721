"""Find and load converters: one module per dataset, named as on the command line.

A converter module has

- a docstring: what the dataset is, its source and licence, and a sample row;
- ``SOURCE``: how it is published (a ``records.Source``);
- ``USER`` and ``ASSISTANT``, if its default wording is not that of multiple choice (see ``templates``);
- ``convert(row) -> Example``, pure; its keyword-only arguments are the dataset's own options. It raises
  ``RowError`` for a malformed row and ``RowDropped`` for a sound one that the options leave out;
- ``adopt(example)``, if its options mean something for rows that are Examples already: takes the same keyword
  arguments as ``convert``, and returns the Example (see ``source_rows.adopted``);
- ``is_source_row(row)``, if a row with an Example's fields can be a source row of this dataset;
- ``rows(document)``, if it is published as a JSON document that is no list of rows: yields its rows;
- ``split_of(row, scheme)`` and ``SCHEMES``, if one file holds several splits;
- ``LABELS``, if a second file holds the rows' labels: the file's name, and the field for a label;
- ``mapped_fields(columns)`` and ``has_field(row, path)``, if the user names the fields (``--map``).
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol, cast, get_args, get_origin, get_type_hints

from dataprep.core import io as files
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
    return sorted(_names())


@cache
def _names() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules(converters.__path__)) - {"choices"}


def is_name(name: str) -> bool:
    """Return whether a dataset has this name of its own."""
    return name in _names()


def canonical(name: str) -> str:
    """Return a dataset's own name; aliases, upper case and hyphens do not matter."""
    # Module names cannot have hyphens, and the hub's names do.
    plain = name.lower().replace("-", "_")
    return ALIASES.get(plain, plain)


def aliases(name: str) -> list[str]:
    """Return the other names of a dataset, given its own."""
    return [alias for alias, meant in ALIASES.items() if meant == name]


@cache
def load(name: str) -> Converter:
    """Import the converter module of a dataset, given its name or alias."""
    known = names()
    module = canonical(name)
    if module not in known:
        # A typing error is more likely than a wish for an unknown dataset.
        near = get_close_matches(module, [*known, *ALIASES, "examples", "rationales", "chat"], 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"unknown dataset {name!r}: {hint}the datasets are {', '.join(known)}")
    return cast(Converter, import_module(f"{converters.__name__}.{module}"))


def options(converter: Converter) -> Mapping[str, tuple[Any, ...]]:
    """Return a converter's own options, each with its accepted values (none for any)."""
    return _options(converter)


def _read_options(converter: Converter) -> Mapping[str, tuple[Any, ...]]:
    # The signature is the only declaration: an option cannot be listed and then not be accepted.
    parameters = inspect.signature(converter.convert).parameters.values()
    hints = get_type_hints(converter.convert)
    names = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    switches = {name: (True, False) for name in names if hints[name] is bool}
    choices = {name: get_args(hints[name]) for name in names if get_origin(hints[name]) is Literal}
    return {name: (switches | choices).get(name, ()) for name in names}


# Some commands ask for them once for each row.
_options: Callable[[Any], Mapping[str, tuple[Any, ...]]] = cache(_read_options)


def check_options(dataset: str, given: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` for an option that a dataset does not have, or a value that is not accepted."""
    known = options(load(dataset))
    for name, value in given.items():
        if name not in known:
            flags = ", ".join(map(_flag, known)) or "none"
            raise UsageError(f"{dataset} has no option {_flag(name)}; its own options: {flags}")
        # Not `in`: 1 and True are equal to Python.
        if known[name] and not any(value == item and type(value) is type(item) for item in known[name]):
            choices = " or ".join(str(choice) for choice in known[name] if choice is not None)
            raise UsageError(f"{_flag(name)} {value}: expected {choices}")


def _flag(option: str) -> str:
    # The one flag that is not named after its option: `map` would hide Python's own.
    return "--map" if option == "columns" else "--" + option.replace("_", "-")


def split_of(
    dataset: str, split: str | None, scheme: str | None
) -> Callable[[Mapping[str, Any]], str] | None:
    """Return what tells the split of each row, if a split is wanted and one file holds several.

    Raises:
        UsageError: the dataset has no such split or scheme.
    """
    converter: Any = load(dataset)
    schemes = getattr(converter, "SCHEMES", None)
    if schemes is None:
        if scheme is not None:
            check_options(dataset, {"split_scheme": scheme})
        if split is not None and split not in converter.SOURCE.splits:
            known = ", ".join(converter.SOURCE.splits)
            raise UsageError(f"{dataset} has no split {split!r}; its splits: {known}")
        return None
    scheme = scheme or "default"
    if scheme not in schemes:
        raise UsageError(f"unknown split scheme {scheme!r}: expected {' or '.join(schemes)}")
    if split is None:
        return None
    if split not in schemes[scheme]:
        known = ", ".join(schemes[scheme])
        raise UsageError(f"no split {split!r} in scheme {scheme!r}; its splits: {known}")
    return partial(converter.split_of, scheme=scheme)


def rows_of(converter: Converter | None, document: Any) -> Iterator[Any]:
    """Yield the rows of a JSON document: as its converter reads it, or those of a list, or one row."""
    rows = files.rows_in(document)
    if rows is None and converter is not None and hasattr(converter, "rows"):
        yield from converter.rows(document)
    else:
        yield from [document] if rows is None else rows


class DocumentRows:
    """Yield the rows of a JSON document, as ``rows_of`` does; picklable."""

    def __init__(self, converter: Converter | None) -> None:
        self._module = None if converter is None else cast(ModuleType, converter).__name__

    def __call__(self, document: Any) -> Iterator[Any]:
        """Yield the rows."""
        return rows_of(None if self._module is None else cast(Any, import_module(self._module)), document)
