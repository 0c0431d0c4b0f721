"""The commands that clean and mix data."""
