"""Encode conversations: ids and loss mask from a chat format's plan, many rows at once.

Text between two special tokens is encoded as one, except that it is cut where the loss mask changes. The
tokenizer never sees a special token's name: those ids come from the plan alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dataprep.core.conversations import find_ignored, find_in_row
from dataprep.core.errors import RowError
from dataprep.tokens.formats.base import ChatFormat, Messages, Segment, Slot, Turns
from dataprep.tokens.linter import Linter
from dataprep.tokens.options import Encoded, truncate
from dataprep.tokens.tokenizers.base import Tokenizer, continues, encode_after, pack_ids

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


class _Text(NamedTuple):
    """A text that contains contents."""

    part: int  # its index among the parts of the recipe
    pieces: tuple[str | int, ...]  # fixed texts, and indexes of messages
    continues: bool  # whether it continues the text before it

    def key(self, contents: Sequence[str]) -> Key:
        pieces = [contents[piece] if type(piece) is int else piece for piece in self.pieces]
        return "".join(pieces), self.continues  # type: ignore[arg-type]


class _Recipe(NamedTuple):
    """The assembly of conversations with the same roles."""

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
    ) -> None:
        self.tokenizer = tokenizer
        self.chat_format = chat_format
        self.linter = Linter(tokenizer, chat_format)
        self.cut = 0  # answers that were cut since it was last set to 0
        self._max_length = max_length
        self._truncation = truncation
        self._recipes: dict[tuple[str, ...], _Recipe | RowError] = {}

    def read(self, row: dict[str, Any]) -> Turns:
        """Return the roles and contents of a chat row, as the chat format writes them."""
        messages = row.get("messages")
        if not isinstance(messages, list):
            raise RowError(*next(find_in_row(row)))
        if len(row) > 1:
            for finding in find_ignored(row):
                raise RowError(*finding)
        return self.chat_format.read(messages)

    def encode_messages(self, conversations: Iterable[Messages]) -> list[Encoded | RowError]:
        """Encode, lint and truncate conversations; return the tokens or the error of each."""
        rows: list[Turns] = []
        errors: list[RowError | None] = []
        for messages in conversations:
            try:
                rows.append(self.chat_format.read(messages))
                errors.append(None)
            except RowError as error:
                errors.append(error)
        results = self.encode_checked(rows).results()
        return [next(results) if error is None else error for error in errors]

    def encode_checked(self, rows: Sequence[Turns]) -> Batch:
        """Encode conversations of ``read``, lint them, and truncate those that are too long."""
        batch = self.encode(rows)
        # All rows of a batch are checked at once with numpy. Only if one of them may be faulty, or is too
        # long, are they looked at one by one: GSM8K takes 0.29 s the one way and 0.56 s the other.
        sound = not batch.errors and self.linter.all_sound(batch.ids, batch.mask, batch.lengths, rows)
        if sound and (self._max_length is None or batch.lengths.max(initial=0) <= self._max_length):
            return batch
        return Batch.of(
            [
                result if isinstance(result, RowError) else self._checked(result, None if sound else turns)
                for result, turns in zip(batch.results(), rows, strict=True)
            ]
        )

    def _checked(self, encoded: Encoded, turns: Turns | None) -> Encoded | RowError:
        for finding in self.linter.problems(encoded, turns) if turns is not None else ():
            return RowError(*finding)
        if self._max_length is None or len(encoded.ids) <= self._max_length:
            return encoded
        try:
            truncated, cut = truncate(encoded, self._max_length, self._truncation)
        except RowError as error:
            return error
        self.cut += cut
        return truncated

    def encode(self, rows: Sequence[Turns]) -> Batch:
        """Encode conversations of ``read``, without linting or truncating them."""
        recipes = [self._recipes.get(roles) or self._make_recipe(roles) for roles, _ in rows]
        keys = [
            text.key(contents)
            for recipe, (_, contents) in zip(recipes, rows, strict=True)
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
                if type(ids) is bytes:
                    row[text.part] = ids
                else:
                    errors.setdefault(index, ids)  # type: ignore[arg-type]
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

    def _pack_one(self, text: str, continuing: bool) -> bytes:
        return pack_ids(encode_after(self.tokenizer, text) if continuing else self.tokenizer.encode(text))

    def _make_recipe(self, roles: tuple[str, ...]) -> _Recipe | RowError:
        recipe = _Recipe([], b"", [])
        try:
            for part in self._parts(roles):
                recipe = _with_part(recipe, *part)
            self._recipes[roles] = recipe
        # Cached too: a file of such rows would ask the chat format for each of them.
        except RowError as error:
            self._recipes[roles] = error
        return self._recipes[roles]

    def _parts(self, roles: tuple[str, ...]) -> Iterator[tuple[bytes | _Text, bool]]:
        """Yield the parts of conversations with these roles, each with whether it is in the loss."""
        behind_special: bool | None = None
        for (special, in_loss), group in groupby(self.chat_format.plan(roles), key=_kind):
            pieces = tuple(piece.message if isinstance(piece, Slot) else piece.text for piece in group)
            # Special tokens go by name to the tokenizer's table, and never through its encoder.
            if special:
                behind_special = True
                yield pack_ids([self.tokenizer.special(str(name)) for name in pieces]), in_loss
                continue
            continuing = continues(self.tokenizer, behind_special)
            behind_special = False
            if any(type(piece) is int for piece in pieces):
                yield _Text(0, pieces, continuing), in_loss
            else:
                yield self._pack_one("".join(map(str, pieces)), continuing), in_loss


def _kind(piece: Segment | Slot) -> tuple[bool, bool]:
    return isinstance(piece, Segment) and piece.special, piece.in_loss


def _with_part(recipe: _Recipe, part: bytes | _Text, in_loss: bool) -> _Recipe:
    """Return the recipe with one more part; fixed parts that are alike in the loss are joined."""
    parts, mask, texts = recipe
    if isinstance(part, _Text):
        return _Recipe([*parts, b""], mask + bytes([in_loss]), [*texts, part._replace(part=len(parts))])
    if parts and parts[-1] and mask[-1] == in_loss:
        return _Recipe([*parts[:-1], parts[-1] + part], mask, texts)
    return _Recipe([*parts, part], mask + bytes([in_loss]), texts)
