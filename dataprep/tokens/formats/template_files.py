"""A model directory's chat template, and what its files say of special tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import FileError, TemplateError

# What templates call special tokens.
TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class ModelTemplate:
    """A chat template.

    Attributes:
        text: the template, in jinja.
        variables: the names that it can use for special tokens (``bos_token`` and the like).
        special_tokens: the special tokens that the directory lists.
        before, after: those that swallow the white space before or after them.
    """

    text: str
    variables: Mapping[str, str] = field(default_factory=dict)
    special_tokens: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()


def read_template(path: str | Path) -> ModelTemplate:
    """The chat template in a file or a model directory (``chat_template.jinja``, ``tokenizer_config.json``).

    Raises:
        FileError: it cannot be read.
        TemplateError: there is none.
    """
    place = Path(path)
    if not place.is_dir():
        if place.suffix not in {".jinja", ".jinja2", ".j2"}:
            raise TemplateError(f"{path}: expected a model directory, or a template that ends in .jinja")
        return ModelTemplate(files.read_text(str(place)))
    config = read_object(place / "tokenizer_config.json")
    names = read_object(place / "special_tokens_map.json") | config
    variables = {key: _name(names[key]) for key in TOKENS if names.get(key) is not None}
    added = [each for each in _added(place, config) if each.get("special") and each.get("content")]
    listed = {each["content"] for each in added} | set(variables.values())
    return ModelTemplate(
        _text(place, config),
        variables,
        frozenset(listed),
        frozenset(each["content"] for each in added if each.get("lstrip")),
        frozenset(each["content"] for each in added if each.get("rstrip")),
    )


def _text(place: Path, config: Mapping[str, Any]) -> str:
    if (place / "chat_template.jinja").is_file():
        return files.read_text(str(place / "chat_template.jinja"))
    found = config.get("chat_template")
    if isinstance(found, list):
        found = {each.get("name"): each.get("template") for each in found}.get("default")
    if not isinstance(found, str):
        raise TemplateError(
            f"{place}: found no chat template; expected chat_template.jinja, or 'chat_template' in "
            "tokenizer_config.json"
        )
    return found


def _added(place: Path, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    decoder = config.get("added_tokens_decoder", {})
    return [*read_object(place / "tokenizer.json").get("added_tokens", []), *decoder.values()]


def _name(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = orjson.loads(files.read_text(str(path)))
    except orjson.JSONDecodeError as error:
        raise FileError(path, f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise FileError(path, "expected a JSON object")
    return found
