"""Nested cells, for rnnsearch."""
