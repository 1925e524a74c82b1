"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """The baselines."""
    return {
        "elman": "rnnsearch_baselines.elman:ElmanCell",
        "mike_rnn": "rnnsearch_baselines.mike_rnn:MikeRNNCell",
        "prelu_rnn": "rnnsearch_baselines.prelu_rnn:PReLURNNCell",
        "ff_nn": "rnnsearch_baselines.ff_nn:FFNN",
    }
