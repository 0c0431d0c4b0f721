"""The commands that show data."""
