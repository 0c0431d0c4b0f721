"""Check files of rows, and describe them."""
