"""How good a student is: its answers, or any system's, held against what is right."""

from dataprep.evaluating.evaluator import evaluate_file
from dataprep.evaluating.sandbox import Limits
from dataprep.evaluating.settings import Evaluation, Settings

__all__ = ["Evaluation", "Limits", "Settings", "evaluate_file"]
