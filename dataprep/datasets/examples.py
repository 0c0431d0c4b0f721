"""Files of Examples, or of a dataset's raw rows, read row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dataprep.core import io as files
from dataprep.core.errors import Location, RowError, located
from dataprep.core.jsonl import parse_line
from dataprep.core.records import Example
from dataprep.datasets import registry as converters
from dataprep.datasets import source_rows


def read_located(path: str, dataset: str | None = None) -> Iterator[tuple[Location, dict[str, Any]]]:
    """The rows of a file; a published document's rows as its converter reads them.

    Raises:
        InputError: a row cannot be read, with its place.
        FileError: the file cannot be read.
        UsageError: there is no such dataset.
    """
    if dataset is None:
        yield from files.read_rows(path)
        return
    number = 0
    for block in source_rows.blocks(path, converters.load(dataset)):
        for line in block.read().removesuffix(b"\n").split(b"\n"):
            number += 1
            if not line.strip():
                continue
            where = Location(path, number, block.unit)
            with located(where):
                row = parse_line(line)
            yield where, row


def example_of(row: Any, dataset: str | None = None, *, unlabelled: bool = False) -> Example:
    """The Example in a row: one that was written as such, or what a dataset's converter makes of it.

    Args:
        row: an Example's row, or with ``dataset`` a raw one.
        dataset: the converter that reads raw rows.
        unlabelled: keep raw rows whose gold answer is hidden, where the dataset has such.

    Raises:
        RowError: the row is neither.
        RowDropped: the converter leaves the row out.
    """
    if not isinstance(row, dict):
        raise RowError("not a JSON object", "expected an Example or a raw row")
    if dataset is None:
        return Example.from_json(row)
    converter = converters.load(dataset)
    keep = unlabelled and "unlabelled" in converters.options(converter)
    example = converter.convert(row, unlabelled="keep") if keep else converter.convert(row)
    example.source = converters.canonical(dataset)
    return example
