"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """The feed-forward models of sequences."""
    return {
        "tcn": "rnnsearch_feedforward.tcn:TCN",
        "fsmn": "rnnsearch_feedforward.fsmn:FSMN",
        "fsmn_bidirectional": "rnnsearch_feedforward.fsmn:BidirectionalFSMN",
        "highway": "rnnsearch_feedforward.highway:Highway",
    }
