"""If a cell of torchrecurrent departs from its paper, it does so as its docstring says."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("torchrecurrent")
cells: Any = importlib.import_module("rnnsearch_torchrecurrent.cells")

M, P, BATCH = 3, 4, 6
State = tuple[Tensor, ...]


def _fastgrnn(cell: Any, x: Tensor, state: State, as_printed: bool) -> State:
    (h,) = state
    both = x @ cell.weight_ih.T + h @ cell.weight_hh.T
    bias_z, bias_h = (cell.bias_ih + cell.bias_hh).chunk(2)
    z = torch.sigmoid(both + bias_z) if as_printed else torch.tanh(both + bias_z)
    zeta, nu = torch.sigmoid(cell.zeta), torch.sigmoid(cell.nu)
    return ((zeta * (1 - z) + nu) * torch.tanh(both + bias_h) + z * h,)


def _lem(cell: Any, x: Tensor, state: State, as_printed: bool) -> State:
    y, z = state
    from_x = (x @ cell.weight_ih.T + cell.bias_ih).chunk(4, 1)
    from_y = (y @ cell.weight_hh.T + cell.bias_hh).chunk(3, 1)
    step_y, step_z = (torch.sigmoid(from_x[i] + from_y[i]) for i in (0, 1))
    new_z = (1 - step_z) * z + step_z * torch.tanh(from_x[2] + from_y[2])
    read = new_z if as_printed else z
    candidate = torch.tanh(from_x[3] + read @ cell.weight_ch.T + cell.bias_ch)
    return (1 - step_y) * y + step_y * candidate, new_z


def _nas(cell: Any, x: Tensor, state: State, as_printed: bool) -> State:
    h, c = state
    from_x = (x @ cell.weight_ih.T + cell.bias_ih).chunk(8, 1)
    from_h = (h @ cell.weight_hh.T + cell.bias_hh).chunk(8, 1)
    a = [one + other for one, other in zip(from_x, from_h, strict=True)]
    fourth = from_x[3] * from_h[3] if as_printed else a[3]
    first = torch.tanh(torch.sigmoid(a[0]) * torch.relu(a[1]))
    second = torch.tanh(torch.sigmoid(a[2]) + torch.relu(fourth))
    third = torch.tanh(torch.tanh(a[4]) * torch.sigmoid(a[5]))
    last = torch.sigmoid(torch.tanh(a[6]) + torch.sigmoid(a[7]))
    new_c = torch.tanh(first + c) * second
    return torch.tanh(new_c * torch.tanh(third + last)), new_c


def _scrn(cell: Any, x: Tensor, state: State, as_printed: bool) -> State:
    below, s = state
    from_x = (x @ cell.weight_ih.T + cell.bias_ih).chunk(2, 1)
    r, u = cell.weight_hh.chunk(2)
    bias_r, bias_u = cell.bias_hh.chunk(2)
    s = (1 - cell.alpha) * from_x[0] + cell.alpha * s
    p, v = (s @ cell.weight_ch.T + cell.bias_ch).chunk(2, 1)
    h = torch.sigmoid(p + from_x[1] + below @ r.T + bias_r)
    y = torch.tanh(h @ u.T + bias_u + v)
    return h if as_printed else y, s


@pytest.mark.parametrize(
    ("name", "step"),
    [("FastGRNNCell", _fastgrnn), ("LEMCell", _lem), ("NASCell", _nas), ("SCRNCell", _scrn)],
)
def test_the_step_is_the_one_described_and_not_the_one_printed(
    name: str, step: Callable[[Any, Tensor, State, bool], State]
) -> None:
    torch.manual_seed(0)
    cell = getattr(cells, name)(M, P).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    x = torch.randn(BATCH, M, dtype=torch.float64)
    state = tuple(torch.randn(BATCH, P, dtype=torch.float64) for _ in cell.initial_state(BATCH))
    _, actual = cell(x, state)
    torch.testing.assert_close(actual, step(cell.cell, x, state, False))
    printed = step(cell.cell, x, state, True)
    assert not torch.allclose(actual[0], printed[0])


def test_fast_rnn_starts_with_almost_all_of_the_candidate() -> None:
    cell = cells.FastRNNCell(M, P).cell
    shares = torch.sigmoid(torch.cat((cell.alpha, cell.beta)))
    torch.testing.assert_close(shares, torch.tensor([0.9526, 0.0474]), atol=1e-4, rtol=0)


def test_ind_rnn_is_squashed_by_tanh() -> None:
    cell = cells.IndRNNCell(M, P)
    output, _ = cell(torch.full((1, M), 1e4), cell.initial_state(1))
    torch.testing.assert_close(output.abs(), torch.ones(1, P))


def test_offset_of_janet_is_trained_and_starts_at_one() -> None:
    offset = dict(cells.JANETCell(M, P).named_parameters())["cell.beta"]
    assert offset.requires_grad
    assert offset.item() == 1.0


def test_leak_of_scrn_is_trained_and_starts_at_a_half() -> None:
    leak = dict(cells.SCRNCell(M, P).named_parameters())["cell.alpha"]
    assert leak.requires_grad
    assert leak.item() == 0.5


def test_mut1_is_the_printed_one_where_its_map_of_the_inputs_is_the_identity() -> None:
    torch.manual_seed(0)
    cell = cells.MUT1Cell(P, P).double()
    x, h = (torch.randn(BATCH, P, dtype=torch.float64) for _ in range(2))
    w_z, w_r, _ = cell.cell.weight_ih.chunk(3)
    u_r, u_h = cell.cell.weight_hh.chunk(2)
    z, r = torch.sigmoid(x @ w_z.T), torch.sigmoid(x @ w_r.T + h @ u_r.T)  # biases start at zero
    printed = z * torch.tanh((r * h) @ u_h.T + torch.tanh(x)) + (1 - z) * h
    assert not torch.allclose(cell(x, (h,))[0], printed)
    with torch.no_grad():
        cell.cell.weight_ih[2 * P :] = torch.eye(P)
    torch.testing.assert_close(cell(x, (h,))[0], printed)


@pytest.mark.parametrize("width", [16, 256])
@pytest.mark.parametrize("name", ["AntisymmetricRNNCell", "GatedAntisymmetricRNNCell"])
def test_antisymmetric_weights_start_with_variance_one_at_any_width(name: str, width: int) -> None:
    torch.manual_seed(0)
    weight = getattr(cells, name)(M, width).cell.weight_hh
    assert abs(weight.var().item() - 1) < 0.2
