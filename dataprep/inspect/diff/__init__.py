"""Compare the rows of two files."""
