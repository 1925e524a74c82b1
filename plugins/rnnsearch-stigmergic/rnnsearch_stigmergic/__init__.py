"""Networks with a stigmergic memory, for rnnsearch."""
