"""A model's chat template: read it from the model directory, and render it in a sandbox.

The environment is the one that ``transformers`` documents for chat templates: trimmed blocks, loop controls,
``raise_exception``, ``tojson``, ``strftime_now`` and ``{% generation %}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import FileError, RowError, TemplateError
from dataprep.tokens.tokenizers.base import needed

if TYPE_CHECKING:
    from jinja2 import Environment

# The names that templates have for special tokens.
TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# Around what a template marks as generated, if that is asked for. Noncharacters: no text contains them.
BEGIN, END = "\ufdd0", "\ufdd1"


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
    config = read_object(folder / "tokenizer_config.json")
    names = read_object(folder / "special_tokens_map.json") | config
    variables = {key: _name(names[key]) for key in TOKENS if names.get(key) is not None}
    listed = [
        *read_object(folder / "tokenizer.json").get("added_tokens", []),
        *config.get("added_tokens_decoder", {}).values(),
    ]
    added = [token for token in listed if token.get("special") and token.get("content")]
    return ModelTemplate(
        _text(folder, config),
        variables,
        frozenset({token["content"] for token in added} | set(variables.values())),
        frozenset(token["content"] for token in added if token.get("lstrip")),
        frozenset(token["content"] for token in added if token.get("rstrip")),
    )


def _text(folder: Path, config: Mapping[str, Any]) -> str:
    if (folder / "chat_template.jinja").is_file():
        return files.read_text(str(folder / "chat_template.jinja"))
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name, as Command R has them
        template = {item.get("name"): item.get("template") for item in template}.get("default")
    if not isinstance(template, str):
        raise TemplateError(
            f"{folder}: found no chat template; expected chat_template.jinja, or 'chat_template' in "
            "tokenizer_config.json"
        )
    return template


def _name(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one if there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = orjson.loads(files.read_text(str(path)))
    except orjson.JSONDecodeError as error:
        raise FileError(path, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FileError(path, "expected a JSON object")
    return value


class ChatTemplate:
    """A compiled chat template with its variables besides the messages, for example ``bos_token``."""

    def __init__(self, text: str, variables: Mapping[str, Any], date: str | None) -> None:
        self._text = text
        self._environment = _environment(date)
        self._variables = dict(variables) | ({"date_string": date} if date else {})
        try:
            self._template = self._environment.from_string(text)
        except _jinja_error() as error:
            line = getattr(error, "lineno", None)
            where = f" in line {line}" if line else ""
            raise TemplateError(f"the chat template is not well-formed{where}: {error}") from None

    def uses(self, names: Iterable[str]) -> list[str]:
        """Return which of the names the template uses without defining them."""
        from jinja2 import meta

        used = meta.find_undeclared_variables(self._environment.parse(self._text))
        return [name for name in names if name in used]

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, prompt: bool = False, marks: bool = False
    ) -> str:
        """Return the text of a conversation, or raise ``RowError`` with the template's own message."""
        # The extension reads this; a template is compiled once for both ways.
        self._environment.marking = marks  # type: ignore[attr-defined]
        chat = [dict(message) for message in messages]
        try:
            return self._template.render(
                messages=chat, tools=None, documents=None, add_generation_prompt=prompt, **self._variables
            )
        except _jinja_error() as error:
            raise RowError("the chat template refuses it", str(error)) from None
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            # This program's own TemplateError is a ValueError too, and is not about the row.
            if isinstance(error, TemplateError):
                raise
            raise RowError("the chat template fails", f"{type(error).__name__}: {error}") from None


def _jinja_error() -> type[Exception]:
    from jinja2 import TemplateError as JinjaError

    return JinjaError


def _environment(date: str | None) -> Environment:
    needed("jinja2", "a chat template")
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError as JinjaError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

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

    def raise_exception(message: str) -> None:
        raise JinjaError(message)

    def strftime_now(form: str) -> str:
        # There is no clock: the same rows must give the same tokens on any day.
        if date is None:
            raise TemplateError("the chat template writes today's date: give a date with --date")
        return datetime.strptime(date, "%d %b %Y").strftime(form)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    # A template is a program out of a downloaded directory: it must not reach anything but its messages.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.extend(marking=False)
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    return environment
