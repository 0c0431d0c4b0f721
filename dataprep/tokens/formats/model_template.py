"""A model's chat template: read it from the model directory, and render it in a sandbox.

A template sees and can call what ``transformers`` gives it: see ``environment``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.conversations import REASONING_FIELDS
from dataprep.core.errors import FileError, RowError, TemplateError, first_line
from dataprep.core.records import describe
from dataprep.tokens.formats import limits
from dataprep.tokens.formats.advice import advice_for
from dataprep.tokens.formats.base import DATE
from dataprep.tokens.tokenizers.base import needed

JINJA, CONFIG, PROCESSOR = "chat_template.jinja", "tokenizer_config.json", "chat_template.json"
_TOKENS_MAP = "special_tokens_map.json"  # of older tokenizers
FOLDER = "additional_chat_templates"  # with further templates, one file each
DEFAULT, TOOL_USE = "default", "tool_use"  # the names of templates that `transformers` chooses by itself
# The names that templates have for special tokens.
TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# Around what a template marks as generated. Noncharacters, which hardly any text contains.
MARKS = "\ufdd0", "\ufdd1"


@dataclass(frozen=True)
class ModelTemplate:
    """A model directory's chat template."""

    text: str  # in Jinja; of several templates, the one named "default"
    variables: Mapping[str, str] = field(default_factory=dict)  # special tokens by the names of TOKENS
    special_tokens: frozenset[str] = frozenset()  # those that the directory lists
    before: frozenset[str] = frozenset()  # special tokens that swallow white space before them
    after: frozenset[str] = frozenset()  # special tokens that swallow white space after them
    others: Mapping[str, str] = field(default_factory=dict)  # further templates by name, such as "tool_use"

    def text_for(self, tools: bool) -> str:
        """Return the template that ``transformers`` chooses for rows with tools, or without."""
        return self.others.get(TOOL_USE, self.text) if tools else self.text


def read_template(path: str | Path) -> ModelTemplate:
    """Read the chat template of a model directory, or a Jinja file."""
    folder = Path(path)
    if not folder.is_dir():
        if folder.suffix not in {".jinja", ".jinja2", ".j2"}:
            raise TemplateError(f"{path}: expected a model directory, or a template that ends in .jinja")
        return ModelTemplate(files.read_text(str(folder)))
    config = read_object(folder / CONFIG)
    names = read_object(folder / _TOKENS_MAP) | config
    variables = {key: _name(names[key], folder, key) for key in TOKENS if names.get(key) is not None}
    listed = [
        *_tokens_of(read_object(folder / "tokenizer.json"), "added_tokens", list, folder / "tokenizer.json"),
        *_tokens_of(config, "added_tokens_decoder", dict, folder / CONFIG),
    ]
    added = [token for token in listed if token.get("special") and token.get("content")]
    templates = _templates(folder, config)
    return ModelTemplate(
        templates.pop(DEFAULT),
        variables,
        frozenset({token["content"] for token in added} | set(variables.values())),
        frozenset(token["content"] for token in added if token.get("lstrip")),
        frozenset(token["content"] for token in added if token.get("rstrip")),
        templates,
    )


def space_before(prompt: str, whole: str, answer: str) -> str:
    """Return the white space that a template writes between a prompt and an answer, such as Llama 2's.

    Args:
        prompt: the conversation up to where the answer begins.
        whole: the conversation with the answer.
        answer: the answer.
    """
    # Some templates write an empty thinking before an answer, which a prompt leaves to the model.
    behind = whole[len(prompt) :] if whole.startswith(prompt) else ""
    space = behind.partition(answer)[0]
    return space if answer in behind and not space.strip() else ""


