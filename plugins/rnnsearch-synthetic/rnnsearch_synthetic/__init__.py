"""Generated tasks for rnnsearch: adding, copying, lags, timing, chaotic series."""
