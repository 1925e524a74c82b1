"""Cells with constrained recurrence, for rnnsearch."""
