"""Ten seeds of SM-RNN as members of one program, against one `nn.LSTM` run and ten eager runs."""

from __future__ import annotations

import copy

import torch

from benchmarks.interleaving import ROUNDS, STEPS, interleave
from benchmarks.models import lstm_of_equal_size, parameters_of, sm_rnn
from benchmarks.table import Table, Value
from benchmarks.training import Sequences, autograd_block, program_block

SEEDS = 10


def run(quick: bool = False) -> list[Table]:
    """Measure batches of 20 and of 64."""
    rows: list[dict[str, Value]] = []
    for batch_size in (20, 64):
        rows += _rows(batch_size, *((2, 3) if quick else (ROUNDS, STEPS)))
    notes = [
        "`ms` is the time in which all runs of a row take one step each.",
        f"Of the {SEEDS} eager runs one is measured and counted {SEEDS} times: runs share nothing.",
    ]
    return [Table(f"{SEEDS} seeds of SM-RNN, T = 28", rows, notes)]


def _rows(batch_size: int, rounds: int, steps: int) -> list[dict[str, Value]]:
    models = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        models.append(sm_rnn())
    data = Sequences(28, batch_size, 28)
    lstm = lstm_of_equal_size(28, parameters_of(models[0]))
    population, one, eager, baseline = (
        f"program, {SEEDS} seeds",
        "program, 1 seed",
        f"eager, {SEEDS} runs",
        "nn.LSTM, 1 run",
    )
    variants = {
        population: program_block(copy.deepcopy(models), data)[0],
        one: program_block([copy.deepcopy(models[0])], data)[0],
        eager: autograd_block(models[0], data.batches),
        baseline: autograd_block(lstm, data.batches),
    }
    timings = interleave(variants, rounds, steps)
    rows: list[dict[str, Value]] = []
    for name in variants:
        times = SEEDS if name == eager else 1
        rows.append(
            {
                "batch": batch_size,
                "variant": name,
                "parameters": parameters_of(lstm if name == baseline else models[0]),
                "ms": timings.of(name, times),
                "/ one nn.LSTM": timings.ratio(name, baseline, times),
                f"/ {SEEDS} eager runs": timings.ratio(name, eager, times / SEEDS),
            }
        )
    return rows
