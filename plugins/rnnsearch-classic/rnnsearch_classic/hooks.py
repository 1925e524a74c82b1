"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """The early recurrent networks."""
    return {
        "jordan": "rnnsearch_classic.jordan:JordanCell",
        "narx": "rnnsearch_classic.narx:NARXCell",
        "rmlp": "rnnsearch_classic.rmlp:RMLPCell",
        "second_order": "rnnsearch_classic.second_order:SecondOrderCell",
        "ctrnn": "rnnsearch_classic.ctrnn:CTRNNCell",
        "mtrnn": "rnnsearch_classic.mtrnn:MTRNNCell",
    }
