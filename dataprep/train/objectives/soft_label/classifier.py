"""Create a classifier or load a trained one; the sequence classifiers of `transformers`."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dataprep.core import provenance
from dataprep.core.errors import FileError, InputError, UsageError
from dataprep.core.io import check_local
from dataprep.models.loading import check_finite
from dataprep.train.objectives.soft_label import ngrams, tiny
from dataprep.train.objectives.soft_label.classes import Classes, name_of
from dataprep.train.objectives.soft_label.rows import (
    NETWORK_FILE,
    NETWORKS,
    Encoded,
    Fields,
    JudgedRow,
    Scorer,
    explain_damage,
    network_file,
)
from dataprep.train.options import CLASSIFIERS
from dataprep.train.run_dir import OPTIONS, fold_name

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# A preset's layers, hidden size (a head has 64, an MLP four times as many), and words in its vocabulary.
_SHAPES = {"bert-tiny": (2, 128, 8000), "bert-base": (12, 768, 30522)}
_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# The entry of a directory's configuration that names the fields its texts are read from.
_FIELDS = "dataprep_fields"
# Nothing is downloaded, and code that comes with a model is never run.
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class ClassifierScorer(Scorer):
    """A sequence classifier with its tokenizer.

    It reads a pair of texts: the last field, and before it all other fields, a line each.
    """

    fixed_fields = False

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, fields: Fields, classes: Classes
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
        super().__init__(model, classes, fields, limit, pad)

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


def new_scorer(
    model: str, rows: Sequence[JudgedRow], fields: Fields, classes: Classes, tokenizer: str | None = None
) -> Scorer:
    """Return a classifier to train: a preset with new weights, or one that was saved.

    Args:
        model: one of `CLASSIFIERS`, a directory, or a small network's file.
        rows: the training rows; a preset's vocabulary is made from them.
        fields: the fields that their texts were read from.
        classes: the classes. A saved model keeps its order if it has the same ones.
        tokenizer: a directory with a tokenizer to use instead of the model's own.
    """
    # A preset's name is the preset, also beside a directory of that name.
    network = None if model in CLASSIFIERS else network_file(model)
    if tokenizer is not None and (network or model in NETWORKS):
        raise UsageError("--tokenizer: the tiny network makes a vocabulary of its own from the data")
    if network:
        provenance.read(model)
        scorer = _load_network(network)
        # Its vocabulary and layers depend on both, so it cannot be trained for other classes or fields. The
        # classes can be in another order, as rows name them; each field has weights of its own.
        own, wanted = {*scorer.classes.names}, {*classes.names}
        if own != wanted:
            found = f"its classes are {', '.join(scorer.classes.names)}; those of the data are"
            advice = f": give --classes {','.join(scorer.classes.names)}" if wanted < own else ""
            raise UsageError(f"--model {model}: {found} {', '.join(classes.names)}{advice}")
        if scorer.fields != fields:
            found = f"its fields are {', '.join(scorer.fields)}; those of the data are {', '.join(fields)}"
            raise UsageError(f"--model {model}: {found}: give --fields {','.join(scorer.fields)}")
        return scorer
    if model == "tiny":
        return ngrams.new(rows, fields, classes)
    texts = [row.texts for row in rows]
    if model in NETWORKS:
        return tiny.new(model, texts, fields, classes)
    if model in _SHAPES:
        return _new_bert(model, texts, fields, classes, tokenizer)
    return _open_for_training(model, fields, classes, tokenizer)


def load_scorer(path: str) -> Scorer:
    """Load a trained classifier from a network's file, a run or a model directory."""
    check_local(path, "a model")
    provenance.read(path)
    _check_no_folds(path)
    network = network_file(path)
    scorer = _load_network(network) if network else _load_directory(path)
    scorer.recorded = _recorded(Path(path))
    return scorer


