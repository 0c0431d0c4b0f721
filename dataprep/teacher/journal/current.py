"""Journals of responses: their lines, and which of them count.

A journal only grows. It may hold several lines for one teacher and id: of earlier prompts (another ``key``),
of other samples of the same prompt, and of earlier attempts. ``current_lines`` says which of them count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from dataprep.core.errors import InputError, RowError
from dataprep.core.jsonl import MAX_LINE, parse_line, too_long
from dataprep.core.records import describe
from dataprep.teacher.journal.line import OUTCOMES, check_response, outcome_of

if TYPE_CHECKING:
    from mmap import mmap

Place = TypeVar("Place")

_BOM = b"\xef\xbb\xbf"
_RANKS = {outcome: rank for rank, outcome in enumerate(OUTCOMES)}


def current_lines(
    lines: Iterable[tuple[Place, Mapping[str, Any]]],
) -> dict[str, dict[int, dict[str, Place]]]:
    """The lines that count: by teacher, then sample, then id; teachers in the order they first appear in.

    The key of the last line of a teacher and id is the current prompt; lines of other keys are passed over.
    Of the lines of one sample of it an ``ok`` one goes before those of ``length``, ``refused``, ``empty``
    and ``failed``, in this order, and among equals a later one before an earlier one.

    Memory grows with the requests, not with what was answered: some 600 bytes for each id, key and sample
    of a teacher while the lines are read, and 200 afterwards.

    Args:
        lines: rows that ``check_response`` has passed, in the order they were written in, each with what
            finds it again: its number, its place, or the row itself.

    Raises:
        RowError: a line's ``sample`` is no number from 0 on.
    """
    keys: dict[str, dict[str, str]] = {}
    best: dict[str, dict[int, dict[tuple[str, str], tuple[int, Place]]]] = {}
    for place, row in lines:
        teacher, name, key, rank = row["teacher"], row["id"], row["key"], _RANKS[outcome_of(row)]
        keys.setdefault(teacher, {})[name] = key
        found = best.setdefault(teacher, {}).setdefault(sample_of(row), {})
        earlier = found.get((name, key))
        if earlier is None or rank <= earlier[0]:
            found[name, key] = rank, place
    return {
        teacher: {
            sample: {name: place for (name, key), (_, place) in found.items() if keys[teacher][name] == key}
            for sample, found in sorted(samples.items())
        }
        for teacher, samples in best.items()
    }


def sample_of(row: Mapping[str, Any]) -> int:
    """Which of several samples of one request a line is, counted from 0.

    Raises:
        RowError: the field is no such number.
    """
    sample = row.get("sample", 0)
    if sample is None:
        return 0
    if type(sample) is not int or sample < 0:
        raise RowError("not a response", f"expected a number from 0 on in 'sample', found {describe(sample)}")
    return sample


class Journals:
    """The lines of journals, one after the other, each found again by its place.

    It is given each journal's path and bytes. A line's place is a number: the bytes before it, counted
    through all journals.

    Attributes:
        torn: the last lines that broke off, as ``path:line``, once all lines were read.
    """

    def __init__(self, journals: Sequence[tuple[str, mmap | bytes]]) -> None:
        self._paths = [path for path, _ in journals]
        self._texts = [text for _, text in journals]
        self._bases = list(accumulate(map(len, self._texts), initial=0))[:-1]
        self.torn: list[str] = []

    def lines(self, progress: Callable[[int], None] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every line's place and row, in order.

        The last line of a journal may have broken off when its writer was killed: without a newline, and
        not JSON. It is passed over, and listed in ``torn``.

        Args:
            progress: told the bytes of each line.

        Raises:
            InputError: another line is damaged or is no response, or a journal has no lines.
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

    def row(self, place: int) -> dict[str, Any]:
        """The row that stands at a place."""
        _, text, begin = self._at(place)
        end = text.find(b"\n", begin)
        return parse_line(text[begin : end if end >= 0 else len(text)])

    def where(self, place: int) -> str:
        """``path:line`` of the row that stands at a place, for messages."""
        path, text, begin = self._at(place)
        return _where(path, next(n for n, (start, _) in enumerate(_spans(text), 1) if start == begin))

    def _at(self, place: int) -> tuple[str, mmap | bytes, int]:
        number = bisect_right(self._bases, place) - 1
        return self._paths[number], self._texts[number], place - self._bases[number]


def _spans(text: mmap | bytes) -> Iterator[tuple[int, int]]:
    """Where each line begins and ends, without its newline."""
    begin, length = len(_BOM) if text[: len(_BOM)] == _BOM else 0, len(text)
    while begin < length:
        end = text.find(b"\n", begin)
        yield begin, end if end >= 0 else length
        begin = end + 1 if end >= 0 else length


def _where(path: str, number: int) -> str:
    return f"{'standard input' if path == '-' else path}:{number}"
