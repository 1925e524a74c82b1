"""What the core adds to itself, through the same hook as any plugin."""

from __future__ import annotations

from rnnsearch.plugin.hookspecs import hookimpl


@hookimpl
def rnnsearch_heads() -> dict[str, str]:
    """The heads."""
    return {
        "identity": "rnnsearch.plugin.builtin.identity:IdentityHead",
        "linear": "rnnsearch.plugin.builtin.linear:LinearHead",
        "mlp": "rnnsearch.plugin.builtin.mlp:MLPHead",
        "tied": "rnnsearch.plugin.builtin.tied:TiedHead",
    }
