"""Find test rows in training rows.

``wording`` leaves the fixed words of prompts out, ``items`` reads the test rows, and ``index`` has their
n-grams. ``patterns`` has the short ones with slots for names and numbers. ``matching`` compares training rows
with the test texts that they may repeat, and ``files`` does it for files.
"""
