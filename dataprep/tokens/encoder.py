"""Many conversations at once: fixed pieces encoded once, all contents in one batch, masks by lengths.

Many conversations as one array of ids and one of mask entries, without a list for each row.

For tokenizers that give their ids as bytes: the ids of fixed pieces and of texts are joined as bytes, and
the mask is made of the parts' lengths. A batch holds what ``ChatEncoder`` gives for the same conversations.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from dataprep.core.errors import RowError
from dataprep.tokens.formats.base import ChatFormat, Encoded, Laid, Messages, Segment, Slot
from dataprep.tokens.tokenizers.base import Tokenizer
from dataprep.tokens.tokenizers.prefix_space import encode_after, goes_on
from dataprep.tokens.tokenizers.tiktoken_ranks import pack_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        chat_format: the chat format.
    """

    def __init__(self, tokenizer: Tokenizer, chat_format: ChatFormat) -> None:
        self.tokenizer = tokenizer
        self.chat_format = chat_format
        self._recipes: dict[tuple[str, ...], Recipe] = {}

    def results(self, conversations: Iterable[Messages]) -> list[Encoded | RowError]:
        """Each conversation in tokens, or what is wrong with it.

        Raises:
            TokenizerError: the tokenizer lacks a special token of the chat format.
        """
        return self._results([self._read(messages) for messages in conversations])

    def laid(self, rows: Iterable[Laid]) -> list[Encoded | RowError]:
        """The same for conversations that the chat format has read."""
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
            return self.chat_format.read(messages)
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
            TokenizerError: the tokenizer lacks a special token of the chat format.
        """
        return self._recipes.get(roles) or self._recipe(roles)

    def _recipe(self, roles: tuple[str, ...]) -> Recipe:
        recipe: Recipe = []
        before: bool | None = None
        for (special, trained), group in groupby(self.chat_format.plan(roles), key=_kind):
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


def encode_chats(
    tokenizer: Tokenizer, chat_format: ChatFormat, conversations: Iterable[Messages]
) -> list[Encoded]:
    """What ``encode_chat`` gives for each conversation; one ``ChatEncoder`` serves many batches.

    Raises:
        RowError: one of them cannot be laid out, or holds no valid Unicode.
        TokenizerError: the tokenizer lacks a special token of the chat format.
    """
    done = []
    for result in ChatEncoder(tokenizer, chat_format).results(conversations):
        if isinstance(result, RowError):
            raise result
        done.append(result)
    return done


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
        encoder: has the recipes of the chat format.
    """

    def __init__(self, tokenizer: ByteTokenizer, encoder: ChatEncoder) -> None:
        self.tokenizer = tokenizer
        self._encoder = encoder
        self._forms: dict[tuple[str, ...], _Form] = {}

    def encode(self, rows: Sequence[Laid]) -> Batch:
        """Conversations, as a chat format has read them, in tokens.

        Raises:
            RowError: one of them cannot be laid out, or holds no valid Unicode.
            TokenizerError: the tokenizer lacks a special token of the chat format.
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


def encode_chat(tokenizer: Tokenizer, chat_format: ChatFormat, messages: Messages) -> Encoded:
    """A conversation's ids and mask, built together.

    Texts that no special token parts and that are trained on alike are encoded as one; where the mask
    changes, the text is cut, as it is at the end of a prompt.

    Raises:
        RowError: the messages cannot be laid out, or hold no valid Unicode.
        TokenizerError: the tokenizer lacks a special token of the chat format.
    """
    encoded = Encoded([], bytearray())
    before: bool | None = None
    for (special, trained), group in groupby(
        chat_format.segments(messages), key=lambda segment: (segment.special, segment.trained)
    ):
        run = list(group)
        if special:
            ids = [tokenizer.special(segment.text) for segment in run]
        else:
            text = "".join(segment.text for segment in run)
            ids = encode_after(tokenizer, text) if goes_on(tokenizer, before) else tokenizer.encode(text)
        before = special
        encoded.ids += ids
        encoded.mask += bytes([trained]) * len(ids)
    return encoded
