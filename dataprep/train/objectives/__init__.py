"""The objectives: ways to train a student."""
