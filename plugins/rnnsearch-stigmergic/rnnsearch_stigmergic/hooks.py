"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """The stigmergic networks."""
    return {
        "sm_rnn": "rnnsearch_stigmergic.sm_rnn:SMRNNCell",
        "snn": "rnnsearch_stigmergic.snn:SNNCell",
    }
