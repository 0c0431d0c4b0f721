"""Encode conversations: ids and loss mask from a chat format's plan, many rows at once.

Text between two special tokens is encoded as one; plans that are not joined are cut where the loss mask
changes. The tokenizer never sees a special token's name: those ids come from the plan alone.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dataprep.core.conversations import find_in_row, loss_of, parsed_row, plain_roles, split_thinking
from dataprep.core.errors import RowDropped, RowError
from dataprep.tokens.formats.base import (
    ChatFormat,
    Losses,
    Messages,
    Plan,
    Row,
    Segment,
    Slot,
    Written,
    check_row,
    select_losses,
)
from dataprep.tokens.linter import Linter
from dataprep.tokens.options import Encoded, truncate
from dataprep.tokens.tokenizers.base import Tokenizer, border_of, continues, encode_after, pack_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Batch(NamedTuple):
    """The tokens of conversations, one after the other."""

    ids: NDArray[np.uint32]  # shape (tokens,)
    mask: NDArray[np.uint8]  # 1 where a token is in the loss, else 0; shape (tokens,)
    lengths: NDArray[np.int64]  # tokens of each conversation, shape (conversations,)
    errors: Mapping[int, RowError]  # rows without tokens, by their index among the rows given

    @classmethod
    def of(cls, results: Sequence[Encoded | RowError]) -> Batch:
        """Return the batch of single results; the inverse of ``results``."""
        rows = [row for row in results if isinstance(row, Encoded)]
        ids = array("I")  # four bytes on every platform that numpy supports
        for row in rows:
            ids.extend(row.ids)
        return cls(
            np.frombuffer(ids, dtype=np.uint32),
            np.frombuffer(b"".join([row.mask for row in rows]), dtype=np.uint8),
            np.fromiter((len(row.ids) for row in rows), np.int64, len(rows)),
            {index: row for index, row in enumerate(results) if isinstance(row, RowError)},
        )

    def results(self) -> Iterator[Encoded | RowError]:
        """Yield the tokens of each given row, or its error."""
        lengths = iter(self.lengths.tolist())
        end = 0
        for index in range(self.lengths.size + len(self.errors)):
            if (error := self.errors.get(index)) is not None:
                yield error
                continue
            start, end = end, end + next(lengths)
            yield Encoded(self.ids[start:end].tolist(), bytearray(self.mask[start:end]))


Key = tuple[str, bool]  # a text to encode, and whether it continues another text
Run = tuple[str | int, ...]  # fixed texts, and indexes of the row's texts


class _Text(NamedTuple):
    """A text that contains texts of the row."""

    part: int  # the index of its first run among the parts of the recipe
    runs: tuple[Run, ...]  # cut where the loss mask changes; each is a part of the recipe
    in_loss: tuple[bool, ...]  # for each run
    continues: bool  # whether it continues the text before it
    head: bytes  # the packed ids of the first run, if it is fixed and another one follows

    def keys(self, texts: Sequence[str]) -> list[str]:
        """Return the texts of the runs."""
        return ["".join([texts[at] if isinstance(at, int) else at for at in run]) for run in self.runs]


class _Recipe(NamedTuple):
    """The assembly of conversations with the same plan."""

    parts: list[bytes]  # packed ids of the fixed parts; empty for a text
    in_loss: bytes  # for each part 1 if it is in the loss, else 0
    texts: list[_Text]


class Encoder:
    """Encodes conversations with one tokenizer and chat format; picklable."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        chat_format: ChatFormat,
        max_length: int | None = None,
        truncation: str = "error",
        *,
        loss: str = "all",
        split_thinking: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.chat_format = chat_format
        self.linter = Linter(tokenizer, chat_format)
        self.cut = 0  # answers that were cut since it was last set to 0
        self.left_out: Counter[str] = Counter()  # values that the chat format left out, since it was cleared
        self._max_length = max_length
        self._truncation = truncation
        self._loss = loss
        self._split_thinking = split_thinking
        self._recipes: dict[Plan, _Recipe | RowError] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Plans are compared by identity, so another process makes its own.
        return self.__dict__ | {"_recipes": {}}

    def read(self, row: Mapping[str, Any]) -> Written:
        """Return a chat row as the chat format writes it, or raise ``RowError`` or ``RowDropped``."""
        messages = row.get("messages")
        if not isinstance(messages, list | tuple):
            raise RowError(*next(find_in_row(dict(row))))
        check_row(row)
        if self._split_thinking:
            row = split_thinking(row)
        if len(row) > 1:
            row = parsed_row(row)
        written = self.chat_format.write(row, self._losses(row["messages"]))
        if written.left_out:
            self.left_out.update(written.left_out)
        return written

    def _losses(self, messages: Messages) -> Losses:
        if self._loss == "all" and plain_roles(messages) is not None:
            return None
        losses = select_losses(messages, self._loss, [*map(loss_of, messages)])
        if losses is not None and not any(losses):
            wanted = (
                "no message is marked for the loss" if self._loss == "marked" else "no message is left in it"
            )
            raise RowDropped("no message in the loss", wanted)
        return losses

    def encode_messages(self, conversations: Iterable[Messages]) -> list[Encoded | RowError]:
        """Encode, lint and truncate conversations; return the tokens or the error of each."""
        return self.encode_rows({"messages": messages} for messages in conversations)

    def encode_rows(self, rows: Iterable[Row]) -> list[Encoded | RowError]:
        """Encode, lint and truncate chat rows; return the tokens or the error of each."""
        written: list[Written] = []
        errors: list[RowError | None] = []
        for row in rows:
            try:
                written.append(self.read(row))
                errors.append(None)
            except RowError as error:
                errors.append(error)
        results = self.encode_checked(written).results()
        return [next(results) if error is None else error for error in errors]

    def encode_prompt(self, row: Row) -> list[int]:
        """Return the ids of a row up to where its answer begins, or raise ``RowError``."""
        batch = self.encode([self.chat_format.prompt(parsed_row(row))])
        for error in batch.errors.values():
            raise error
        ids: list[int] = batch.ids.tolist()
        return ids

    def encode_checked(self, rows: Sequence[Written]) -> Batch:
        """Encode conversations of ``read``, lint them, and truncate those that are too long."""
        batch = self.encode(rows)
        # All rows of a batch are checked at once with numpy. Only if one of them may be faulty, or is too
        # long, are they looked at one by one: GSM8K takes 0.29 s the one way and 0.56 s the other.
        sound = not batch.errors and self.linter.all_sound(batch.ids, batch.mask, batch.lengths, rows)
        if sound and (self._max_length is None or batch.lengths.max(initial=0) <= self._max_length):
            return batch
        checked = Batch.of(
            [
                result if isinstance(result, RowError) else self._checked(result, None if sound else written)
                for result, written in zip(batch.results(), rows, strict=True)
            ]
        )
        # Of a row that is left out as a whole, nothing else is.
        for index in checked.errors:
            self.left_out -= Counter(rows[index].left_out)
        return checked

    def _checked(self, encoded: Encoded, written: Written | None) -> Encoded | RowError:
        for finding in self.linter.problems(encoded, written) if written is not None else ():
            return RowError(*finding)
        if self._max_length is None or len(encoded.ids) <= self._max_length:
            return encoded
        try:
            truncated, cut = truncate(encoded, self._max_length, self._truncation)
        except RowError as error:
            return error
        self.cut += cut
        return truncated

    def encode(self, rows: Sequence[Written]) -> Batch:
        """Encode conversations of ``read``, without linting or truncating them."""
        recipes = [self._recipes.get(row.plan) or self._make_recipe(row.plan) for row in rows]
        keys = [
            ("".join(text.keys(row.texts)), text.continues)
            for recipe, row in zip(recipes, rows, strict=True)
            if isinstance(recipe, _Recipe)
            for text in recipe.texts
        ]
        # The keys of a dict, so that a system message that every row repeats is encoded once.
        packed = self._pack(dict.fromkeys(keys))
        texts = map(packed.__getitem__, keys)
        parts: list[bytes] = []
        kept: list[_Recipe] = []
        errors: dict[int, RowError] = {}
        for index, recipe in enumerate(recipes):
            if isinstance(recipe, RowError):
                errors[index] = recipe
                continue
            # This loop runs once for each row: lists of bytes, no objects for single tokens.
            row = recipe.parts.copy()
            for text in recipe.texts:
                ids = next(texts)
                if type(ids) is not bytes:
                    errors.setdefault(index, ids)  # type: ignore[arg-type]
                elif len(text.runs) == 1:
                    row[text.part] = ids
                elif len(text.runs) == 2 and text.head and ids.startswith(text.head):
                    row[text.part : text.part + 2] = text.head, ids[len(text.head) :]
                else:
                    try:
                        row[text.part : text.part + len(text.runs)] = self._split(
                            text, rows[index].texts, ids
                        )
                    except RowError as error:
                        errors.setdefault(index, error)
            if index not in errors:
                parts += row
                kept.append(recipe)
        # Each part is in the loss as a whole or not at all, so its length is all that the mask needs.
        counts = np.fromiter(map(len, parts), np.int64, len(parts)) >> 2  # four bytes an id
        in_loss = np.frombuffer(b"".join([recipe.in_loss for recipe in kept]), dtype=np.uint8)
        sizes = np.fromiter((len(recipe.parts) for recipe in kept), np.int64, len(kept))
        return Batch(
            np.frombuffer(b"".join(parts), dtype="<u4"),
            np.repeat(in_loss, counts),
            np.add.reduceat(counts, np.cumsum(sizes) - sizes) if kept else sizes,
            errors,
        )

    def _pack(self, keys: Iterable[Key]) -> dict[Key, bytes | RowError]:
        """Return the packed ids of each text, or its error."""
        keys = list(keys)
        packed: dict[Key, bytes | RowError] = {}
        if not any(continuing for _, continuing in keys):
            try:
                ids = self.tokenizer.encode_packed([text for text, _ in keys])
                return dict(zip(keys, ids, strict=True))
            except RowError:
                pass  # one of the texts is bad: encode them one by one to find it
        for key in keys:
            try:
                packed[key] = self._pack_one(*key)
            except RowError as error:
                packed[key] = error
        return packed

    def _split(self, text: _Text, texts: Sequence[str], ids: bytes) -> list[bytes]:
        """Return the packed ids of each run; a token that crosses a border is in the loss."""
        runs = text.keys(texts)
        whole = "".join(runs)
        parts, start, length = [], 0, 0
        for run, in_loss in zip(runs[:-1], text.in_loss, strict=False):
            length += len(run)
            first, last = border_of(self.tokenizer, whole, length, continuing=text.continues)
            end = max(start, 4 * (last if in_loss else first))
            parts.append(ids[start:end])
            start = end
        return [*parts, ids[start:]]

    def _make_recipe(self, plan: Plan) -> _Recipe | RowError:
        recipe: _Recipe | RowError = _Recipe([], b"", [])
        try:
            for parts, in_loss, text in self._parts(plan):
                assert isinstance(recipe, _Recipe)
                recipe = _with_parts(recipe, parts, in_loss, text)
        except RowError as error:
            recipe = error
        # Plans with slots are few, and each serves many rows. Errors are kept too: a file of such rows would
        # ask for each of them.
        if any(isinstance(piece, Slot) for piece in plan.pieces):
            self._recipes[plan] = recipe
        return recipe

    def _parts(self, plan: Plan) -> Iterator[tuple[list[bytes], list[bool], _Text | None]]:
        """Yield parts of conversations, whether they are in the loss, and the text in them."""
        behind_special: bool | None = None
        for (special, _), group in groupby(plan.pieces, key=_joined_kind if plan.joined else _kind):
            pieces = [*group]
            # Special tokens go by name to the tokenizer's table, and never through its encoder.
            if special:
                behind_special = True
                names = [piece.text for piece in pieces if isinstance(piece, Segment)]
                yield (
                    [pack_ids([self.tokenizer.special(name)]) for name in names],
                    [piece.in_loss for piece in pieces],
                    None,
                )
                continue
            runs, in_loss = [], []
            for in_run, members in groupby(pieces, key=lambda piece: piece.in_loss):
                in_loss.append(in_run)
                runs.append(
                    tuple(piece.index if isinstance(piece, Slot) else piece.text for piece in members)
                )
            continuing = continues(self.tokenizer, behind_special)
            behind_special = False
            text = _Text(0, tuple(runs), tuple(in_loss), continuing, b"")
            if not any(type(piece) is int for run in runs for piece in run):
                ids = self._pack_one("".join(text.keys(())), continuing)
                yield self._split(text, (), ids), in_loss, None
                continue
            if len(runs) > 1 and not any(type(piece) is int for piece in runs[0]):
                text = text._replace(head=self._pack_one("".join(map(str, runs[0])), continuing))
            yield [b""] * len(runs), in_loss, text

    def _pack_one(self, text: str, continuing: bool) -> bytes:
        return pack_ids(encode_after(self.tokenizer, text) if continuing else self.tokenizer.encode(text))


def _kind(piece: Segment | Slot) -> tuple[bool, bool]:
    return isinstance(piece, Segment) and piece.special, piece.in_loss


def _joined_kind(piece: Segment | Slot) -> tuple[bool, bool]:
    return isinstance(piece, Segment) and piece.special, False


def _with_parts(
    recipe: _Recipe, more: Sequence[bytes], more_in_loss: Sequence[bool], text: _Text | None
) -> _Recipe:
    """Return the recipe with more parts; fixed parts that are alike in the loss are joined."""
    parts, mask, texts = recipe
    if text is not None:
        return _Recipe([*parts, *more], mask + bytes(more_in_loss), [*texts, text._replace(part=len(parts))])
    for part, in_loss in zip(more, more_in_loss, strict=True):
        if parts and parts[-1] and mask[-1] == in_loss:
            parts = [*parts[:-1], parts[-1] + part]
        else:
            parts, mask = [*parts, part], mask + bytes([in_loss])
    return _Recipe(parts, mask, texts)
