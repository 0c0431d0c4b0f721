"""Load a model and its tokenizer, encode prompts for it, and make presets: students with random weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core import provenance
from dataprep.core.conversations import content_text
from dataprep.core.errors import FileError, UsageError, first_line
from dataprep.core.io import check_local, files_in
from dataprep.core.optional import require
from dataprep.tokens.formats.model_template import ChatTemplate
from dataprep.tokens.options import first_difference

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from dataprep.tokens.encoder import Encoder

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
PURPOSE = "a teacher in this process"
_OUTPUTS = (".gguf", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".gz", ".zst")
_METRICS = "metrics.jsonl"  # what a run of `train` records in the directory of its student
UNTRAINED = (
    "the name of a preset, which has no weights before `dataprep train` has trained it; expected a trained "
    "student's directory, or a model's name on the Hub (OWNER/NAME)"
)


class GenerationError(Exception):
    """Raised for a prompt that the model cannot answer; becomes the reason of one failed row.

    ``kind`` is a short name of the cause, such as ``context_length_exceeded``, ``message`` has the details.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind, self.message = kind, message


def check_model(name: str) -> None:
    """Check, without loading anything, that a name can be a model's and that it can be loaded."""
    for package in ("torch", "transformers"):
        require(package, extra="train", feature=PURPOSE)
    check_local(name, "a model")
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise FileError(name, "no config.json in it; expected a directory as transformers saves a model")
    elif path.exists():
        raise FileError(name, "a file; expected a directory as transformers saves a model")
    elif is_preset(name):
        raise FileError(name, UNTRAINED)
    elif not _HUB_NAME.fullmatch(name):
        raise FileError(
            name, "no such directory; expected one as transformers saves a model, or OWNER/NAME on the Hub"
        )


def files_of_model(model: str | Path) -> list[str]:
    """Return the files in a model's directory, and its manifest, which no output may replace."""
    # None if it is no directory.
    paths = [*files_in(str(model)), f"{Path(model)}{provenance.SUFFIX}"] if Path(model).is_dir() else []
    # GGUF files and rows are outputs of earlier commands; of the rows, a run's metrics are its own.
    return [path for path in paths if not path.endswith(_OUTPUTS) or path.endswith(_METRICS)]


