r"""tiktoken's ids of texts with very long runs of white space, at which tiktoken itself gives up.

Its regular expressions keep a place to go back to for every character that ``\s+(?!\S)`` takes, and fail
at 1,000,000 of them. Only such runs are cut here; all else is left to tiktoken. Nothing depends on which
letters and digits a version of Unicode has: that is asked of tiktoken too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataprep.tokens.tokenizer import needed

LONG = 100_000
"""White-space characters in a run that is cut here."""

Encode = Callable[[str], list[int]]


class LongSpace:
    """Encodes texts with long runs of white space.

    Args:
        encode: tiktoken's, for the parts between the runs.
        ranks: each token's bytes and id.
        pattern: how tiktoken cuts a text into pieces.
        long: how many characters make a run long.
    """

    def __init__(self, encode: Encode, ranks: Mapping[bytes, int], pattern: str, long: int = LONG) -> None:
        tiktoken = needed("tiktoken", "a tokenizer of tiktoken's kind")
        self._regex: Any = needed("regex", "a text with very much white space")
        self._encode = encode
        self._pattern = pattern
        self._long = long
        self._runs = self._regex.compile(rf"\s{{{long},}}+")
        whole = tiktoken.Encoding("piece", pat_str="(?s:.+)", mergeable_ranks=ranks, special_tokens={})
        self._merge: Encode = whole.encode_ordinary
        joined = {bytes([byte]): byte for byte in range(256)}
        for end in b"\n\r":
            joined |= {bytes([byte, end]): len(joined) + byte for byte in range(256)}
        probe = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=joined, special_tokens={})
        self._probe: Encode = probe.encode_ordinary

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ids: list[int] = []
        done = 0
        for run in self._runs.finditer(text):
            start = self._piece_begin(text, run.start(), run.end())
            ids += self._encode(text[done:start])
            done = start
            for piece in self._regex.finditer(self._pattern, text[start : run.end() + 1]):
                if len(piece.group()) < self._long or start + piece.end() > run.end():
                    break  # no piece that is all space and long: tiktoken goes on from here
                ids += self._merge(piece.group())
                done = start + piece.end()
        return ids + self._encode(text[done:])

    def _piece_begin(self, text: str, start: int, end: int) -> int:
        """Where the first piece of a run begins: after the line ends that a mark before it takes."""
        if start and text[start] in "\r\n" and self._probe(text[start - 1 : start + 1])[-1] >= 256:
            while start < end and text[start] in "\r\n":
                start += 1
        return start
