"""Measure speed and memory against the tools that users would use instead: `make bench`."""
