"""Download datasets from the Hugging Face Hub at a pinned revision."""
