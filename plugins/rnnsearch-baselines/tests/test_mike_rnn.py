"""The linear-memory cell against its equations, its published size and superposition."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model, count_parameters
from rnnsearch.testing import CellConformance
from rnnsearch_baselines.mike_rnn import MikeRNNCell


class TestMikeRNNCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return MikeRNNCell


@pytest.fixture
def cell() -> MikeRNNCell:
    torch.manual_seed(0)
    return MikeRNNCell(3, 5).double()


def memory_after(cell: MikeRNNCell, inputs: Tensor) -> Tensor:
    state = cell.initial_state(inputs.shape[1])
    for step_inputs in inputs:
        _, state = cell(step_inputs, state)
    return state[0]


@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_the_paper_s_net_has_its_published_number_of_parameters(output: str) -> None:
    spec = ModelSpec(
        architecture="mike_rnn",
        shape=SequenceShape(28, 10, 28, "last_step"),
        hidden_size=28,
        head_options={"output": output},
    )
    model = build_model(MikeRNNCell, spec)
    assert count_parameters(MikeRNNCell, spec)[0] == 3482
    assert sum(p.numel() for p in model.parameters()) == 3482
    logits = model(10 * torch.randn(28, 4, 28))
    assert (((logits > 0) & (logits < 1)).all()) == (output == "sigmoid")


@pytest.mark.parametrize("seed", range(10))
def test_the_count_is_what_is_built_at_random_sizes(seed: int) -> None:
    draw = random.Random(seed)
    sizes = draw.randint(1, 40), draw.randint(1, 40)
    built = sum(p.numel() for p in MikeRNNCell(*sizes).parameters())
    assert MikeRNNCell.parameter_count(*sizes) == built


def test_the_memory_obeys_superposition(cell: MikeRNNCell) -> None:
    one, other = torch.randn(2, 12, 4, 3, dtype=torch.float64)
    both = memory_after(cell, one + other) + memory_after(cell, torch.zeros_like(one))
    apart = memory_after(cell, one) + memory_after(cell, other)
    torch.testing.assert_close(both, apart, rtol=0, atol=1e-12)


def test_the_memory_is_the_sum_of_filtered_inputs(cell: MikeRNNCell) -> None:
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)
    from_inputs, from_memory = cell.memory.weight.split((3, 5), dim=1)
    expected = sum(
        (inputs[step] @ from_inputs.T + cell.memory.bias)
        @ torch.linalg.matrix_power(from_memory.T, 5 - step)
        for step in range(6)
    )
    torch.testing.assert_close(memory_after(cell, inputs), expected, rtol=0, atol=1e-12)


def test_the_output_reads_the_memory_before_this_step(cell: MikeRNNCell) -> None:
    inputs = torch.randn(4, 3, dtype=torch.float64)
    memory = torch.randn(4, 5, dtype=torch.float64)
    output, _ = cell(inputs, (memory,))
    from_inputs, from_memory = cell.hidden.weight.split((3, 5), dim=1)
    total = inputs @ from_inputs.T + memory @ from_memory.T + cell.hidden.bias
    torch.testing.assert_close(output, 1 / (1 + torch.exp(-total)), rtol=0, atol=1e-12)


def test_the_output_does_not_feed_back(cell: MikeRNNCell) -> None:
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)
    before = memory_after(cell, inputs)
    with torch.no_grad():
        cell.hidden.weight.zero_()
    assert torch.equal(memory_after(cell, inputs), before)
