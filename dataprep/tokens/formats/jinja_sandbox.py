"""Chat templates in jinja, rendered in a sandbox as model libraries render them.

The environment is the one that ``transformers`` documents for chat templates (trimmed blocks, loop
controls, ``raise_exception``, ``tojson``, ``strftime_now``, ``{% generation %}``), without a clock: a
template that wants today's date is given one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import MissingDependencyError, RowError, TemplateError

if TYPE_CHECKING:
    from jinja2 import Environment

BEGIN, END = "\ufdd0", "\ufdd1"
"""Around what a template marks as generated, where that is asked for; both are noncharacters."""


class ChatTemplate:
    """A compiled chat template.

    Args:
        text: the template.
        variables: what it is given beside the messages: ``bos_token``, ``eos_token`` and the like.
        date: the date that it is told, such as ``"26 Jul 2024"``.

    Raises:
        TemplateError: it is not well-formed.
        MissingDependencyError: jinja2 is not installed.
    """

    def __init__(self, text: str, variables: Mapping[str, Any], date: str | None) -> None:
        self._text = text
        self._environment = _environment(date)
        self._variables = dict(variables) | ({"date_string": date} if date else {})
        try:
            self._template = self._environment.from_string(text)
        except _errors() as error:
            line = getattr(error, "lineno", None)
            place = f" in line {line}" if line else ""
            raise TemplateError(f"the chat template is not well-formed{place}: {error}") from None

    def uses(self, names: Iterable[str]) -> list[str]:
        """Which of the names the template takes from outside."""
        from jinja2 import meta

        found = meta.find_undeclared_variables(self._environment.parse(self._text))
        return [name for name in names if name in found]

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, prompt: bool = False, marks: bool = False
    ) -> str:
        """A conversation's text.

        Args:
            messages: the conversation.
            prompt: whether the beginning of an assistant's turn comes last.
            marks: whether what the template marks as generated stands between ``BEGIN`` and ``END``.

        Raises:
            RowError: the template refuses the conversation, with its own words.
        """
        self._environment.marking = marks  # type: ignore[attr-defined]
        chat = [dict(message) for message in messages]
        try:
            return self._template.render(
                messages=chat, tools=None, documents=None, add_generation_prompt=prompt, **self._variables
            )
        except _errors() as error:
            raise RowError("the chat template refuses it", str(error)) from None
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            if isinstance(error, TemplateError):
                raise
            raise RowError("the chat template fails", f"{type(error).__name__}: {error}") from None


def _errors() -> type[Exception]:
    from jinja2 import TemplateError as JinjaError

    return JinjaError


def _environment(date: str | None) -> Environment:
    try:
        from jinja2 import nodes
        from jinja2.exceptions import TemplateError as JinjaError
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise MissingDependencyError("jinja2", "tokens", "a chat template") from None

    class Generation(Extension):
        """``{% generation %}…{% endgeneration %}``: what the assistant says."""

        tags = {"generation"}  # noqa: RUF012 - jinja wants it so

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Any) -> str:
            text: str = caller()
            return f"{BEGIN}{text}{END}" if self.environment.marking else text  # type: ignore[attr-defined]

    def raise_exception(message: str) -> None:
        raise JinjaError(message)

    def strftime_now(form: str) -> str:
        if date is None:
            raise TemplateError("the chat template writes today's date: say which, with --date")
        return datetime.strptime(date, "%d %b %Y").strftime(form)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.extend(marking=False)
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    return environment
