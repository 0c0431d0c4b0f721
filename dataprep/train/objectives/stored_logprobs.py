"""Log-probabilities that stand in chat rows: what a teacher said of every trained token.

A row has, beside ``messages``, a field ``logprobs`` with an entry for each trained token, in their order::

    [["Paris", -0.11], [" Lyon", -2.9], [271, -4.2]]                        token or its id, and log p
    {"token": "Paris", "logprob": -0.11, "top": {"Paris": -0.11, " Lyon": -2.9}}   as `generate` has it
    null                                                                    nothing is known

The token that ends the turn may be left out at the end. ``token`` must be the trained token itself: another
one means that the teacher divides texts otherwise. Tokens that the student does not have, such as
broken characters, count among all those that are not listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, TokenizerError
from dataprep.train.objectives.divergence import TEACHER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.tokens.tokenizers.base import Tokenizer
    from dataprep.train.objective import Batch
    from dataprep.train.objectives.documents import Documents

Top = dict[int, float]
_EXPECTED = "expected null, a list of [token or id, log-probability], or {token, logprob, top}"


class WithLogprobs:
    """Documents with the log-probabilities of their rows, held in memory.

    Args:
        documents: not packed, one a row.
        paths: the files that they were made of.
        tokenizer: the student's.

    Raises:
        InputError: a row's are malformed, too few or too many, or of other tokens.
    """

    def __init__(self, documents: Documents, paths: Sequence[str], tokenizer: Tokenizer) -> None:
        self.documents = documents
        self.where = documents.where
        self._ids = _ids_by_bytes(tokenizer)
        self._rows: list[list[tuple[NDArray[np.int64], NDArray[np.float32]] | None]] = []
        for number, (where, row) in enumerate(_rows(paths)):
            ids, mask = documents.shards.document(number)
            trained = ids[1:][mask[1:]].tolist()
            self._rows.append([_arrays(top) for top in self._tops(row.get("logprobs"), trained, where)])

    def __len__(self) -> int:
        return len(self.documents)

    def batch(self, items: Sequence[int]) -> Batch:
        """The documents' batch with ``taught``, ``top_ids`` and ``top_logs``."""
        found = self.documents.batch(items)
        tops = [top for item in items for top in self._rows[item]]
        known = [(place, top) for place, top in enumerate(tops) if top is not None]
        most = max((top[0].size for _, top in known), default=1)
        ids = np.zeros((len(known), most), dtype=np.int64)
        logs = np.full((len(known), most), -np.inf, dtype=np.float32)
        for line, (_, (own, own_logs)) in enumerate(known):
            ids[line, : own.size], logs[line, : own.size] = own, own_logs
        found.tensors["taught"] = torch.tensor([place for place, _ in known], dtype=torch.int64)
        found.tensors |= {"top_ids": torch.from_numpy(ids), "top_logs": torch.from_numpy(logs)}
        found.counts[TEACHER] = len(known)
        return found

    def _tops(self, entries: Any, trained: list[int], where: object) -> list[Top | None]:
        """What is known of each trained token."""
        if entries is None:
            return [None] * len(trained)
        if not isinstance(entries, list) or not len(trained) - 1 <= len(entries) <= len(trained):
            found = f"{len(entries):,} entries" if isinstance(entries, list) else f"{entries!r:.40}"
            raise InputError(
                where,
                f"'logprobs' has {found}; expected {len(trained):,}, one for each trained token (or one "
                "less, without the end of the turn): was the teacher's tokenizer another?",
            )
        entries = entries + [None] * (len(trained) - len(entries))
        return [
            self._top(entry, target, f"{where}: 'logprobs' {place}")
            for place, (entry, target) in enumerate(zip(entries, trained, strict=True), 1)
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
                    f"of the token {entry['token']!r} ({own}), and the student's is {target}: the teacher "
                    "divides texts otherwise; leave 'logprobs' out, or ask a teacher of the same family",
                )
            pairs = [*(entry.get("top") or {}).items(), (target, entry.get("logprob"))]
        if not isinstance(pairs, list) or not pairs:
            raise InputError(where, f"found {entry!r:.60}; {_EXPECTED}")
        top: Top = {}
        for pair in pairs:
            if not (isinstance(pair, list | tuple) and len(pair) == 2 and _is_log(pair[1])):
                raise InputError(where, f"found {pair!r:.60}; {_EXPECTED}")
            if (number := self._id(pair[0], where)) is not None:
                top[number] = min(float(pair[1]), 0.0)
        return top or None

    def _id(self, token: Any, where: str) -> int | None:
        if isinstance(token, str):
            return self._ids.get(token.encode("utf-8", "surrogatepass"))
        if type(token) is int and 0 <= token < self.documents.shards.vocab_size:
            return token
        raise InputError(where, f"found the token {token!r:.60}; expected a text, or an id of the tokenizer")


def _is_log(value: Any) -> bool:
    return type(value) in (int, float) and value <= 1e-3


def _arrays(top: Top | None) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    if top is None:
        return None
    return np.fromiter(top, dtype=np.int64), np.fromiter(top.values(), dtype=np.float32)


def _rows(paths: Sequence[str]) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    for path in paths:
        yield from files.read_rows(path)


def _ids_by_bytes(tokenizer: Tokenizer) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for number in range(tokenizer.vocab_size):
        try:
            # A piece comes after the byte that is fallen back to, and is what texts are divided into.
            found[tokenizer.decode_bytes([number])] = number
        except TokenizerError:  # a number without a token
            continue
    return found | {name.encode(): number for name, number in tokenizer.special_tokens.items()}
