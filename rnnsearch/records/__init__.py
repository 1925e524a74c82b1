"""A study on disk and in MLflow: what is recorded, and how it is read back."""
