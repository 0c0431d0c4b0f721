"""Many conversations at once: fixed pieces encoded once, all contents in one batch, masks by lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from dataprep.errors import RowError
from dataprep.tokens.continuing import encode_after, goes_on
from dataprep.tokens.layouts import Encoded, Laid, Layout, Messages, Segment, Slot
from dataprep.tokens.tokenizer import Tokenizer


class Fixed(NamedTuple):
    """Tokens that are the same in every conversation with the same roles."""

    ids: list[int]
    mask: bytes


class Run(NamedTuple):
    """A text with contents in it: fixed texts, and the numbers of messages; whether it goes on after one."""

    parts: tuple[str | int, ...]
    unit: bytes
    after: bool = False

    def text(self, contents: Sequence[str]) -> str:
        """The text, the contents in their places."""
        return "".join([contents[part] if type(part) is int else part for part in self.parts])  # type: ignore[misc]


Recipe = list[Fixed | Run]


class ChatEncoder:
    """Gives the ids and masks that ``encode_chat`` gives, faster.

    Args:
        tokenizer: the tokenizer.
        layout: the layout.
    """

    def __init__(self, tokenizer: Tokenizer, layout: Layout) -> None:
        self.tokenizer = tokenizer
        self.layout = layout
        self._recipes: dict[tuple[str, ...], Recipe] = {}

    def results(self, conversations: Iterable[Messages]) -> list[Encoded | RowError]:
        """Each conversation in tokens, or what is wrong with it.

        Raises:
            TokenizerError: the tokenizer lacks a special token of the layout.
        """
        return self._results([self._read(messages) for messages in conversations])

    def laid(self, rows: Iterable[Laid]) -> list[Encoded | RowError]:
        """The same for conversations that the layout has read."""
        return self._results([*rows])

    def _results(self, rows: Sequence[Laid | RowError]) -> list[Encoded | RowError]:
        planned = [each if isinstance(each, RowError) else self._plan(*each) for each in rows]
        if self.tokenizer.space:  # a text's ids depend on where it stands
            return [each if isinstance(each, RowError) else self._alone(*each) for each in planned]
        texts = dict.fromkeys(
            text for each in planned if not isinstance(each, RowError) for text in each[1]
        )  # a system message that comes again and again is encoded once
        try:
            known = dict(zip(texts, self.tokenizer.encode_batch(list(texts)), strict=True))
        except RowError:  # which row it was, each of them will tell
            return [each if isinstance(each, RowError) else self._alone(*each) for each in planned]
        return [
            each if isinstance(each, RowError) else _join(each[0], [known[text] for text in each[1]])
            for each in planned
        ]

    def _read(self, messages: Messages) -> Laid | RowError:
        try:
            return self.layout.read(messages)
        except RowError as error:
            return error

    def _plan(self, roles: tuple[str, ...], contents: list[str]) -> tuple[Recipe, list[str]] | RowError:
        """How a conversation is put together, and its texts that are to be encoded."""
        try:
            recipe = self.recipe(roles)
        except RowError as error:
            return error
        return recipe, [item.text(contents) for item in recipe if type(item) is Run]

    def _alone(self, recipe: Recipe, texts: list[str]) -> Encoded | RowError:
        after = [item.after for item in recipe if type(item) is Run]
        try:
            return _join(recipe, [self._ids(text, goes) for text, goes in zip(texts, after, strict=True)])
        except RowError as error:
            return error

    def _ids(self, text: str, after: bool) -> list[int]:
        return encode_after(self.tokenizer, text) if after else self.tokenizer.encode(text)

    def recipe(self, roles: tuple[str, ...]) -> Recipe:
        """How conversations with these roles are put together.

        Raises:
            RowError: messages with these roles cannot be laid out.
            TokenizerError: the tokenizer lacks a special token of the layout.
        """
        return self._recipes.get(roles) or self._recipe(roles)

    def _recipe(self, roles: tuple[str, ...]) -> Recipe:
        recipe: Recipe = []
        before: bool | None = None
        for (special, trained), group in groupby(self.layout.plan(roles), key=_kind):
            run, unit = list(group), bytes([trained])
            parts = tuple(piece.message if isinstance(piece, Slot) else piece.text for piece in run)
            if special:
                ids = [self.tokenizer.special(str(name)) for name in parts]
                before = True
            else:
                after = goes_on(self.tokenizer, before)
                before = False
                if any(type(part) is int for part in parts):
                    recipe.append(Run(parts, unit, after))
                    continue
                ids = self._ids("".join(map(str, parts)), after)
            if recipe and isinstance(last := recipe[-1], Fixed):
                recipe[-1] = Fixed(last.ids + ids, last.mask + unit * len(ids))
            else:
                recipe.append(Fixed(ids, unit * len(ids)))
        self._recipes[roles] = recipe
        return recipe


def _kind(piece: Segment | Slot) -> tuple[bool, bool]:
    return isinstance(piece, Segment) and piece.special, piece.trained


def _join(recipe: Recipe, texts: list[list[int]]) -> Encoded:
    """A conversation put together, from the ids of its texts in order."""
    ids: list[int] = []
    mask, rest = bytearray(), iter(texts)
    for item in recipe:
        if isinstance(item, Fixed):
            ids += item.ids
            mask += item.mask
        else:
            new = next(rest)
            ids += new
            mask += item.unit * len(new)
    return Encoded(ids, mask)


def encode_chats(tokenizer: Tokenizer, layout: Layout, conversations: Iterable[Messages]) -> list[Encoded]:
    """What ``encode_chat`` gives for each conversation; one ``ChatEncoder`` serves many batches.

    Raises:
        RowError: one of them cannot be laid out, or holds no valid Unicode.
        TokenizerError: the tokenizer lacks a special token of the layout.
    """
    done = []
    for result in ChatEncoder(tokenizer, layout).results(conversations):
        if isinstance(result, RowError):
            raise result
        done.append(result)
    return done
