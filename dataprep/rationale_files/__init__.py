"""Files of teachers' rationales: read into labelled rows, joined with their gold rows, and written back.

``rows`` makes a labelled row of one string, ``parsing`` reads the files, ``exporting`` writes them back.
"""

from dataprep.gold import GoldRow, read_gold
from dataprep.rationale_files.exporting import export_rationales
from dataprep.rationale_files.parsing import ParseReport, parse_rationale_files, rationale_files
from dataprep.rationale_files.rows import BATCH, RationaleParser

__all__ = [
    "BATCH",
    "GoldRow",
    "ParseReport",
    "RationaleParser",
    "export_rationales",
    "parse_rationale_files",
    "rationale_files",
    "read_gold",
]
