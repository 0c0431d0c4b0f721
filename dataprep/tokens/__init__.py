"""Tokens: ids, loss mask and document boundaries, made together and checked."""
