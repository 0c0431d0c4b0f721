"""Describe a dataset: a card for the hub, and Croissant metadata."""
