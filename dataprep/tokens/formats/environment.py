"""The Jinja environment of chat templates: the one of ``transformers``, in a sandbox with limits.

Import this module where a template is compiled, and not before: it needs jinja2.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from jinja2 import nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import do_format
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from dataprep.tokens.formats.limits import (
    FILTERS,
    LARGEST,
    Limit,
    check_format,
    check_numbers,
    check_size,
    checked,
    takes_width,
)


def make_environment(
    limit: Limit, strftime_now: Callable[[str], str] | None
) -> ImmutableSandboxedEnvironment:
    """Return the environment that ``transformers`` 5.23 renders chat templates in, with limits.

    Its attribute ``marks`` is put around what ``{% generation %}`` encloses; ``None`` for no marks.

    Args:
        limit: counts the rounds of loops and macros.
        strftime_now: returns the date in a form such as ``%d %b %Y``; ``None`` for templates without a date.
    """
    environment = LimitedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.extend(marks=None)
    environment.filters |= {name: checked(environment.filters[name]) for name in FILTERS}
    environment.filters |= {"tojson": _tojson, "format": _format, "small": _small}
    environment.filters["timed"] = pass_context(partial(_timed, limit))
    del environment.globals["lipsum"]  # random text of any length
    environment.globals |= {"raise_exception": _raise_exception, "dict": TemplateDict()}
    environment.globals["namespace"] = TemplateNamespace
    if strftime_now is not None:
        environment.globals["strftime_now"] = strftime_now
    return environment


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, with a time limit: loops and macros count their rounds."""

    intercepted_binops = frozenset({"*", "**"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        loops = list(template.find_all(nodes.For))
        # A call of a macro, or of a recursive loop, is a round of its own.
        recursive = [loop for loop in loops if loop.recursive]
        for body in [*template.find_all((nodes.Macro, nodes.CallBlock)), *recursive]:
            once = _filter(nodes.Const(" "), "timed", body.lineno)
            body.body.insert(0, nodes.ExprStmt(once, lineno=body.lineno))  # type: ignore[attr-defined]
        for loop in loops:
            loop.iter = _filter(loop.iter, "timed", loop.lineno)
        # Only where they can be large: to look at every call and every `%` costs a tenth of the time.
        for call in template.find_all(nodes.Call):
            if takes_width(call):
                call.args = [_filter(arg, "small", arg.lineno) for arg in call.args]
        for rest in template.find_all(nodes.Mod):
            if isinstance(rest.left, nodes.Const):
                check_format(rest.left.value, (LARGEST + 1,))
        return template

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute a product or a power that is not too large."""
        check_size(operator, left, right)
        return super().call_binop(context, operator, left, right)


def _filter(value: nodes.Node, name: str, line: int) -> nodes.Filter:
    return nodes.Filter(cast(nodes.Expr, value), name, [], [], None, None, lineno=line)


class Generation(Extension):
    """``{% generation %}…{% endgeneration %}`` around what the assistant says."""

    tags = {"generation"}  # noqa: RUF012 - the form that jinja2 expects

    def parse(self, parser: Any) -> Any:
        """Return the block as a call of ``_mark``."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        text: str = caller()
        marks = self.environment.marks  # type: ignore[attr-defined]
        return text if marks is None else f"{marks[0]}{text}{marks[1]}"


class TemplateDict:
    """``dict`` in a template, without the attributes of Python's class."""

    def __call__(self, *args: Any, **named: Any) -> dict[Any, Any]:
        """Return a dictionary, as ``dict`` does."""
        return dict(*args, **named)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """Return a dictionary with these keys, as ``dict.fromkeys`` does."""
        return dict.fromkeys(*args)


class TemplateNamespace(Namespace):
    """``namespace`` in a template, which keeps no attribute that begins with an underscore."""

    # Without a name for `self`, so that `namespace(self=1)` works.
    def __init__(*args: Any, **named: Any) -> None:
        self, *rest = args
        values = dict(*rest, **named)
        for name in values:
            _check_attribute(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_attribute(name)
        super().__setitem__(name, value)


def _check_attribute(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace keeps no attribute that begins with an underscore: {name!r}")


# With the context as an argument, jinja does not compute it once and for all.
def _timed(limit: Limit, _context: Any, items: Any) -> Any:
    try:
        rounds = len(items)
    except TypeError:
        return limit.counted(items) if hasattr(items, "__iter__") else items
    limit.take(rounds + 1)
    return items


def _raise_exception(message: str) -> None:
    raise JinjaError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes the characters of HTML.
    check_numbers(indent)
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _small(value: Any) -> Any:
    check_numbers(value)
    return value


def _format(text: Any, *values: Any, **named: Any) -> str:
    check_format(text, values)
    return do_format(text, *values, **named)
