"""Read and write CSV and TSV files with Python's ``csv``. Lists and objects are JSON text in a cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterable
from itertools import chain
from typing import IO, Any

import orjson

from dataprep.core.errors import InputError, RowError
from dataprep.core.io.tables.columns import Column, loads_row
from dataprep.core.records import from_cell

# csv refuses cells of more than 128 KiB unless told otherwise; passages of reading sets can be longer.
_MAX_CELL = 32 << 20
_CHAT_FIELDS = ("tools", "chat_template_kwargs")


def read_delimited(
    path: str, stream: IO[bytes], delimiter: str, *, given: str | None = None
) -> Generator[dict[str, Any], None, None]:
    """Read the rows of a CSV or TSV file with a header; every value is a string, ``messages`` are a list.

    A ``given`` delimiter replaces the usual one of the format.
    """
    csv.field_size_limit(_MAX_CELL)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    begin = 1
    try:
        begin, first = _first_line(text, given or delimiter)
        if not first:
            raise InputError(path, "the file is empty; expected a header line with the fields' names")
        if given is None:
            _check_delimiter(path, first.strip(), delimiter)
        above = begin - 1
        reader = csv.reader(chain([first], text), delimiter=given or delimiter, strict=True)
        header = next(reader)
        if len(set(header)) < len(header):
            raise InputError(f"{path}:{begin}", f"a field's name stands twice in the header: {header}")
        begin = above + reader.line_num + 1
        for values in reader:
            if values:
                if len(values) != len(header):
                    problem = f"found {len(values)} fields; the header has {len(header)}"
                    raise InputError(f"{path}:{begin}", problem)
                yield _with_fields(dict(zip(header, values, strict=True)))
            begin = above + reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{begin}", f"not a delimited table: {error}") from None
    except UnicodeDecodeError as error:
        wrong = f"not UTF-8: byte 0x{error.object[error.start]:02x}; save the file as UTF-8"
        raise InputError(f"{path}:{begin} or after", wrong) from None
    finally:
        text.detach()


def _first_line(text: io.TextIOWrapper, delimiter: str) -> tuple[int, str]:
    """Return number and text of the first line with a cell; spreadsheets leave empty ones above a table."""
    for number, line in enumerate(iter(text.readline, ""), 1):
        if line.strip(f" \r\n{delimiter}"):
            return number, line
    return 1, ""


def _check_delimiter(path: str, header: str, delimiter: str) -> None:
    """Raise ``InputError`` if a header of one field seems to have another delimiter."""
    for other, name in ((";", "';'"), ("\t", "tab"), ("|", "'|'"), (",", "','")):
        names = header.split(other)
        if delimiter not in header and len(names) > 1 and all(map(str.strip, names)):
            problem = f"the header is one field, {header!r}: the cells seem to be separated by {name}"
            hint = "save the table with commas (.csv) or tabs (.tsv), or read it with"
            raise InputError(path, f"{problem}; {hint} `dataprep convert --delimiter {name}`")


def with_messages(row: dict[str, Any]) -> dict[str, Any]:
    """Return a table's row with its messages as a list, where the cell holds one as text."""
    if type(row.get("messages")) is str:
        row["messages"] = from_cell(row["messages"])
    return row


def _with_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a delimited table with the fields of a chat row as lists and objects."""
    for name in _CHAT_FIELDS:
        if name in row:
            # A cell cannot be absent, and an empty one says nothing.
            if row[name] == "":
                del row[name]
            else:
                row[name] = from_cell(row[name])
    return with_messages(row)


def write_delimited(lines: Iterable[bytes], out: IO[bytes], delimiter: str) -> None:
    """Write JSON Lines rows as CSV or TSV; the first row's fields are the header."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    # Python before 3.13 leaves a carriage return unquoted, and it would end the row for a reader.
    quoting = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    header: list[str] | None = None
    columns: dict[str, Column] = {}
    for number, line in enumerate(lines, 1):
        row = loads_row(line, number)
        if header is None:
            header = list(row)
            _write_row(writer, quoting, header)
        if list(row) != header:
            found = f"row {number} has {list(row)}, the first {header}"
            raise RowError("a table needs the same fields in every row", found)
        for name, value in row.items():
            columns.setdefault(name, Column()).add(value, number)
        _write_row(writer, quoting, list(map(_cell_of, row.values())))
    for name, column in columns.items():
        column.check(name)
    # Without detaching, the wrapper would close the stream when it is collected.
    text.flush()
    text.detach()


def _cell_of(value: Any) -> Any:
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    # As in JSON: csv would write Python's True.
    return "" if value is None else str(value).lower() if type(value) is bool else value


def _write_row(plain: Any, quoting: Any, values: list[Any]) -> None:
    returns = any(isinstance(value, str) and "\r" in value for value in values)
    (quoting if returns else plain).writerow(values)
