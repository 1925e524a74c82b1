"""Early recurrent networks, for rnnsearch."""
