"""What compiling a cell costs: the first time on a machine, later, and when its plan is known."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from benchmarks.fresh_process import call
from benchmarks.models import CLASSES, registered
from benchmarks.table import Spread, Table, Value
from rnnsearch import ModelSpec, SequenceShape, build_model, load_registry

_CELLS = {"sm_rnn": 15, "mcrm": 20, "nlstm": 15}
_COSTS = ("tracer", "engine", "cold", "warm", "known")


def run(quick: bool = False) -> list[Table]:
    """Measure each cell in fresh processes with an empty home."""
    rows: list[dict[str, Value]] = []
    for name in list(_CELLS)[:1] if quick else _CELLS:
        rounds = []
        for _ in range(1 if quick else 5):
            with tempfile.TemporaryDirectory() as home:
                rounds.append(call(measure_here, home=Path(home), name=name))
        row: dict[str, Value] = {"cell": name, "width": _CELLS[name]}
        for cost in _COSTS:
            row[f"{cost} s"] = Spread.of([found[cost] for found in rounds])
        rows.append(row)
    return [
        Table(
            "Build of a cell with a head, wall seconds",
            rows,
            [
                "`tracer`: once a process: import of torch's tracer and of the engine, first use.",
                "`engine`: once a machine: the engine's own C++, and asking the compiler what the "
                "processor can do.",
                "`cold`: once a cell and machine: trace, write and compile cell and head.",
                "`warm`: once a cell and process, with the libraries built before: trace only.",
                "`known`: for every further model of one specification in the process.",
            ],
        )
    ]


def measure_here(name: str) -> dict[str, float]:
    """All costs of one cell, in a process that has imported torch and nothing of the engine."""
    seconds: dict[str, float] = {}
    torch.set_num_threads(1)
    shape = SequenceShape(28, CLASSES, 28, "last_step")
    model = build_model(
        load_registry().architecture(name), ModelSpec(name, shape, _CELLS[name], head="linear")
    )
    other = registered("elman", 3, 4)

    began = time.perf_counter()
    from rnnsearch.engine.capture import capture
    from rnnsearch.plugin.losses import Classification
    from rnnsearch.training import compiled_model

    capture(other, 3, ((4,),))
    seconds["tracer"] = time.perf_counter() - began

    began = time.perf_counter()
    from rnnsearch.engine.cpp_compiler import load_native

    load_native("training")
    seconds["engine"] = time.perf_counter() - began

    for cost in ("cold", "warm", "known"):
        if cost == "warm":
            compiled_model._PLANS.clear()
        began = time.perf_counter()
        compiled_model.plan_program(model, Classification(), 28, 64)
        seconds[cost] = time.perf_counter() - began
    return seconds
