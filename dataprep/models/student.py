"""The student: a language model with its tokenizer and chat format."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import TokenizerError, UsageError, first_line
from dataprep.core.io import temporary_folder
from dataprep.core.optional import quiet_torchao, require
from dataprep.models.loading import (
    PRESET_VOCABULARY,
    PRESETS,
    UNTRAINED,
    check_finite,
    is_encoder_decoder_preset,
    is_preset,
    load_weights,
    preset_config,
)
from dataprep.tokens.formats.loading import chat_format_of, end_of_text, folder_of
from dataprep.tokens.formats.model_template import has_template
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.tokens.tokenizers.base import pad_id
from dataprep.tokens.tokenizers.training import texts_of_files, train_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import GenerationConfig, PreTrainedModel

    from dataprep.tokens.formats.base import ChatFormat
    from dataprep.tokens.shards.reading import Shards
    from dataprep.tokens.tokenizers.base import Tokenizer


@dataclass(slots=True)
class Student:
    """A language model that is trained."""

    model: PreTrainedModel  # In float32.
    tokenizer: Tokenizer
    chat_format: ChatFormat
    attention: str  # The name of the attention implementation that its class uses by default.
    # Saves low-rank updates and merges them into the weights; called first by `save`.
    merge_adapter: Callable[[Path], None] | None = None
    # The tokenizer's files to save, once `prepare_saving` has checked them.
    files: Mapping[str, str] | None = None

    @property
    def is_encoder_decoder(self) -> bool:
        """True if an encoder reads the question and a decoder writes the answer."""
        return bool(self.model.config.is_encoder_decoder)

    @property
    def context_length(self) -> int | None:
        """Maximum number of tokens in a row; `None` if the model has no limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def eos_token_ids(self) -> list[int]:
        """Stop tokens: those that end an answer, the most usual first."""
        if self.is_encoder_decoder:
            # T5 has no turns: the configuration names the token that ends any text.
            eos = self.model.config.eos_token_id
            return list(eos) if isinstance(eos, list | tuple) else [int(eos)]
        return stop_tokens(self.tokenizer, self.chat_format)

    def describe(self) -> dict[str, Any]:
        """Return what the run's records say about the tokenizer and the chat format."""
        # The fingerprint tells tokenizers apart whose files have the same name.
        tokenizer = {"kind": self.tokenizer.kind, "fingerprint": self.tokenizer.fingerprint}
        if self.is_encoder_decoder:
            return {"tokenizer": tokenizer, "chat_format": None}
        # `evaluate` asks the student with the same date, and with contents stripped or not.
        chat_format = self.chat_format
        facts = {"chat_format": chat_format.name, "strip": chat_format.strip, "date": chat_format.date}
        return {"tokenizer": tokenizer, **facts, "template_args": dict(getattr(chat_format, "arguments", {}))}

    def generate_samples(
        self, prompts: Sequence[NDArray[Any]], max_new_tokens: int, batch_size: int = 32
    ) -> list[str]:
        """Return the student's greedy answers to prompts, each up to its first stop token.

        Each prompt has the shape `(tokens,)`; `batch_size` of them are answered at once.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        # A decoder continues its prompt, so the padding must come before it.
        side, pad = "right" if self.is_encoder_decoder else "left", pad_id(self.tokenizer)
        answers: list[str] = []
        with self.default_attention() as model, _greedy(model), torch.no_grad():
            for start in range(0, len(prompts), batch_size):
                # astype() copies: torch warns about the read-only arrays of memory-mapped shards.
                batch = [torch.from_numpy(ids.astype("int64")) for ids in prompts[start : start + batch_size]]
                ids = pad_sequence(batch, batch_first=True, padding_value=pad, padding_side=side)
                ones = [torch.ones_like(prompt) for prompt in batch]
                mask = pad_sequence(ones, batch_first=True, padding_side=side)
                room = self._room(ids.shape[1], max_new_tokens)
                # The longest prompt leaves less room than the others need: each is answered alone.
                if room < max_new_tokens and len(batch) > 1:
                    some = prompts[start : start + batch_size]
                    answers += self.generate_samples(some, max_new_tokens, batch_size=1)
                    continue
                output = model.generate(
                    ids.to(model.device),
                    attention_mask=mask.to(model.device),
                    max_new_tokens=room,
                    eos_token_id=self.eos_token_ids,
                    pad_token_id=pad,
                )
                start_of_answer = 1 if self.is_encoder_decoder else ids.shape[1]
                answers += map(self.decode_answer, output[:, start_of_answer:].tolist())
        return answers

    def _room(self, prompt: int, wanted: int) -> int:
        # Positions that a model does not have are an error of its embeddings. T5's have no end.
        context = None if self.is_encoder_decoder else self.context_length
        return wanted if context is None else max(min(wanted, context - prompt), 1)

    def decode_answer(self, ids: Sequence[int]) -> str:
        """Return the text of generated tokens up to the first stop token."""
        stop = set(self.eos_token_ids)
        end = next((index for index, token in enumerate(ids) if token in stop), len(ids))
        # The output layer can be larger than the vocabulary, and an untrained model predicts such ids too.
        known = range(self.tokenizer.vocab_size)
        return self.tokenizer.decode([token for token in ids[:end] if token in known])

    def load_full_state(self, weights: dict[str, Any]) -> None:
        """Replace a model that was sharded among processes by a whole one on the CPU."""
        attention = self.model.config._attn_implementation
        model = type(self.model)(self.model.config)
        model.load_state_dict(weights)
        model.tie_weights()
        model.set_attn_implementation(attention)
        model.generation_config = self.model.generation_config
        self.model = model

    @contextmanager
    def default_attention(self) -> Iterator[PreTrainedModel]:
        """Yield the model in evaluation mode with its class's own attention."""
        name, training = self.model.config._attn_implementation, self.model.training
        self.model.set_attn_implementation(self.attention)
        self.model.eval()
        try:
            yield self.model
        finally:
            self.model.set_attn_implementation(name)
            self.model.train(training)

    def enable_gradient_checkpointing(self) -> None:
        """Compute activations again in the backward pass instead of keeping them."""
        settings = {"use_reentrant": False}
        if hasattr(self.model, "activation_checkpointing_enable"):
            self.model.activation_checkpointing_enable(settings)
        else:  # the name in transformers before 5.2
            self.model.gradient_checkpointing_enable(settings)

    def prepare_saving(self) -> None:
        """Check before training that the student can be saved after it, and settle what is saved."""
        from dataprep.tokens.export import generation_ids, saved_files

        chat_format, end = self._saved_with
        self.model.generation_config = savable(self.model.generation_config)
        for name, value in generation_ids(self.tokenizer, chat_format, end).items():
            setattr(self.model.generation_config, name, value)
        with temporary_folder() as folder, self.default_attention() as model:
            # config.json can decide which class loads the tokenizer.
            model.config.save_pretrained(folder)
            model.generation_config.save_pretrained(folder)
            self.files = saved_files(self.tokenizer, chat_format, folder / "config.json", end=end)

    def save_tokenizer(self, folder: Path) -> None:
        """Write configuration, tokenizer and chat template as `save` does, without the weights."""
        from dataprep.tokens.export import save_pretrained

        if self.files is None:
            self.prepare_saving()
        with self.default_attention() as model:
            model.config.save_pretrained(folder)
            model.generation_config.save_pretrained(folder)
        chat_format, end = self._saved_with
        save_pretrained(self.tokenizer, chat_format, folder, end=end, contents=self.files)

    def save(self, folder: Path) -> None:
        """Write weights, configuration, tokenizer and chat template for `from_pretrained`."""
        from dataprep.tokens.export import save_pretrained

        if self.files is None:
            self.prepare_saving()
        if self.merge_adapter is not None:
            self.merge_adapter(folder)
        with self.default_attention() as model:
            model.save_pretrained(folder)
        chat_format, end = self._saved_with
        save_pretrained(self.tokenizer, chat_format, folder, end=end, contents=self.files)

    @property
    def _saved_with(self) -> tuple[ChatFormat | None, str | None]:
        """The chat format that is saved, and the special token that ends texts."""
        eos = self.eos_token_ids[:1]
        end = next((name for name, token in self.tokenizer.special_tokens.items() if token in eos), None)
        return None if self.is_encoder_decoder else self.chat_format, end


