"""The continuous-time network against closed forms, scipy's integrator and discrete time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_classic.ctrnn import CTRNNCell


class TestCTRNNCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return CTRNNCell


def seeded_cell(input_size: int, hidden_size: int, **options: Any) -> CTRNNCell:
    torch.manual_seed(0)
    return CTRNNCell(input_size, hidden_size, **options).double()


def set_time_constants(cell: CTRNNCell, tau: float) -> None:
    with torch.no_grad():
        cell.log_excess_time.fill_(math.log(tau - cell.time_step))


def step_response(solver: str, tau: float, time_step: float, steps: int) -> Tensor:
    """Response of one uncoupled unit to an input of 1 from the start."""
    cell = seeded_cell(1, 1, solver=solver, time_step=time_step)
    set_time_constants(cell, tau)
    with torch.no_grad():
        cell.coupling.weight.zero_()
        cell.input_map.weight.fill_(1.0)
        inputs = torch.ones(steps, 1, 1, dtype=torch.float64)
        return run_eagerly(cell, inputs, cell.initial_state(1))[0][:, 0, 0]


@pytest.mark.parametrize(("solver", "error"), [("euler", 9.2e-4), ("rk4", 1e-11)])
def test_an_uncoupled_unit_charges_exponentially(solver: str, error: float) -> None:
    # Euler's largest error is a first-order term, step / (2 tau) * 1/e = 9.2e-4.
    times = 0.005 * torch.arange(1, 1001, dtype=torch.float64)
    response = step_response(solver, tau=1.0, time_step=0.005, steps=1000)
    off = (response - (1 - (-times).exp())).abs().max().item()
    assert off < 1.02 * error
    assert solver == "rk4" or off > 0.98 * error


@pytest.mark.parametrize("tau", [1.001, 1.5, 30.0])
def test_an_uncoupled_unit_never_overshoots_under_euler(tau: float) -> None:
    response = step_response("euler", tau=tau, time_step=1.0, steps=100)
    assert response.max() <= 1
    assert (response.diff() >= 0).all()


def test_time_constants_of_one_step_give_the_network_in_discrete_time() -> None:
    cell = seeded_cell(2, 4)
    with torch.no_grad():
        cell.log_excess_time.fill_(-1000.0)
        cell.threshold.uniform_(-1, 1)
    inputs = torch.randn(6, 3, 2, dtype=torch.float64)
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(3))
    previous = torch.zeros(3, 4, dtype=torch.float64)
    for step_inputs, output in zip(inputs, outputs, strict=True):
        rate = torch.sigmoid(previous + cell.threshold)
        previous = rate @ cell.coupling.weight.T + step_inputs @ cell.input_map.weight.T
        torch.testing.assert_close(output, previous)


def exact(cell: CTRNNCell, inputs: np.ndarray) -> np.ndarray:
    """States after each input, computed by scipy."""
    coupling, drive = cell.coupling.weight.detach().numpy(), cell.input_map.weight.detach().numpy()
    threshold, tau = cell.threshold.detach().numpy(), cell.time_constants.detach().numpy()

    def slope(_: float, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        rate = 1 / (1 + np.exp(-(y + threshold)))
        return (-y + coupling @ rate + drive @ x) / tau

    state, states = np.zeros(len(tau)), []
    for x in inputs:
        options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13, "args": (x,)}
        state = solve_ivp(slope, (0, cell.time_step), state, **options).y[:, -1]
        states.append(state)
    return np.array(states)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("rk4", 4)])
def test_error_of_a_solver_falls_with_its_order(solver: str, order: int) -> None:
    inputs = torch.randn(3, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wrong = []
    for substeps in (4, 8, 16):
        cell = seeded_cell(2, 4, solver=solver, time_step=2.0, substeps=substeps)
        with torch.no_grad():
            cell.coupling.weight.mul_(6)
            cell.threshold.uniform_(-1, 1)
            outputs, _ = run_eagerly(cell, inputs, cell.initial_state(1))
        wrong.append(np.abs(outputs[:, 0].numpy() - exact(cell, inputs[:, 0].numpy())).max())
    orders = np.log2(np.array(wrong[:-1]) / wrong[1:])
    assert orders == pytest.approx([order, order], abs=0.2)


def test_time_constants_differ_and_none_is_shorter_than_a_time_step() -> None:
    cell = seeded_cell(2, 1000, time_step=0.5, substeps=4)
    tau = cell.time_constants
    assert tau.min() >= 0.5
    assert tau.min() < 0.6
    assert 5 < tau.max() <= 5.5
    with torch.no_grad():
        cell.log_excess_time.fill_(-50.0)
    assert cell.time_constants.min() == 0.5
