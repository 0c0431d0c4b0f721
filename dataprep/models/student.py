"""Students: a model, its tokenizer and its chat format, made anew or loaded, and saved to load anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import FileError, MissingDependencyError, TokenizerError, UsageError, first_line
from dataprep.core.optional import quiet_torchao
from dataprep.models import presets
from dataprep.tokens.formats.loading import chat_format_of
from dataprep.tokens.formats.model_template import read_template
from dataprep.tokens.special_tokens import pad_id
from dataprep.tokens.tokenizers import loading as tokenizers
from dataprep.tokens.tokenizers.training import texts_of_files, train_tokenizer
from dataprep.train.options import TrainOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dataprep.tokens.formats.base import ChatFormat
    from dataprep.tokens.shards.reading import Shards
    from dataprep.tokens.tokenizers.base import Tokenizer

PURPOSE = "training a student"


@dataclass(slots=True)
class Student:
    """A language model that is trained.

    Attributes:
        model: the ``transformers`` model, in float32.
        tokenizer: its tokenizer.
        chat_format: how conversations are written for it.
        attention: the attention that its class has by itself.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    chat_format: ChatFormat
    attention: str

    @property
    def encodes(self) -> bool:
        """Whether it has an encoder that reads the question."""
        return bool(self.model.config.is_encoder_decoder)

    @property
    def context(self) -> int | None:
        """Tokens that a row may have; ``None`` where there is no limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def end_ids(self) -> list[int]:
        """The tokens that end an answer; for an encoder-decoder, which knows no turns, what ends a text."""
        if self.encodes:
            own = self.model.config.eos_token_id
            return list(own) if isinstance(own, list | tuple) else [int(own)]
        return end_ids(self.tokenizer, self.chat_format)

    def says(self, ids: Iterable[int]) -> str:
        """Tokens that were generated as a text, without those that end it.

        A model may have room for more tokens than its tokenizer has, and untrained it says them too.
        """
        known = range(self.tokenizer.vocab_size)
        return self.tokenizer.decode([each for each in ids if each in known and each not in self.end_ids])

    def adopt(self, weights: dict[str, Any]) -> None:
        """Put whole weights in place of a model that was divided among processes, on the CPU."""
        with_attention = self.model.config._attn_implementation
        whole = type(self.model)(self.model.config)
        whole.load_state_dict(weights)
        whole.tie_weights()
        whole.set_attn_implementation(with_attention)
        self.model = whole

    @contextmanager
    def own_attention(self) -> Iterator[PreTrainedModel]:
        """The model with its class's own attention, for what is not training; in evaluation mode."""
        name, training = self.model.config._attn_implementation, self.model.training
        self.model.set_attn_implementation(self.attention)
        self.model.eval()
        try:
            yield self.model
        finally:
            self.model.set_attn_implementation(name)
            self.model.train(training)

    def keep_less(self) -> None:
        """Compute activations twice instead of keeping them."""
        settings = {"use_reentrant": False}
        if hasattr(self.model, "activation_checkpointing_enable"):
            self.model.activation_checkpointing_enable(settings)
        else:  # what transformers called it before
            self.model.gradient_checkpointing_enable(settings)

    def save(self, folder: Path) -> None:
        """Write weights, configuration, tokenizer and chat template, as ``from_pretrained`` loads them."""
        from dataprep.tokens.export.saving import generation_ids, save_pretrained

        chat_format = None if self.encodes else self.chat_format
        ends = set(self.end_ids[:1])
        end = next((name for name, each in self.tokenizer.special_tokens.items() if each in ends), None)
        with self.own_attention() as model:
            for name, value in generation_ids(self.tokenizer, chat_format, end).items():
                setattr(model.generation_config, name, value)
            model.save_pretrained(folder)  # first: its config.json decides which class loads the tokenizer
        save_pretrained(self.tokenizer, chat_format, folder, end=end)


def end_ids(tokenizer: Tokenizer, chat_format: ChatFormat) -> list[int]:
    """The tokens that end an answer: the chat format's end of turn, and what ends a text."""
    names = [*sorted(chat_format.stop_tokens), "<|end_of_text|>", "</s>"]
    return list(
        dict.fromkeys(tokenizer.special_tokens[name] for name in names if name in tokenizer.special_tokens)
    )


def tokenizer_of(options: TrainOptions, texts: list[str]) -> Tokenizer:
    """The student's tokenizer: the one given, the model's own, or one trained on files of rows.

    Raises:
        UsageError: there is none for a preset, and nothing to train one on.
        TokenizerError, FileError: it is damaged or not there.
    """
    if options.tokenizer is not None:
        return tokenizers.load_tokenizer(options.tokenizer)
    if not presets.is_preset(options.model):
        return tokenizers.load_tokenizer(directory_of(options.model))
    if options.model not in presets.VOCABULARY or not texts:
        raise UsageError(
            f"--model {options.model} needs --tokenizer PATH: Llama 3's tokenizer.model, or the one that the "
            "shards were made with"
        )
    content = train_tokenizer(texts_of_files(texts), presets.VOCABULARY[options.model], shrink=True)
    return tokenizers.tokenizer_from("the tokenizer trained on the data", content)


