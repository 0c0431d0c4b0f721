"""Measure classifiers that were trained."""
