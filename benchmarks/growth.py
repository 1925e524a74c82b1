"""How time and memory of a program grow with length, batch, width and population."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.fresh_process import call
from benchmarks.interleaving import interleave
from benchmarks.models import sm_rnn
from benchmarks.table import Spread, Table, Value
from benchmarks.training import Sequences, program_block

_BASE = {"T": 56, "batch": 64, "width": 30, "members": 1}
_MEMORY = ("bytes/step", "peak MiB")
_VARIED = {
    "T": (28, 56, 112, 224, 448),
    "batch": (32, 64, 128, 256, 512),
    "width": (8, 15, 30, 60, 120),
    "members": (1, 2, 4, 8, 16),
}


def run(quick: bool = False) -> list[Table]:
    """Vary one size at a time, each in a process of its own."""
    rows: list[dict[str, Value]] = []
    exponents: list[dict[str, Value]] = []
    for name, values in _VARIED.items():
        chosen = values[:2] if quick else values
        points = [
            call(measure_here, rounds=2 if quick else 7, sizes={**_BASE, name: value})
            for value in chosen
        ]
        for value, point in zip(chosen, points, strict=True):
            row: dict[str, Value] = {"varied": name, "value": value, "ms": Spread(**point["ms"])}
            rows.append(row | {key: point[key] for key in _MEMORY})
        times = [point["ms"]["median"] for point in points]
        memory = [point["peak MiB"] for point in points]
        exponents.append(
            {
                "varied": name,
                "from": chosen[0],
                "to": chosen[-1],
                "exponent of time": _exponent(chosen, times),
                "exponent of peak memory": _exponent(chosen, memory),
            }
        )
    base = ", ".join(f"{name} {value}" for name, value in _BASE.items())
    notes = [
        f"SM-RNN with 28 features; what is not varied is {base}.",
        "`bytes/step` is what a program keeps of one time step of a block of samples; blocks come "
        "one after the other in the same memory.",
        "`peak MiB` is how far a training process rises above what it held with the model built "
        "and the data in memory.",
    ]
    return [
        Table("Growth of a training step", rows, notes),
        Table("Fitted exponents (1: in proportion; 0: not at all)", exponents),
    ]


def measure_here(rounds: int, sizes: Mapping[str, int]) -> dict[str, Any]:
    """One point, in a process that has done nothing else."""
    width = sizes["width"]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    models = [sm_rnn(width, round(4 / 3 * width)) for _ in range(sizes["members"])]
    data = Sequences(sizes["T"], sizes["batch"], 28)
    program_block(models[:1], data)  # traces and builds, which needs memory of its own
    _forget_peak()
    before = _memory("VmRSS")
    block, program = program_block(models, data)
    timings = interleave({"program": block}, rounds)
    spread = timings.of("program")
    return {
        "ms": {"median": spread.median, "low": spread.low, "high": spread.high},
        "bytes/step": program.bytes_per_step(),
        "peak MiB": max(0.0, _memory("VmHWM") - before),
    }


def _memory(name: str) -> float:
    """A line of this process's status, in MiB; NaN where the system does not tell."""
    with suppress(OSError):
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
        if found:
            return int(found.group(1)) / 1024
    return float("nan")


def _forget_peak() -> None:
    """Let the peak begin again at what is held now (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _exponent(sizes: tuple[int, ...], values: list[float]) -> float:
    """Slope of a straight line through the logarithms."""
    if not all(value > 0 for value in values):
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