def has_template(path: str | Path) -> bool:
    """Return whether a model directory has a chat template, usable or not."""
    folder = Path(path)
    if (folder / JINJA).is_file() or _additional(folder):
        return True
    names = (CONFIG, PROCESSOR) if folder.is_dir() else ()
    return any(read_object(folder / name).get("chat_template") is not None for name in names)


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the templates of a model directory by name, one of them the default."""
    # As `AutoTokenizer` does: files of templates replace those of the configuration. The processor's file,
    # which only `AutoProcessor` reads, is the last.
    templates = {path.stem: files.read_text(str(path)) for path in _additional(folder)}
    if (folder / JINJA).is_file():
        templates[DEFAULT] = files.read_text(str(folder / JINJA))
    if not templates:
        given = config.get("chat_template")
        if given is None:
            given = read_object(folder / PROCESSOR).get("chat_template")
        templates = _by_name(given)
    if DEFAULT not in templates:
        found = f"only {', '.join(sorted(templates))}" if templates else "no chat template"
        raise TemplateError(
            f"{folder}: found {found}; expected {JINJA}, or 'chat_template' in {CONFIG} or {PROCESSOR}: a "
            f"text, or several with one of the name {DEFAULT!r}"
        )
    return templates


def _additional(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).glob("*.jinja"))


def _by_name(given: Any) -> dict[str, str]:
    if isinstance(given, str):
        return {DEFAULT: given}
    if isinstance(given, dict):
        return {name: text for name, text in given.items() if isinstance(text, str)}
    if isinstance(given, list):  # as Command R has them
        named = [item for item in given if isinstance(item, dict)]
        pairs = [(item.get("name"), item.get("template")) for item in named]
        return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)}
    return {}


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


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of the tokenizer in a directory, with the names of its special tokens."""
    return read_object(folder / _TOKENS_MAP) | read_object(folder / CONFIG)


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
    """A compiled chat template with its variables besides the messages, for example ``bos_token``.

    Args:
        text: the template.
        variables: values by name, for every conversation.
        date: the date that the template writes, for example ``26 Jul 2024``.
        now: the clock for a template that writes a date, if there is no ``date``.

    Raises:
        TemplateError: the template is not well-formed.
        MissingDependencyError: jinja2 is not installed (extra ``tokens``).
    """

    def __init__(
        self,
        text: str,
        variables: Mapping[str, Any],
        date: str | None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        needed("jinja2", "a chat template")
        from dataprep.tokens.formats.environment import make_environment

        self._text = text
        self._limit = limits.Limit()
        self._environment = make_environment(self._limit, _strftime(date, now))
        dated = {"date_string": date} if date else {}
        self._values = {"documents": None, **variables, **dated}
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
        arguments: Any = None,
        prompt: bool = False,
        marks: tuple[str, str] | None = None,
    ) -> str:
        """Return the text of a conversation, or raise ``RowError`` with the template's own message.

        Args:
            messages: the messages of a chat row.
            tools: the row's list of tools, as JSON schemas.
            arguments: the row's ``chat_template_kwargs``; their values replace variables of the same name.
            prompt: whether the beginning of an answer follows (``add_generation_prompt``).
            marks: put around what the template marks as generated, for example ``MARKS``.
        """
        # The extension reads this; a template is compiled once for both ways.
        self._environment.marks = marks  # type: ignore[attr-defined]
        self._limit.left, self._limit.end = limits.ROUNDS, None
        values = {**self._values, **arguments} if arguments else self._values
        chat = [_seen(message) for message in messages]
        try:
            return self._template.render(values, messages=chat, tools=tools, add_generation_prompt=prompt)
        except TemplateError:  # this program's own, which is not about the row
            raise
        except TimeoutError:
            raise RowError(
                "the chat template does not end",
                f"it was stopped after {limits.SECONDS:g} s: correct the template, or use a named chat "
                "format",
            ) from None
        except Exception as error:  # noqa: BLE001 - a template is a program of the model's authors
            # A template may ask whether there is a clock, and write a date of its own if there is none.
            if "'strftime_now' is undefined" in str(error):
                raise TemplateError(
                    "the chat template writes today's date: give a date with --date"
                ) from None
            shown = {**values, "tools": tools, "add_generation_prompt": prompt}
            advice = advice_for(chat, lambda changed: self._takes(changed, shown))
            if type(error).__module__.startswith("jinja2"):
                raise RowError("the chat template refuses it", f"{error}{advice}") from None
            raise RowError("the chat template fails", f"{type(error).__name__}: {error}{advice}") from None

    def _takes(self, messages: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> bool:
        self._limit.left, self._limit.end = limits.ROUNDS, None
        try:
            self._template.render(values, messages=messages)
        except Exception:  # noqa: BLE001 - as in `render`
            return False
        return True


def _strftime(date: str | None, now: Callable[[], datetime] | None) -> Callable[[str], str] | None:
    # Without a date there is no clock: the same rows must give the same tokens on any day.
    if date is not None:
        return datetime.strptime(date, DATE).strftime
    return None if now is None else lambda form: now().strftime(form)


def _seen(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as ``transformers`` shows it to a template."""
    # Null values are left out: many templates would write "None". Reasoning is there by both names that
    # templates read.
    seen = {name: value for name, value in message.items() if value is not None}
    if len(seen) == 2 and "content" in seen:  # nearly all messages: a role and a text
        return seen
    reasoning = next((seen[name] for name in REASONING_FIELDS if name in seen), None)
    return seen if reasoning is None else {"thinking": reasoning, **seen, "reasoning_content": reasoning}
