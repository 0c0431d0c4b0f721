"""Chat rows to ids and masks, a block of lines at a time: laid out, fitted, checked.

The one place where tokenizing meets tokenizers and chat formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from dataprep.core.conversations import find_in_row
from dataprep.core.errors import RowError
from dataprep.core.parallel import AUTO_WORKERS_BYTES, Outcome, apply, available_cores
from dataprep.core.parallel.operators import LineBlock
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
    "auto_workers",
    "chat_format_for",
    "fit",
    "over_rows",
    "pad_id",
    "read_rows",
    "settle",
]

Row = TypeVar("Row")
Result = TypeVar("Result")

# What is tried, in this order, for positions that hold no token; they are never trained on.
PADS = ("<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|pad|>", "<|end_of_text|>", "<|endoftext|>", "</s>")


def pad_id(tokenizer: Tokenizer) -> int:
    """The id to fill up with: the padding token, else the token that ends a text, else 0."""
    return next((tokenizer.special_tokens[name] for name in PADS if name in tokenizer.special_tokens), 0)


def auto_workers(workers: int | None, paths: Iterable[str]) -> int:
    """How many processes to work with: as many as asked for, else every core for large inputs."""
    if workers is not None:
        return workers
    large = sum(Path(path).stat().st_size for path in paths if Path(path).is_file())
    return available_cores() if large > AUTO_WORKERS_BYTES else 1


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


def over_rows(
    block: LineBlock,
    read: Callable[[dict[str, Any]], Row],
    work: Callable[[list[Row]], list[Result | RowError]],
) -> tuple[Outcome, list[Result], list[int]]:
    """A block's rows, read one by one and worked on together.

    Returns:
        What became of the rows; the results; and which of the block's rows, from 0, each result is of.
    """
    taken = read_rows(block, read)
    return settle(block, taken, read, work(taken.rows))


class Taken(NamedTuple, Generic[Row]):
    """A block's rows that were read.

    Attributes:
        outcome: what became of all of the block's rows.
        rows: what was read of those that were not refused.
        places: which of the block's rows, from 0, these are.
    """

    outcome: Outcome
    rows: list[Row]
    places: list[int]


def read_rows(block: LineBlock, read: Callable[[dict[str, Any]], Row]) -> Taken[Row]:
    """A block's rows, as ``read`` gives them."""
    rows: list[Row] = []
    places: list[int] = []

    def take(row: dict[str, Any], _: str, number: int) -> bytes:
        rows.append(read(row))
        places.append(number - 1)
        return b""

    take.placed = True  # type: ignore[attr-defined]
    outcome = apply(take, block)
    outcome.data, outcome.size = None, 0
    return Taken(outcome, rows, places)


def settle(
    block: LineBlock,
    taken: Taken[Row],
    read: Callable[[dict[str, Any]], Row],
    found: list[Result | RowError],
) -> tuple[Outcome, list[Result], list[int]]:
    """What became of a block whose rows were read, and then had a result or none.

    The rows are gone over once more only where some of them have none.

    Returns:
        What became of the rows; the results; and which of the block's rows, from 0, each result is of.
    """
    outcome, _, places = taken
    results = [each for each in found if not isinstance(each, RowError)]
    if len(results) < len(found):
        places = [place for place, each in zip(places, found, strict=True) if not isinstance(each, RowError)]
        rest = iter(found)

        def again(row: dict[str, Any]) -> bytes:
            read(row)
            each = next(rest)
            if isinstance(each, RowError):
                raise each
            return b""

        outcome = apply(again, block)
        outcome.data, outcome.size = None, 0
    return outcome, results, places
