"""Read the lines of journals, and find each of them again by its offset."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from dataprep.core.errors import InputError, RowError
from dataprep.core.jsonl import MAX_LINE, parse_line, too_long
from dataprep.teacher.journal.current import sample_of
from dataprep.teacher.journal.line import check_response

if TYPE_CHECKING:
    from mmap import mmap

_BOM = b"\xef\xbb\xbf"


class JournalReader:
    """The lines of several journals, one journal after the other.

    A line's offset is the number of bytes before it, counted through all journals.

    Attributes:
        torn: the incomplete last lines as ``path:line``, once all lines were read.
    """

    def __init__(self, journals: Sequence[tuple[str, mmap | bytes]]) -> None:
        self._paths = [path for path, _ in journals]
        self._texts = [text for _, text in journals]
        self._bases = list(accumulate(map(len, self._texts), initial=0))[:-1]
        self.torn: list[str] = []

    def lines(self, progress: Callable[[int], None] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield offset and row of every line, in order.

        The last line of a journal may be incomplete: without a newline, and not JSON. It is skipped and
        listed in ``torn``.

        Args:
            progress: called with the number of bytes of each line.
        """
        self.torn.clear()
        for path, text, base in zip(self._paths, self._texts, self._bases, strict=True):
            number, rows = 0, 0
            for begin, end in _spans(text):
                number += 1
                if end - begin > MAX_LINE:
                    raise too_long(path, number)
                line = text[begin:end]
                if progress is not None:
                    progress(end - begin + 1)
                if not line.strip():
                    continue
                rows += 1
                try:
                    row = parse_line(line)
                except RowError as error:
                    # A killed writer leaves such a line only at the end. Elsewhere a person must decide
                    # whether it was an answer.
                    if end == len(text) and error.reason in ("not JSON", "not UTF-8"):
                        self.torn.append(_where(path, number))
                        continue
                    hint = "restore the line, or remove it to have it asked again"
                    raise InputError(_where(path, number), f"{error}; {hint}") from None
                try:
                    check_response(row)
                    sample_of(row)
                except RowError as error:
                    hint = "expected the lines of a journal of responses"
                    raise InputError(_where(path, number), f"{error}; {hint}") from None
                yield base + begin, row
            if not rows:
                raise InputError(path, "the file is empty; expected the lines of a journal of responses")

    def row(self, offset: int) -> dict[str, Any]:
        """Return the row at an offset."""
        _, text, begin = self._at(offset)
        end = text.find(b"\n", begin)
        return parse_line(text[begin : end if end >= 0 else len(text)])

    def where(self, offset: int) -> str:
        """Return ``path:line`` of the row at an offset, for messages."""
        path, text, begin = self._at(offset)
        return _where(path, next(n for n, (start, _) in enumerate(_spans(text), 1) if start == begin))

    def _at(self, offset: int) -> tuple[str, mmap | bytes, int]:
        number = bisect_right(self._bases, offset) - 1
        return self._paths[number], self._texts[number], offset - self._bases[number]


def _spans(text: mmap | bytes) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each line, without its newline."""
    begin, length = len(_BOM) if text[: len(_BOM)] == _BOM else 0, len(text)
    while begin < length:
        end = text.find(b"\n", begin)
        yield begin, end if end >= 0 else length
        begin = end + 1 if end >= 0 else length


def _where(path: str, number: int) -> str:
    return f"{'standard input' if path == '-' else path}:{number}"
