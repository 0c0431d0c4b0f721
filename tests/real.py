"""Real data and models, which do not travel with the project, and marks for the tests that need them."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = (ROOT / os.environ.get("DATAPREP_REAL_DATA", "../shared/data")).resolve()
MODELS = (ROOT / os.environ.get("DATAPREP_REAL_MODELS", "../models")).resolve()
LLAMA3 = DATA / "tokenizers" / "llama3.model"
SMOLLM2 = MODELS / "smollm2-135m-instruct"


def needs(*names: str) -> pytest.MarkDecorator:
    """Return the mark of a test that reads these files or folders of the published sets."""
    missing = [name for name in names if not (DATA / name).exists()]
    reason = f"no {', '.join(missing)} in {DATA}; set DATAPREP_REAL_DATA to the folder of the published sets"
    return pytest.mark.skipif(bool(missing), reason=reason)


needs_sets = needs("aqua_rat", "commonsense_qa", "gsm8k", "mbpp", "piqa", "squad", "tinyllm")
needs_llama3 = needs("tokenizers/llama3.model")
needs_smollm2 = pytest.mark.skipif(
    not (SMOLLM2 / "config.json").is_file(),
    reason=f"no {SMOLLM2}; set DATAPREP_REAL_MODELS to the folder of the real models",
)
