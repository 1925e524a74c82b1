"""Feed-forward models of sequences, for rnnsearch."""
