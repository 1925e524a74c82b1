"""The cells of the package torchrecurrent, for rnnsearch."""