class Model:
    """A causal or encoder-decoder language model and its tokenizer.

    Without a ``device`` it is on the first GPU if there is one.
    """

    def __init__(
        self, weights: Any, tokenizer: Any, template: Mapping[str, Any] | None = None, device: Any = None
    ) -> None:
        import torch

        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.weights = weights.eval().to(self.device)
        self.encodes = bool(weights.config.is_encoder_decoder)
        # The maximum number of tokens of prompt and answer together, for an encoder-decoder of each of them.
        self.context: int | None = getattr(weights.config.get_text_config(), "max_position_embeddings", None)
        defaults = weights.generation_config
        eos = defaults.eos_token_id
        # generation_config lists the ends of a turn, the tokenizer often only the end of a text.
        eos_ids = {*(eos if isinstance(eos, list) else [eos]), tokenizer.eos_token_id}
        self.eos_token_ids = frozenset(token for token in eos_ids if token is not None)
        pads = (tokenizer.pad_token_id, defaults.pad_token_id, *sorted(self.eos_token_ids), 0)
        self.pad_token_id: int = next(pad for pad in pads if pad is not None)
        # The number of embeddings, which may be larger than the tokenizer's vocabulary.
        self.vocab_size = int(weights.get_input_embeddings().weight.shape[0])
        self._tokenizer = tokenizer
        self._template = dict(template or {})
        # Some tokenizers strip the space before a text's first token, so a token inside a text is decoded
        # behind this one.
        self._anchor: list[int] = self._encode(":", special=False)[-1:]
        self.text_of = lru_cache(maxsize=1 << 16)(self._text_of)

    def prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Any = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        plain: bool = False,
    ) -> list[int]:
        """Return a request's messages as tokens, up to where the answer begins.

        The tokenizer's chat template writes them, with the tools and variables of the row. Without a
        template, each message is a line ``role: content``, and ``assistant:`` follows; or with ``plain``
        they are their contents alone. A ``GenerationError`` says why that is not possible.
        """
        if self._tokenizer.chat_template:
            tokens = self._templated(messages, tools, chat_template_kwargs or {})
        else:
            tokens = self._encode(_plain_text(messages, plain), special=True)
        if not tokens or max(tokens) >= self.vocab_size:
            problem = "has tokens that the model does not know" if tokens else "has no tokens"
            raise GenerationError("tokenizer", f"the prompt {problem}")
        # At least one token of the context must be left for the answer.
        if self.context is not None and len(tokens) >= self.context:
            problem = f"the prompt has {len(tokens):,} tokens, and the model's context holds {self.context:,}"
            raise GenerationError("context_length_exceeded", problem)
        return tokens

    def answers(
        self,
        messages: Sequence[Mapping[str, Any]],
        texts: Sequence[str],
        *,
        tools: Any = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        plain: bool = False,
    ) -> tuple[list[int], list[list[int]]]:
        """Return a request's messages as tokens, and the tokens of each of several answers behind them.

        The other arguments are those of ``prompt``. An answer is encoded at its place, without what would end
        it; behind a prompt without a template, a space is before it. The prompt is a token shorter if the
        tokenizer merges its end with the beginning of an answer. A ``GenerationError`` says why that is not
        possible.
        """
        variables = chat_template_kwargs or {}
        prompt = self.prompt(messages, tools=tools, chat_template_kwargs=variables, plain=plain)
        if self.encodes:
            return prompt, [self._encode(text, special=False) for text in texts]
        if self._tokenizer.chat_template:
            wholes = self._templated_answers(messages, texts, tools, variables)
        else:
            asked = _plain_text(messages, plain)
            wholes = [self._encode(f"{asked} {text}", special=True) for text in texts]
        shared = min(_common(prompt, whole) for whole in wholes)
        return prompt[:shared], [whole[shared:] for whole in wholes]

    def _templated(
        self, messages: Sequence[Mapping[str, Any]], tools: Any, variables: Mapping[str, Any]
    ) -> list[int]:
        if self._prompts is None:
            # A template writes its special tokens itself.
            return self._encode(self._rendered(messages, tools, variables), special=False)
        try:
            return self._prompts.encode_prompt(_row(messages, tools, variables))
        except ValueError as error:  # RowError and TemplateError
            raise GenerationError("chat_template", first_line(error)) from None

    def _templated_answers(
        self,
        messages: Sequence[Mapping[str, Any]],
        texts: Sequence[str],
        tools: Any,
        variables: Mapping[str, Any],
    ) -> list[list[int]]:
        if self._prompts is None:
            asked = self._rendered(messages, tools, variables)
            return [self._encode(asked + text, special=False) for text in texts]
        from dataprep.models.prompts import encode_answers

        try:
            return encode_answers(self._prompts, _row(messages, tools, variables), texts)
        except ValueError as error:  # RowError and TemplateError
            raise GenerationError("chat_template", first_line(error)) from None

    def _rendered(
        self, messages: Sequence[Mapping[str, Any]], tools: Any, variables: Mapping[str, Any]
    ) -> str:
        try:
            given = {**self._tokenizer.special_tokens_map, **self._variables}
            chat = ChatTemplate(self._tokenizer.get_chat_template(tools=tools), given, None)
            return chat.render(messages, tools=tools, arguments=variables, prompt=True)
        except ValueError as error:  # RowError and TemplateError, and transformers' own
            raise GenerationError("chat_template", first_line(error)) from None

    @cached_property
    def _variables(self) -> dict[str, Any]:
        # With a clock, as transformers renders templates; those of the rows that are asked win.
        return {"strftime_now": _now, **self._template}

    @cached_property
    def _prompts(self) -> Encoder | None:
        from dataprep.models.prompts import prompt_encoder  # numpy, which a teacher's server does not need

        return prompt_encoder(self._tokenizer, self._variables)

    def max_new_tokens(self, prompt: Sequence[int], wanted: int) -> int:
        """Return the maximum length of an answer: ``wanted``, or what the prompt leaves of the context."""
        if self.context is None:
            return wanted
        return min(wanted, self.context - (1 if self.encodes else len(prompt)))

    def _encode(self, text: str, *, special: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Return the unchanged text of tokens, with that of special tokens if ``special`` is set."""
        options = {"skip_special_tokens": not special, "clean_up_tokenization_spaces": False}
        return str(self._tokenizer.decode(list(tokens), **options))

    def _text_of(self, token: int, first: bool) -> str:
        """Return a token's text at the beginning of an answer, or (not ``first``) further on."""
        if first or not self._anchor:
            return self.decode([token], special=True)
        before = self.decode(self._anchor, special=True)
        return self.decode([*self._anchor, token], special=True)[len(before) :]

    def tokens_of(self, forms: Sequence[str]) -> list[int]:
        """Return the tokens whose text is one of ``forms``, in whatever context they appear."""
        tokens: dict[int, None] = {}
        for form in forms:
            # A tokenizer may have several tokens of one text, and chooses by what precedes it.
            for before in ("", ":", "(", " ", "\n"):
                for token in self._encode(before + form, special=False)[-1:]:
                    if form in (self.text_of(token, True), self.text_of(token, False)):
                        tokens[token] = None
        return list(tokens)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _text(message: Mapping[str, Any]) -> str:
    return content_text(message.get("content"))


def _plain_text(messages: Sequence[Mapping[str, Any]], plain: bool) -> str:
    """Return a prompt without a template: with ``plain`` the contents alone."""
    if plain:
        return "\n".join(map(_text, messages))
    return "".join(f"{message['role']}: {_text(message)}\n" for message in messages) + "assistant:"


def _row(messages: Sequence[Mapping[str, Any]], tools: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
    row = {"messages": list(messages), "tools": tools, "chat_template_kwargs": variables}
    return {name: value for name, value in row.items() if value}


def _common(prompt: Sequence[int], whole: Sequence[int]) -> int:
    """Return the number of tokens with which both begin."""
    first = first_difference(prompt, whole)
    return len(prompt) if first is None else first


def load(name: str, template: Mapping[str, Any] | None = None) -> Model:
    """Load the model and tokenizer in a directory, or on the Hugging Face Hub under a name.

    ``template`` has further variables of the chat template. Nothing is fetched for a directory.
    """
    check_model(name)
    from transformers import AutoTokenizer

    weights = load_weights(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **_safely(name))
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever its reader raises
        raise _load_error(name, "the tokenizer", error) from None
    try:
        return Model(weights, tokenizer, template)
    except Exception as error:  # noqa: BLE001 - moving it to the device can run out of memory too
        raise _load_error(name, "the model", error) from None


def load_weights(name: str, dtype: Any = "auto") -> PreTrainedModel:
    """Load a causal or encoder-decoder model from a directory or the Hub; ``dtype`` is torch's."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    options = _safely(name)
    if Path(name).is_dir():
        provenance.read(name)
    try:
        config = AutoConfig.from_pretrained(name, **options)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        loaded, report = kind.from_pretrained(name, dtype=dtype, output_loading_info=True, **options)
        # transformers fills missing weights with random numbers and only warns.
        missing = sorted([*report["missing_keys"], *map(str, report["mismatched_keys"])])
        if missing:
            raise ValueError(f"it lacks {len(missing):,} of its weights, such as {missing[0]}")
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever its reader raises
        raise _load_error(name, "the model", error) from None
    model: PreTrainedModel = loaded
    return model


def not_finite(model: Any) -> str | None:
    """Return the name of the first weights that hold NaN or infinite numbers, if any."""
    import torch

    # The extremes of a tensor are NaN if one of its numbers is. No copy of the tensor is made.
    for name, weights in model.named_parameters():
        if weights.numel() and not torch.stack(torch.aminmax(weights.detach())).isfinite().all():
            return str(name)
    return None


def check_finite(model: Any, where: str) -> None:
    """Raise ``FileError`` if weights that were loaded hold NaN or infinite numbers."""
    if name := not_finite(model):
        raise FileError(
            where,
            f"its weights {name} hold NaN or infinite numbers: the file is damaged, or a training that "
            "failed was saved; fetch it again, or give another model",
        )


def _safely(name: str) -> dict[str, Any]:
    # Code that comes with a model is never run.
    return {"local_files_only": Path(name).is_dir(), "trust_remote_code": False}


def _load_error(name: str, part: str, error: Exception) -> FileError | UsageError:
    import torch

    reason = first_line(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return UsageError(f"--model {name}: it does not fit into memory; choose a smaller one")
    if "Unrecognized configuration class" in reason:
        return UsageError(f"--model {name}: this kind of model does not generate text ({reason})")
    if Path(name).is_dir():
        return FileError(name, f"{part} in it cannot be loaded: {reason}")
    return UsageError(f"--model {name}: no such directory, and not available on the Hub: {reason}")


def _llama(
    *, hidden: int, intermediate: int, layers: int, heads: int, kv: int, context: int
) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "max_position_embeddings": context,
    }


_ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0}
_ROPE |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
_LLAMA = {
    "llama-tiny": _llama(hidden=192, intermediate=512, layers=5, heads=6, kv=6, context=2048),
    "llama-30m": _llama(hidden=384, intermediate=1024, layers=10, heads=6, kv=6, context=4096),
    # The shape that Meta publishes for Llama 3.2 1B, with its scaled rotary positions.
    "llama-1b": _llama(hidden=2048, intermediate=8192, layers=16, heads=32, kv=8, context=131072)
    | {"head_dim": 64, "rms_norm_eps": 1e-5, "rope_parameters": _ROPE},
}
_T5: dict[str, dict[str, Any]] = {
    "t5-tiny": {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 3, "num_heads": 4},
    "t5-small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
}
# Vocabulary size of the tokenizer that is trained for a preset without `--tokenizer`. Small presets get small
# vocabularies: embeddings would be most of their weights otherwise.
PRESET_VOCABULARY = {"llama-tiny": 4096, "llama-30m": 32000, "t5-tiny": 4096, "t5-small": 32000}
PRESETS = (*_LLAMA, *_T5)


def is_preset(model: str) -> bool:
    """Return whether `--model` names a preset."""
    return model in PRESETS


def is_encoder_decoder_preset(name: str) -> bool:
    """Return whether a preset has an encoder."""
    return name in _T5


def preset_config(
    name: str, vocab_size: int, pad_id: int, bos_id: int | None, eos_id: int
) -> PretrainedConfig:
    """Return the configuration of a preset, for a tokenizer's size and special tokens."""
    from transformers import LlamaConfig, T5Config

    ids: dict[str, Any] = {"pad_token_id": pad_id, "eos_token_id": eos_id}
    if name in _LLAMA:
        # Tied embeddings, as in the small models of the Llama 3 family.
        return LlamaConfig(
            vocab_size=vocab_size, tie_word_embeddings=True, bos_token_id=bos_id, **ids, **_LLAMA[name]
        )
    if name in _T5:
        return T5Config(vocab_size=vocab_size, decoder_start_token_id=pad_id, **ids, **_T5[name])
    raise UsageError(f"--model {name}: there is no such preset; expected one of {', '.join(PRESETS)}")
