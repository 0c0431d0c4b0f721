"""A local teacher without a server: ``transformers`` in this process, in batches."""

from __future__ import annotations

from pathlib import Path

from dataprep.errors import MissingDependencyError
from dataprep.teacher.asking import Pacing
from dataprep.teacher.generating import GenerateReport, Watch
from dataprep.teacher.settings import Sampling


def generate_locally(
    requests: str | Path,
    journal: str | Path,
    sampling: Sampling,
    *,
    batch_size: int = 8,
    teacher: str | None = None,
    pacing: Pacing | None = None,
    retry_failed: bool = True,
    fresh: bool = False,
    watch: Watch | None = None,
) -> GenerateReport:
    """As ``generate``, by a model in a directory that ``sampling.model`` names."""
    raise MissingDependencyError("transformers", "train", "a local teacher")
