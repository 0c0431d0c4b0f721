"""The network `wide`: word vectors, pooled by field, and an MLP.

It is saved as one safetensors file, whose header has vocabulary, classes, fields and sizes as JSON.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import torch
from torch import Tensor, nn

from dataprep.train.objectives.soft_label.classes import Classes
from dataprep.train.objectives.soft_label.rows import NETWORK_FILE, Encoded, Fields, Scorer

_WORD = re.compile(r"\w+|[^\w\s]")
# Characters that choose an unknown word's bucket: words that begin alike are often forms of one word.
_STEM = 5
# The entry of the safetensors file's metadata.
_HEADER = "dataprep"


def words_of(text: str) -> list[str]:
    """Return words and punctuation marks, in lower case.

    >>> words_of("It's O(n log n).")
    ['it', "'", 's', 'o', '(', 'n', 'log', 'n', ')', '.']
    """
    return _WORD.findall(text.lower())


class Vocabulary:
    """Ids of words: 0 is padding; known words; then buckets of unknown words, by their beginning."""

    def __init__(self, words: Iterable[str], buckets: int) -> None:
        self.words, self.buckets = list(words), buckets
        self._numbers = {word: number for number, word in enumerate(self.words, 1)}

    def __len__(self) -> int:
        return 1 + len(self.words) + self.buckets

    @classmethod
    def learn(cls, texts: Iterable[str], words: int, buckets: int) -> Vocabulary:
        """Return the words that occur in most texts, and in at least two."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(set(words_of(text)))
        # A word of a single text teaches nothing about others; buckets serve it as well.
        often = [word for word, count in counts.items() if count > 1]
        return cls(sorted(often, key=lambda word: (-counts[word], word))[:words], buckets)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's words."""
        numbers, first = self._numbers, 1 + len(self.words)
        ids = []
        for word in words_of(text):
            number = numbers.get(word)
            # Not hash(): it differs from process to process.
            ids.append(first + crc32(word[:_STEM].encode()) % self.buckets if number is None else number)
        return ids


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers of words with vectors of their own and of vectors that the others share; layers' widths."""

    words: int
    buckets: int
    width: int
    hidden: int
    dropout: float = 0.3


SIZES = {
    "wide": Size(words=20000, buckets=4096, width=128, hidden=256),
}


class Network(nn.Module):
    """Scores of shape `(B, classes)` for texts of a few fields.

    A word's vector is the sum of its own, its field's, and one that marks words that another field has too.
    Each field is pooled with weights computed from its vectors; a field without words is 0.
    """

    def __init__(self, size: Size, vocabulary: int, fields: int, classes: int) -> None:
        super().__init__()
        self.fields = fields
        self.words = nn.Embedding(vocabulary, size.width, padding_idx=0)
        self.field = nn.Embedding(fields, size.width)
        self.shared = nn.Embedding(2, size.width)
        # Smaller than torch's default of 1: three vectors are added for each word.
        for table in (self.words, self.field, self.shared):
            nn.init.normal_(table.weight, std=0.1)
        self.weigh = nn.Linear(size.width, 1)
        self.dropout = nn.Dropout(size.dropout)
        self.hidden = nn.Linear(fields * size.width, size.hidden)
        self.scores = nn.Linear(size.hidden, classes)

    def forward(self, ids: Tensor, field: Tensor, shared: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute the scores; all inputs have shape `(B, T)`."""
        vectors = self.dropout(self.words(ids) + self.field(field) + self.shared(shared))
        weights = self.weigh(vectors).squeeze(-1)
        pooled = []
        for number in range(self.fields):
            inside = (field == number) & (attention_mask == 1)
            # The lowest number instead of -inf, which would divide 0 by 0 in a field without words.
            pooling = weights.masked_fill(~inside, torch.finfo(weights.dtype).min).softmax(-1) * inside
            pooled.append((pooling[..., None] * vectors).sum(1))
        return self.scores(self.dropout(torch.relu(self.hidden(torch.cat(pooled, -1)))))


class NetworkScorer(Scorer):
    """The network with its vocabulary."""

    def __init__(self, size: Size, vocabulary: Vocabulary, fields: Fields, classes: Classes) -> None:
        self.size, self.vocabulary = size, vocabulary
        super().__init__(
            Network(size, len(vocabulary), len(fields), len(classes.names)), classes, fields, None, 0
        )

    def encode(self, texts: Sequence[str], limit: int | None = None) -> Encoded:
        """Return the ids of words and fields, and whether another field has the word."""
        fields = [self.vocabulary.encode(text) for text in texts]
        if limit is not None:
            shorten(fields, limit)
        sets = [set(ids) for ids in fields]
        encoded: Encoded = {"ids": [], "field": [], "shared": []}
        for number, ids in enumerate(fields):
            others = set().union(*(words for index, words in enumerate(sets) if index != number))
            encoded["ids"] += ids
            encoded["field"] += [number] * len(ids)
            encoded["shared"] += [int(word in others) for word in ids]
        return encoded

    def save(self, folder: Path) -> None:
        """Write the file."""
        write_network(folder, self, {"size": asdict(self.size), "words": self.vocabulary.words})


def write_network(folder: Path, scorer: Scorer, header: dict[str, Any]) -> None:
    """Write a network's weights, and in the file's header what it needs to read texts."""
    from safetensors.torch import save_file

    header |= {"fields": scorer.fields, "classes": scorer.classes.names}
    state = scorer.model.state_dict()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(weights, folder / NETWORK_FILE, {_HEADER: orjson.dumps(header).decode()})


def read_network(path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the header and the weights of a network's file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if _HEADER not in metadata:
        raise ValueError("it has no vocabulary of dataprep")
    header: dict[str, Any] = orjson.loads(metadata[_HEADER])
    return header, weights


def shorten(texts: list[list[Any]], limit: int) -> None:
    """Truncate the longest lists until all lists together have at most `limit` items."""
    # From the longest list only, so that a short question keeps all its words beside a long answer.
    while (over := sum(map(len, texts)) - limit) > 0:
        longest = max(texts, key=len)
        second = max((len(text) for text in texts if text is not longest), default=0)
        del longest[-max(min(over, len(longest) - second), 1) :]


def new(name: str, texts: Iterable[Sequence[str]], fields: Fields, classes: Classes) -> NetworkScorer:
    """Return a network of one of `SIZES` with random weights."""
    size = SIZES[name]
    vocabulary = Vocabulary.learn((" ".join(row) for row in texts), size.words, size.buckets)
    return NetworkScorer(size, vocabulary, fields, classes)


def restore(header: dict[str, Any], weights: dict[str, Tensor]) -> NetworkScorer:
    """Return the network of a file's header and weights."""
    try:
        size = Size(**header["size"])
        vocabulary = Vocabulary(header["words"], size.buckets)
        fields, classes = tuple(header["fields"]), Classes(tuple(header["classes"]))
    except KeyError:
        raise ValueError("it has no vocabulary of dataprep") from None
    scorer = NetworkScorer(size, vocabulary, fields, classes)
    scorer.model.load_state_dict(weights)
    return scorer
