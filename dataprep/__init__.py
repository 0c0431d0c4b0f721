"""dataprep prepares data for small language models that learn from datasets and larger teachers."""

__version__ = "0.1.0"
