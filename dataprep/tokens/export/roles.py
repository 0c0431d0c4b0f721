"""Which special tokens begin, end and fill up: for a tokenizer's configuration and for generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.tokens.chats import pad_id
from dataprep.tokens.formats.base import Layout, Segment
from dataprep.tokens.formats.jinja import TemplateLayout
from dataprep.tokens.tokenizers.base import Tokenizer

# What is tried, in this order.
END_OF_TEXT = ("<|end_of_text|>", "<|endoftext|>", "</s>")
BEGINS = ("<|begin_of_text|>", "<s>", "<bos>", "[BOS]")


def generation_ids(tokenizer: Tokenizer, layout: Layout | None, end: str | None = None) -> dict[str, Any]:
    """What a ``generation_config.json`` must say of a model of this tokenizer and layout.

    Args:
        tokenizer: the tokenizer.
        layout: how its conversations are laid out; None for a model of texts, such as T5.
        end: the special token that ends such a model's texts. Default: the likeliest that there is.

    Returns:
        ``eos_token_id``: all ids that end an answer, the layout's end of turn first; ``pad_token_id``; and
        ``bos_token_id`` where texts begin with a token of their own. A key without an id is left out.

    Raises:
        TokenizerError: the tokenizer lacks the layout's end of turn.
    """
    ends = _ends(tokenizer, layout, end)
    found: dict[str, Any] = {"pad_token_id": pad_id(tokenizer)}
    if ends:
        found["eos_token_id"] = [tokenizer.special(name) for name in ends]
    if (begin := _begin(tokenizer, layout)) is not None:
        found["bos_token_id"] = tokenizer.special(begin)
    return found


def token_names(tokenizer: Tokenizer, layout: Layout | None, end: str | None = None) -> dict[str, str]:
    """``bos_token``, ``eos_token`` and ``pad_token`` for a tokenizer's configuration, where there are.

    A model's own template may write what its directory calls by these names, so those stay.
    """
    found: dict[str, str] = {}
    if (begin := _begin(tokenizer, layout)) is not None:
        found["bos_token"] = begin
    if ends := _ends(tokenizer, layout, end):
        found["eos_token"] = ends[0]
    number = pad_id(tokenizer)
    pad = next((name for name, each in tokenizer.specials.items() if each == number), None)
    if pad is not None:
        found["pad_token"] = pad
    if isinstance(layout, TemplateLayout):
        found |= _in_use(layout.template.variables, layout.template.text, tokenizer)
    return found


def _in_use(variables: Mapping[str, str], template: str, tokenizer: Tokenizer) -> dict[str, str]:
    return {key: name for key, name in variables.items() if key in template and name in tokenizer.specials}


def _ends(tokenizer: Tokenizer, layout: Layout | None, end: str | None) -> list[str]:
    """What ends an answer: the layout's end of turn, then the end of a text."""
    if layout is None and end is not None:
        return [end]
    own: list[str] = []
    if layout is not None:
        variables = layout.template.variables if isinstance(layout, TemplateLayout) else {}
        own = sorted(layout.ends, key=lambda name: (name != variables.get("eos_token"), name))
    text = [name for name in END_OF_TEXT if name in tokenizer.specials][:1]
    return list(dict.fromkeys([*own, *text]))


def _begin(tokenizer: Tokenizer, layout: Layout | None) -> str | None:
    """The token that a conversation begins with, where it is one that begins texts."""
    if layout is None:
        return None
    first = layout.plan(("user", "assistant"))[0]
    name = first.text if isinstance(first, Segment) and first.special else ""
    return name if name in BEGINS and name in tokenizer.specials else None
