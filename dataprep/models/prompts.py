"""Write prompts in a model's own chat template, with the code that writes the rows of its training.

So a special token's name in a message is text here too, and ids are those that a student has seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from dataprep.core.conversations import parsed_row
from dataprep.core.errors import TemplateError
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.base import Plan, Row, Segment, Written
from dataprep.tokens.formats.jinja import TemplateFormat
from dataprep.tokens.formats.model_template import DEFAULT, TOKENS, ModelTemplate, space_before
from dataprep.tokens.formats.pieces import GUARD, data_of, guarded
from dataprep.tokens.formats.shapes import Rendered
from dataprep.tokens.tokenizers.huggingface import HuggingFaceTokenizer


def prompt_encoder(tokenizer: Any, variables: Mapping[str, Any]) -> Encoder | None:
    """Return what encodes prompts for a tokenizer of ``transformers`` that has a chat template.

    Args:
        tokenizer: the tokenizer, as ``AutoTokenizer`` loads it.
        variables: of the template, besides those of the rows.

    Returns:
        The encoder; ``None`` for a tokenizer that the library ``tokenizers`` does not run.

    Raises:
        TemplateError: the model has several templates, and none of the name ``default``.
        TokenizerError: the tokenizer cannot be used.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    own = HuggingFaceTokenizer("the model's tokenizer", backend.to_str().encode("utf-8"))
    names = tuple(own.special_tokens)
    return Encoder(own, PromptFormat(_template_of(tokenizer), names, arguments=dict(variables)))


def encode_answers(encoder: Encoder, row: Row, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of a row with each of several answers to it, or raise ``RowError``."""
    chat_format = encoder.chat_format
    assert isinstance(chat_format, PromptFormat)
    batch = encoder.encode(chat_format.answers(parsed_row(row), texts))
    for error in batch.errors.values():
        raise error
    return [ids.tolist() for ids in np.split(batch.ids, batch.lengths.cumsum()[:-1])]


class PromptFormat(TemplateFormat):
    """A chat template that takes the names of special tokens in a request for the text that they are.

    Rows of training with such names are bad rows, as other programs read them as tokens. A request must be
    asked as it is.
    """

    @cached_property
    def _text_names(self) -> re.Pattern[str]:
        """The names of special tokens that are text in a request."""
        # Other marks, such as Qwen's `<think>`, are tokens wherever they stand, as in transformers.
        names = [name for name in self.special_tokens if name in self._strict]
        return re.compile("|".join(map(re.escape, names)) or "(?!)")

    def prompt(self, row: Row) -> Written:
        """Return a row up to where the answer begins; see ``ChatFormat``."""
        if not any(self._text_names.search(text) for _, text in data_of(row["messages"], row)):
            return super().prompt(row)
        broken = _broken(row, self._text_names)
        real = self._render(row["messages"], row, prompt=True)
        text = self._render(broken["messages"], broken, prompt=True)
        # A template may look for a name, such as `</think>`, and must find it.
        if text.replace(GUARD, "") != real:
            return super().prompt(row)
        plan = self._plan(Rendered(text, {}), None)
        whole = [
            replace(piece, text=piece.text.replace(GUARD, "")) if isinstance(piece, Segment) else piece
            for piece in plan.pieces
        ]
        return Written(Plan(tuple(whole), joined=True), [])

    def answers(self, row: Row, texts: Sequence[str]) -> list[Written]:
        """Return a row with each of several answers to it, without what the template writes behind them."""
        written, messages = self.prompt(row), self._stripped(row["messages"])
        prompt = self._render(messages, row, prompt=True)
        found = []
        for text in texts:
            whole = self._render([*messages, {"role": "assistant", "content": text}], row)
            answer = Segment(space_before(prompt, whole, text) + text)
            found.append(Written(Plan((*written.plan.pieces, answer), joined=True), []))
        return found


def _broken(value: Any, names: re.Pattern[str]) -> Any:
    """Return data with a guard in each name of a special token."""
    if isinstance(value, str):
        return names.sub(guarded, value)
    if isinstance(value, Mapping):
        return {key: item if key == "role" else _broken(item, names) for key, item in value.items()}
    return [_broken(item, names) for item in value] if isinstance(value, list | tuple) else value


def _template_of(tokenizer: Any) -> ModelTemplate:
    given = tokenizer.chat_template
    texts = dict(given) if isinstance(given, dict) else {DEFAULT: given}
    if DEFAULT not in texts:
        raise TemplateError(f"found the chat templates {', '.join(texts)}; expected one named {DEFAULT!r}")
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    known = tokenizer.special_tokens_map
    return ModelTemplate(
        texts.pop(DEFAULT),
        {name: str(known[name]) for name in TOKENS if known.get(name) is not None},
        frozenset(token.content for token in added),
        frozenset(token.content for token in added if token.lstrip),
        frozenset(token.content for token in added if token.rstrip),
        texts,
    )
