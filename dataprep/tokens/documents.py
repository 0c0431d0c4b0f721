"""The row operator of ``tokenize``: blocks of chat rows to ids and masks."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprep import engine
from dataprep.errors import TokenizerError
from dataprep.tokens.chats import Encoder, messages_of, over_rows
from dataprep.tokens.shards import id_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.engine.outcome import LineBlock


@dataclass(slots=True)
class TokenOutcome(engine.Outcome):
    """What became of a block; ``data`` holds the ids.

    Attributes:
        first: it is the first block of its file.
        lengths: tokens of each document.
        places: which of the block's rows each document is, from 0.
        bits: their masks, one bit a token.
        cut: how many answers were cut.
    """

    first: bool = False
    lengths: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, dtype=np.uint32))
    places: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, dtype=np.uint32))
    bits: bytes = b""
    cut: int = 0


class Documents:
    """The row operator of ``tokenize``: blocks of chat rows to ids and masks; picklable."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.dtype = id_type(encoder.tokenizer.vocab_size)

    def __call__(self, row: dict[str, Any]) -> bytes:
        """Not used: blocks are worked on as a whole."""
        raise NotImplementedError

    def whole(self, block: LineBlock) -> TokenOutcome:
        """A block's documents."""
        self.encoder.cut = 0
        outcome, found, places = over_rows(block, messages_of, self.encoder)
        ids = array("H" if self.dtype.itemsize == 2 else "I")
        for each in found:
            ids.extend(each.ids)
        numbers = np.frombuffer(ids, dtype=f"=u{self.dtype.itemsize}")
        vocab_size = self.encoder.tokenizer.vocab_size
        if numbers.size and int(numbers.max()) >= vocab_size:
            raise TokenizerError(
                f"the tokenizer gave id {int(numbers.max()):,}, and says that it has {vocab_size:,} tokens"
            )
        data = numbers.astype(self.dtype, copy=False).tobytes()
        mask = np.frombuffer(b"".join([each.mask for each in found]), dtype=np.uint8)
        made = {each.name: getattr(outcome, each.name) for each in fields(engine.Outcome)}
        return TokenOutcome(
            **made | {"data": data, "size": len(data)},
            first=block.first,
            lengths=np.fromiter((len(each.ids) for each in found), np.uint32, len(found)),
            places=np.array(places, dtype=np.uint32),
            bits=np.packbits(mask).tobytes(),
            cut=self.encoder.cut,
        )
