"""Whole training steps of single models, against eager, `nn.LSTM` and the products alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from benchmarks.cells import IndRNNCell, PlainCell
from benchmarks.interleaving import ROUNDS, STEPS, Block, interleave
from benchmarks.matrix_products import products_block
from benchmarks.models import CLASSES, classifier, lstm_of_equal_size, parameters_of, registered
from benchmarks.table import Table, Value
from benchmarks.training import Sequences, autograd_block, layers_block, program_block
from rnnsearch import RecurrentCell, SequenceShape
from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine.capture import Unsupported
from rnnsearch.plugin.losses import Classification
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.trial import TrainingConfig
from rnnsearch.training.engine_check import verify

# Name, what `rnnsearch.training.engines` calls it, and how its block is made.
_ENGINES: tuple[tuple[str, str, Callable[[RecurrentModel, Sequences], Block]], ...] = (
    ("program", "program", lambda model, data: program_block([model], data)[0]),
    ("compiled layers", "layers", layers_block),
)


@dataclass(frozen=True)
class Case:
    """A cell at a size.

    Attributes:
        name: what it is shown as.
        cell: makes it, from the features per time step.
        features: features per time step.
        length: time steps.
        batch_size: samples per update.
        prelu_head: hidden units of SM-RNN's head; 0 for a linear head.
    """

    name: str
    cell: Callable[[int], RecurrentCell]
    features: int
    length: int
    batch_size: int
    prelu_head: int = 0


def _registered(name: str, hidden_size: int, **options: object) -> Callable[[int], RecurrentCell]:
    return lambda features: registered(name, features, hidden_size, **options)


_SM_RNN = partial(Case, "SM-RNN(15)", _registered("sm_rnn", 15, mlp_size=20), prelu_head=10)
CASES = (
    _SM_RNN(28, 28, 20),
    _SM_RNN(28, 28, 64),
    _SM_RNN(28, 28, 256),
    _SM_RNN(28, 200, 64),
    _SM_RNN(1, 784, 64),
    Case("MCRM(85)", _registered("mcrm", 85), 2, 200, 32),
    Case("NLSTM(15)", _registered("nlstm", 15), 28, 28, 64),
    Case("IndRNN(80)", lambda m: IndRNNCell(m, 80), 28, 28, 64),
    Case("Plain(20)", lambda m: PlainCell(m, 20), 28, 28, 64),
    Case("Plain(64)", lambda m: PlainCell(m, 64), 8, 100, 64),
)


def run(quick: bool = False) -> list[Table]:
    """Measure all cases; `quick` takes short sequences and says nothing about speed."""
    if quick:
        short = [replace(case, length=min(28, case.length)) for case in CASES]
        return [measure(short, rounds=2, steps=3)]
    return [measure(CASES)]


def measure(cases: Sequence[Case], rounds: int = ROUNDS, steps: int = STEPS) -> Table:
    """A table of whole training steps.

    Args:
        cases: what to measure.
        rounds: blocks of each variant.
        steps: steps of a block at most.
    """
    rows: list[dict[str, Value]] = []
    notes = [
        "A step is everything: zero gradients, forward, loss, backward, Adam.",
        "`error` is the largest relative error of a gradient against the eager loop in float64, "
        "on short sequences.",
    ]
    for case in cases:
        _measure_case(case, rounds, steps, rows, notes)
    return Table("One training step of one model", rows, notes)


def _measure_case(
    case: Case, rounds: int, steps: int, rows: list[dict[str, Value]], notes: list[str]
) -> None:
    """Add the rows of a case, and a note on each engine that does not take it."""
    torch.manual_seed(0)
    model = classifier(case.cell(case.features), case.prelu_head)
    data = Sequences(case.length, case.batch_size, case.features)
    variants: dict[str, Block] = {}
    errors: dict[str, float] = {}
    for name, engine, block_of in _ENGINES:
        try:
            errors[name] = _verify(engine, model, case)
            variants[name] = block_of(copy.deepcopy(model), data)
        except Unsupported as reason:
            notes.append(f"{case.name}, no {name}: {reason}.")
    lstm = lstm_of_equal_size(case.features, parameters_of(model))
    variants["eager"] = autograd_block(copy.deepcopy(model), data.batches)
    variants["nn.LSTM"] = autograd_block(lstm, data.batches)
    variants["products alone"] = products_block(model, *data.batches[0])
    timings = interleave(variants, rounds, steps)
    for name in variants:
        rows.append(
            {
                "cell": case.name,
                "T": case.length,
                "batch": case.batch_size,
                "features": case.features,
                "variant": name,
                "parameters": parameters_of(lstm if name == "nn.LSTM" else model),
                "ms": timings.of(name),
                "/ eager": timings.ratio(name, "eager"),
                "/ nn.LSTM": timings.ratio(name, "nn.LSTM"),
                "/ products": timings.ratio(name, "products alone"),
                "error": errors.get(name),
            }
        )


def _verify(engine: str, model: RecurrentModel, case: Case) -> float:
    shape = SequenceShape(case.features, CLASSES, case.length, "last_step")
    config = TrainingConfig(1, case.batch_size, 1e-3)
    return verify(Engine(engine), model, shape, config, Classification())
