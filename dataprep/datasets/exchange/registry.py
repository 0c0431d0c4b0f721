"""Find the formats of other tools: every module in ``exchange/formats``, and no list of them.

A module has:

- ``NAME``, as on the command line: the module's name, with hyphens;
- ``read(row, account)``, which returns the chat row of a row; a format with it is one of ``--from``;
- ``matches(row)``, which tells whether a row looks like one of the format; formats with ``read`` have it.
  ``REFINES`` names a format that the rows also look like: one row that matches is enough then;
  with ``YIELDS = True``, rows that look like another format too are of that one;
- ``write(row, account)``, which returns the row of a chat row; a format with it is one of ``--to``;
- ``check_output(output)``, which raises if the rows cannot be written there, and ``finish(output)``, which
  writes a file that belongs to the output and returns its path; both may be missing;
- ``DIRECTORY = True`` if the output is a directory, which ``exchange.hub_directory`` writes.

``read`` and ``write`` never change the row that they get, and tell the account what does not come through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal

from dataprep.core.errors import InputError, UsageError
from dataprep.datasets.exchange import formats

Verb = Literal["read", "write"]
_FLAGS = {"read": "--from", "write": "--to"}


@cache
def names(verb: Verb) -> tuple[str, ...]:
    """Return the formats that can be read or written."""
    known = sorted(module.name.replace("_", "-") for module in iter_modules(formats.__path__))
    return tuple(name for name in known if hasattr(_module(name), verb))


def load(name: str, verb: Verb) -> Any:
    """Return the module of a format; raise ``UsageError`` if it cannot be read or written."""
    if name not in names(verb):
        raise UsageError(f"{_FLAGS[verb]} {name}: must be one of {', '.join(names(verb))}")
    return _module(name)


def _module(name: str) -> Any:
    return import_module(f"{formats.__name__}.{name.replace('-', '_')}")


def guess(rows: Iterable[Mapping[str, Any]], where: str) -> str:
    """Return the format of rows; raise ``InputError`` if it is none or several."""
    rows = list(rows)
    modules = [_module(name) for name in names("read")]
    fitting = []
    for module in modules:
        matching = [module.matches(row) for row in rows]
        base = getattr(module, "REFINES", None)
        if base is None:
            fitting += [module.NAME] if rows and all(matching) else []
        elif any(matching):
            # Rows without anything special, such as a question and an answer, look like the base.
            others = [row for row, found in zip(rows, matching, strict=True) if not found]
            if all(map(_module(base).matches, others)):
                return str(module.NAME)
    if len(fitting) > 1:  # rows of other formats often have their rendered text too
        fitting = [name for name in fitting if not getattr(_module(name), "YIELDS", False)]
    if len(fitting) == 1:
        return str(fitting[0])
    if fitting:
        raise InputError(where, f"the rows look like {' and like '.join(fitting)}; choose with --from")
    known = ", ".join(names("read"))
    found = _fields_in(rows)
    raise InputError(where, f"the format of the rows is not known; {found}; give --from, one of {known}")


def _fields_in(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "there are no rows"
    first, *others = (", ".join(map(repr, row)) or "none" for row in rows)
    other = next((fields for fields in others if fields != first), None)
    found = f"the fields of the first row are {first}"
    return found if other is None else f"{found}; those of a later one are {other}"
