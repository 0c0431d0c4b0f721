"""Soft labels: classifiers that learn from a teacher's probabilities, and files scored with them.

``rows`` reads, ``classes`` aligns, ``scorers`` says what a scorer is (``tiny`` and ``classifier`` are the
two kinds, ``vocabulary`` the first one's), ``examples`` and ``objective`` are what the loop is given,
``metrics`` measures, ``predicting`` scores files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataprep.train.job import Job
    from dataprep.train.parts import Setup


def setup(job: Job) -> Setup:
    """A run on rows with labels, probabilities, or both; ``objective`` says how it is set up."""
    from dataprep.train.soft_label import objective

    return objective.setup(job)
