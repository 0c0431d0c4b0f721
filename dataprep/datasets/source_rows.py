"""Read source rows, as the authors of a dataset publish them, and the Examples in them.

``convert``, ``prompt``, ``collect`` and ``evaluate`` read through this module, so a row has the same id in
all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, RowError, located
from dataprep.core.jsonl import parse_line
from dataprep.core.ledger import Ledger
from dataprep.core.records import Example
from dataprep.datasets import registry as converters
from dataprep.datasets.converters.choices import NO_ANSWER


def blocks(path: str, converter: converters.Converter | None = None) -> Iterator[files.Block]:
    """Read the source rows of a file as blocks of JSON Lines, with labels from a second file if it is there.

    Args:
        path: a file in any format that dataprep reads; ``-`` is standard input, as JSON Lines.
        converter: reads the dataset's documents, and knows the name of its labels' file. By default a
            document is an array of rows or one row, and there is no such file.
    """
    row_blocks = files.read_row_blocks(path, partial(converters.rows_of, converter))
    beside = labels_file(path, converter)
    if beside is None or not beside.is_file():
        return row_blocks
    return _labelled(path, row_blocks, str(beside), converter.LABELS[1])  # type: ignore[union-attr]


def labels_file(path: str, converter: converters.Converter | None) -> Path | None:
    """Return where the labels of a file's rows should be; ``None`` if they are in the rows themselves."""
    if not hasattr(converter, "LABELS") or path == files.STDIO:
        return None
    pattern, _ = converter.LABELS  # type: ignore[union-attr]
    # The stem ends at the first dot, so that train.jsonl and train.jsonl.gz have the same labels.
    return Path(path).with_name(pattern.format(stem=Path(path).name.partition(".")[0]))


def _labelled(path: str, row_blocks: Iterable[files.Block], beside: str, name: str) -> Iterator[files.Block]:
    labels = files.read_text(beside).split()
    used = 0
    for block in row_blocks:
        lines = block.read().split(b"\n")
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            label = orjson.dumps(labels[used] if used < len(labels) else None)
            used += 1
            # The label is spliced into the bytes. A line that is not an object stays as it is: it fails later
            # with its own text in the message.
            if line.rstrip().endswith(b"}"):
                fields = line.rstrip()[:-1]
                comma = b"" if fields.strip() == b"{" else b","
                lines[number] = fields + b'%b"%b":%b}' % (comma, name.encode(), label)
        yield files.Block(path, data=b"\n".join(lines), unit=block.unit, first=block.first)
    # Only the end shows whether the two files belong together; one label too few shifts all that follow.
    if used != len(labels):
        raise InputError(
            beside, f"found {len(labels)} labels for the {used} rows of {path}; expected as many"
        )


def missing_labels(dataset: str, paths: Iterable[str], ledger: Ledger) -> str | None:
    """Return what to do if no row came out because the labels' file was not found; else ``None``."""
    converter = converters.load(dataset)
    if ledger.rows_out or not ledger.dropped[NO_ANSWER] or not hasattr(converter, "LABELS"):
        return None
    for path in paths:
        beside = labels_file(path, converter)
        if beside is None:
            pattern = converter.LABELS[0].format(stem="NAME")
            return f"the labels are in a second file: give the path of NAME.jsonl, with {pattern} beside it"
        if not beside.is_file():
            return f"the labels are in a second file, and there is no {beside}"
    return None


def read_located(path: str, dataset: str | None = None) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Read the rows of a file; with a dataset, those of its published documents too.

    Yields:
        The row's place, and the row.
    """
    if dataset is None:
        yield from files.read_rows(path)
        return
    # Rows of a document are counted over its blocks; lines of JSON Lines with the blank ones.
    number = 0
    for block in blocks(path, converters.load(dataset)):
        for line in block.read().removesuffix(b"\n").split(b"\n"):
            number += 1
            if not line.strip():
                continue
            where = Location(path, number, block.unit)
            with located(where):
                row = parse_line(line)
            yield where, row


def example_of(row: Any, dataset: str | None = None, *, unlabelled: bool = False) -> Example:
    """Return the Example in a row.

    Args:
        row: an Example's row, or with ``dataset`` a source row.
        dataset: the converter that reads source rows.
        unlabelled: keep source rows with a hidden answer, if the dataset has such rows.
    """
    if not isinstance(row, dict):
        raise RowError("not a JSON object", "expected an Example or a source row")
    if dataset is None:
        return Example.from_json(row)
    converter = converters.load(dataset)
    # Datasets without hidden answers, such as GSM8K, do not have the option.
    keep = unlabelled and "unlabelled" in converters.options(converter)
    example = converter.convert(row, unlabelled="keep") if keep else converter.convert(row)
    example.source = converters.canonical(dataset)
    return example
