"""Look at rows: in the terminal, in a report, on a local page."""
