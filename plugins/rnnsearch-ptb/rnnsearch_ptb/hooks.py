"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_tasks() -> dict[str, str]:
    """The Penn Treebank tasks."""
    return {
        "char_ptb": "rnnsearch_ptb.characters:CharPTB",
        "word_ptb": "rnnsearch_ptb.words:WordPTB",
    }
