"""The journal of teacher responses, which only grows."""
