"""The highway net against its equation, the effect of closed gates, and how deep it trains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rnnsearch import Budget, ModelSpec, SequenceModel, SequenceShape, build_model, solve
from rnnsearch.testing import SequenceModelConformance
from rnnsearch_feedforward.highway import Highway, HighwayLayer

MNIST = SequenceShape(input_size=28, output_size=10, length=28, readout="last_step")


class TestHighway(SequenceModelConformance):
    @pytest.fixture
    def model_class(self) -> type[SequenceModel]:
        return Highway


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).double()


def test_parameter_count_is_the_closed_form() -> None:
    assert Highway.parameter_count(MNIST, 50, layers=9) == 785 * 50 + 9 * 2 * (50**2 + 50) + 510
    with_last = 785 * 50 + 9 * 2 * (50**2 + 50) + 51 * 7 + 8 * 10
    assert Highway.parameter_count(MNIST, 50, layers=9, last_size=7) == with_last


@pytest.mark.parametrize("last_size", [0, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_net_computes_its_equation_on_the_steps_side_by_side(
    activation: str, last_size: int
) -> None:
    torch.manual_seed(0)
    shape = SequenceShape(3, 2, 4, "last_step")
    options = {"layers": 2, "activation": activation, "last_size": last_size}
    model = Highway(shape, 5, **options).double()
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    inputs = _noise(4, 7, 3)

    def affine(name: str, values: np.ndarray) -> np.ndarray:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def f(values: np.ndarray) -> np.ndarray:
        return np.maximum(values, 0) if activation == "relu" else np.tanh(values)

    values = np.stack([np.concatenate(list(inputs[:, sample].numpy())) for sample in range(7)])
    values = f(affine("first.0", values))
    for layer in range(2):
        transform, gate = np.split(affine(f"layers.{layer}.transform_and_gate", values), 2, axis=1)
        gate = 1 / (1 + np.exp(-gate))
        values = f(transform) * gate + values * (1 - gate)
    if last_size:
        values = f(affine("last.0", values))
    found = model(inputs).detach().numpy()
    np.testing.assert_allclose(found, affine("output_map", values), rtol=0, atol=1e-12)


def test_a_layer_with_its_gate_shut_is_the_identity_with_an_identity_jacobian() -> None:
    torch.manual_seed(0)
    layer = HighwayLayer(4, -1000.0, nn.ReLU()).double()
    values = _noise(4)
    assert torch.equal(layer(values), values)
    jacobian = torch.func.jacrev(layer)(values)
    assert torch.equal(jacobian, torch.eye(4, dtype=torch.float64))


def test_a_layer_with_its_gate_open_is_a_plain_layer() -> None:
    torch.manual_seed(0)
    layer = HighwayLayer(4, 1000.0, nn.ReLU()).double()
    values = _noise(3, 4)
    transform, _ = layer.transform_and_gate(values).chunk(2, dim=-1)
    assert torch.equal(layer(values), transform.relu())


def test_gates_start_at_their_bias() -> None:
    model = Highway(MNIST, 5, layers=3, gate_bias=-3.0)
    for layer in model.layers:
        assert torch.equal(layer.transform_and_gate.bias[5:], torch.full((5,), -3.0))


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        pytest.param(replace(MNIST, length=None), "same length", id="no-length"),
        pytest.param(replace(MNIST, readout="every_step"), "every step", id="every_step"),
    ],
)
def test_sequences_that_the_net_cannot_take_are_refused_with_the_reason(
    shape: SequenceShape, reason: str
) -> None:
    assert reason in (Highway.refusal(shape) or "")


def test_sequences_of_one_length_are_not_refused() -> None:
    assert Highway.refusal(MNIST) is None


def test_a_net_for_sequences_without_a_length_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="sequences of one length"):
        Highway(replace(MNIST, length=None), 5)


def test_a_net_that_reads_all_steps_at_once_is_not_causal() -> None:
    assert not Highway.capabilities.causal


@pytest.mark.parametrize("budget", [2000, 3200, 5420, 50_000])
def test_the_solver_meets_budgets(budget: int) -> None:
    spec = ModelSpec(architecture="highway", shape=MNIST, hidden_size=1, head="")
    solution = solve(Highway, spec, Budget(budget, tolerance=0.02))
    built = sum(p.numel() for p in build_model(Highway, solution.spec).parameters())
    assert built == solution.parameters
    assert abs(built / budget - 1) <= 0.02


def _signs(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """16 numbers; the target is whether the sums of the two halves differ in sign."""
    inputs = torch.randn(samples, 16, generator=generator)
    first, second = inputs[:, :8].sum(1) > 0, inputs[:, 8:].sum(1) > 0
    return inputs, (first ^ second).long()


class _BatchFirst(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.transpose(0, 1)


def _plain_net(width: int, layers: int) -> nn.Sequential:
    """Rectifiers without gates, initialized so that values keep their variance (He et al. 2015)."""
    net = nn.Sequential(_BatchFirst(), nn.Flatten(), nn.Linear(16, width), nn.ReLU())
    for _ in range(layers):
        net.extend([nn.Linear(width, width), nn.ReLU()])
    net.append(nn.Linear(width, 2))
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return net


def _accuracy_after_training(net: nn.Module, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    for _ in range(600):
        inputs, targets = _signs(100, generator)
        optimizer.zero_grad()
        cross_entropy(net(inputs.T.unsqueeze(-1)), targets).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    inputs, targets = _signs(4000, torch.Generator().manual_seed(99))
    with torch.no_grad():
        found = net(inputs.T.unsqueeze(-1)).argmax(1)
    return float((found == targets).float().mean())


@pytest.mark.slow
def test_fifty_highway_layers_train_where_fifty_plain_ones_of_equal_size_do_not() -> None:
    shape = SequenceShape(input_size=1, output_size=2, length=16, readout="last_step")
    torch.manual_seed(2)
    highway = Highway(shape, 20, layers=50, gate_bias=-3.0)
    plain = _plain_net(28, layers=50)
    sizes = [sum(p.numel() for p in net.parameters()) for net in (highway, plain)]
    assert abs(sizes[0] / sizes[1] - 1) < 0.06
    assert _accuracy_after_training(highway, seed=2) > 0.9
    assert _accuracy_after_training(plain, seed=2) < 0.6
