"""Penn Treebank tasks for rnnsearch, by characters and by words."""
