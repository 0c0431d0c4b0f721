"""Chat rows to ids and masks, a block of lines at a time: laid out, fitted, checked.

The one place where tokenizing meets tokenizers and chat formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from dataprep.core.conversations import find_in_row
from dataprep.core.errors import RowError
from dataprep.tokens.encoder import Batch, BatchEncoder, ByteTokenizer, ChatEncoder
from dataprep.tokens.formats.loading import chat_format_for
from dataprep.tokens.lint.rules import BatchLinter, Linter
from dataprep.tokens.truncation import TRUNCATIONS, fit

if TYPE_CHECKING:
    from dataprep.tokens.formats.base import ChatFormat, Encoded, Laid, Messages
    from dataprep.tokens.tokenizers.base import Tokenizer

__all__ = [
    "TRUNCATIONS",
    "Encoder",
    "chat_format_for",
    "fit",
    "pad_id",
]

Row = TypeVar("Row")
Result = TypeVar("Result")

# What is tried, in this order, for positions that hold no token; they are never trained on.
PADS = ("<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|pad|>", "<|end_of_text|>", "<|endoftext|>", "</s>")


def pad_id(tokenizer: Tokenizer) -> int:
    """The id to fill up with: the padding token, else the token that ends a text, else 0."""
    return next((tokenizer.special_tokens[name] for name in PADS if name in tokenizer.special_tokens), 0)


class Encoder:
    """Encodes conversations with one tokenizer and chat format; picklable.

    Attributes:
        cut: how many answers were cut since it was last set to 0.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        chat_format: ChatFormat,
        max_length: int | None = None,
        truncation: str = "error",
    ) -> None:
        self.tokenizer = tokenizer
        self.cut = 0
        self.chat_format = chat_format
        self._encoder = ChatEncoder(tokenizer, chat_format)
        self._linter = Linter(tokenizer, chat_format)
        self._max_length = max_length
        self._overflow = truncation

    def read(self, row: dict[str, Any]) -> Laid:
        """The roles and contents of a chat row, as the chat format writes them.

        Raises:
            RowError: it is no well-formed chat row, or the chat format refuses it.
        """
        messages = row.get("messages")
        if not isinstance(messages, list):
            raise RowError(*next(find_in_row(row)))
        return self.chat_format.read(messages)

    def __call__(self, rows: Sequence[Laid]) -> Batch | list[Encoded | RowError]:
        """Conversations in tokens: all as one batch, or else each, or why it is left out."""
        batch = self._sound_batch(rows)
        if batch is None:
            found = self._encoder.laid(rows)
            return [
                each if isinstance(each, RowError) else self._checked(each, laid)
                for each, laid in zip(found, rows, strict=True)
            ]
        if self._max_length is not None and batch.lengths.max() > self._max_length:
            return [self._fitted(each) for each in batch.rows()]
        return batch

    def each(self, conversations: Iterable[Messages]) -> list[Encoded | RowError]:
        """Conversations in tokens one by one, or why each is left out."""
        found: list[Encoded | RowError] = []
        for messages in conversations:
            try:
                laid = self.chat_format.read(messages)
                (encoded,) = self._encoder.laid([laid])
                found.append(encoded if isinstance(encoded, RowError) else self._checked(encoded, laid))
            except RowError as error:
                found.append(error)
        return found

    @cached_property  # made where it is used: large, and quicker to make than to send to a process
    def _batches(self) -> tuple[BatchEncoder, BatchLinter] | None:
        if not isinstance(self.tokenizer, ByteTokenizer):
            return None
        linter = BatchLinter(self.tokenizer, self.chat_format, self._linter)
        return BatchEncoder(self.tokenizer, self._encoder), linter

    def _sound_batch(self, rows: Sequence[Laid]) -> Batch | None:
        """All rows at once; ``None`` unless all of them can be encoded so, and are surely sound."""
        if self._batches is None or not rows:
            return None
        encoder, linter = self._batches
        try:
            batch = encoder.encode(rows)
        except RowError:  # which row it was, each of them will tell
            return None
        return batch if linter.sound(batch, rows) else None

    def _checked(self, encoded: Encoded, laid: Laid) -> Encoded | RowError:
        """The row, fitted; or what the linter found in it first, or that it is too long."""
        for kind, detail in self._linter.problems(encoded, laid=laid):
            return RowError(kind, detail)
        return self._fitted(encoded)

    def _fitted(self, encoded: Encoded) -> Encoded | RowError:
        """The row, cut where that is asked for; or that it is too long."""
        if self._max_length is None or len(encoded.ids) <= self._max_length:
            return encoded
        try:
            fitted, cut = fit(encoded, self._max_length, self._overflow)
        except RowError as error:
            return error
        self.cut += cut
        return fitted
