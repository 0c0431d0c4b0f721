"""Merge files of rows into one shuffled file, larger than memory if necessary."""
