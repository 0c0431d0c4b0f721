"""Training a student: chat rows, several teachers' rationales, soft labels, a larger model's distributions.

Read it in this order: ``options`` (what can be chosen), ``training`` (the whole run), ``sft`` (from options
to model, data and objective), ``parts`` (what a loop is given), ``plan`` (which rows a step has), ``loop``
(the loop), ``run_folder`` and ``checkpoints`` (what is on disk).
"""

from dataprep.train.training import Trained, train

__all__ = ["Trained", "train"]
