"""Fetch the rows that a report shows: a second pass that reads only the blocks which hold them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import Location, RowError
from dataprep.core.io import Block
from dataprep.core.parallel import Outcome, read_block
from dataprep.core.records import LETTERS, from_cell
from dataprep.datasets.checks.chat_counts import ChatCounts
from dataprep.inspect.blocks import TextBlock, blocks_of
from dataprep.inspect.report.counting import kind_of, texts_of
from dataprep.inspect.report.figures import ShownRow, ShownText
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.options import Encoded
from dataprep.tokens.views import tokens_of

TEXT = 4000  # characters of a text that are kept; a page may show fewer
TEXTS = 30  # texts of a row
KEPT = 8_000_000  # characters of all texts; a page cannot show so many, and of further ones the least is kept
LEAST = 200
TOKENS = 1200  # tokens of a row

Place = tuple[int, int]  # the index of a file, and the number of a row in it, from 0


@dataclass(frozen=True, slots=True)
class Span:
    """A block of a file and what is before it; the block's bytes are not kept."""

    block: Block
    kept: bool  # whether the block can be read again by itself
    rows_before: int
    lines_before: int
    rows: int


class Spans:
    """The blocks of all files, by which a row is found again from its number."""

    def __init__(self, count: int) -> None:
        self._spans: list[list[Span]] = [[] for _ in range(count)]
        self._lines = [0] * count
        self.rows = [0] * count

    def add(self, file: int, block: Block, outcome: Outcome) -> None:
        """Note the next block of a file."""
        # A block with its bytes is of a stream: to keep it would be to keep the file.
        kept = block.data is None
        span = Span(replace(block, data=None), kept, self.rows[file], self._lines[file], outcome.rows_in)
        self._spans[file].append(span)
        self.rows[file] += outcome.rows_in
        self._lines[file] += outcome.lines

    def fetch(self, places: Iterable[Place]) -> Iterator[tuple[Place, Location, dict[str, Any]]]:
        """Yield the rows at some places with their locations, in the order of the files."""
        wanted: dict[int, set[int]] = defaultdict(set)
        for file, number in places:
            wanted[file].add(number)
        for file in sorted(wanted):
            yield from self._fetch_from(file, wanted[file])

    def _fetch_from(self, file: int, numbers: set[int]) -> Iterator[tuple[Place, Location, dict[str, Any]]]:
        spans = self._spans[file]
        again: Iterator[Block] = iter(())
        if not all(span.kept for span in spans):
            again = files.read_row_blocks(spans[0].block.path)
        for span in spans:
            block = span.block if span.kept else next(again)
            inside = {number - span.rows_before for number in numbers}.intersection(range(span.rows))
            if not inside:
                continue
            read = read_block(block, lambda row: row)
            for row, number, line in zip(read.rows, read.numbers, read.line_numbers, strict=True):
                if number in inside:
                    where = Location(block.path, span.lines_before + line, block.unit)
                    yield (file, span.rows_before + number), where, row


class Shower:
    """Makes what a page shows of a row.

    Args:
        encoder: encodes chat rows; ``None`` shows no tokens.
    """

    def __init__(self, encoder: Encoder | None) -> None:
        self._encoder = encoder
        self._kept = 0

    def show(self, where: Location, row: dict[str, Any], *, tokens: bool = False) -> ShownRow:
        """Return a row with its texts shortened, and its first tokens if ``tokens``."""
        blocks = iter(_teachers_first(row) if kind_of(row) == "labelled rows" else blocks_of(row))
        limit = TEXT if self._kept < KEPT else LEAST
        texts = tuple(
            ShownText(
                block.role,
                block.kind,
                block.title[:LEAST],
                block.text[:limit],
                max(len(block.text) - limit, 0),
            )
            for block in islice(blocks, TEXTS)
        )
        self._kept += sum(len(text.text) for text in texts)
        more = sum(1 for _ in blocks)
        try:
            length = sum(len(text) for _, text in texts_of(row, ChatCounts()))
        except RowError:  # a test row can be of any kind
            length = sum(len(text.text) + text.more for text in texts)
        shown = ShownRow(files.printable(str(where)), texts, more, length)
        if not tokens or self._encoder is None or row.get("messages") is None:
            return shown
        try:
            encoded = self._encode(row)
        except RowError as error:
            return replace(shown, fault=str(error))
        first = tuple(islice(tokens_of(encoded, self._encoder.tokenizer), TOKENS))
        return replace(shown, tokens=first, token_count=len(encoded.ids), in_loss=encoded.mask.count(1))

    def _encode(self, row: dict[str, Any]) -> Encoded:
        assert self._encoder is not None
        result = next(self._encoder.encode([self._encoder.read(row)]).results())
        if isinstance(result, RowError):
            raise result
        return result


def _teachers_first(row: Mapping[str, Any]) -> Iterator[TextBlock]:
    """Yield the texts of a labelled row: the question, the choices, and each teacher's rationale."""
    choices, statuses = from_cell(row.get("choices")), from_cell(row.get("status"))
    rationales, said = from_cell(row.get("rationales")), from_cell(row.get("teacher_answers"))
    shown = {"question"}
    if "question" in row:
        yield TextBlock("question", "text", "", str(row["question"]))
    if isinstance(choices, list):
        shown.add("choices")
        listed = zip(LETTERS, choices, strict=False)
        yield TextBlock("choices", "text", "", "\n".join(f"({letter}) {text}" for letter, text in listed))
    if (answer := _answer(from_cell(row.get("answer")))) is not None:
        shown.add("answer")
        yield TextBlock("answer", "text", "", answer)
    if isinstance(rationales, Mapping) and isinstance(statuses, Mapping):
        shown |= {"rationales", "status", "teacher_answers"}
        said = said if isinstance(said, Mapping) else {}
        for teacher in dict.fromkeys((*statuses, *rationales, *said)):
            answer = _answer(said.get(teacher))
            facts = [str(statuses.get(teacher, "")), "" if answer is None else f"answers {answer}"]
            text = rationales.get(teacher)
            title = f"{teacher}: {', '.join(filter(None, facts))}"
            yield TextBlock("rationale", "text", title, "" if text is None else str(text))
    yield from blocks_of({name: value for name, value in row.items() if name not in shown})


def _answer(value: Any) -> str | None:
    if isinstance(value, Mapping) and isinstance(value.get("label"), str):
        return " ".join(filter(None, (f"({value['label']})", value.get("text"))))
    return value if isinstance(value, str) else None


def drawn(rows: Sequence[int], count: int, seed: int) -> list[Place]:
    """Return the places of a uniform sample of the rows of all files, in their order.

    Args:
        rows: number of rows of each file.
        count: number of rows to draw.
        seed: seed of Python's generator.
    """
    import random

    everything = sum(rows)
    numbers = sorted(random.Random(seed).sample(range(everything), min(count, everything)))
    places, file, before = [], 0, 0
    for number in numbers:
        while number - before >= rows[file]:
            before += rows[file]
            file += 1
        places.append((file, number - before))
    return places
