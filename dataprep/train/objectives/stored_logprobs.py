"""Log-probabilities in chat rows: a teacher's likeliest tokens.

Beside `messages`, a row has a field `logprobs` with an entry for each token in the loss, in their order::

    [["Paris", -0.11], [" Lyon", -2.9], [271, -4.2]]                        token or its id, and log p
    {"token": "Paris", "logprob": -0.11, "top": {"Paris": -0.11, " Lyon": -2.9}}   as `generate` writes it
    null                                                                    nothing is known

The list may leave out the token that ends the turn. `token` must be the student's token: another one means
that the teacher's tokenizer splits texts differently. Tokens that the student lacks, such as broken
characters, count as not listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, TokenizerError
from dataprep.train.objectives.chat_data import Documents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.shards.reading import Shards
    from dataprep.tokens.tokenizers.base import Tokenizer
    from dataprep.train.objective import Batch

TEACHER = "teacher"

Top = dict[int, float]
_EXPECTED = "expected null, a list of [token or id, log-probability], or {token, logprob, top}"


class DocumentsWithLogprobs(Documents):
    """Documents with the log-probabilities of their rows, in memory."""

    def __init__(self, shards: Shards, paths: Sequence[str], tokenizer: Tokenizer) -> None:
        super().__init__(shards)
        self._ids = _ids_by_bytes(tokenizer)
        self._rows: list[list[tuple[NDArray[np.int64], NDArray[np.float32]] | None]] = []
        for number, (where, row) in enumerate(_rows(paths)):
            ids, mask = shards.document(number)
            in_loss = ids[1:][mask[1:]].tolist()
            self._rows.append([_arrays(top) for top in self._tops(row.get("logprobs"), in_loss, where)])

    def batch(self, items: Sequence[int]) -> Batch:
        """Return the documents' batch with `has_teacher`, `top_ids` and `top_logprobs`."""
        batch = super().batch(items)
        tops = [top for item in items for top in self._rows[item]]
        known = [(position, top) for position, top in enumerate(tops) if top is not None]
        # Rows can list different numbers of tokens; -inf fills up the shorter ones.
        width = max((top[0].size for _, top in known), default=1)
        ids = np.zeros((len(known), width), dtype=np.int64)
        logprobs = np.full((len(known), width), -np.inf, dtype=np.float32)
        for index, (_, (top_ids, top_logprobs)) in enumerate(known):
            ids[index, : top_ids.size], logprobs[index, : top_ids.size] = top_ids, top_logprobs
        batch.tensors["has_teacher"] = torch.tensor([position for position, _ in known], dtype=torch.int64)
        batch.tensors |= {"top_ids": torch.from_numpy(ids), "top_logprobs": torch.from_numpy(logprobs)}
        batch.counts[TEACHER] = len(known)
        return batch

    def _tops(self, entries: Any, in_loss: list[int], where: object) -> list[Top | None]:
        if entries is None:
            return [None] * len(in_loss)
        if not isinstance(entries, list) or not len(in_loss) - 1 <= len(entries) <= len(in_loss):
            found = f"{len(entries):,} entries" if isinstance(entries, list) else f"{entries!r:.40}"
            raise InputError(
                where,
                f"'logprobs' has {found}; expected {len(in_loss):,}, one for each token in the loss (or one "
                "less, without the end of the turn): does the teacher have another tokenizer?",
            )
        # Servers do not report the token that ends the turn.
        entries = entries + [None] * (len(in_loss) - len(entries))
        return [
            self._top(entry, target, f"{where}: 'logprobs' {number}")
            for number, (entry, target) in enumerate(zip(entries, in_loss, strict=True), 1)
        ]

    def _top(self, entry: Any, target: int, where: str) -> Top | None:
        if entry is None:
            return None
        pairs = entry
        if isinstance(entry, Mapping):
            own = self._id(entry.get("token"), where)
            if own is not None and own != target:
                raise InputError(
                    where,
                    f"of the token {entry['token']!r} ({own}), and the student's is {target}: the teacher's "
                    "tokenizer splits texts differently; leave 'logprobs' out, or ask a teacher of the same "
                    "family",
                )
            pairs = [*(entry.get("top") or {}).items(), (target, entry.get("logprob"))]
        if not isinstance(pairs, list) or not pairs:
            raise InputError(where, f"found {entry!r:.60}; {_EXPECTED}")
        top: Top = {}
        for pair in pairs:
            if not (isinstance(pair, list | tuple) and len(pair) == 2 and _is_log(pair[1])):
                raise InputError(where, f"found {pair!r:.60}; {_EXPECTED}")
            # Rounded numbers can be slightly above 0.
            if (number := self._id(pair[0], where)) is not None:
                top[number] = min(float(pair[1]), 0.0)
        return top or None

    def _id(self, token: Any, where: str) -> int | None:
        if isinstance(token, str):
            return self._ids.get(token.encode("utf-8", "surrogatepass"))
        if type(token) is int and 0 <= token < self.shards.vocab_size:
            return token
        raise InputError(where, f"found the token {token!r:.60}; expected a text, or an id of the tokenizer")


def _is_log(value: Any) -> bool:
    # Some servers return tiny positive numbers for a token that is certain.
    return type(value) in (int, float) and value <= 1e-3


def _arrays(top: Top | None) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    if top is None:
        return None
    return np.fromiter(top, dtype=np.int64), np.fromiter(top.values(), dtype=np.float32)


def _rows(paths: Sequence[str]) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    for path in paths:
        yield from files.read_rows(path)


def _ids_by_bytes(tokenizer: Tokenizer) -> dict[bytes, int]:
    ids: dict[bytes, int] = {}
    for token in range(tokenizer.vocab_size):
        try:
            # With byte fallback, a byte and a piece can have the same text. The piece has the higher id and
            # is what the tokenizer uses, so the last id wins.
            ids[tokenizer.decode_bytes([token])] = token
        except TokenizerError:  # an id without a token
            continue
    # Special tokens have no bytes; servers report them by name.
    return ids | {name.encode(): number for name, number in tokenizer.special_tokens.items()}
