"""A model's chat template: read it from the model directory, and render it in a sandbox.

The environment is the one that ``transformers`` documents for chat templates: trimmed blocks, loop controls,
``raise_exception``, ``tojson``, ``strftime_now`` and ``{% generation %}``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core import io as files
from dataprep.core.conversations import reasoning_of
from dataprep.core.errors import FileError, RowError, TemplateError, first_line
from dataprep.core.records import describe
from dataprep.tokens.tokenizers.base import needed

if TYPE_CHECKING:
    from jinja2 import Environment

JINJA, CONFIG = "chat_template.jinja", "tokenizer_config.json"
# The names that templates have for special tokens.
TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# Around what a template marks as generated, if that is asked for. Noncharacters: no text contains them.
BEGIN, END = "\ufdd0", "\ufdd1"
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
_FILTERS = ("batch", "center", "indent", "slice", "wordwrap")
_METHODS = frozenset({"center", "expandtabs", "ljust", "rjust", "to_bytes", "zfill"})


@dataclass(frozen=True)
class ModelTemplate:
    """A model directory's chat template."""

    text: str  # in Jinja
    variables: Mapping[str, str] = field(default_factory=dict)  # special tokens by the names of TOKENS
    special_tokens: frozenset[str] = frozenset()  # those that the directory lists
    before: frozenset[str] = frozenset()  # special tokens that swallow white space before them
    after: frozenset[str] = frozenset()  # special tokens that swallow white space after them


def read_template(path: str | Path) -> ModelTemplate:
    """Read the chat template of a model directory, or a Jinja file."""
    folder = Path(path)
    if not folder.is_dir():
        if folder.suffix not in {".jinja", ".jinja2", ".j2"}:
            raise TemplateError(f"{path}: expected a model directory, or a template that ends in .jinja")
        return ModelTemplate(files.read_text(str(folder)))
    config = read_object(folder / CONFIG)
    names = read_object(folder / "special_tokens_map.json") | config
    variables = {key: _name(names[key], folder, key) for key in TOKENS if names.get(key) is not None}
    listed = [
        *_tokens_of(read_object(folder / "tokenizer.json"), "added_tokens", list, folder / "tokenizer.json"),
        *_tokens_of(config, "added_tokens_decoder", dict, folder / CONFIG),
    ]
    added = [token for token in listed if token.get("special") and token.get("content")]
    return ModelTemplate(
        _text(folder, config),
        variables,
        frozenset({token["content"] for token in added} | set(variables.values())),
        frozenset(token["content"] for token in added if token.get("lstrip")),
        frozenset(token["content"] for token in added if token.get("rstrip")),
    )


def has_template(path: str | Path) -> bool:
    """Return whether a model directory has a chat template, usable or not."""
    folder = Path(path)
    if (folder / JINJA).is_file():
        return True
    return folder.is_dir() and read_object(folder / CONFIG).get("chat_template") is not None


def _text(folder: Path, config: Mapping[str, Any]) -> str:
    if (folder / JINJA).is_file():
        return files.read_text(str(folder / JINJA))
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name, as Command R has them
        named = [item for item in template if isinstance(item, dict)]
        template = next((item.get("template") for item in named if item.get("name") == "default"), None)
    if not isinstance(template, str):
        raise TemplateError(
            f"{folder}: found no chat template; expected {JINJA}, or 'chat_template' in {CONFIG}: a text, "
            "or several with one of the name 'default'"
        )
    return template


def _name(token: Any, folder: Path, key: str) -> str:
    name = token.get("content") if isinstance(token, dict) else token
    if not isinstance(name, str):
        raise FileError(folder, f"found {describe(token)} as its {key!r}; expected a token's text")
    return name


def _tokens_of(document: Mapping[str, Any], key: str, kind: type, path: Path) -> list[dict[str, Any]]:
    value = document.get(key) or kind()
    listed = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(value, kind) or not all(map(_is_token, listed)):
        raise FileError(
            path, f"found {describe(value)} in {key!r}; expected tokens, each an object with a 'content'"
        )
    return list(listed)


