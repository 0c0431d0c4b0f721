"""The row operator of ``tokenize``: blocks of chat rows to ids and masks."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprep.core import parallel as engine
from dataprep.core.errors import TokenizerError
from dataprep.tokens.chats import Encoder, read_rows, settle
from dataprep.tokens.encoder import Batch
from dataprep.tokens.shards.reading import id_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataprep.core.parallel.operators import LineBlock


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
        taken = read_rows(block, self.encoder.read)
        outcome, places = taken.outcome, taken.places
        found = self.encoder(taken.rows)
        if not isinstance(found, Batch):
            outcome, results, places = settle(block, taken, self.encoder.read, found)
            found = Batch.of(results)
        vocab_size = self.encoder.tokenizer.vocab_size
        if found.ids.size and int(found.ids.max()) >= vocab_size:
            raise TokenizerError(
                f"the tokenizer gave id {int(found.ids.max()):,}, and says that it has {vocab_size:,} tokens"
            )
        data = found.ids.astype(self.dtype, copy=False).tobytes()
        made = {each.name: getattr(outcome, each.name) for each in fields(engine.Outcome)}
        return TokenOutcome(
            **made | {"data": data, "size": len(data)},
            first=block.first,
            lengths=found.lengths.astype(np.uint32),
            places=np.array(places, dtype=np.uint32),
            bits=np.packbits(found.mask).tobytes(),
            cut=self.encoder.cut,
        )
