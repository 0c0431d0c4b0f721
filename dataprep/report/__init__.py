"""Figures about files of rows, computed with polars."""