def _is_token(token: Any) -> bool:
    return isinstance(token, dict) and isinstance(token.get("content", ""), str)


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one if there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = orjson.loads(files.read_text(str(path)))
        orjson.dumps(value)
    except orjson.JSONDecodeError as error:
        raise FileError(path, f"not JSON: {error}") from None
    except orjson.JSONEncodeError as error:  # it could be read, but never be saved with a student
        raise FileError(path, f"cannot be used: {error}") from None
    if not isinstance(value, dict):
        raise FileError(path, f"found {describe(value)}; expected a JSON object")
    return value


class ChatTemplate:
    """A compiled chat template with its variables besides the messages, for example ``bos_token``."""

    def __init__(
        self,
        text: str,
        variables: Mapping[str, Any],
        date: str | None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._text = text
        self._limit = _Limit()
        self._environment = _environment(self._limit, date, now)
        dated = {"date_string": date} if date else {}
        self._values = {"tools": None, "documents": None, **variables, **dated}
        try:
            self._template = self._environment.from_string(text)
        except Exception as error:  # noqa: BLE001 - jinja also computes what is constant in it
            line = getattr(error, "lineno", None)
            where = f" in line {line}" if line else ""
            raise TemplateError(f"the chat template is not well-formed{where}: {first_line(error)}") from None

    def uses(self, names: Iterable[str]) -> list[str]:
        """Return which of the names the template uses without defining them."""
        from jinja2 import meta

        used = meta.find_undeclared_variables(self._environment.parse(self._text))
        return [name for name in names if name in used]

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Any = None,
        variables: Mapping[str, Any] | None = None,
        prompt: bool = False,
        marks: bool = False,
    ) -> str:
        """Return the text of a conversation, or raise ``RowError`` with the template's own message.

        Args:
            messages: of a row.
            tools: schemas of the tools.
            variables: further variables, which win over those of the tokenizer.
            prompt: whether the prompt of an answer follows.
            marks: whether to put ``BEGIN`` and ``END`` around what the template marks as generated.
        """
        # The extension reads this; a template is compiled once for both ways.
        self._environment.marking = marks  # type: ignore[attr-defined]
        self._limit.left, self._limit.end = ROUNDS, None
        values = {**self._values, **(variables or {}), "messages": [*map(_as_given, messages)]}
        values |= {"add_generation_prompt": prompt} | ({"tools": tools} if tools else {})
        try:
            return self._template.render(values)
        except TemplateError:  # this program's own, which is not about the row
            raise
        except TimeoutError:
            raise RowError(
                "the chat template does not end",
                f"it was stopped after {SECONDS:g} s: correct the template, or use a named chat format",
            ) from None
        except Exception as error:  # noqa: BLE001 - a template is a program of the model's authors
            # A template may ask whether there is a clock, and write a date of its own if there is none.
            if "'strftime_now' is undefined" in str(error):
                raise TemplateError(
                    "the chat template writes today's date: give a date with --date"
                ) from None
            if type(error).__module__.startswith("jinja2"):
                raise RowError("the chat template refuses it", str(error)) from None
            raise RowError("the chat template fails", f"{type(error).__name__}: {error}") from None


