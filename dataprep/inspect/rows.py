"""Find rows of a file by their numbers, without parsing the rows before them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import FileError, InputError, Location, UsageError
from dataprep.core.io import Block
from dataprep.core.jsonl import any_line

_BLOCK_BYTES = 4 << 20
_PLACE = re.compile(r"(.+):(\d+)(?:-(\d+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Places:
    """Rows ``first`` to ``last`` of a file, counted from 1 as messages count them."""

    path: str
    first: int
    last: int


def parse_places(text: str) -> Places:
    """Return the rows that ``FILE:N`` or ``FILE:A-B`` names.

    Raises:
        UsageError: the text names no rows.

    >>> parse_places("train.jsonl:7-9")
    Places(path='train.jsonl', first=7, last=9)
    """
    found = _PLACE.fullmatch(text)
    if found is None or len(found[2]) > 18 or len(found[3] or "") > 18:
        raise UsageError(f"{text}: expected FILE:N or FILE:A-B, for example train.jsonl:7")
    first = int(found[2])
    last = int(found[3] or first)
    if not 1 <= first <= last:
        raise UsageError(f"{text}: expected rows from 1 on, the first before the last")
    return Places(found[1], first, last)


def first_rows(path: str, count: int) -> Iterator[tuple[Location, bytes]]:
    """Yield the first rows of a file, each as its line or as a line of JSON, with its place."""
    if count < 1:
        return
    for number, (where, item) in enumerate(files.read_items(path), 1):
        yield where, item if isinstance(item, bytes) else any_line(item)
        if number == count:
            return


def rows_at(places: Places) -> Iterator[tuple[Location, bytes]]:
    """Yield rows of a file by their numbers, each as its line or as a line of JSON, with its place.

    Of a file of lines, blank lines count and are left out.

    Raises:
        FileError: the file has fewer rows.
        InputError: the line is blank, if only one was asked for.
    """
    before, unit = 0, "row"
    for block in _blocks_of(places.path):
        data, unit = block.read(), block.unit
        count = data.count(b"\n") + (not data.endswith(b"\n"))
        if before + count >= places.first:
            for number, line in enumerate(data.split(b"\n")[:count], before + 1):
                if places.first <= number <= places.last and line.strip():
                    yield Location(places.path, number, block.unit), line
                elif number == places.first == places.last:
                    raise InputError(Location(places.path, number, block.unit), "the line is blank")
        before += count
        if before >= places.last:
            return
    wanted = f"{places.last:,}" if places.first == places.last else f"{places.first:,} to {places.last:,}"
    kind = unit if before == 1 else f"{unit}s"
    raise FileError(places.path, f"the file has {before:,} {kind}; there is no {unit} {wanted}")


def _blocks_of(path: str) -> Iterator[Block]:
    if files.format_of(path).is_plain_lines:
        return files.read_blocks(path, _BLOCK_BYTES)
    return files.read_row_blocks(path)


def parsed(line: bytes) -> Any:
    """Return the value of a line; what is not JSON as ``{"not JSON": text}``, because it is to be shown."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return {"not JSON": line.decode("utf-8", "backslashreplace")}


def places_of(texts: Sequence[str]) -> list[Places]:
    """Return the rows that several texts name, after the files were found."""
    places = [parse_places(text) for text in texts]
    for each in places:
        files.check_input(each.path)
    return places
