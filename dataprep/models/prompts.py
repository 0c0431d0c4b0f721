"""Write prompts in a model's own chat template, with the code that writes the rows of its training.

So a special token's name in a message is text here too, and ids are those that a student has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.core.errors import TemplateError
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.jinja import TemplateFormat
from dataprep.tokens.formats.model_template import DEFAULT, TOKENS, ModelTemplate
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
    names = sorted(own.special_tokens, key=lambda name: (-len(name), name))
    return Encoder(own, TemplateFormat(_template_of(tokenizer), tuple(names), arguments=dict(variables)))


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
