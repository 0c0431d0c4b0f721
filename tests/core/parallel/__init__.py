"""Tests of the engine: where tasks run, and what a lost worker costs."""
