"""Gated cells, for rnnsearch."""
