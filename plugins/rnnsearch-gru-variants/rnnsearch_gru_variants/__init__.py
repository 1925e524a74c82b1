"""Variants of the GRU for rnnsearch."""
