"""Looks at rows and says what is wrong with them. Pure: no files, no printing."""
