"""The operator of ``tokenize``: blocks of chat rows to ids and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataprep.core.errors import TokenizerError
from dataprep.core.io import Block
from dataprep.core.parallel import Outcome, read_block
from dataprep.tokens.chats import Encoder
from dataprep.tokens.encoder import Batch
from dataprep.tokens.shards.reading import id_type

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """The documents of a block, without their ids, which are the outcome's data.

    Attributes:
        lengths: number of tokens of each document, shape ``(documents,)``.
        numbers: the number in the block, from 0, of the row that each document is made of, same shape.
        bits: the loss masks, one bit for each token.
        cut: number of truncated answers.
    """

    lengths: NDArray[np.uint32]
    numbers: NDArray[np.uint32]
    bits: bytes
    cut: int


class Documents:
    """Turn blocks of chat rows into documents of token ids; a picklable operator."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.dtype = id_type(encoder.tokenizer.vocab_size)

    def __call__(self, block: Block) -> Outcome:
        """Return the ids of a block's rows as data, and the rest as a ``EncodedBlock`` payload."""
        self.encoder.cut = 0
        read = read_block(block, self.encoder.read)
        encoded = self.encoder(read.rows)
        batch = encoded if isinstance(encoded, Batch) else Batch.of(read.settle(encoded))
        vocab_size = self.encoder.tokenizer.vocab_size
        if batch.ids.size and int(batch.ids.max()) >= vocab_size:
            raise TokenizerError(
                f"the tokenizer gave id {int(batch.ids.max()):,}, and says that it has {vocab_size:,} tokens"
            )
        read.outcome.put(batch.ids.astype(self.dtype, copy=False).tobytes())
        read.outcome.payload = EncodedBlock(
            lengths=batch.lengths.astype(np.uint32),
            numbers=np.array(read.numbers, dtype=np.uint32),
            bits=np.packbits(batch.mask).tobytes(),
            cut=self.encoder.cut,
        )
        return read.outcome