def _check_no_folds(path: str) -> None:
    """Raise `UsageError` for a cross-fit run, whose classifiers are in directories of its own."""
    if (first := Path(path) / fold_name(0)).is_dir():
        raise UsageError(
            f"{path}: a run of `train --cross-fit`, with a classifier for each fold: give one of them, such "
            f"as {first}, or score rows with all of them with `predict --cross-fit`"
        )


def _recorded(path: Path) -> dict[str, Any]:
    """Return the options of the run that trained a classifier; none if it was no run of `train`."""
    options = (path if path.is_dir() else path.parent) / OPTIONS
    try:
        return tomllib.loads(options.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(options, f"damaged: {error}; restore it, or remove it") from None


def _load_directory(path: str) -> ClassifierScorer:
    if not Path(path).is_dir():
        problem = "not a model that scores" if Path(path).exists() else "no such file or directory"
        known = f"{NETWORK_FILE}, a run's directory, or a classifier's as transformers saves it"
        raise FileError(path, f"{problem}; expected {known}")
    from transformers import AutoModelForSequenceClassification

    with explain_damage(path):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=torch.float32, output_loading_info=True, **_LOCAL
        )
        # A language model would load too, with a head of random weights.
        if lacking := sorted(info["missing_keys"]):
            raise ValueError(f"it is not a trained classifier: it lacks weights such as {lacking[0]}")
    check_finite(model, path)
    tokenizer = _tokenizer(path)
    with explain_damage(path):  # a configuration of another shape
        fields = tuple(getattr(model.config, _FIELDS, ()))
        return ClassifierScorer(model.eval(), tokenizer, fields, _classes_of(model.config))


def _load_network(path: str) -> Scorer:
    with explain_damage(path):
        header, weights = tiny.read_network(path)
        network = ngrams if header.get("kind") == ngrams.KIND else tiny
        scorer = network.restore(header, weights)
        scorer.model.eval()
    check_finite(scorer.model, path)
    return scorer


def _new_bert(
    name: str, texts: Iterable[Sequence[str]], fields: Fields, classes: Classes, folder: str | None
) -> ClassifierScorer:
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    layers, hidden, vocabulary = _SHAPES[name]
    if folder is None:
        tokenizer = BertTokenizer(vocab=word_pieces((" ".join(row) for row in texts), vocabulary))
    else:
        tokenizer = _tokenizer(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        **_labels(classes),
    )
    return ClassifierScorer(BertForSequenceClassification(config), tokenizer, fields, classes)


def word_pieces(texts: Iterable[str], size: int) -> dict[str, int]:
    """Return a WordPiece vocabulary: all characters, then the most frequent words."""
    # Whole words and characters only: learning word pieces would take longer than the training.
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tiny.words_of(text))
    # All characters first, as beginnings and as continuations, so that every word can be written.
    characters = sorted({character for word in counts for character in word})
    pieces = [*_SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters)]
    pieces += sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces[:size]))}


def _open_for_training(
    folder: str, fields: Fields, classes: Classes, tokenizer: str | None
) -> ClassifierScorer:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if not Path(folder).is_dir():
        raise UsageError(
            f"--model {folder}: expected a directory as transformers saves a model, a network's .safetensors "
            f"file, or for soft labels one of {', '.join(CLASSIFIERS)}"
        )
    _check_no_folds(folder)
    provenance.read(folder)
    with explain_damage(folder):
        saved = _classes_of(AutoConfig.from_pretrained(folder, **_LOCAL))
        # The saved order of the same classes is kept: it decides what the outputs mean.
        classes = saved if set(saved.names) == set(classes.names) else classes
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, ignore_mismatched_sizes=True, **_labels(classes), **_LOCAL
        )
    check_finite(model, folder)
    return ClassifierScorer(model, _tokenizer(tokenizer or folder), fields, classes)


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

    provenance.read(folder)
    with explain_damage(folder):
        return AutoTokenizer.from_pretrained(folder, **_LOCAL)
