"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """The nested cells."""
    return {
        "mcrm": "rnnsearch_nested.mcrm:MCRMCell",
        "nlstm": "rnnsearch_nested.nlstm:NestedLSTMCell",
        "nlstm_concat": "rnnsearch_nested.nlstm_concat:ConcatNestedLSTMCell",
    }
