"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """The variants of the GRU."""
    return {
        "gru_reset_before": "rnnsearch_gru_variants.gru_reset_before:ResetBeforeGRUCell",
        "gru_slim": "rnnsearch_gru_variants.gru_slim:SlimGRUCell",
        "mgu": "rnnsearch_gru_variants.mgu:MGUCell",
        "gated_feedback": "rnnsearch_gru_variants.gated_feedback:GatedFeedbackCell",
    }
