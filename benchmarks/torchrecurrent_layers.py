"""The layers of the package torchrecurrent, against the same cells compiled here.

Its cells are wrapped as a user would wrap any cell of somebody else's.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.interleaving import ROUNDS, STEPS, Block, interleave
from benchmarks.models import classifier
from benchmarks.table import Table, Value
from benchmarks.training import Sequences, autograd_block, layers_block, program_block
from rnnsearch import RecurrentCell, State
from rnnsearch.engine.capture import Unsupported
from rnnsearch.plugin.layers import Unrolled
from rnnsearch.training.engines import compile_layers

_PACKAGE = "torchrecurrent"
# Layers by name, and the tensors of their state.
_LAYERS = {"IndRNN": 1, "MGU": 1, "UGRNN": 1, "NAS": 2, "PeepholeLSTM": 2, "MultiplicativeLSTM": 2}
_ERROR = "`error` is the relative difference of the outputs from those of the package's layer."
_FEATURES, _HIDDEN, _LENGTH, _BATCH = 28, 32, 28, 64


class WrappedCell(RecurrentCell):
    """A cell of torchrecurrent under this library's contract.

    Args:
        cell: the cell.
        parts: tensors of its state.
    """

    def __init__(self, cell: nn.Module, parts: int) -> None:
        super().__init__(_FEATURES, _HIDDEN)
        self.cell, self.parts = cell, parts

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: object) -> int:
        raise NotImplementedError("not held to a budget here")

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),) * self.parts

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        new = self.cell(inputs, state[0] if self.parts == 1 else state)
        parts: State = tuple(new) if isinstance(new, tuple) else (new,)
        return parts[0], parts


class LayerClassifier(nn.Module):
    """A layer of torchrecurrent with the head that the compiled models have."""

    def __init__(self, layer: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, head

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.head(self.layer(inputs)[0][-1])
        return output


def run(quick: bool = False) -> list[Table]:
    """Measure its layers, or say that the package is not there."""
    if find_spec(_PACKAGE) is None:
        return [Table(f"{_PACKAGE} is not installed: not measured", [])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which it uses
        package = import_module(_PACKAGE)
    rounds, steps = (2, 3) if quick else (ROUNDS, STEPS)
    passes: list[dict[str, Value]] = []
    whole: list[dict[str, Value]] = []
    notes = [f"{_PACKAGE} {version(_PACKAGE)}, hidden {_HIDDEN}, T {_LENGTH}, batch {_BATCH}."]
    for name, parts in list(_LAYERS.items())[:2] if quick else _LAYERS.items():
        torch.manual_seed(0)
        theirs = getattr(package, name)(_FEATURES, _HIDDEN)
        data = Sequences(_LENGTH, _BATCH, _FEATURES)
        try:
            _compare(name, theirs, parts, data, (rounds, steps), passes, whole)
        except Unsupported as reason:
            notes.append(f"{name} cannot be compiled: {reason}.")
    return [
        Table("A layer, forward and backward", passes, [*notes, _ERROR]),
        Table("A whole training step with a linear head", whole, notes[:1]),
    ]


def _compare(
    name: str,
    theirs: Any,
    parts: int,
    data: Sequences,
    effort: tuple[int, int],
    passes: list[dict[str, Value]],
    whole: list[dict[str, Value]],
) -> None:
    """Add the rows of a layer to both tables."""
    ours = classifier(WrappedCell(copy.deepcopy(theirs.cells[0]), parts))
    layer = copy.deepcopy(ours)
    compile_layers(layer, _BATCH, torch.device("cpu"))
    unrolled = layer.body.layers[0]
    assert isinstance(unrolled, Unrolled)
    inputs = data.batches[0][0]
    with torch.no_grad():
        expected = theirs(inputs)[0]
        error = float((unrolled(inputs) - expected).norm() / expected.norm())
    _add(
        name,
        {
            _PACKAGE: _passes_block(theirs, lambda x: theirs(x)[0], data),
            "compiled layer": _passes_block(unrolled, unrolled, data),
        },
        {"compiled layer": error},
        effort,
        passes,
    )
    _add(
        name,
        {
            _PACKAGE: autograd_block(
                LayerClassifier(theirs, copy.deepcopy(ours.head)), data.batches
            ),
            "compiled layer": layers_block(copy.deepcopy(ours), data),
            "program": program_block([ours], data)[0],
        },
        {},
        effort,
        whole,
    )


def _add(
    name: str,
    variants: Mapping[str, Block],
    errors: Mapping[str, float],
    effort: tuple[int, int],
    rows: list[dict[str, Value]],
) -> None:
    timings = interleave(variants, *effort)
    for variant in variants:
        ratio = timings.ratio(variant, _PACKAGE)
        rows.append(
            {
                "cell": name,
                "variant": variant,
                "ms": timings.of(variant),
                f"/ {_PACKAGE}": ratio,
                "error": errors.get(variant),
            }
        )


def _passes_block(layer: nn.Module, run: Callable[[Tensor], Tensor], data: Sequences) -> Block:
    """Forward and backward passes of a layer alone."""

    def block(steps: int) -> None:
        for inputs, _ in data.batches[:steps]:
            layer.zero_grad()
            run(inputs).sum().backward()

    return block
