"""The SCRN cell against its equations and an exponential moving average."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_structured.scrn import SCRNCell


class TestSCRNCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return SCRNCell


def _cell(**options: object) -> SCRNCell:
    torch.manual_seed(0)
    return SCRNCell(3, 8, context_size=4, **options).double()


def _inputs(steps: int = 9) -> torch.Tensor:
    return torch.randn(steps, 2, 3, generator=torch.Generator().manual_seed(1)).double()


def _run(cell: SCRNCell, inputs: torch.Tensor) -> torch.Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0]


@pytest.mark.parametrize(("m", "p", "c"), [(1, 1, 1), (3, 8, 2), (50, 100, 40)])
def test_parameter_count_is_the_closed_form(m: int, p: int, c: int) -> None:
    maps = m * c + c * p + m * p + p**2
    assert SCRNCell.parameter_count(m, p, context_size=c) == maps
    assert SCRNCell.parameter_count(m, p, context_size=c, alpha="learned") == maps + c
    assert SCRNCell.parameter_count(m, p, context_size=c, bias=True) == maps + c + p


@pytest.mark.parametrize(("ratio", "p", "c"), [(0.25, 8, 2), (0.25, 10, 3), (0.1, 1, 1)])
def test_context_is_a_share_of_the_hidden_units_rounded_half_up(
    ratio: float, p: int, c: int
) -> None:
    assert SCRNCell(3, p, context_ratio=ratio).context_size == c


def test_a_linear_head_reads_hidden_and_context_units() -> None:
    shape = SequenceShape(input_size=3, output_size=5, length=4, readout="last_step")
    spec = ModelSpec("scrn", shape, hidden_size=8, options={"context_size": 4})
    built = sum(p.numel() for p in build_model(SCRNCell, spec).parameters())
    assert built == SCRNCell.parameter_count(3, 8, context_size=4) + 5 * (8 + 4) + 5


@pytest.mark.parametrize("bias", [False, True])
def test_scrn_computes_its_equations(bias: bool) -> None:
    cell = _cell(bias=bias, context_decay=0.9)
    weights = {name: p.detach().numpy() for name, p in cell.named_parameters()}
    nothing = np.zeros(())
    b = weights["context_map.weight"]
    context_bias = weights.get("context_map.bias", nothing)
    p, a, r = np.split(weights["hidden_map.weight"], [4, 7], axis=1)
    hidden_bias = weights.get("hidden_map.bias", nothing)
    s, h = np.zeros((2, 4)), np.zeros((2, 8))
    inputs = _inputs()
    for step, found in zip(inputs.numpy(), _run(cell, inputs).detach().numpy(), strict=True):
        s = 0.1 * (step @ b.T + context_bias) + 0.9 * s
        h = 1 / (1 + np.exp(-(s @ p.T + step @ a.T + h @ r.T + hidden_bias)))
        np.testing.assert_allclose(found, np.concatenate((h, s), axis=1), rtol=0, atol=1e-12)


def test_the_context_is_an_exponential_moving_average_of_its_input() -> None:
    cell, inputs = _cell(context_decay=0.95), _inputs(steps=60)
    context = _run(cell, inputs)[..., 8:]
    mapped = inputs @ cell.context_map.weight.T
    for t in (0, 1, 30, 59):
        ages = torch.arange(t, -1, -1, dtype=torch.float64)
        expected = (0.05 * 0.95**ages).view(-1, 1, 1) * mapped[: t + 1]
        torch.testing.assert_close(context[t], expected.sum(0))


def test_without_context_the_cell_is_an_elman_net_of_sigmoids() -> None:
    cell, inputs = _cell(), _inputs()
    with torch.no_grad():
        cell.context_map.weight.zero_()
    hidden = torch.zeros(2, 8, dtype=torch.float64)
    _, a, r = cell.hidden_map.weight.split([4, 3, 8], dim=1)
    for step, found in zip(inputs, _run(cell, inputs), strict=True):
        hidden = torch.sigmoid(step @ a.T + hidden @ r.T)
        torch.testing.assert_close(found[:, :8], hidden)
        assert not found[:, 8:].any()


def test_learned_weights_of_the_context_start_as_the_fixed_one() -> None:
    fixed, learned = _cell(context_decay=0.8), _cell(alpha="learned", context_decay=0.8)
    learned.load_state_dict(fixed.state_dict(), strict=False)
    with torch.no_grad():
        # The logit was rounded to float32 when the cell was built.
        learned.context_logit.fill_(np.log(4))
    torch.testing.assert_close(_run(learned, _inputs()), _run(fixed, _inputs()))


def test_each_context_unit_learns_a_decay_of_its_own() -> None:
    cell, inputs = _cell(alpha="learned"), _inputs()
    before = _run(cell, inputs)[..., 8:]
    with torch.no_grad():
        cell.context_logit[1] = 0.0
    after = _run(cell, inputs)[..., 8:]
    changed = (before != after).any(1).any(0)
    assert changed.tolist() == [False, True, False, False]
    mapped = inputs @ cell.context_map.weight.T
    torch.testing.assert_close(after[0, :, 1], 0.5 * mapped[0, :, 1])