def _as_given(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as templates expect it: with its reasoning under each of the names it has."""
    if len(message) == 2:
        return dict(message)
    # As `transformers` does: templates of gpt-oss read `thinking`, most others `reasoning_content`. An absent
    # value is absent: a template may ask whether there are `tool_calls`.
    given = {name: value for name, value in message.items() if value is not None or name == "content"}
    if (reasoning := reasoning_of(message)) is not None:
        given = {"thinking": reasoning, **given, "reasoning_content": reasoning}
    return given


class _Limit:
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


def _recursive(loop: Any) -> bool:
    return bool(loop.recursive)


def _check_numbers(*values: Any) -> None:
    for value in values:
        if isinstance(value, int) and value > LARGEST:
            raise OverflowError(f"a number given to a filter or function is too large: {value}")


def _check_format(text: Any, values: Iterable[Any]) -> None:
    if isinstance(text, str):
        if _WIDE.search(text):
            raise OverflowError(f"a width in the format {text[:40]!r} is too large")
        if _GIVEN.search(text):
            _check_numbers(*values)


def _checked(made: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(made)  # with jinja's own marks
    def checked(*args: Any, **options: Any) -> Any:
        _check_numbers(*args, *options.values())
        return made(*args, **options)

    return checked


def _takes_width(call: Any) -> bool:
    """Return whether a method makes a text as wide as an argument; refuse a width that is in its text."""
    name, text = getattr(call.node, "attr", None), getattr(getattr(call.node, "node", None), "value", None)
    if name not in ("format", "format_map"):
        return name in _METHODS
    _check_format(text, ())
    return isinstance(text, str) and bool(_GIVEN.search(text))


def _check_size(operator: str, left: Any, right: Any) -> None:
    if operator == "**":
        size = left.bit_length() * right if isinstance(left, int) and isinstance(right, int) else 0
    elif isinstance(left, int) and isinstance(right, int):
        size = left.bit_length() + right.bit_length()
    else:
        sized, count = (right, left) if isinstance(left, int) else (left, right)
        size = len(sized) * count if hasattr(sized, "__len__") and isinstance(count, int) else 0
    if size > LARGEST:
        raise OverflowError(f"the result of {operator} is too large")


def _environment(limit: _Limit, date: str | None, now: Callable[[], datetime] | None) -> Environment:
    needed("jinja2", "a chat template")
    from jinja2 import nodes, pass_context
    from jinja2.exceptions import TemplateError as JinjaError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.filters import do_format
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Limited(ImmutableSandboxedEnvironment):
        """The sandbox, with a time limit: loops and macros count their rounds."""

        intercepted_binops = frozenset({"*", "**"})

        def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
            template = super()._parse(source, name, filename)
            loops = list(template.find_all(nodes.For))
            # A call of a macro, or of a recursive loop, is a round of its own.
            for body in [*template.find_all((nodes.Macro, nodes.CallBlock)), *filter(_recursive, loops)]:
                once = nodes.Filter(nodes.Const(" "), "timed", [], [], None, None, lineno=body.lineno)
                body.body.insert(0, nodes.ExprStmt(once, lineno=body.lineno))  # type: ignore[attr-defined]
            for loop in loops:
                loop.iter = nodes.Filter(loop.iter, "timed", [], [], None, None, lineno=loop.lineno)
            # Only where they can be large: to look at every call and every `%` costs a tenth of the time.
            for call in template.find_all(nodes.Call):
                if _takes_width(call):
                    call.args = [
                        nodes.Filter(arg, "small", [], [], None, None, lineno=arg.lineno) for arg in call.args
                    ]
            for rest in template.find_all(nodes.Mod):
                if isinstance(rest.left, nodes.Const):
                    _check_format(rest.left.value, (LARGEST + 1,))
            return template

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_size(operator, left, right)
            return super().call_binop(context, operator, left, right)

    class Generation(Extension):
        """``{% generation %}…{% endgeneration %}`` around what the assistant says."""

        tags = {"generation"}  # noqa: RUF012 - the form that jinja2 expects

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Any) -> str:
            text: str = caller()
            return f"{BEGIN}{text}{END}" if self.environment.marking else text  # type: ignore[attr-defined]

    # With the context as an argument, jinja does not compute it once and for all.
    @pass_context
    def timed(_context: Any, items: Any) -> Any:
        try:
            rounds = len(items)
        except TypeError:
            return limit.counted(items) if hasattr(items, "__iter__") else items
        limit.take(rounds + 1)
        return items

    def raise_exception(message: str) -> None:
        raise JinjaError(message)

    def strftime_now(form: str) -> str:
        assert date is not None or now is not None
        moment = datetime.strptime(date, "%d %b %Y") if date is not None else now()  # type: ignore[misc]
        return moment.strftime(form)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        _check_numbers(*options.values())
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    def small(value: Any) -> Any:
        _check_numbers(value)
        return value

    def formatted(text: Any, *values: Any, **named: Any) -> str:
        _check_format(text, values)
        return do_format(text, *values, **named)

    # A template is a program out of a downloaded directory: it must not reach anything but its messages.
    environment = Limited(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.extend(marking=False)
    environment.filters |= {name: _checked(environment.filters[name]) for name in _FILTERS}
    environment.filters |= {"tojson": tojson, "timed": timed, "format": formatted, "small": small}
    del environment.globals["lipsum"]  # random text of any length
    environment.globals |= {"raise_exception": raise_exception}
    # Without a date there is no clock: the same rows must give the same tokens on any day.
    if date is not None or now is not None:
        environment.globals |= {"strftime_now": strftime_now}
    return environment
