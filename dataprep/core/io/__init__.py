"""Open data paths: the only package that does.

``blocks`` cuts files of lines, and ``rows`` reads any supported file. ``reading`` opens inputs and
reads whole documents, and ``writing`` makes ``outputs`` that appear whole or not at all, with the files and
folders of ``unfinished``. ``formats`` maps a path's suffix to a format; ``tables`` reads and writes CSV, TSV,
Parquet.
A path can be a URL of an object in one of the ``stores``; ``paths`` looks at both kinds.
For runs on many machines ``chunks`` cuts inputs into fixed pieces, and ``parts`` writes outputs that are
folders of parts, which ``part_files`` reads as one file.
"""

from dataprep.core.io.blocks import Block, array_block, read_blocks
from dataprep.core.io.chunks import halves, in_chunks, named, pieces
from dataprep.core.io.environment import difference, run_key, versions
from dataprep.core.io.formats import STDIO, Format, format_of, matching_files
from dataprep.core.io.identity import Identity, Unchanged, translated
from dataprep.core.io.outputs import Output, PartsOutput, write_at
from dataprep.core.io.part_files import Part, chunk_bytes, files_of, is_parts
from dataprep.core.io.parts import PartTarget, forget_work
from dataprep.core.io.paths import (
    check_local,
    exists,
    files_in,
    find,
    is_file,
    is_folder,
    is_same_file,
    is_stream,
    make_parent,
    real_path,
    scratch_beside,
    sibling,
    size_of,
)
from dataprep.core.io.reading import (
    FileBytes,
    allow_open,
    check_input,
    open_mapped,
    open_whole,
    read_bytes,
    read_document,
    read_text,
)
from dataprep.core.io.rows import read_items, read_lines, read_row_blocks, read_rows, row_blocks, rows_in
from dataprep.core.io.stores import changed, is_shared, is_url, joined, name_of, store_of
from dataprep.core.io.tables.parquet import parquet_schema, write_parquet
from dataprep.core.io.unfinished import leftovers, new_folder, remove_unlocked, replacing, temporary_folder
from dataprep.core.io.writing import (
    Rejects,
    check_apart,
    check_distinct,
    check_one_file,
    open_output,
    open_rejects,
    printable,
    write_rows,
    write_text,
    writing,
)
