"""Handwritten digits as sequences, for rnnsearch."""
