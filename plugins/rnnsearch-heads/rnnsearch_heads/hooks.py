"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_heads() -> dict[str, str]:
    """The heads."""
    return {
        "prelu": "rnnsearch_heads.prelu:PReLUHead",
    }
