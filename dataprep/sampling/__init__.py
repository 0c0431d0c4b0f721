"""Orders and samples that anyone can reproduce with Python's own ``random`` module.

``order`` needs numpy and ``reservoir`` does not, so each is imported by itself.
"""
