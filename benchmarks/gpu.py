"""GPU: a vmapped population with and without CUDA graphs, against cuDNN's LSTM and eager."""

from __future__ import annotations

import copy
import time

import torch

from benchmarks.interleaving import ROUNDS, STEPS, Block, interleave
from benchmarks.models import lstm_of_equal_size, parameters_of, sm_rnn
from benchmarks.table import Table, Value
from benchmarks.training import Sequences, autograd_block
from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.vmapped import VmappedPopulation
from rnnsearch.plugin.losses import accuracy, cross_entropy


def run(quick: bool = False) -> list[Table]:
    """Measure populations of several sizes, or say that there is no GPU."""
    if not torch.cuda.is_available():
        return [Table("no GPU: not measured", [])]
    rows: list[dict[str, Value]] = []
    notes = [
        "Wall time with the GPU waited for at both ends of a block. `ms` is the time in which all "
        "members take one step; the ratios count it for each member.",
        "float32, with torch's defaults: cuDNN may use TF32, other matrix products do not.",
    ]
    for members in (1, 4) if quick else (1, 10, 64, 256):
        effort = (2, 3) if quick else (ROUNDS, STEPS)
        rows += measure(members, torch.device("cuda"), effort, notes)
    return [Table("Populations of SM-RNN on a GPU, T = 28, batch 64", rows, notes)]


def measure(
    members: int, device: torch.device, effort: tuple[int, int], notes: list[str]
) -> list[dict[str, Value]]:
    """Rows of a population.

    Args:
        members: models that train together.
        device: the GPU.
        effort: rounds, and steps of a block.
        notes: told what could not be measured.
    """
    models = []
    for seed in range(members):
        torch.manual_seed(seed)
        models.append(sm_rnn().to(device))
    data = Sequences(28, 64, 28)
    batches = [(x.to(device), y.to(device)) for x, y in data.batches]
    lstm = lstm_of_equal_size(28, parameters_of(models[0])).to(device)
    variants: dict[str, Block] = {
        "nn.LSTM (cuDNN)": autograd_block(lstm, batches),
        "eager": autograd_block(copy.deepcopy(models[0]), batches),
    }
    for name, graphed in (("vmapped", False), ("vmapped, graphed", True)):
        try:
            block = _population_block(copy.deepcopy(models), batches, graphed=graphed)
            block(1)
        except Unsupported as reason:
            notes.append(f"{members} members, no {name}: {reason}.")
        else:
            variants[name] = block
    timings = interleave(variants, *effort, clock=_synchronised_clock)
    rows: list[dict[str, Value]] = []
    for name in variants:
        trained = members if name.startswith("vmapped") else 1
        rows.append(
            {
                "members": trained,
                "variant": name,
                "ms": timings.of(name),
                "each / nn.LSTM": timings.ratio(name, "nn.LSTM (cuDNN)", 1 / trained),
                "each / eager": timings.ratio(name, "eager", 1 / trained),
            }
        )
    return rows


def _population_block(
    models: list[RecurrentModel], batches: list[tuple[torch.Tensor, torch.Tensor]], *, graphed: bool
) -> Block:
    """Steps of all members at once, each member on the same batches."""
    count = len(models)
    population = VmappedPopulation(
        models, "adam", [1e-3] * count, 0.0, [0.0] * count, graphed=graphed
    )
    repeated = [
        (x.expand(count, *x.shape).contiguous(), y.expand(count, *y.shape).contiguous())
        for x, y in batches
    ]

    def block(steps: int) -> None:
        for inputs, targets in repeated[:steps]:
            population.step(inputs, targets, None, cross_entropy, accuracy)

    return block


def _synchronised_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()
