"""Training a student: chat rows, several teachers' rationales, soft labels, a larger model's distributions.

Read it in this order: ``options`` (what can be chosen), ``parts`` (what a loop is given), ``setup`` (from
options to those parts), ``loop`` (the loop), ``run_folder`` and ``checkpoints`` (what is on disk).
"""

from dataprep.train.training import Trained, train

__all__ = ["Trained", "train"]
