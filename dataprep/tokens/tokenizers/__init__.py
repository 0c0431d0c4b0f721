"""Tokenizers from the files that models are published with."""
