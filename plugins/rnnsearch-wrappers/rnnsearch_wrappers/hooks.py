"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_wrappers() -> dict[str, str]:
    """The wrappers of cells."""
    return {
        "dropout": "rnnsearch_wrappers.dropout:Dropout",
        "residual": "rnnsearch_wrappers.residual:Residual",
        "slow_layers": "rnnsearch_wrappers.slow_layers:SlowLayers",
        "zoneout": "rnnsearch_wrappers.zoneout:Zoneout",
    }
