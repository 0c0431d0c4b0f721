"""The tests; each says in one line what it protects."""
