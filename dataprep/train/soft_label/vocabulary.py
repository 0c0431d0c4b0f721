"""The tiny student's vocabulary: the most frequent words, and a few buckets that all others share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from zlib import crc32

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