@contextmanager
def _greedy(model: PreTrainedModel) -> Iterator[None]:
    """Make `generate` take the likeliest token, whatever the model's generation settings say."""
    from transformers import GenerationConfig

    # Replaced, not overridden in the call, which leaves beams, penalties and forced tokens to the settings.
    settings = model.generation_config
    ids = ("bos_token_id", "decoder_start_token_id")
    model.generation_config = GenerationConfig(
        do_sample=False, num_beams=1, **{name: getattr(settings, name) for name in ids}
    )
    try:
        yield
    finally:
        model.generation_config = settings


def savable(config: GenerationConfig) -> GenerationConfig:
    """Return a model's generation settings, changed where transformers would refuse to save them."""
    from transformers import GenerationConfig

    for changes in ({}, {"do_sample": True}):
        # Many models were published with a temperature and without `do_sample`, which was meant.
        candidate = copy.deepcopy(config)
        candidate.update(**changes)
        with suppress(ValueError):
            candidate.validate(strict=True)
            return candidate
    # Beyond repair: only the token ids, which are set later, and what a decoder begins with.
    return GenerationConfig(decoder_start_token_id=config.decoder_start_token_id)


def stop_tokens(tokenizer: Tokenizer, chat_format: ChatFormat) -> list[int]:
    """Return the tokens that end an answer: end of turn, then end of text."""
    names = [*sorted(chat_format.stop_tokens), "<|end_of_text|>", "</s>"]
    return list(dict.fromkeys(_special_ids(tokenizer, names)))


