"""Classifiers that learn from teacher probabilities and from labels."""
