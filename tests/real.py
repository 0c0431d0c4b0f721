"""Real data and models, which do not travel with the project, and marks for the tests that need them."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = (ROOT / os.environ.get("DATAPREP_REAL_DATA", "../shared/data")).resolve()
MODELS = (ROOT / os.environ.get("DATAPREP_REAL_MODELS", "../models")).resolve()
LLAMA3 = DATA / "tokenizers" / "llama3.model"
SMOLLM2 = MODELS / "smollm2-135m-instruct"

needs_data = pytest.mark.skipif(
    not (DATA / "gsm8k").is_dir(),
    reason=f"no published sets in {DATA}; set DATAPREP_REAL_DATA to their folder",
)
needs_llama3 = pytest.mark.skipif(
    not LLAMA3.is_file(), reason=f"no {LLAMA3}; set DATAPREP_REAL_DATA to the folder of the published sets"
)
needs_smollm2 = pytest.mark.skipif(
    not (SMOLLM2 / "config.json").is_file(),
    reason=f"no {SMOLLM2}; set DATAPREP_REAL_MODELS to the folder of the real models",
)
