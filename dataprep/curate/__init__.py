"""Deduplicate, decontaminate, filter, split and mix rows."""
