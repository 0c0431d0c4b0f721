"""Sequence classifiers of `transformers`: saved, or a BERT with random weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dataprep.core.errors import FileError, UsageError, first_line
from dataprep.train.objectives.soft_label.classes import Classes, name_of
from dataprep.train.objectives.soft_label.scorers import PRESETS, Encoded, Scorer
from dataprep.train.objectives.soft_label.tiny import words_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

SHAPES: dict[str, dict[str, int]] = {
    "bert-tiny": {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 512,
    },
    "bert-base": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
}
VOCABULARY = {"bert-tiny": 8000, "bert-base": 30522}
_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# The entry of a directory's configuration that names the fields its texts are read from.
_FIELDS = "dataprep_fields"
# Nothing is downloaded, and code that comes with a model is never run.
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class ClassifierScorer(Scorer):
    """A sequence classifier with its tokenizer.

    It reads a pair of texts: the last field, and before it all other fields, a line each.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        fields: tuple[str, ...],
        classes: Classes,
    ) -> None:
        self.tokenizer, config = tokenizer, model.config
        limit: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
        # Decoders classify the last token that is not padding, so they must know the padding token.
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = pad
        else:
            pad = config.pad_token_id
        if config.model_type in ("roberta", "xlm-roberta", "camembert") and limit:
            limit -= pad + 1  # their positions start after the padding token's id
        super().__init__(model, classes, fields, limit, {"input_ids": pad})

    def encode(self, texts: Sequence[str], limit: int | None = None) -> Encoded:
        """Return the tokenizer's ids, and its other inputs such as `token_type_ids`."""
        first, second = ("\n".join(texts[:-1]), texts[-1]) if len(texts) > 1 else (texts[0], None)
        settings = {"truncation": "longest_first", "max_length": limit} if limit else {}
        encoded = self.tokenizer(first, second, return_attention_mask=False, verbose=False, **settings)
        return {name: list(encoded[name]) for name in encoded}

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer for `from_pretrained`."""
        setattr(self.model.config, _FIELDS, list(self.fields))
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def new(
    name: str,
    texts: Iterable[Sequence[str]],
    fields: tuple[str, ...],
    classes: Classes,
    tokenizer: str | None = None,
) -> ClassifierScorer:
    """Return a BERT of one of `SHAPES` with random weights."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    if tokenizer is None:
        words = BertTokenizer(vocab=word_pieces((" ".join(row) for row in texts), VOCABULARY[name]))
    else:
        words = _tokenizer(tokenizer)
    config = BertConfig(
        vocab_size=len(words), pad_token_id=words.pad_token_id, **SHAPES[name], **_labels(classes)
    )
    return ClassifierScorer(BertForSequenceClassification(config), words, fields, classes)


def word_pieces(texts: Iterable[str], size: int) -> dict[str, int]:
    """Return a WordPiece vocabulary: all characters, then the most frequent words."""
    # Whole words and characters only: learning word pieces would take longer than the training.
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words_of(text))
    # All characters first, as beginnings and as continuations, so that every word can be written.
    characters = sorted({character for word in counts for character in word})
    pieces = [*_SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters)]
    pieces += sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces[:size]))}


def open_for_training(
    folder: str, fields: tuple[str, ...], classes: Classes, tokenizer: str | None = None
) -> ClassifierScorer:
    """Load a saved model to train it for these classes."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if not Path(folder).is_dir():
        raise UsageError(
            f"--model {folder}: expected a directory as transformers saves a model, a network's .safetensors "
            f"file, or for soft labels one of {', '.join(PRESETS)}"
        )
    with _explained(folder):
        saved = _classes_of(AutoConfig.from_pretrained(folder, **_LOCAL))
        if set(saved.names) == set(classes.names):
            classes = saved
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, ignore_mismatched_sizes=True, **_labels(classes), **_LOCAL
        )
    return ClassifierScorer(model, _tokenizer(tokenizer or folder), fields, classes)


def load(folder: str) -> ClassifierScorer:
    """Load a trained classifier."""
    from transformers import AutoModelForSequenceClassification

    with _explained(folder):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **_LOCAL
        )
        # A language model would load too, with a head of random weights.
        if lacking := sorted(info["missing_keys"]):
            raise ValueError(f"it is not a trained classifier: it lacks weights such as {lacking[0]}")
    fields = tuple(getattr(model.config, _FIELDS, ()))
    model.eval()
    return ClassifierScorer(model, _tokenizer(folder), fields, _classes_of(model.config))


def _classes_of(config: PretrainedConfig) -> Classes:
    return Classes(tuple(name_of(config.id2label[number]) for number in range(config.num_labels)))


def _labels(classes: Classes) -> dict[str, Any]:
    # The problem type is named, since transformers would guess a regression for one class.
    return {
        "num_labels": len(classes.names),
        "id2label": dict(enumerate(classes.names)),
        "label2id": {name: number for number, name in enumerate(classes.names)},
        "problem_type": "single_label_classification",
    }


def _tokenizer(folder: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    with _explained(folder):
        return AutoTokenizer.from_pretrained(folder, **_LOCAL)


@contextmanager
def _explained(folder: str) -> Iterator[None]:
    """Turn any error of a damaged directory's readers into a `FileError`."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - they raise all kinds
        raise FileError(folder, f"the model cannot be loaded: {first_line(error)}") from None
