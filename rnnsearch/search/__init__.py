"""The trials of a study: which come next, where they run, and which are stopped early."""
