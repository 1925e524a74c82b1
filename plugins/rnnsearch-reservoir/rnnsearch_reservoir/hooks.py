"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """The reservoirs."""
    return {"esn": "rnnsearch_reservoir.esn:EchoStateNetwork"}