def _special_ids(tokenizer: Tokenizer, names: Sequence[str]) -> list[int]:
    return [tokenizer.special_tokens[name] for name in names if name in tokenizer.special_tokens]


def load_tokenizer_for(model: str, path: str | None, texts: list[str]) -> Tokenizer:
    """Load the student's tokenizer from `path` or its model, or train one on the rows of files (`texts`)."""
    if path is not None:
        return tokenizers.load_tokenizer(path)
    if not is_preset(model):
        return tokenizers.load_tokenizer(model_directory(model))
    if model not in PRESET_VOCABULARY or not texts:
        advice = "Llama 3's tokenizer.model, or the one that the shards were made with"
        raise UsageError(f"--model {model} needs --tokenizer PATH: {advice}")
    content = train_tokenizer(texts_of_files(texts), PRESET_VOCABULARY[model], shrink=True)
    return tokenizers.tokenizer_from("the tokenizer trained on the data", content)


def has_tokenizer(model: str) -> bool:
    """Return whether a model has a tokenizer of its own."""
    if is_preset(model):
        return False
    folder = Path(model_directory(model))
    return any((folder / name).is_file() for name in tokenizers.FILES)


def load_chat_format_for(
    model: str,
    name: str | None,
    tokenizer: Tokenizer,
    shards: Sequence[Shards] = (),
    *,
    tokenizer_path: str | None = None,
    strip: bool = False,
    date: str | None = None,
    template_args: Mapping[str, Any] | None = None,
) -> ChatFormat:
    """Load the chat format of a name, else that of the shards, else the model's template, else Llama 3's.

    A model without a template, such as a preset, takes the one beside the tokenizer that is given. Finished
    shards must have been written in that format.
    """
    folder = template_folder(model, tokenizer_path)
    if name == "template" and folder is None:
        raise UsageError(
            f"--chat-format template: {model} has no chat template; give the directory of a tokenizer that "
            "has one with --tokenizer DIR, or another chat format"
        )
    if not shards:
        return _chat_format(folder, name, tokenizer, strip=strip, date=date, template_args=template_args)
    # Shards record how contents were stripped and which date was written; the template must agree.
    made_with = shards[0].manifest["options"]
    given: dict[str, tuple[Any, Any]] = {
        "strip": (strip, False),
        "date": (date, None),
        "template_args": (template_args, {}),
    }
    settings = {name: made_with.get(name, default) for name, (_, default) in given.items()}
    for name_of, (value, _) in given.items():
        if value and value != settings[name_of]:
            flag = "--" + name_of.replace("_", "-").removesuffix("s")
            raise UsageError(
                f"{flag}: {shards[0].path} was made without it, or with another: leave it out, or make the "
                "shards again"
            )
    name = name or _recorded_format(shards[0], folder, model)
    chat_format = _chat_format(folder, name, tokenizer, **settings)
    for directory in shards:
        recorded = directory.manifest["chat_format"]
        # The student would learn other stop tokens and roles than its template has.
        if recorded["fingerprint"] != chat_format.fingerprint:
            named = (
                recorded["name"] if recorded["name"] != chat_format.name else f"another {recorded['name']}"
            )
            raise UsageError(
                f"{directory.path}: made in the chat format {named}, and the student's is "
                f"{chat_format.name}: leave --chat-format out, give the model that the chat format belongs "
                "to, or make the shards again"
            )
    return chat_format


