"""The multiple-timescale network: what is connected, how fast it is, and where it starts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_classic.mtrnn import MTRNNCell


class TestMTRNNCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return MTRNNCell


def seeded_cell(*sizes: int, seed: int = 0, **options: Any) -> MTRNNCell:
    torch.manual_seed(seed)
    return MTRNNCell(*sizes, **options).double()


def test_time_constants_of_one_give_elmans_network_whose_slow_units_see_no_input() -> None:
    cell = seeded_cell(2, 4, slow_ratio=0.5, tau_fast=1.0, tau_slow=1.0)
    reference = nn.RNN(2, 6).double()
    with torch.no_grad():
        fast_inputs, fast_context = cell.fast.weight.split((2, 6), dim=1)
        slow_inputs = torch.zeros(2, 2, dtype=torch.float64)
        reference.weight_ih_l0.copy_(torch.cat((fast_inputs, slow_inputs)))
        reference.weight_hh_l0.copy_(torch.cat((fast_context, cell.slow.weight)))
        reference.bias_ih_l0.copy_(torch.cat((cell.fast.bias, cell.slow.bias)))
        reference.bias_hh_l0.zero_()
        cell.initial_slow.uniform_(-1, 1)
    inputs = torch.randn(7, 3, 2, dtype=torch.float64)
    start = torch.cat((torch.zeros(4, dtype=torch.float64), torch.tanh(cell.initial_slow)))
    expected, last = reference(inputs, start.expand(1, 3, 6).contiguous())
    outputs, (fast, slow) = run_eagerly(cell, inputs, cell.initial_state(3))
    torch.testing.assert_close(outputs, expected[..., :4])
    torch.testing.assert_close(torch.cat((fast, slow), dim=-1).tanh(), last[0])


def test_slow_units_see_an_input_one_step_late() -> None:
    cell = seeded_cell(2, 4)
    early, late = torch.randn(2, 1, 2, dtype=torch.float64).requires_grad_().unbind(0)
    _, state = cell(early, cell.initial_state(1))
    _, (_, slow) = cell(late, state)
    from_early, from_late = torch.autograd.grad(slow.sum(), (early, late), materialize_grads=True)
    assert not from_late.any()
    assert from_early.all()


def test_slow_units_reach_the_output_one_step_late() -> None:
    cell = seeded_cell(2, 4)
    inputs = torch.randn(2, 1, 2, dtype=torch.float64)
    fast, slow = cell.initial_state(1)
    output, state = cell(inputs[0], (fast, slow))
    assert torch.equal(output, torch.tanh(state[0]))
    moved_after = (state[0], state[1] + 1)
    assert not torch.allclose(cell(inputs[1], state)[0], cell(inputs[1], moved_after)[0])


def test_an_unconnected_group_decays_with_its_time_constant() -> None:
    cell = seeded_cell(2, 4, tau_fast=5.0, tau_slow=70.0)
    with torch.no_grad():
        for parameter in (*cell.fast.parameters(), *cell.slow.parameters()):
            parameter.zero_()
    start = (torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 1, dtype=torch.float64))
    inputs = torch.randn(20, 3, 2, dtype=torch.float64)
    _, (fast, slow) = run_eagerly(cell, inputs, start)
    torch.testing.assert_close(fast, start[0] * (4 / 5) ** 20)
    torch.testing.assert_close(slow, start[1] * (69 / 70) ** 20)


def autocorrelation_time(series: Tensor) -> float:
    """Mean over units of the lag at which the autocorrelation first falls below 1/e."""
    series = series - series.mean(0)
    spectrum = torch.fft.rfft(series, n=2 * len(series), dim=0).abs() ** 2
    correlation = torch.fft.irfft(spectrum, dim=0)[: len(series)]
    below = correlation / correlation[0] < torch.tensor(-1.0).exp()
    return below.double().argmax(0).double().mean().item()


@pytest.mark.parametrize("seed", range(3))
def test_slow_units_forget_noise_more_slowly_than_fast_ones(seed: int) -> None:
    cell = seeded_cell(2, 12, seed=seed)
    inputs = torch.randn(4000, 1, 2, dtype=torch.float64)
    state, history = cell.initial_state(1), []
    with torch.no_grad():
        for step_inputs in inputs:
            _, state = cell(step_inputs, state)
            history.append(torch.cat(state, dim=-1)[0])
    fast, slow = torch.stack(history[500:]).split((12, 4), dim=-1)
    assert autocorrelation_time(slow) > 4 * autocorrelation_time(fast)


def test_every_sample_starts_from_the_learned_slow_state() -> None:
    cell = seeded_cell(2, 6)
    with torch.no_grad():
        cell.initial_slow.copy_(torch.tensor([0.5, -2.0]))
    fast, slow = cell.initial_state(3)
    assert not fast.any()
    assert slow.tolist() == [[0.5, -2.0]] * 3
    inputs = torch.randn(4, 3, 2, dtype=torch.float64)
    run_eagerly(cell, inputs, (fast, slow))[0].sum().backward()
    assert cell.initial_slow.grad is not None
    assert cell.initial_slow.grad.all()


def test_sixty_fast_units_come_with_the_papers_twenty_slow_ones() -> None:
    assert MTRNNCell.state_size(100, 60) == 60 + 20
