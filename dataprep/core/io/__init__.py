"""The only room that opens a data path.

``reading`` gives lines, blocks and rows of any supported file, ``writing`` makes outputs that appear
whole or not at all, ``formats`` tells by a path's suffix what lies there, and ``tables`` knows CSV, TSV
and Parquet.
"""

from dataprep.core.io.formats import STDIO, Format, format_of, matching_files
from dataprep.core.io.reading import (
    Block,
    array_block,
    check_input,
    open_mapped,
    open_whole,
    read_blocks,
    read_document,
    read_items,
    read_lines,
    read_rows,
    read_text,
)
from dataprep.core.io.writing import (
    Output,
    Rejects,
    check_apart,
    check_distinct,
    open_output,
    open_rejects,
    printable,
    write_rows,
    write_text,
    writing,
)

__all__ = [
    "STDIO",
    "Block",
    "Format",
    "Output",
    "Rejects",
    "array_block",
    "check_apart",
    "check_distinct",
    "check_input",
    "format_of",
    "matching_files",
    "open_mapped",
    "open_output",
    "open_rejects",
    "open_whole",
    "printable",
    "read_blocks",
    "read_document",
    "read_items",
    "read_lines",
    "read_rows",
    "read_text",
    "write_rows",
    "write_text",
    "writing",
]
