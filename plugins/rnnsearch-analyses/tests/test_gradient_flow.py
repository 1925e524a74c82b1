"""Gradients of cells whose gradients are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rnnsearch import Analysis, RecurrentCell, State, Value
from rnnsearch.plugin.registry import load_registry
from rnnsearch.testing import AnalysisConformance, example_model
from rnnsearch_analyses.gradient_flow import GradientFlow, state_jacobian
from rnnsearch_analyses.hooks import rnnsearch_analyses

STEPS = 12


class TestGradientFlow(AnalysisConformance):
    @pytest.fixture
    def analysis_class(self) -> type[Analysis]:
        return GradientFlow


def _line(figure: Any) -> Any:
    return figure.axes[0].lines[0].get_ydata()


def _matrix(scale: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return scale * torch.randn(3, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("readout", ["last_step", "every_step"])
def test_gradient_norms_of_a_linear_cell_are_those_of_powers_of_its_matrix(
    look_at: Any, cell_of: Any, readout: str
) -> None:
    matrix = _matrix(0.6)
    inputs = np.random.default_rng(0).standard_normal((1, STEPS, 3))
    targets = np.zeros((1, 3) if readout == "last_step" else (1, STEPS, 3))
    cell = cell_of(3, 3, lambda x, m: m @ matrix.T + x)
    trained = look_at(cell, inputs=inputs, targets=targets, readout=readout)
    (finding,) = GradientFlow().analyse(trained)
    state = np.zeros(3)
    for step_inputs in inputs[0].astype(np.float32):
        state = matrix.numpy() @ state + step_inputs
    seed = 2 * state / (3 if readout == "last_step" else 3 * STEPS)
    powers = [np.linalg.matrix_power(matrix.numpy().T, lag) @ seed for lag in range(1, STEPS + 1)]
    np.testing.assert_allclose(_line(finding.figure), np.linalg.norm(powers, axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.5, -1.0), (0.999, 0.0), (2.0, 1.0)], ids=["down", "level", "up"]
)
def test_the_growth_of_a_scaled_rotation_is_its_scale(
    look_at: Any, cell_of: Any, factor: float, verdict: float
) -> None:
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64) * factor
    cell = cell_of(2, 2, lambda x, m: m @ turn.T + x)
    inputs = np.random.default_rng(0).standard_normal((5, STEPS, 2))
    (finding,) = GradientFlow().analyse(look_at(cell, inputs=inputs))
    numbers = finding.numbers
    assert numbers["growth_per_step"] == pytest.approx(factor)
    assert numbers["decades"] == pytest.approx((STEPS - 1) * np.log10(factor))
    assert numbers["verdict"] == verdict
    assert numbers["spectral_radius"] == pytest.approx(factor)
    assert numbers["largest_singular_value"] == pytest.approx(factor)
    assert numbers["bound"] == 1


def test_lags_are_counted_from_the_end_of_each_sequence(look_at: Any, cell_of: Any) -> None:
    cell = cell_of(1, 1, lambda x, m: 0.5 * m + x)
    inputs = np.ones((2, STEPS, 1))
    trained = look_at(cell, inputs=inputs, lengths=np.array([3, STEPS]))
    (finding,) = GradientFlow().analyse(trained)
    norms = _line(finding.figure)
    assert len(norms) == STEPS
    ends = [2 * sum(0.5**k for k in range(length)) for length in (3, STEPS)]
    assert norms[0] == pytest.approx(0.5 * np.mean(ends))
    assert norms[4] == pytest.approx(0.5**5 * ends[1])


@pytest.mark.parametrize("name", ["elman", "lstm", "sm_rnn", "mcrm"])
def test_the_state_jacobian_is_that_of_torch(name: str) -> None:
    cell = example_model(name).layers[0].cell
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1, cell.input_size, generator=generator)
    state = tuple(torch.rand(p.shape, generator=generator) for p in cell.initial_state(1))
    sizes = [part.shape[1] for part in state]

    def step(flat: torch.Tensor) -> torch.Tensor:
        _, after = cell(inputs, flat.unsqueeze(0).split(sizes, dim=1))
        return torch.cat(after, dim=1)[0]

    expected = torch.autograd.functional.jacobian(step, torch.cat(state, dim=1)[0])
    torch.testing.assert_close(state_jacobian(cell, inputs, state), expected)


def test_where_the_loss_does_not_depend_on_memory_no_gradient_is_reported(
    look_at: Any, cell_of: Any
) -> None:
    cell = cell_of(2, 2, lambda x, m: x + 0 * m)
    (finding,) = GradientFlow().analyse(look_at(cell, inputs=np.ones((3, 4, 2))))
    assert finding.numbers["norm_at_lag_1"] == 0
    assert "verdict" not in finding.numbers
    assert "there is none" in finding.caption
    assert finding.numbers["largest_singular_value"] == 0


def test_a_model_without_gradients_is_refused(look_at: Any, cell_of: Any) -> None:
    from rnnsearch import Capabilities

    cell = cell_of(1, 1, lambda x, m: m)
    cell.capabilities = Capabilities(differentiable=False)
    trained = look_at(cell, inputs=np.ones((1, 4, 1)))
    assert "no gradients" in str(GradientFlow().refusal(trained))


class SpiralCell(RecurrentCell):
    """A complex number that is rotated and scaled, and a step counter."""

    def __init__(self, factor: complex) -> None:
        super().__init__(2, 2)
        self.factor = factor
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 1

    def initial_state(self, batch_size: int) -> State:
        zeros = self.zeros(batch_size, 1)
        return torch.zeros(batch_size, 1, dtype=torch.int64), torch.complex(zeros, zeros)

    def forward(self, inputs: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        steps, number = state
        number = self.factor * number + torch.view_as_complex(inputs).unsqueeze(1)
        return torch.view_as_real(number).flatten(1), (steps + 1, number)


def test_a_complex_state_flows_as_the_two_reals_that_it_stands_for(
    look_at: Any, cell_of: Any
) -> None:
    inputs = np.random.default_rng(0).standard_normal((4, STEPS, 2))
    turn = 0.9 * torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    reals = cell_of(2, 2, lambda x, m: m @ turn.T + x)
    (expected,) = GradientFlow().analyse(look_at(reals, inputs=inputs))
    trained = look_at(SpiralCell(0.9 * (0.6 + 0.8j)), inputs=inputs)
    assert GradientFlow().refusal(trained) is None
    (found,) = GradientFlow().analyse(trained)
    assert found.numbers == pytest.approx(dict(expected.numbers), rel=1e-6)
    np.testing.assert_allclose(_line(found.figure), _line(expected.figure), rtol=1e-6)


@pytest.mark.parametrize("analysis", sorted(rnnsearch_analyses()))
def test_every_analysis_takes_a_state_of_complex_numbers_and_integers(
    look_at: Any, analysis: str
) -> None:
    inputs = np.random.default_rng(0).standard_normal((4, STEPS, 2))
    trained = look_at(SpiralCell(0.5j), inputs=inputs)
    found = load_registry().find("analysis", analysis)()
    if found.refusal(trained) is None:
        for finding in found.analyse(trained):
            assert np.isfinite([*finding.numbers.values()]).all()
