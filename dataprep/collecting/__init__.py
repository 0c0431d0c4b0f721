"""Teachers' answers joined to their Examples by id.

``answers`` finds the answers in the journals, ``judging`` says what each amounts to, ``rows`` and
``choice_probs`` make rows of it, and ``collector`` brings them together with files.
"""

from dataprep.collecting.collector import FORMATS, CollectReport, collect_files
from dataprep.collecting.judging import KEEPABLE, STATUSES

__all__ = ["FORMATS", "KEEPABLE", "STATUSES", "CollectReport", "collect_files"]
