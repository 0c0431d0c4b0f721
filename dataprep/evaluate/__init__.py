"""Measure a model or predictions with the official metric of each task."""
