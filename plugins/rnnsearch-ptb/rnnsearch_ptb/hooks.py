"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_tasks() -> dict[str, str]:
    """Its tasks."""
    return {
        "char_ptb": "rnnsearch_ptb.characters:CharPTB",
        "word_ptb": "rnnsearch_ptb.words:WordPTB",
    }


@hookimpl
def rnnsearch_heads() -> dict[str, str]:
    """The head of a task that ties its embedding."""
    return {"tied": "rnnsearch_ptb.tied_head:TiedHead"}
