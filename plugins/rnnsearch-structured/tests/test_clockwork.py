"""The clockwork cell against its equation with a dense matrix, and against `torch.nn.RNN`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_structured.clockwork import ClockworkCell


class TestClockworkCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return ClockworkCell


def _cell(hidden_size: int = 7, modules: int = 3, base: int = 2) -> ClockworkCell:
    torch.manual_seed(0)
    return ClockworkCell(3, hidden_size, modules=modules, base=base).double()


def _inputs(steps: int) -> Tensor:
    return torch.randn(steps, 2, 3, generator=torch.Generator().manual_seed(1)).double()


def _run(cell: ClockworkCell, inputs: Tensor) -> Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0]


def _module_of_units(cell: ClockworkCell) -> list[int]:
    return [i for i, size in enumerate(cell.module_sizes) for _ in range(size)]


def _dense(cell: ClockworkCell) -> np.ndarray:
    """The recurrent matrix, filled from the response of one step to each unit vector."""
    with torch.no_grad():
        return cell.recurrence(torch.eye(cell.hidden_size, dtype=torch.float64)).T.numpy()


@pytest.mark.parametrize(("m", "p", "g"), [(1, 8, 4), (3, 12, 3), (28, 40, 8), (2, 5, 1)])
def test_parameter_count_is_the_closed_form_where_the_modules_divide_the_width(
    m: int, p: int, g: int
) -> None:
    blocks = (p // g) ** 2 * g * (g + 1) // 2
    assert ClockworkCell.parameter_count(m, p, modules=g) == m * p + p + blocks


@pytest.mark.parametrize("modules", range(1, 11))
def test_parameter_count_grows_with_every_unit(modules: int) -> None:
    counts = [ClockworkCell.parameter_count(2, p, modules=modules) for p in range(1, 300)]
    assert all(a < b for a, b in itertools.pairwise(counts))


@pytest.mark.parametrize("modules", [1, 2, 3, 4, 7, 10])
def test_modules_share_any_width_nearly_equally_and_the_fastest_have_the_rest(
    modules: int,
) -> None:
    for width in range(1, 40):
        sizes = ClockworkCell(1, width, modules=modules).module_sizes
        assert sum(sizes) == width
        assert len(sizes) == min(modules, width)
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] - sizes[-1] <= 1


def test_one_module_is_torchs_net_of_tanh() -> None:
    cell = _cell(modules=1)
    reference = nn.RNN(3, 7).double()
    with torch.no_grad():
        reference.weight_ih_l0.copy_(cell.input_map.weight)
        reference.bias_ih_l0.copy_(cell.input_map.bias)
        reference.bias_hh_l0.zero_()
        reference.weight_hh_l0.copy_(cell.recurrent_weights.view(7, 7))
    inputs = _inputs(9)
    torch.testing.assert_close(_run(cell, inputs), reference(inputs)[0])


def test_with_equal_periods_the_modules_are_torchs_net_with_a_block_triangular_matrix() -> None:
    cell = _cell(base=1)
    reference = nn.RNN(3, 7).double()
    dense = _dense(cell)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(cell.input_map.weight)
        reference.bias_ih_l0.copy_(cell.input_map.bias)
        reference.bias_hh_l0.zero_()
        reference.weight_hh_l0.copy_(torch.from_numpy(dense))
    modules = np.array(_module_of_units(cell))
    assert not dense[modules[:, None] > modules].any()
    assert dense[modules[:, None] <= modules].all()
    inputs = _inputs(9)
    expected, _ = reference(inputs)
    outputs = _run(cell, inputs)
    torch.testing.assert_close(outputs, expected)

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (outputs * weights).sum().backward()
    torch.testing.assert_close(cell.input_map.weight.grad, reference.weight_ih_l0.grad)


@pytest.mark.parametrize("base", [2, 3])
@pytest.mark.parametrize("modules", [2, 3, 4])
def test_clockwork_computes_its_equation_over_several_rounds_of_the_clock(
    base: int, modules: int
) -> None:
    cell = _cell(modules=modules, base=base)
    weight, bias = (p.detach().numpy() for p in cell.input_map.parameters())
    dense = _dense(cell)
    periods = np.array([base**i for i in _module_of_units(cell)])
    steps = 2 * int(periods.max()) + 3
    inputs = _inputs(steps)
    hidden = np.zeros((2, 7))
    for t, (step, found) in enumerate(zip(inputs.numpy(), _run(cell, inputs), strict=True)):
        moved = np.tanh(step @ weight.T + hidden @ dense.T + bias)
        hidden = np.where(t % periods == 0, moved, hidden)
        np.testing.assert_allclose(found.detach().numpy(), hidden, rtol=0, atol=1e-12)


def test_the_slowest_module_rests_between_multiples_of_its_period() -> None:
    cell = _cell(hidden_size=8, modules=4)
    slowest = _run(cell, _inputs(25))[..., 6:]
    moved = [t for t in range(1, 25) if not torch.equal(slowest[t], slowest[t - 1])]
    assert moved == [8, 16, 24]


def test_what_comes_between_the_ticks_of_a_module_never_reaches_it() -> None:
    cell, inputs = _cell(hidden_size=8, modules=4), _inputs(25).requires_grad_()
    _run(cell, inputs)[-1, :, 6:].sum().backward()
    seen = [t for t in range(25) if inputs.grad[t].any()]
    assert seen == [0, 8, 16, 24]


def test_the_time_in_the_state_stays_below_the_longest_period() -> None:
    cell = _cell(modules=3)
    state = cell.initial_state(2)
    times = []
    for step in _inputs(10):
        _, state = cell(step, state)
        times.append(int(state[0][0, 0]))
    assert times == [1, 2, 3, 0, 1, 2, 3, 0, 1, 2]


def test_samples_at_different_times_keep_their_own_clocks() -> None:
    cell = _cell()
    hidden = torch.randn(4, 7, dtype=torch.float64)
    times = torch.arange(4, dtype=torch.float64).unsqueeze(1)
    inputs = torch.randn(4, 3, dtype=torch.float64)
    together = cell(inputs, (times, hidden))[0]
    for row in range(4):
        only = slice(row, row + 1)
        torch.testing.assert_close(
            cell(inputs[only], (times[only], hidden[only]))[0], together[only]
        )
    rests = (together == hidden).all(0)
    assert not rests.any()
    # At odd times only the fastest module moves.
    assert torch.equal(together[1, 3:], hidden[1, 3:])
    assert not torch.equal(together[2, 3:], hidden[2, 3:])


def test_gradient_reaches_the_recurrent_weights_of_every_module_after_its_period() -> None:
    cell = _cell(hidden_size=8, modules=4)
    _run(cell, _inputs(9)).square().sum().backward()
    assert cell.recurrent_weights.grad.all()


def test_a_learned_initial_state_leaves_the_clock_alone() -> None:
    shape = SequenceShape(input_size=3, output_size=2, length=9, readout="last_step")
    spec = ModelSpec("clockwork", shape, hidden_size=7, learned_initial_state=True)
    torch.manual_seed(0)
    model = build_model(ClockworkCell, spec)
    inputs = _inputs(9).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(inputs).square().sum().backward()
    optimizer.step()
    time, hidden = model.body.layers[0].initial_state(1)
    assert not time.any()
    assert hidden.any()
