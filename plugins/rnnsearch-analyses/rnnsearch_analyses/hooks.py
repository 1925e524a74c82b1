"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_analyses() -> dict[str, str]:
    """The analyses of trained models."""
    return {
        "memory_heat_map": "rnnsearch_analyses.memory_heat_map:MemoryHeatMap",
        "neurons_of_interest": "rnnsearch_analyses.neurons_of_interest:NeuronsOfInterest",
        "time_constants": "rnnsearch_analyses.time_constants:TimeConstants",
        "stigmergy_traces": "rnnsearch_analyses.stigmergy_traces:StigmergyTraces",
        "gradient_flow": "rnnsearch_analyses.gradient_flow:GradientFlow",
        "gate_saturation": "rnnsearch_analyses.gate_saturation:GateSaturation",
    }
