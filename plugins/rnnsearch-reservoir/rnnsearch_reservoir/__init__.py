"""Reservoir computing for rnnsearch: the echo state network."""