def _recorded_format(shards: Shards, folder: str | None, model: str) -> str:
    """Return the name of the chat format of shards, whose template must be there."""
    if shards.chat_format == "template" and not (folder and has_template(folder)):
        raise UsageError(
            f"{shards.path}: made with the chat template of a model, and {folder or model} has none; give "
            "the tokenizer's directory, with that template as chat_template.jinja, with --tokenizer DIR"
        )
    return shards.chat_format


def template_folder(model: str | None, tokenizer_path: str | None) -> str | None:
    """Return the first directory with a template: the model's or the tokenizer's; else the first one."""
    folders = [] if model is None or is_preset(model) else [model_directory(model)]
    if tokenizer_path is not None and Path(tokenizer_path).exists():
        folders.append(str(folder_of(tokenizer_path)))
    return next(filter(has_template, folders), folders[0] if folders else None)


def _chat_format(folder: str | None, name: str | None, tokenizer: Tokenizer, **settings: Any) -> ChatFormat:
    if name is None:
        name = "template" if folder is not None and has_template(folder) else "llama3"
    if name == "template":
        return chat_format_of(name, path=folder, special_tokens=tuple(tokenizer.special_tokens), **settings)
    end = end_of_text(tokenizer, folder) if name == "plain" else None
    return chat_format_of(name, **settings, end=end)


def model_directory(model: str, flag: str = "--model") -> str:
    """Return the directory of a model; download a model from the Hub first."""
    if Path(model).is_dir():
        return model
    if Path(model).exists() or model.count("/") != 1:
        if is_preset(model):
            raise UsageError(f"{flag} {model}: {UNTRAINED}")
        places = ["a directory as transformers saves a model", "a name on the Hub (OWNER/NAME)"]
        if flag == "--model":  # of `train` alone, which makes a student of a preset
            places.append(f"a preset ({', '.join(PRESETS)})")
        raise UsageError(f"{flag} {model}: expected {', '.join(places[:-1])} or {places[-1]}")
    require("huggingface_hub", extra="train", feature="training a student")
    try:
        from huggingface_hub import snapshot_download

        # No .py files and no pickles: code that comes with a model must never run.
        patterns = ["*.json", "*.safetensors", "*.model", "*.jinja"]
        return str(snapshot_download(model, allow_patterns=patterns))
    except Exception as error:  # noqa: BLE001 - the client raises many kinds
        problem = f"could not be downloaded from the Hub: {first_line(error)}"
        raise UsageError(f"{flag} {model}: {problem}") from None


def load_student(model: str, tokenizer: Tokenizer, chat_format: ChatFormat) -> Student:
    """Create a preset with weights from torch's random generator, which the caller seeds; or load a model."""
    import torch

    with quiet_torchao():  # transformers imports torchao if it is installed
        from transformers import PreTrainedModel  # noqa: F401
    if is_preset(model):
        weights = _create(model, tokenizer, chat_format)
    else:
        # In float32 whatever the files have: small updates would be lost in bfloat16.
        weights = load_weights(model_directory(model), torch.float32)
        # Otherwise it would be noticed in the first step, and look like a row's fault.
        check_finite(weights, model)
    embeddings = int(weights.get_input_embeddings().weight.shape[0])
    if tokenizer.vocab_size > embeddings:
        problem = (
            f"the tokenizer has {tokenizer.vocab_size:,} tokens, and the model's vocabulary {embeddings:,}"
        )
        raise TokenizerError(f"{problem}: give the model's own tokenizer")
    return Student(weights, tokenizer, chat_format, weights.config._attn_implementation)


def _create(model: str, tokenizer: Tokenizer, chat_format: ChatFormat) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    bos = next(iter(_special_ids(tokenizer, ("<|begin_of_text|>", "<s>", "<bos>"))), None)
    eos = stop_tokens(tokenizer, chat_format) or [pad_id(tokenizer)]
    if is_encoder_decoder_preset(model):  # T5 has no turns: its texts end with </s>
        eos = _special_ids(tokenizer, ("</s>", "<|end_of_text|>", "<|endoftext|>")) or eos
    config = preset_config(model, tokenizer.vocab_size, pad_id(tokenizer), bos, eos[0])
    factory = AutoModelForSeq2SeqLM if is_encoder_decoder_preset(model) else AutoModelForCausalLM
    weights: PreTrainedModel = factory.from_config(config)
    return weights
