"""Heads for rnnsearch: linear, MLP, PReLU."""
