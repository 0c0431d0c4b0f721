"""One file a command: its flags, its help, one call, its summary.

A module holds one function ``command``; its name is the file's. Nothing heavy is imported at import time.
"""
