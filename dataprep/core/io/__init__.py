"""Open data paths: the only package that does.

``blocks`` reads rows and blocks of lines from any supported file. ``reading`` opens inputs and reads whole
documents, ``writing`` makes outputs that appear whole or not at all, ``formats`` maps a path's suffix to a
format, and ``tables`` reads and writes CSV, TSV and Parquet.
"""

from dataprep.core.io.blocks import (
    Block,
    array_block,
    read_blocks,
    read_items,
    read_lines,
    read_row_blocks,
    read_rows,
    row_blocks,
    rows_in,
)
from dataprep.core.io.formats import STDIO, Format, format_of, matching_files
from dataprep.core.io.reading import check_input, open_mapped, open_whole, read_document, read_text
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
