"""Classifiers of ``transformers``: a directory as it saves one, or a BERT with random weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dataprep.core.errors import FileError, UsageError, first_line
from dataprep.train.objectives.soft_label.classes import Classes, name_of
from dataprep.train.objectives.soft_label.scorers import PRESETS, Encoded
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
_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_FIELDS = "dataprep_fields"  # where a directory's configuration says which fields it reads
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class ClassifierScorer:
    """A sequence classifier with its tokenizer.

    Of several fields the last is the second text of a pair; those before it are the first, a line each.

    Args:
        model: scores classes.
        tokenizer: its tokenizer.
        fields: the fields it reads.
        classes: what it tells apart.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        fields: tuple[str, ...],
        classes: Classes,
    ) -> None:
        self.model, self.tokenizer, self.fields, self.classes = model, tokenizer, fields, classes
        config = model.config
        self.room: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
        if getattr(config, "pad_token_id", None) is None:  # decoders look for the last token that is none
            config.pad_token_id = pad
        else:
            pad = config.pad_token_id
        self.padding: Mapping[str, int] = {"input_ids": pad}
        if config.model_type in ("roberta", "xlm-roberta", "camembert") and self.room:
            self.room -= pad + 1  # their positions begin after the padding's

    def encode(self, texts: Sequence[str], limit: int | None = None) -> Encoded:
        """The tokenizer's ids, and what else it gives for a text."""
        first, second = ("\n".join(texts[:-1]), texts[-1]) if len(texts) > 1 else (texts[0], None)
        settings = {"truncation": "longest_first", "max_length": limit} if limit else {}
        found = self.tokenizer(first, second, return_attention_mask=False, verbose=False, **settings)
        return {name: list(found[name]) for name in found}

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer, as ``from_pretrained`` loads them."""
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
    """A BERT of one of ``SHAPES`` with new weights, from torch's generator."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    if tokenizer is None:
        own = BertTokenizer(vocab=word_pieces((" ".join(row) for row in texts), VOCABULARY[name]))
    else:
        own = _tokenizer(tokenizer)
    config = BertConfig(
        vocab_size=len(own), pad_token_id=own.pad_token_id, **SHAPES[name], **_labels(classes)
    )
    return ClassifierScorer(BertForSequenceClassification(config), own, fields, classes)


def word_pieces(texts: Iterable[str], size: int) -> dict[str, int]:
    """A WordPiece vocabulary: characters, as beginnings and continuations, and the most frequent words."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words_of(text))
    characters = sorted({character for word in counts for character in word})
    pieces = [*_SPECIALS, *characters, *(f"##{character}" for character in characters)]
    pieces += sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces[:size]))}


def open_for_training(
    folder: str, fields: tuple[str, ...], classes: Classes, tokenizer: str | None = None
) -> ClassifierScorer:
    """A saved model with a head for these classes; where it has them already, in its own order.

    Raises:
        UsageError: there is no such directory.
        FileError: it is damaged.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if not Path(folder).is_dir():
        raise UsageError(
            f"--model {folder}: expected a directory as transformers saves a model, a network's .safetensors "
            f"file, or for soft labels one of {', '.join(PRESETS)}"
        )
    with _explained(folder):
        own = _classes_of(AutoConfig.from_pretrained(folder, **_LOCAL))
        if set(own.names) == set(classes.names):
            classes = own
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, ignore_mismatched_sizes=True, **_labels(classes), **_LOCAL
        )
    return ClassifierScorer(model, _tokenizer(tokenizer or folder), fields, classes)


def load(folder: str) -> ClassifierScorer:
    """A classifier that was trained.

    Raises:
        FileError: the directory holds none, or is damaged.
    """
    from transformers import AutoModelForSequenceClassification

    with _explained(folder):
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **_LOCAL
        )
        if lacking := sorted(found["missing_keys"]):
            raise ValueError(f"it is no trained classifier: it lacks weights such as {lacking[0]}")
    fields = tuple(getattr(model.config, _FIELDS, ()))
    model.eval()
    return ClassifierScorer(model, _tokenizer(folder), fields, _classes_of(model.config))


def _classes_of(config: PretrainedConfig) -> Classes:
    return Classes(tuple(name_of(config.id2label[number]) for number in range(config.num_labels)))


def _labels(classes: Classes) -> dict[str, Any]:
    """A configuration's words for the classes; more than one, or it would be taken for a regression."""
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
    """Whatever a damaged directory makes of its readers, as a ``FileError``."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - they raise all kinds
        raise FileError(folder, f"the model cannot be loaded: {first_line(error)}") from None
