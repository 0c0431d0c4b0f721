"""Asking teachers: requests in, and a journal of answers that loses, repeats and mislabels none."""

from dataprep.teacher.asking import Pacing, Progress
from dataprep.teacher.batch import export_batch, import_batch
from dataprep.teacher.generating import GenerateReport, generate, status_of_requests
from dataprep.teacher.local import generate_locally
from dataprep.teacher.requests import count_requests
from dataprep.teacher.settings import MODEL, Access, Sampling, access_of, environment

__all__ = [
    "MODEL",
    "Access",
    "GenerateReport",
    "Pacing",
    "Progress",
    "Sampling",
    "access_of",
    "count_requests",
    "environment",
    "export_batch",
    "generate",
    "generate_locally",
    "import_batch",
    "status_of_requests",
]
