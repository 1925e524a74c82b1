"""Problems with long lags that these cells are made for, and that an Elman net cannot solve.

Slow: training takes seconds where the steps can be compiled, and minutes elsewhere. Sizes are
matched in parameters; the Elman net has slightly more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model
from rnnsearch.engine.capture import Unsupported
from rnnsearch.training.engines import compile_layers
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_structured.clockwork import ClockworkCell
from rnnsearch_structured.indrnn import IndRNNCell

pytestmark = pytest.mark.slow

_BATCH = 50

Problem = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


def _adding(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """100 numbers in [0, 1], one in each half marked; the target is the sum of the marked ones."""
    inputs = torch.zeros(100, samples, 2)
    inputs[..., 0] = torch.rand(100, samples, generator=generator)
    every, total = torch.arange(samples), torch.zeros(samples)
    for start in (0, 50):
        marked = start + torch.randint(50, (samples,), generator=generator)
        inputs[marked, every, 1] = 1
        total += inputs[marked, every, 0]
    return inputs, total.unsqueeze(1)


def _latch(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """60 steps of noise, with a sign at the first step only; the target is the sign."""
    inputs = torch.zeros(60, samples, 2)
    inputs[..., 0] = 0.5 * torch.randn(60, samples, generator=generator)
    positive = torch.randint(2, (samples,), generator=generator).float()
    inputs[0, :, 1] = 2 * positive - 1
    return inputs, positive.unsqueeze(1)


def _trained(
    cell_class: type[RecurrentCell],
    spec: ModelSpec,
    problem: Problem,
    loss: Loss,
    updates: int,
    learning_rate: float,
    seed: int,
) -> tuple[int, Tensor, Tensor]:
    """Number of parameters, and outputs and targets for 1,000 new samples."""
    torch.manual_seed(seed)
    model = build_model(cell_class, spec)
    with contextlib.suppress(Unsupported):
        compile_layers(model, _BATCH, torch.device("cpu"))
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(updates):
        inputs, targets = problem(_BATCH, generator)
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    inputs, targets = problem(1000, torch.Generator().manual_seed(99))
    with torch.no_grad():
        return sum(p.numel() for p in model.parameters()), model(inputs), targets


def test_indrnn_learns_to_add_over_100_steps_and_an_elman_net_of_tanh_does_not() -> None:
    shape = SequenceShape(input_size=2, output_size=1, length=100, readout="last_step")
    indrnn = ModelSpec("indrnn", shape, 32, num_layers=2, options={"horizon": 100})
    elman = ModelSpec("elman", shape, 20, num_layers=2)
    errors, sizes = [], []
    for cell_class, spec in ((IndRNNCell, indrnn), (ElmanCell, elman)):
        size, outputs, targets = _trained(cell_class, spec, _adding, mse_loss, 2000, 0.002, 0)
        sizes.append(size)
        errors.append(float(mse_loss(outputs, targets)))
    assert sizes[0] <= sizes[1]
    # Always answering 1 has an error of 1/6.
    assert errors[0] < 0.04
    assert errors[1] > 0.14


def test_clockwork_latches_a_sign_for_60_steps_and_elman_does_not() -> None:
    shape = SequenceShape(input_size=2, output_size=1, length=60, readout="last_step")
    # Periods 1 to 32: the slowest module moves at steps 0 and 32.
    clockwork = ModelSpec("clockwork", shape, 18, options={"modules": 6})
    elman = ModelSpec("elman", shape, 14)
    accuracies, sizes = [], []
    for cell_class, spec in ((ClockworkCell, clockwork), (ElmanCell, elman)):
        size, outputs, targets = _trained(
            cell_class, spec, _latch, binary_cross_entropy_with_logits, 600, 0.005, 0
        )
        sizes.append(size)
        accuracies.append(float(((outputs > 0) == (targets > 0.5)).float().mean()))
    assert sizes[0] <= sizes[1]
    assert accuracies[0] > 0.99
    assert accuracies[1] < 0.6
