"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_tasks() -> dict[str, str]:
    """The generated tasks."""
    return {
        "adding": "rnnsearch_synthetic.adding:Adding",
        "copy_memory": "rnnsearch_synthetic.copy_memory:CopyMemory",
        "noisy_lag": "rnnsearch_synthetic.noisy_lag:NoisyLag",
        "temporal_order": "rnnsearch_synthetic.temporal_order:TemporalOrder",
        "precise_timing": "rnnsearch_synthetic.precise_timing:PreciseTiming",
        "mackey_glass": "rnnsearch_synthetic.mackey_glass:MackeyGlass",
        "narma10": "rnnsearch_synthetic.narma10:NARMA10",
        "memory_capacity": "rnnsearch_synthetic.memory_capacity:MemoryCapacity",
    }
