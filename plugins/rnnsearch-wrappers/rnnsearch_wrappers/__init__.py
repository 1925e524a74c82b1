"""Wrappers of cells for rnnsearch: residual connections, dropout, zoneout, slower levels."""
