"""The model of a local teacher: loaded whole or not at all, its prompts and the texts of its tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dataprep.core.errors import FileError, UsageError, first_line
from dataprep.core.optional import require

_HUB_NAME = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)?")
PURPOSE = "a teacher in this process"


class GenerationError(Exception):
    """Raised for a prompt that the model cannot answer; becomes the reason of one failed row.

    Attributes:
        kind: a short name of the cause, such as ``"context_length_exceeded"``.
        message: the details.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


def check_model(name: str) -> None:
    """See, without loading anything, whether a model can be there and be loaded.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
        FileError: it is no directory with a model, and no name that the hub could know.
    """
    for package in ("torch", "transformers"):
        require(package, extra="train", feature=PURPOSE)
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise FileError(name, "no config.json in it; expected a directory as transformers saves a model")
    elif path.exists():
        raise FileError(name, "a file; expected a directory as transformers saves a model")
    elif not _HUB_NAME.fullmatch(name):
        raise FileError(name, "no such directory; expected one as transformers saves a model")


class Model:
    """A causal or sequence-to-sequence language model and its tokenizer.

    Attributes:
        weights: the ``transformers`` model.
        device: where it is: the first GPU where there is one.
        context: tokens that prompt and answer may have together (of an encoder's model, each of them);
            ``None`` where there is no limit.
        ends: the tokens that end an answer.
        pad: the token that fills up shorter prompts.
        known: how many tokens it has an embedding for; ids are below.
    """

    def __init__(self, weights: Any, tokenizer: Any, template: Mapping[str, Any] | None = None) -> None:
        import torch

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.weights = weights.eval().to(self.device)
        self.encodes = bool(weights.config.is_encoder_decoder)
        self.context: int | None = getattr(weights.config.get_text_config(), "max_position_embeddings", None)
        defaults = weights.generation_config
        given = defaults.eos_token_id
        ends = {*(given if isinstance(given, list) else [given]), tokenizer.eos_token_id}
        self.ends = frozenset(end for end in ends if end is not None)
        pads = (tokenizer.pad_token_id, defaults.pad_token_id, *sorted(self.ends), 0)
        self.pad: int = next(pad for pad in pads if pad is not None)
        self.known = int(weights.get_input_embeddings().weight.shape[0])
        self._tokenizer = tokenizer
        self._template = dict(template or {})
        # The text of a token inside a text: some tokenizers strip the space before the first one.
        self._anchor: list[int] = self._encode(":", special=False)[-1:]
        self.text_of = lru_cache(maxsize=1 << 16)(self._text_of)

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """A request's messages as tokens, up to where the answer begins.

        By the tokenizer's chat template; where it has none, a line ``role: content`` for each message, and
        ``assistant:``.

        Raises:
            GenerationError: the template refuses the messages, or they do not fit the model.
        """
        if self._tokenizer.chat_template:
            try:
                text = self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True, **self._template
                )
            except Exception as error:  # noqa: BLE001 - a template is a program of the model's authors
                raise GenerationError("chat_template", first_line(error)) from None
        else:
            lines = [f"{message['role']}: {message['content']}\n" for message in messages]
            text = "".join(lines) + "assistant:"
        tokens = self._encode(text, special=not self._tokenizer.chat_template)
        if not tokens or max(tokens) >= self.known:
            problem = "has tokens that the model does not know" if tokens else "has no tokens"
            raise GenerationError("tokenizer", f"the prompt {problem}")
        if self.context is not None and len(tokens) >= self.context:
            raise GenerationError(
                "context_length_exceeded",
                f"the prompt has {len(tokens):,} tokens, and the model's context holds {self.context:,}",
            )
        return tokens

    def room(self, prompt: Sequence[int], wanted: int) -> int:
        """How many tokens an answer may have: as many as are wanted, or as the context leaves."""
        if self.context is None:
            return wanted
        return min(wanted, self.context - (1 if self.encodes else len(prompt)))

    def _encode(self, text: str, *, special: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text of tokens, as it is; ``special``: that of special tokens as well."""
        return str(
            self._tokenizer.decode(
                list(tokens), skip_special_tokens=not special, clean_up_tokenization_spaces=False
            )
        )

    def _text_of(self, token: int, first: bool) -> str:
        """A token's text, at the beginning of an answer or (not ``first``) further on."""
        if first or not self._anchor:
            return self.decode([token], special=True)
        before = self.decode(self._anchor, special=True)
        return self.decode([*self._anchor, token], special=True)[len(before) :]

    def tokens_of(self, forms: Sequence[str]) -> list[int]:
        """The tokens that are one of these texts, whatever stands before them."""
        found: dict[int, None] = {}
        for form in forms:
            for before in ("", ":", "(", " ", "\n"):
                for token in self._encode(before + form, special=False)[-1:]:
                    if form in (self.text_of(token, True), self.text_of(token, False)):
                        found[token] = None
        return list(found)


def load(name: str, template: Mapping[str, Any] | None = None) -> Model:
    """The model in a directory, or on the Hugging Face hub under a name.

    Nothing is fetched for a directory, and no code that comes with a model is run.

    Raises:
        MissingDependencyError: torch or transformers cannot be imported.
        FileError: the model or its tokenizer is damaged or not there.
        UsageError: the model is of a kind that does not generate text, or not to be had.
    """
    check_model(name)
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    options = {"local_files_only": Path(name).is_dir(), "trust_remote_code": False}
    what = "the model"
    try:
        config = AutoConfig.from_pretrained(name, **options)
        what = "the tokenizer"
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        what = "the model"
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        weights, found = kind.from_pretrained(name, dtype="auto", output_loading_info=True, **options)
        # What a file lacks would be filled with random numbers, and answers made of them.
        lacking = sorted([*found["missing_keys"], *map(str, found["mismatched_keys"])])
        if lacking:
            raise ValueError(f"it lacks {len(lacking):,} of its weights, such as {lacking[0]}")
        return Model(weights, tokenizer, template)
    except (torch.OutOfMemoryError, MemoryError):
        raise UsageError(f"--model {name}: it does not fit into memory; choose a smaller one") from None
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes of its readers
        raise _not_loaded(name, what, error) from None


def _not_loaded(name: str, what: str, error: Exception) -> FileError | UsageError:
    reason = first_line(error)
    if "Unrecognized configuration class" in reason:
        return UsageError(f"--model {name}: a model of a kind that does not generate text ({reason})")
    if Path(name).is_dir():
        return FileError(name, f"{what} in it cannot be loaded: {reason}")
    return UsageError(f"--model {name}: no directory here, and not to be had from the hub: {reason}")
