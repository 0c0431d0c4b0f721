"""Chat rows to ids and masks, a block of lines at a time: laid out, fitted, checked.

The one place where tokenizing meets tokenizers and layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dataprep.engine import AUTO_WORKERS_BYTES, Outcome, apply, available_cores
from dataprep.engine.outcome import LineBlock
from dataprep.errors import RowError
from dataprep.quality.conversations import find_in_row
from dataprep.tokens.encoding import ChatEncoder
from dataprep.tokens.fitting import OVERFLOWS, fit
from dataprep.tokens.layouts import layout_for
from dataprep.tokens.lint import Linter

__all__ = ["OVERFLOWS", "Encoder", "auto_workers", "fit", "layout_for", "messages_of", "over_rows", "pad_id"]

if TYPE_CHECKING:
    from dataprep.tokens.layouts import Encoded, Layout
    from dataprep.tokens.tokenizer import Tokenizer

Row = TypeVar("Row")
Result = TypeVar("Result")

# What is tried, in this order, for positions that hold no token; they are never trained on.
PADS = ("<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|pad|>", "<|end_of_text|>", "<|endoftext|>", "</s>")


def pad_id(tokenizer: Tokenizer) -> int:
    """The id to fill up with: the padding token, else the token that ends a text, else 0."""
    return next((tokenizer.specials[name] for name in PADS if name in tokenizer.specials), 0)


def auto_workers(workers: int | None, paths: Iterable[str]) -> int:
    """How many processes to work with: as many as asked for, else every core for large inputs."""
    if workers is not None:
        return workers
    large = sum(Path(path).stat().st_size for path in paths if Path(path).is_file())
    return available_cores() if large > AUTO_WORKERS_BYTES else 1


def messages_of(row: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The messages of a chat row.

    Raises:
        RowError: it is no well-formed chat row.
    """
    for finding in find_in_row(row):
        raise RowError(finding.kind, finding.detail)
    messages: list[dict[str, Any]] = row["messages"]
    return messages


class Encoder:
    """Encodes conversations with one tokenizer and layout; picklable.

    Attributes:
        cut: how many answers were cut since it was last set to 0.
    """

    def __init__(
        self, tokenizer: Tokenizer, layout: Layout, max_length: int | None = None, overflow: str = "error"
    ) -> None:
        self.tokenizer = tokenizer
        self.cut = 0
        self._encoder = ChatEncoder(tokenizer, layout)
        self._linter = Linter(tokenizer, layout)
        self._max_length = max_length
        self._overflow = overflow

    def __call__(self, conversations: Sequence[Sequence[dict[str, Any]]]) -> list[Encoded | RowError]:
        """Each conversation in tokens, or why it is left out."""
        found = self._encoder.results(conversations)
        return [
            each if isinstance(each, RowError) else self._checked(each, messages)
            for each, messages in zip(found, conversations, strict=True)
        ]

    def _checked(self, encoded: Encoded, messages: Sequence[dict[str, Any]]) -> Encoded | RowError:
        """The row, fitted; or what the linter found in it first, or that it is too long."""
        for kind, detail in self._linter.problems(encoded, messages):
            return RowError(kind, detail)
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

    The rows are gone over once more only where some of them have no result.

    Returns:
        What became of the rows; the results; and which of the block's rows, from 0, each result is of.
    """
    rows: list[Row] = []
    places: list[int] = []

    def take(row: dict[str, Any], _: str, number: int) -> bytes:
        rows.append(read(row))
        places.append(number - 1)
        return b""

    take.placed = True  # type: ignore[attr-defined]
    outcome = apply(take, block)
    found = work(rows)
    results = [each for each in found if not isinstance(each, RowError)]
    places = [place for place, each in zip(places, found, strict=True) if not isinstance(each, RowError)]
    if len(results) < len(found):
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
