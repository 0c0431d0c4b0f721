"""Read rows of other tools as chat rows, and write chat rows as other tools read them."""
