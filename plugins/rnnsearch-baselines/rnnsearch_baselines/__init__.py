"""Baseline networks, for rnnsearch."""
