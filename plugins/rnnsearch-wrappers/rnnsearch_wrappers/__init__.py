"""Wrappers of cells for rnnsearch: residual connections, levels that step at their own pace."""
