"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """Variants of the LSTM."""
    return {
        "lstm_peephole": "rnnsearch_lstm_variants.lstm_peephole:PeepholeLSTMCell",
        "lstm_variant": "rnnsearch_lstm_variants.lstm_variant:LSTMVariantCell",
        "mult_lstm": "rnnsearch_lstm_variants.mult_lstm:MultiplicativeLSTMCell",
        "lstm_projection": "rnnsearch_lstm_variants.lstm_projection:ProjectionLSTMCell",
        "depth_gated_lstm": "rnnsearch_lstm_variants.depth_gated_lstm:DepthGatedLSTMCell",
        "differential_lstm": "rnnsearch_lstm_variants.differential_lstm:DifferentialLSTMCell",
        "conv_lstm": "rnnsearch_lstm_variants.conv_lstm:ConvLSTMCell",
    }
