"""The unitary cell against complex arithmetic in numpy, and the properties of unitarity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_structured import urnn
from rnnsearch_structured.urnn import UnitaryCell


class TestUnitaryCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return UnitaryCell


class TestUnitaryCellByFastTransforms(CellConformance):
    @pytest.fixture
    def cell_class(self, monkeypatch: pytest.MonkeyPatch) -> type[RecurrentCell]:
        monkeypatch.setattr(urnn, "_WIDEST_MATRIX", 0)
        return UnitaryCell


def _cell(hidden_size: int = 7, seed: int = 0) -> UnitaryCell:
    torch.manual_seed(seed)
    return UnitaryCell(3, hidden_size).double()


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).double()


def _complex(parts: Tensor) -> np.ndarray:
    real, imaginary = parts.detach().numpy().reshape(*parts.shape[:-1], 2, -1).swapaxes(0, -2)
    return real + 1j * imaginary


def _permutation(width: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(width, generator=generator).numpy()


def _reflection(vector: np.ndarray) -> np.ndarray:
    projection = np.outer(vector, vector.conj()) / np.vdot(vector, vector)
    return np.eye(len(vector)) - 2 * projection


def _recurrent_matrix(cell: UnitaryCell) -> np.ndarray:
    """`W` as a product of complex matrices, with the permutation placed as in the paper."""
    p = cell.hidden_size
    first, second, third = (np.diag(np.exp(1j * w)) for w in cell.phases.detach().numpy())
    fourier = np.fft.fft(np.eye(p), norm="ortho")
    shuffle = np.eye(p)[_permutation(p)]
    r1, r2 = (v[:p] + 1j * v[p:] for v in cell.reflections.detach().numpy())
    # The cell stores the vector of `R_1` permuted.
    r1 = shuffle.T @ r1
    inverse = np.linalg.inv(fourier)
    return third @ _reflection(r2) @ inverse @ second @ shuffle @ _reflection(r1) @ fourier @ first


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 128), (28, 10)])
def test_parameter_count_is_the_closed_form(m: int, p: int) -> None:
    assert UnitaryCell.parameter_count(m, p) == 7 * p + 2 * p * m + p


@pytest.mark.parametrize("widest", [512, 0], ids=["matrices", "fast transforms"])
@pytest.mark.parametrize("hidden_size", [1, 2, 7, 16])
def test_the_recurrent_map_is_the_papers_product_of_complex_matrices(
    hidden_size: int, widest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urnn, "_WIDEST_MATRIX", widest)
    cell, vectors = _cell(hidden_size), _noise(3, 2 * hidden_size)
    found = _complex(cell.evolved(vectors))
    # The transforms were rounded to float32 when the cell was built.
    np.testing.assert_allclose(
        found, _complex(vectors) @ _recurrent_matrix(cell).T, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("hidden_size", [1, 2, 7, 100, 512, 513])
def test_the_recurrent_map_keeps_the_norm(hidden_size: int) -> None:
    cell = _cell(hidden_size)
    vectors = _noise(3, 2 * hidden_size)
    before, after = vectors.norm(dim=-1), cell.evolved(vectors).norm(dim=-1)
    torch.testing.assert_close(after, before, rtol=1e-6, atol=0)


def test_a_fresh_cell_keeps_the_norm_of_a_gradient_over_500_steps() -> None:
    cell = _cell()
    start = cell.initial_state(1)[0].requires_grad_()
    _, (last,) = run_eagerly(cell, torch.zeros(500, 1, 3, dtype=torch.float64), (start,))
    direction = _noise(1, 14)
    (gradient,) = torch.autograd.grad((last * direction).sum(), start)
    assert float(gradient.norm()) == pytest.approx(float(direction.norm()), rel=1e-4)
    assert last.norm().item() == pytest.approx(1, rel=1e-4)


def test_a_step_computes_the_equation_in_complex_numbers() -> None:
    cell = _cell()
    with torch.no_grad():
        cell.bias.copy_(torch.linspace(-1, 1, 7))
    hidden, inputs = _noise(4, 14), _noise(4, 3)
    output, _ = cell(inputs, (hidden,))
    input_weight = cell.input_map.weight.detach().numpy()
    v = input_weight[:7] + 1j * input_weight[7:]
    z = _complex(hidden) @ _recurrent_matrix(cell).T + inputs.numpy() @ v.T
    modulus = np.abs(z)
    expected = np.maximum(modulus + np.linspace(-1, 1, 7), 0) * z / modulus
    found = _complex(output)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    # The biases silence some units and raise others.
    assert (found == 0).any()
    assert (np.abs(found) > modulus).any()


def test_matrices_and_fast_transforms_give_the_same_outputs_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs, found = _noise(6, 2, 3), []
    for widest in (512, 0):
        monkeypatch.setattr(urnn, "_WIDEST_MATRIX", widest)
        cell = _cell()
        outputs, _ = run_eagerly(cell, inputs, cell.initial_state(2))
        (outputs * _noise(*outputs.shape)).sum().backward()
        found.append((outputs, [p.grad for p in cell.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)


def test_gradient_is_finite_at_a_state_of_zeros_with_every_bias_open() -> None:
    cell = _cell()
    with torch.no_grad():
        cell.bias.fill_(0.1)
    start = torch.zeros(1, 14, dtype=torch.float64)
    outputs, _ = run_eagerly(cell, torch.zeros(3, 1, 3, dtype=torch.float64), (start,))
    outputs.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in cell.parameters())


@pytest.mark.parametrize("hidden_size", [1, 7, 100])
def test_the_first_state_has_norm_one(hidden_size: int) -> None:
    (state,) = _cell(hidden_size).initial_state(2)
    torch.testing.assert_close(state.norm(dim=-1), torch.ones(2, dtype=torch.float64))


def test_the_permutation_is_one_moves_something_and_is_the_same_for_every_seed() -> None:
    one, two = _cell(16, seed=0), _cell(16, seed=1)
    assert torch.equal(one.transform, two.transform)
    assert not torch.equal(one.phases, two.phases)
    shuffled = one.transform @ one.inverse  # Pi F F^-1, on real and imaginary parts
    assert torch.equal(shuffled.round(), torch.block_diag(*[_shuffle(16)] * 2))
    assert not torch.equal(_shuffle(16), torch.eye(16, dtype=torch.float64))


def _shuffle(width: int) -> Tensor:
    return torch.eye(width, dtype=torch.float64)[torch.from_numpy(_permutation(width))]


def test_parameters_start_in_the_papers_ranges() -> None:
    torch.manual_seed(0)
    cell = UnitaryCell(20, 400)
    largest = {
        "phases": math.pi,
        "reflections": 1.0,
        "input_map.weight": math.sqrt(6 / (20 + 800)),
    }
    for name, limit in largest.items():
        values = cell.get_parameter(name).detach()
        assert float(values.abs().max()) <= limit
        assert float(values.max()) > 0.95 * limit
        assert float(values.min()) < -0.95 * limit
    assert not cell.bias.any()


def test_members_of_a_population_wider_than_the_matrices_run_as_one() -> None:
    cells = [_cell(513, seed).float() for seed in range(2)]
    stacked = torch.func.stack_module_state(cells)
    inputs, state = _noise(2, 3).float(), cells[0].initial_state(2)

    def step(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(cells[0], (parameters, buffers), (inputs, state))[0]

    together = torch.vmap(step)(*stacked)
    for cell, output in zip(cells, together, strict=True):
        torch.testing.assert_close(output, cell(inputs, state)[0])
