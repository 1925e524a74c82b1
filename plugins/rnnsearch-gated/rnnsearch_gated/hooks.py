"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """The gated cells."""
    return {
        "lstm": "rnnsearch_gated.lstm:LSTMCell",
        "gru": "rnnsearch_gated.gru:GRUCell",
    }
