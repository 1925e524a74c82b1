"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """The cells with constrained recurrence."""
    return {
        "irnn": "rnnsearch_structured.irnn:IRNNCell",
        "indrnn": "rnnsearch_structured.indrnn:IndRNNCell",
        "scrn": "rnnsearch_structured.scrn:SCRNCell",
        "clockwork": "rnnsearch_structured.clockwork:ClockworkCell",
        "urnn": "rnnsearch_structured.urnn:UnitaryCell",
    }
