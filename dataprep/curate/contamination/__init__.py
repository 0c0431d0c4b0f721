"""Find test rows in training rows.

``wording`` leaves the fixed words of prompts out, ``items`` reads the test rows, ``index`` has their n-grams,
``matching`` compares one training row with the test texts it may repeat, and ``files`` does it for files.
"""
