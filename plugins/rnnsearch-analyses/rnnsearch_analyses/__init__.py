"""Analyses of trained models for rnnsearch."""
