"""The echo state network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import SequenceModel, SequenceShape
from rnnsearch.testing import SequenceModelConformance
from rnnsearch_reservoir.esn import EchoStateNetwork

SERIES = SequenceShape(input_size=1, output_size=1, length=2800, readout="every_step")


class TestEchoStateNetwork(SequenceModelConformance):
    @pytest.fixture
    def model_class(self) -> type[SequenceModel]:
        return EchoStateNetwork


def _network(shape: SequenceShape = SERIES, units: int = 200, **options: float) -> EchoStateNetwork:
    torch.manual_seed(0)
    return EchoStateNetwork(shape, units, **options).double()  # type: ignore[arg-type]


def _mackey_glass(steps: int) -> np.ndarray:
    """The series at tau = 17, sampled every time unit of an Euler integration, squashed."""
    delay, dt = 170, 0.1
    x = np.full(delay + 10 * (steps + 500), 1.2)
    for t in range(delay, len(x) - 1):
        x[t + 1] = x[t] + dt * (0.2 * x[t - delay] / (1 + x[t - delay] ** 10) - 0.1 * x[t])
    return np.tanh(x[delay + 5000 :: 10][:steps] - 1)


def _nrmse(found: Tensor, wanted: Tensor) -> float:
    return float(((found - wanted).square().mean() / wanted.var()).sqrt())


def test_readout_is_the_solution_of_the_normal_equations() -> None:
    shape = SequenceShape(2, 3, 6, "last_step")
    network = _network(shape, 7, ridge=0.3)
    inputs, classes = torch.randn(6, 20, 2, dtype=torch.float64), torch.arange(20) % 3
    network.fit([(inputs[:, :9], classes[:9], None), (inputs[:, 9:], classes[9:], None)])
    z = torch.cat((inputs[-1], network.states(inputs)[-1], torch.ones(20, 1)), dim=1).numpy()
    # Ridge regression as plain least squares on data with the penalty appended.
    stacked = np.vstack((z, np.sqrt(0.3) * np.eye(10)))
    targets = np.vstack((np.eye(3)[classes.numpy()], np.zeros((10, 3))))
    expected, *_ = np.linalg.lstsq(stacked, targets, rcond=None)
    np.testing.assert_allclose(network.readout.weight.detach().numpy(), expected[:-1].T, atol=1e-9)
    np.testing.assert_allclose(network.readout.bias.detach().numpy(), expected[-1], atol=1e-9)


def test_the_reservoir_has_the_spectral_radius_and_is_not_changed_by_a_fit() -> None:
    network = _network(spectral_radius=0.8)
    radius = np.abs(np.linalg.eigvals(network.recurrent.numpy())).max()
    assert radius == pytest.approx(0.8, abs=1e-6)
    before = network.recurrent.clone(), network.from_inputs.clone()
    series = torch.from_numpy(_mackey_glass(300))[:, None, None]
    network.fit([(series[:-1], series[1:].transpose(0, 1), None)])
    assert torch.equal(before[0], network.recurrent)
    assert torch.equal(before[1], network.from_inputs)


def test_states_from_two_starts_become_one() -> None:
    network = _network()
    inputs = torch.rand(300, 1, 1, dtype=torch.float64)
    one, two = (network.states(inputs, s * torch.ones(1, 200).double())[-1] for s in (-1, 1))
    assert float((one - two).abs().max()) < 1e-12


def test_it_predicts_the_mackey_glass_series() -> None:
    series = torch.from_numpy(_mackey_glass(5200))[:, None, None]
    train, test = series[:3000], series[3000:5000]
    persistence = _nrmse(series[3000:5000], series[3001:5001])
    assert persistence == pytest.approx(0.147, abs=0.01)
    one = _network(ridge=1e-8, washout=200)
    one.fit([(train, series[1:3001].transpose(0, 1), None)])
    with torch.no_grad():
        ahead = one(test)
    assert _nrmse(ahead[200:], series[3201:5001]) < 1e-3
    far = _network(ridge=1e-8, washout=200)
    far.fit([(train, series[84:3084].transpose(0, 1), None)])
    with torch.no_grad():
        ahead = far(test)
    assert _nrmse(ahead[200:], series[3284:5084]) < 0.3


def test_memory_capacity_is_that_of_a_reservoir_and_at_most_its_units() -> None:
    """About 27 of 100 at this radius by an independent computation."""
    torch.manual_seed(1)
    noise = torch.rand(4000, 1, 1, dtype=torch.float64) * 2 - 1
    delays = 100
    delayed = torch.stack([torch.roll(noise[:, 0, 0], d) for d in range(1, delays + 1)], dim=-1)
    shape = SequenceShape(1, delays, 4000, "every_step")
    network = _network(shape, 100, ridge=1e-9, washout=200, input_scale=0.1)
    network.fit([(noise[:3000], delayed[None, :3000], None)])
    with torch.no_grad():
        found = network(noise)[3000:, 0]
    capacity = sum(
        float(np.corrcoef(found[:, d], delayed[3000:, d])[0, 1] ** 2) for d in range(delays)
    )
    assert 15 < capacity < 100


def test_padded_targets_are_not_fitted() -> None:
    shape = SequenceShape(1, 1, None, "every_step")
    inputs = torch.randn(8, 3, 1, dtype=torch.float64)
    targets = torch.randn(3, 8, 1, dtype=torch.float64)
    marked = targets.clone()
    marked[1, 5:] = float("nan")
    cut, whole = _network(shape, 5), _network(shape, 5)
    cut.fit([(inputs, marked, torch.tensor([8, 5, 8]))])
    alone = [(inputs[:, [0, 2]], targets[[0, 2]], None), (inputs[:5, 1:2], targets[1:2, :5], None)]
    whole.fit(alone)
    torch.testing.assert_close(cut.readout.weight, whole.readout.weight)


def test_the_count_is_that_of_the_readout() -> None:
    shape = SequenceShape(28, 10, 28, "last_step")
    assert EchoStateNetwork.parameter_count(shape, 291) == 10 * (291 + 28 + 1)
    assert EchoStateNetwork.frozen_count(shape, 291) == 291 * (291 + 29)