def has_tokenizer(model: str) -> bool:
    """Whether a model brings a tokenizer of its own."""
    if presets.is_preset(model):
        return False
    folder = Path(directory_of(model))
    return any((folder / name).is_file() for name in tokenizers.FILES)


def chat_format_for(options: TrainOptions, tokenizer: Tokenizer, shards: Sequence[Shards] = ()) -> ChatFormat:
    """Return the chat format: the one named, that of the shards, the model's own template, or Llama 3's.

    Raises:
        UsageError: shards were made in another chat format, whose ends and roles the student would not know.
    """
    if not shards:
        return _chat_format(options, options.chat_format, tokenizer)
    made = shards[0].manifest
    laid = {name: made["options"][name] for name in ("strip", "date")}
    chat_format = _chat_format(options, options.chat_format or shards[0].chat_format, tokenizer, **laid)
    for each in shards:
        found = each.manifest["chat_format"]
        if found["fingerprint"] != chat_format.fingerprint:
            named = found["name"] if found["name"] != chat_format.name else f"another {found['name']}"
            raise UsageError(
                f"{each.path}: made in the chat format {named}, the student's is {chat_format.name}: leave "
                "--chat-format out, give the model that the chat format is of, or make the shards anew"
            )
    return chat_format


def _chat_format(options: TrainOptions, name: str | None, tokenizer: Tokenizer, **laid: Any) -> ChatFormat:
    own = None if presets.is_preset(options.model) else directory_of(options.model)
    if name is None:
        name = "template" if own is not None and _has_template(own) else "llama3"
    if name == "template":
        return chat_format_of(name, path=own, special_tokens=tuple(tokenizer.special_tokens), **laid)
    return chat_format_of(name, **laid)


def _has_template(folder: str) -> bool:
    from dataprep.core.errors import TemplateError

    try:
        read_template(folder)
    except (TemplateError, FileError):
        return False
    return True


def directory_of(model: str, flag: str = "--model") -> str:
    """The directory of a model; one of the hub's is fetched.

    Raises:
        UsageError: there is none of that name.
    """
    if Path(model).is_dir():
        return model
    if Path(model).exists() or model.count("/") != 1:
        known = ", ".join(presets.NAMES)
        raise UsageError(
            f"{flag} {model}: expected a directory as transformers saves a model, a name on the hub "
            f"(OWNER/NAME), or a preset: {known}"
        )
    try:
        from huggingface_hub import snapshot_download

        patterns = ["*.json", "*.safetensors", "*.model", "*.jinja"]
        return str(snapshot_download(model, allow_patterns=patterns))
    except ImportError:
        raise MissingDependencyError("huggingface_hub", "train", PURPOSE) from None
    except Exception as error:  # noqa: BLE001 - the client raises many kinds
        raise UsageError(f"{flag} {model}: not to be had from the hub: {first_line(error)}") from None


def load_student(options: TrainOptions, tokenizer: Tokenizer, chat_format: ChatFormat) -> Student:
    """The student, made anew or loaded; torch's generator must have been seeded.

    Raises:
        UsageError, FileError: the model is not there, damaged or of another kind.
        TokenizerError: the tokenizer has more tokens than the model.
    """
    with quiet_torchao():  # transformers imports it where it is installed
        from transformers import PreTrainedModel  # noqa: F401
    model = (
        _new(options, tokenizer, chat_format)
        if presets.is_preset(options.model)
        else load_weights(options.model)
    )
    room = int(model.get_input_embeddings().weight.shape[0])
    if tokenizer.vocab_size > room:
        raise TokenizerError(
            f"the tokenizer has {tokenizer.vocab_size:,} tokens, and the model's vocabulary {room:,}: give "
            "the model's own tokenizer"
        )
    return Student(model, tokenizer, chat_format, model.config._attn_implementation)


def _new(options: TrainOptions, tokenizer: Tokenizer, chat_format: ChatFormat) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    begins = ("<|begin_of_text|>", "<s>", "<bos>")
    bos = next((tokenizer.special_tokens[name] for name in begins if name in tokenizer.special_tokens), None)
    ends = end_ids(tokenizer, chat_format) or [pad_id(tokenizer)]
    if presets.encodes(options.model):  # T5 knows no turns: its texts end with </s>
        of_texts = ("</s>", "<|end_of_text|>", "<|endoftext|>")
        ends = [
            tokenizer.special_tokens[name] for name in of_texts if name in tokenizer.special_tokens
        ] or ends
    config = presets.config_of(options.model, tokenizer.vocab_size, pad_id(tokenizer), bos, ends[0])
    kind = AutoModelForSeq2SeqLM if presets.encodes(options.model) else AutoModelForCausalLM
    model: PreTrainedModel = kind.from_config(config)
    return model


def load_weights(name: str) -> PreTrainedModel:
    """A model from a directory or the hub, in float32.

    Raises:
        UsageError, FileError: it is not there, or damaged.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    folder = directory_of(name)
    settings: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **settings)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, found = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **settings)
        lacking = sorted([*found["missing_keys"], *map(str, found["mismatched_keys"])])
        if lacking:
            raise ValueError(f"it lacks {len(lacking):,} of its weights, such as {lacking[0]}")
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes of its readers
        raise FileError(name, f"the model cannot be loaded: {first_line(error)}") from None
    student: PreTrainedModel = model
    return student
