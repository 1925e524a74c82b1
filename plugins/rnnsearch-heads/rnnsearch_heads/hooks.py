"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_heads() -> dict[str, str]:
    """The heads."""
    return {
        "identity": "rnnsearch_heads.identity:IdentityHead",
        "linear": "rnnsearch_heads.linear:LinearHead",
        "mlp": "rnnsearch_heads.mlp:MLPHead",
        "prelu": "rnnsearch_heads.prelu:PReLUHead",
    }
