"""Merges files of rows into one shuffled file, larger than memory where need be."""

from dataprep.merging.merger import merge, merge_files

__all__ = ["merge", "merge_files"]
