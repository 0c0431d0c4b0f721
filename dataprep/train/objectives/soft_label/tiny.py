"""The tiny network: word vectors that know their field and what the other fields share, pooled, and an MLP.

One file holds it: safetensors, whose header carries vocabulary, classes, fields and sizes as JSON.

The tiny student's vocabulary: the most frequent words, and a few buckets that all others share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import torch
from torch import Tensor, nn

from dataprep.core.errors import FileError
from dataprep.train.objectives.soft_label.classes import Classes
from dataprep.train.objectives.soft_label.scorers import TINY_FILE, Encoded

_WORD = re.compile(r"\w+|[^\w\s]")
_STEM = 5  # characters; words that begin alike are often forms of one


def words_of(text: str) -> list[str]:
    """Words and single signs, in lower case.

    >>> words_of("It's O(n log n).")
    ['it', "'", 's', 'o', '(', 'n', 'log', 'n', ')', '.']
    """
    return _WORD.findall(text.lower())


class Vocabulary:
    """Numbers for words: 0 is padding, then come the words that are known, then the buckets.

    A word that is unknown goes to the bucket of its first characters, by their CRC-32.

    Args:
        words: the known words.
        buckets: how many buckets there are, at least 1.
    """

    def __init__(self, words: Iterable[str], buckets: int) -> None:
        self.words, self.buckets = list(words), buckets
        self._numbers = {word: number for number, word in enumerate(self.words, 1)}

    def __len__(self) -> int:
        return 1 + len(self.words) + self.buckets

    @classmethod
    def learn(cls, texts: Iterable[str], words: int, buckets: int) -> Vocabulary:
        """The words that occur in most texts, and in two at least; where as many have two, by letters."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(set(words_of(text)))
        often = [word for word, count in counts.items() if count > 1]
        return cls(sorted(often, key=lambda word: (-counts[word], word))[:words], buckets)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's words."""
        numbers, first = self._numbers, 1 + len(self.words)
        found = []
        for word in words_of(text):
            number = numbers.get(word)
            found.append(first + crc32(word[:_STEM].encode()) % self.buckets if number is None else number)
        return found


MOST_FIELDS = 8
_HEADER = "dataprep"


@dataclass(frozen=True, slots=True)
class Size:
    """How large a network is.

    Attributes:
        words: words that have vectors of their own, at most.
        buckets: vectors that all other words share.
        width: of a vector.
        hidden: width of the MLP's hidden layer.
        dropout: of vectors and hidden layer.
    """

    words: int
    buckets: int
    width: int
    hidden: int
    dropout: float = 0.3


SIZES = {
    "tiny": Size(words=1200, buckets=300, width=16, hidden=32),
    "wide": Size(words=20000, buckets=4096, width=128, hidden=256),
}


class Network(nn.Module):
    """Scores of shape ``(B, classes)`` for texts of a few fields.

    A word's vector is the sum of its own, its field's, and one that says whether another field has the word
    too. Each field is pooled by weights that the vectors themselves give; a field without words is 0.
    """

    def __init__(self, size: Size, vocabulary: int, fields: int, classes: int) -> None:
        super().__init__()
        self.fields = fields
        self.words = nn.Embedding(vocabulary, size.width, padding_idx=0)
        self.field = nn.Embedding(fields, size.width)
        self.shared = nn.Embedding(2, size.width)
        for table in (self.words, self.field, self.shared):
            nn.init.normal_(table.weight, std=0.1)
        self.weigh = nn.Linear(size.width, 1)
        self.dropout = nn.Dropout(size.dropout)
        self.hidden = nn.Linear(fields * size.width, size.hidden)
        self.scores = nn.Linear(size.hidden, classes)

    def forward(self, ids: Tensor, field: Tensor, shared: Tensor, attention_mask: Tensor) -> Tensor:
        """All of shape ``(B, T)``: numbers of words and fields, whether shared, whether there is a word."""
        vectors = self.dropout(self.words(ids) + self.field(field) + self.shared(shared))
        weights = self.weigh(vectors).squeeze(-1)
        pooled = []
        for number in range(self.fields):
            inside = (field == number) & (attention_mask == 1)
            # The lowest number instead of -inf: a field without words would be divided by 0.
            own = weights.masked_fill(~inside, torch.finfo(weights.dtype).min).softmax(-1) * inside
            pooled.append((own[..., None] * vectors).sum(1))
        return self.scores(self.dropout(torch.relu(self.hidden(torch.cat(pooled, -1)))))


class TinyScorer:
    """The network with its vocabulary.

    Args:
        size: of the network.
        vocabulary: its words.
        fields: the fields it reads.
        classes: what it tells apart.
    """

    room: int | None = None
    padding: Mapping[str, int] = {}

    def __init__(self, size: Size, vocabulary: Vocabulary, fields: tuple[str, ...], classes: Classes) -> None:
        self.size, self.vocabulary, self.fields, self.classes = size, vocabulary, fields, classes
        self.model = Network(size, len(vocabulary), len(fields), len(classes.names))

    def encode(self, texts: Sequence[str], limit: int | None = None) -> Encoded:
        """Numbers of words, of their fields, and whether another field has the word."""
        found = [self.vocabulary.encode(text) for text in texts]
        if limit is not None:
            shorten(found, limit)
        sets = [set(each) for each in found]
        encoded: Encoded = {"ids": [], "field": [], "shared": []}
        for number, ids in enumerate(found):
            others = set().union(*(each for place, each in enumerate(sets) if place != number))
            encoded["ids"] += ids
            encoded["field"] += [number] * len(ids)
            encoded["shared"] += [int(each in others) for each in ids]
        return encoded

    def save(self, folder: Path) -> None:
        """Write the one file."""
        from safetensors.torch import save_file

        header = {
            "size": asdict(self.size),
            "words": self.vocabulary.words,
            "fields": self.fields,
            "classes": self.classes.names,
        }
        weights = {name: each.detach().cpu().contiguous() for name, each in self.model.state_dict().items()}
        save_file(weights, folder / TINY_FILE, {_HEADER: orjson.dumps(header).decode()})


def shorten(texts: list[list[int]], limit: int) -> None:
    """Cut the longest lists from behind until together they have no more than ``limit`` items."""
    while (over := sum(map(len, texts)) - limit) > 0:
        longest = max(texts, key=len)
        second = max((len(each) for each in texts if each is not longest), default=0)
        del longest[-max(min(over, len(longest) - second), 1) :]


def new(name: str, texts: Iterable[Sequence[str]], fields: tuple[str, ...], classes: Classes) -> TinyScorer:
    """One of ``SIZES`` with new weights, from torch's generator, and a vocabulary of the given texts."""
    size = SIZES[name]
    vocabulary = Vocabulary.learn((" ".join(row) for row in texts), size.words, size.buckets)
    return TinyScorer(size, vocabulary, fields, classes)


def load(path: str) -> TinyScorer:
    """The network in a file.

    Raises:
        FileError: the file is not there, damaged, or another model's.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = orjson.loads((file.metadata() or {})[_HEADER])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        size = Size(**header["size"])
        vocabulary = Vocabulary(header["words"], size.buckets)
        found = TinyScorer(size, vocabulary, tuple(header["fields"]), Classes(tuple(header["classes"])))
        found.model.load_state_dict(weights)
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes of its reader
        reason = "it has no vocabulary of dataprep's" if isinstance(error, KeyError) else str(error)
        raise FileError(path, f"the model cannot be loaded: {reason.partition(chr(10))[0]}") from None
    found.model.eval()
    return found
