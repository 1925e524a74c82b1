"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_tasks() -> dict[str, str]:
    """The handwritten digits."""
    return {
        "spatial_mnist": "rnnsearch_mnist.spatial:SpatialMNIST",
        "sequential_mnist": "rnnsearch_mnist.sequential:SequentialMNIST",
        "temporal_mnist": "rnnsearch_mnist.temporal:TemporalMNIST",
        "digits": "rnnsearch_mnist.digits:Digits",
    }
