"""Raw rows as their authors publish them: lines, whole documents, tables, labels in a second file.

``convert`` and ``prompt`` read through this one room, so that a row has the same id in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from dataprep.core import io as files
from dataprep.core.errors import InputError, Location, RowError
from dataprep.core.ledger import Ledger
from dataprep.datasets import registry as converters
from dataprep.datasets.converters.choices import NO_ANSWER

# A document that a person writes or indents: an array of objects, or an object whose first line is its brace.
_DOCUMENT = re.compile(rb"\s*(?:\[\s*\{|\{[ \t\r]*\n)")


def blocks(path: str, converter: converters.Converter | None = None) -> Iterator[files.Block]:
    """The raw rows of a file as blocks of JSON Lines, each with its label where those lie beside the file.

    Args:
        path: a file in any format that dataprep reads; ``-`` is standard input, as JSON Lines.
        converter: knows the set's documents and files of labels; without one, a document is an array of
            rows or one row.

    Raises:
        FileError: the file cannot be opened or read.
        InputError: it is not in its format or its set's layout, or has another number of labels than rows.
    """
    beside = labels_file(path, converter)
    found = _blocks(path, converter)
    if beside is None or not beside.is_file():
        return found
    return _labelled(path, found, str(beside), converter.LABELS[1])  # type: ignore[union-attr]


def _blocks(path: str, converter: converters.Converter | None) -> Iterator[files.Block]:
    kind = files.format_of(path).kind
    if kind == "json":
        document = files.read_document(path)
        if document is not None:
            yield from row_blocks(path, converters.rows_of(converter, document))
            return
    elif kind != "jsonl":
        yield from row_blocks(path, (row for _, row in files.read_rows(path)))
        return
    for block in files.read_blocks(path):
        if path == files.STDIO and block.first and _DOCUMENT.match(block.read()):
            expected = "expected JSON Lines, one row a line; give the path of the document, a .json file"
            raise InputError(path, f"found a JSON document; {expected}")
        yield block


def labels_file(path: str, converter: converters.Converter | None) -> Path | None:
    """Where the labels of a file's rows are looked for; ``None`` where they are in the rows."""
    if not hasattr(converter, "LABELS") or path == files.STDIO:
        return None
    pattern, _ = converter.LABELS  # type: ignore[union-attr]
    return Path(path).with_name(pattern.format(stem=Path(path).name.partition(".")[0]))


def _labelled(path: str, found: Iterable[files.Block], beside: str, name: str) -> Iterator[files.Block]:
    """The same rows, each with its label from the same line of a second file."""
    labels = files.read_text(beside).split()
    used = 0
    for block in found:
        lines = block.read().split(b"\n")
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            label = orjson.dumps(labels[used] if used < len(labels) else None)
            used += 1
            if line.rstrip().endswith(b"}"):
                fields = line.rstrip()[:-1]
                comma = b"" if fields.strip() == b"{" else b","
                lines[number] = fields + b'%b"%b":%b}' % (comma, name.encode(), label)
        yield files.Block(path, data=b"\n".join(lines), unit=block.unit, first=block.first)
    if used != len(labels):
        raise InputError(
            beside, f"found {len(labels)} labels for the {used} rows of {path}; expected as many"
        )


def row_blocks(path: str, rows: Iterable[Any], count: int = 256) -> Iterator[files.Block]:
    """Rows of a document or table as blocks of JSON Lines, so that there is one row path only.

    Raises:
        InputError: a row cannot be held by JSON, or ``rows`` raises a ``RowError``.
    """
    lines: list[bytes] = []
    done, first = 0, True
    try:
        for row in rows:
            lines.append(orjson.dumps(row, default=str))
            if len(lines) == count:
                yield files.Block(path, data=b"\n".join(lines), unit="row", first=first)
                lines, first = [], False
                done += count
    except RowError as error:
        raise InputError(path, str(error)) from None
    except TypeError as error:  # nested too deeply, lone surrogates, keys that are no strings
        number = done + len(lines) + 1
        raise InputError(Location(path, number, "row"), f"cannot be held by JSON: {error}") from None
    if lines:
        yield files.Block(path, data=b"\n".join(lines), unit="row", first=first)


def missing_labels(dataset: str, paths: Iterable[str], ledger: Ledger) -> str | None:
    """What to do where no row came out because their labels' file was not found; else ``None``."""
    converter = converters.load(dataset)
    if ledger.rows_out or not ledger.dropped[NO_ANSWER] or not hasattr(converter, "LABELS"):
        return None
    for path in paths:
        beside = labels_file(path, converter)
        if beside is None:
            pattern = converter.LABELS[0].format(stem="NAME")
            return f"the labels lie in a second file: give the path of NAME.jsonl, with {pattern} beside it"
        if not beside.is_file():
            return f"the labels lie in a second file, and there is no {beside}"
    return None
