"""Variants of the LSTM for rnnsearch."""
