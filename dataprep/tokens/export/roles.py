"""Which special tokens begin, end and fill up: for a tokenizer's configuration and for generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.tokens.chats import pad_id
from dataprep.tokens.formats.base import ChatFormat, Segment
from dataprep.tokens.formats.jinja import TemplateFormat
from dataprep.tokens.tokenizers.base import Tokenizer

# What is tried, in this order.
END_OF_TEXT = ("<|end_of_text|>", "<|endoftext|>", "</s>")
BEGINS = ("<|begin_of_text|>", "<s>", "<bos>", "[BOS]")


def generation_ids(
    tokenizer: Tokenizer, chat_format: ChatFormat | None, end: str | None = None
) -> dict[str, Any]:
    """What a ``generation_config.json`` must say of a model of this tokenizer and chat format.

    Args:
        tokenizer: the tokenizer.
        chat_format: how its conversations are laid out; None for a model of texts, such as T5.
        end: the special token that ends such a model's texts. Default: the likeliest that there is.

    Returns:
        ``eos_token_id``: all ids that end an answer, the end of turn first; ``pad_token_id``; and
        ``bos_token_id`` where texts begin with a token of their own. A key without an id is left out.

    Raises:
        TokenizerError: the tokenizer lacks the chat format's end of turn.
    """
    ends = _ends(tokenizer, chat_format, end)
    found: dict[str, Any] = {"pad_token_id": pad_id(tokenizer)}
    if ends:
        found["eos_token_id"] = [tokenizer.special(name) for name in ends]
    if (begin := _begin(tokenizer, chat_format)) is not None:
        found["bos_token_id"] = tokenizer.special(begin)
    return found


def token_names(
    tokenizer: Tokenizer, chat_format: ChatFormat | None, end: str | None = None
) -> dict[str, str]:
    """``bos_token``, ``eos_token`` and ``pad_token`` for a tokenizer's configuration, where there are.

    A model's own template may write what its directory calls by these names, so those stay.
    """
    found: dict[str, str] = {}
    if (begin := _begin(tokenizer, chat_format)) is not None:
        found["bos_token"] = begin
    if ends := _ends(tokenizer, chat_format, end):
        found["eos_token"] = ends[0]
    number = pad_id(tokenizer)
    pad = next((name for name, each in tokenizer.special_tokens.items() if each == number), None)
    if pad is not None:
        found["pad_token"] = pad
    if isinstance(chat_format, TemplateFormat):
        found |= _in_use(chat_format.template.variables, chat_format.template.text, tokenizer)
    return found


def _in_use(variables: Mapping[str, str], template: str, tokenizer: Tokenizer) -> dict[str, str]:
    return {
        key: name for key, name in variables.items() if key in template and name in tokenizer.special_tokens
    }


def _ends(tokenizer: Tokenizer, chat_format: ChatFormat | None, end: str | None) -> list[str]:
    """What ends an answer: the chat format's end of turn, then the end of a text."""
    if chat_format is None and end is not None:
        return [end]
    own: list[str] = []
    if chat_format is not None:
        variables = chat_format.template.variables if isinstance(chat_format, TemplateFormat) else {}
        own = sorted(chat_format.ends, key=lambda name: (name != variables.get("eos_token"), name))
    text = [name for name in END_OF_TEXT if name in tokenizer.special_tokens][:1]
    return list(dict.fromkeys([*own, *text]))


def _begin(tokenizer: Tokenizer, chat_format: ChatFormat | None) -> str | None:
    """The token that a conversation begins with, where it is one that begins texts."""
    if chat_format is None:
        return None
    first = chat_format.plan(("user", "assistant"))[0]
    name = first.text if isinstance(first, Segment) and first.special else ""
    return name if name in BEGINS and name in tokenizer.special_tokens else None
