"""Whether all rows of a batch are sound, found out at once; ``Linter`` says what is wrong where they are not.

It looks at the finished ids and mask beside the contents that they should be, as ``Linter`` does for one
row, and knows nothing of how they were made.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataprep.tokens.batches import Batch, ByteTokenizer
from dataprep.tokens.layouts import Laid, Layout, Segment
from dataprep.tokens.lint import Linter

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Bytes that UTF-8 never has: what ends of turn, and what all other tokens without text, are compared as.
END, NO_TEXT = b"\xff", b"\xfe"


class _Form(NamedTuple):
    """What the layout makes of conversations with certain roles.

    Attributes:
        specials: the special tokens that it puts into them.
        answers: which messages are answers.
    """

    specials: NDArray[np.int64]
    answers: list[int]


class BatchLinter:
    """Looks at batches of rows.

    Args:
        tokenizer: the tokenizer that made them.
        layout: the layout that they are in.
        linter: looks at one row.
    """

    def __init__(self, tokenizer: ByteTokenizer, layout: Layout, linter: Linter) -> None:
        self.tokenizer = tokenizer
        self.layout = layout
        self._linter = linter
        self._vocab_size = size = tokenizer.vocab_size
        self._special = np.zeros(size, dtype=np.bool_)
        self._special[list(tokenizer.specials.values())] = True
        self._end = np.zeros(size, dtype=np.bool_)
        self._end[[tokenizer.specials[name] for name in layout.ends if name in tokenizer.specials]] = True
        self._bytes = np.array([each or NO_TEXT for each in tokenizer.token_bytes], dtype=np.object_)
        self._bytes[self._special] = NO_TEXT
        self._bytes[self._end] = END
        self._named = os.path.commonprefix([*tokenizer.specials])  # noqa: RUF071 - of words, not of paths
        self._forms: dict[tuple[str, ...], _Form] = {}

    def sound(self, batch: Batch, rows: Sequence[Laid]) -> bool:
        """Whether ``Linter`` finds nothing wrong with any row.

        It may be false where it would find nothing, never true where it would find something.

        Args:
            batch: the rows, in tokens.
            rows: the conversations that they were made of, as the layout has read them.
        """
        ids, mask, lengths = batch
        if not rows or lengths.min() < 1 or not ids.size == mask.size == lengths.sum():
            return False
        if int(ids.max()) >= self._vocab_size:
            return False
        borders = np.concatenate([[0], np.cumsum(lengths)])
        forms = [self._forms.get(roles) or self._form(roles) for roles, _ in rows]
        places = np.flatnonzero(self._special[ids])
        return (
            self._specials_are_laid(ids[places], np.searchsorted(places, borders), forms)
            and self._answers_are_closed(batch, places, borders, forms)
            and self._text_is_right(ids[mask.view(np.bool_)], rows, forms)
            and not self._has_names(rows)
        )

    @staticmethod
    def _specials_are_laid(
        specials: NDArray[np.uint32], borders: NDArray[np.int64], forms: Sequence[_Form]
    ) -> bool:
        """Whether each row has the special tokens that the layout puts into it, in their order."""
        sizes = [form.specials.size for form in forms]
        laid = np.concatenate([form.specials for form in forms])
        return np.array_equal(np.diff(borders), sizes) and np.array_equal(specials, laid)

    def _answers_are_closed(
        self, batch: Batch, places: NDArray[np.int64], borders: NDArray[np.int64], forms: Sequence[_Form]
    ) -> bool:
        """Whether a row has a stretch of trained tokens for each answer, an end of turn last in it only."""
        ids, mask, _ = batch
        if mask[borders[:-1]].any():  # one row's stretch may touch the next row's
            return False
        edges = np.flatnonzero(np.diff(mask)) + 1
        if mask[-1]:
            edges = np.append(edges, mask.size)
        begins, ends = edges[::2], edges[1::2]
        trained_ends = places[self._end[ids[places]] & mask[places].view(np.bool_)]
        answers = np.diff(np.searchsorted(begins, borders))
        expected = [len(form.answers) for form in forms]
        return np.array_equal(trained_ends, ends - 1) and np.array_equal(answers, expected)

    def _text_is_right(
        self, trained: NDArray[np.uint32], rows: Sequence[Laid], forms: Sequence[_Form]
    ) -> bool:
        """Whether the trained tokens are the assistants' contents, each with an end of turn."""
        wanted = [
            contents[number].encode("utf-8", "surrogatepass")
            for (_, contents), form in zip(rows, forms, strict=True)
            for number in form.answers
        ]
        return b"".join(self._bytes[trained].tolist()) == END.join([*wanted, b""])

    def _has_names(self, rows: Sequence[Laid]) -> bool:
        """Whether a content may name a special token."""
        text = "\n".join(["\n".join(contents) for _, contents in rows])
        return self._named in text and self._linter.names_special(text)

    def _form(self, roles: tuple[str, ...]) -> _Form:
        pieces = self.layout.plan(roles)
        names = [piece.text for piece in pieces if isinstance(piece, Segment) and piece.special]
        specials = np.array([self.tokenizer.special(name) for name in names], dtype=np.int64)
        answers = [number for number, role in enumerate(roles) if role == "assistant"]
        self._forms[roles] = form = _Form(specials, answers)
        return form
