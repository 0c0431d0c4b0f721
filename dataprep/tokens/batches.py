"""Many conversations as one array of ids and one of mask entries, without a list for each row.

For tokenizers that give their ids as bytes: the ids of fixed pieces and of texts are joined as bytes, and
the mask is made of the parts' lengths. A batch holds what ``ChatEncoder`` gives for the same conversations.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from dataprep.tokens.encoding import ChatEncoder, Run
from dataprep.tokens.fast_encoder import pack_ids
from dataprep.tokens.layouts import Encoded, Laid
from dataprep.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@runtime_checkable
class ByteTokenizer(Tokenizer, Protocol):
    """A tokenizer whose tokens are bytes; a text's bytes are those of its tokens, one after the other.

    Attributes:
        token_bytes: each token's bytes, by id; ``None`` for special tokens and ids that stand for nothing.
    """

    token_bytes: Sequence[bytes | None]

    def encode_packed(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of many texts, each as numbers of four bytes, the lowest byte first.

        Raises:
            RowError: a text is no valid Unicode.
        """


class Batch(NamedTuple):
    """Conversations in tokens, one after the other.

    Attributes:
        ids: the ids of all, shape ``(tokens,)``.
        mask: 1 where a token is trained on and 0 elsewhere, shape ``(tokens,)``.
        lengths: tokens of each conversation, shape ``(conversations,)``.
    """

    ids: NDArray[np.uint32]
    mask: NDArray[np.uint8]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Encoded]) -> Batch:
        """The batch of some conversations."""
        ids = array("I")  # four bytes wherever numpy runs
        for each in rows:
            ids.extend(each.ids)
        return cls(
            np.frombuffer(ids, dtype=np.uint32),
            np.frombuffer(b"".join([each.mask for each in rows]), dtype=np.uint8),
            np.fromiter((len(each.ids) for each in rows), np.int64, len(rows)),
        )

    def rows(self) -> Iterator[Encoded]:
        """The conversations, one by one."""
        end = 0
        for length in self.lengths.tolist():
            start, end = end, end + length
            yield Encoded(self.ids[start:end].tolist(), bytearray(self.mask[start:end]))


class _Form(NamedTuple):
    """Conversations with certain roles, in parts that are trained on as a whole or not at all.

    Attributes:
        parts: the parts' packed ids; empty for texts.
        units: for each part 1 where it is trained on, else 0.
        runs: which of the parts are texts, and how these are made of the contents.
    """

    parts: list[bytes]
    units: bytes
    runs: dict[int, Run]


class BatchEncoder:
    """Encodes batches of conversations.

    Args:
        tokenizer: the tokenizer.
        encoder: has the recipes of the layout.
    """

    def __init__(self, tokenizer: ByteTokenizer, encoder: ChatEncoder) -> None:
        self.tokenizer = tokenizer
        self._encoder = encoder
        self._forms: dict[tuple[str, ...], _Form] = {}

    def encode(self, rows: Sequence[Laid]) -> Batch:
        """Conversations, as a layout has read them, in tokens.

        Raises:
            RowError: one of them cannot be laid out, or holds no valid Unicode.
            TokenizerError: the tokenizer lacks a special token of the layout.
        """
        forms = [self._forms.get(roles) or self._form(roles) for roles, _ in rows]
        texts = [
            run.text(contents)
            for form, (_, contents) in zip(forms, rows, strict=True)
            for run in form.runs.values()
        ]
        known = list(dict.fromkeys(texts))  # a system message that comes again and again is encoded once
        packed = dict(zip(known, self.tokenizer.encode_packed(known), strict=True))
        found = map(packed.__getitem__, texts)
        parts: list[bytes] = []
        for form in forms:
            own = form.parts.copy()
            for place in form.runs:
                own[place] = next(found)
            parts += own
        counts = np.fromiter(map(len, parts), np.int64, len(parts)) >> 2
        units = np.frombuffer(b"".join([form.units for form in forms]), dtype=np.uint8)
        sizes = np.fromiter((len(form.parts) for form in forms), np.int64, len(forms))
        return Batch(
            np.frombuffer(b"".join(parts), dtype="<u4"),
            np.repeat(units, counts),
            np.add.reduceat(counts, np.cumsum(sizes) - sizes) if forms else sizes,
        )

    def _form(self, roles: tuple[str, ...]) -> _Form:
        parts: list[bytes] = []
        units: list[int] = []
        runs: dict[int, Run] = {}
        for item in self._encoder.recipe(roles):
            if isinstance(item, Run):
                runs[len(parts)] = item
                parts.append(b"")
                units.append(item.unit[0])
                continue
            ids = iter(item.ids)
            for unit, group in groupby(item.mask):
                parts.append(pack_ids([number for _, number in zip(group, ids, strict=False)]))
                units.append(unit)
        self._forms[roles] = form = _Form(parts, bytes(units), runs)
        return form
