"""S-NN against its equations, its published size and the exclusive-or in time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model, count_parameters
from rnnsearch.testing import CellConformance
from rnnsearch_stigmergic.snn import FullLayer, SimpleLayer, SNNCell


class TestSNNCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return SNNCell


def seeded_cell(input_size: int, hidden_size: int, clamp: str = "softplus") -> SNNCell:
    torch.manual_seed(0)
    return SNNCell(input_size, hidden_size, clamp).double()


def randn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64)


def test_the_paper_s_net_has_its_published_number_of_parameters() -> None:
    spec = ModelSpec(
        architecture="snn", shape=SequenceShape(28, 10, 28, "last_step"), hidden_size=10
    )
    assert count_parameters(SNNCell, spec)[0] == 3470
    assert sum(p.numel() for p in build_model(SNNCell, spec).parameters()) == 3470


def test_the_paper_s_layers_have_their_published_numbers_of_parameters() -> None:
    simple, full = SimpleLayer(28, 10, "softplus"), FullLayer(10, 10, "softplus")
    assert sum(p.numel() for p in simple.parameters()) == 320
    assert sum(p.numel() for p in full.parameters()) == 340


@pytest.mark.parametrize("sizes", [(1, 1), (1, 9), (7, 2), (13, 13)])
def test_the_count_and_the_state_size_are_what_is_built(sizes: tuple[int, int]) -> None:
    cell = SNNCell(*sizes)
    assert SNNCell.parameter_count(*sizes) == sum(p.numel() for p in cell.parameters())
    assert SNNCell.state_size(*sizes) == sum(part[0].numel() for part in cell.initial_state(2))


@pytest.mark.parametrize("clamp", ["softplus", "identity"])
def test_the_cell_computes_the_equations_written_out_in_numpy(clamp: str) -> None:
    cell = seeded_cell(3, 4, clamp)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    p = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    inputs = randn(6, 2, 3)

    def kappa(s: np.ndarray) -> np.ndarray:
        return np.log1p(np.exp(s)) if clamp == "softplus" else s

    def sigmoid(s: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-s))

    def moved(threshold: np.ndarray, output: np.ndarray, layer: str) -> np.ndarray:
        raised = kappa(threshold + p[f"{layer}.threshold_deposit"] * output)
        return kappa(raised - p[f"{layer}.threshold_tick"])

    expected = np.zeros((6, 2, 4))
    for sample in range(2):
        threshold1 = kappa(p["simple.initial_threshold"])
        threshold2 = kappa(p["full.initial_threshold"])
        weight2 = kappa(p["full.initial_weight"])
        for step in range(6):
            x = inputs[step, sample].numpy()
            z = sigmoid(p["simple.linear.weight"] @ x + p["simple.linear.bias"] - threshold1)
            y = sigmoid(z @ weight2 + p["full.bias"] - threshold2)
            weight2 = kappa(
                weight2 + np.outer(z, np.ones(4)) * p["full.weight_deposit"] - p["full.weight_tick"]
            )
            threshold1, threshold2 = moved(threshold1, z, "simple"), moved(threshold2, y, "full")
            expected[step, sample] = y

    state = cell.initial_state(2)
    for step in range(6):
        output, state = cell(inputs[step], state)
        np.testing.assert_allclose(output.detach().numpy(), expected[step], rtol=0, atol=1e-12)


def test_the_first_step_of_a_simple_layer_is_a_sigmoid_layer_with_the_bias_less_kappa() -> None:
    layer = seeded_cell(3, 4).simple
    inputs = randn(5, 3)
    output, _ = layer(inputs, layer.initial_state(5))
    bias = layer.linear.bias - (1 + layer.initial_threshold.exp()).log()
    torch.testing.assert_close(output, torch.sigmoid(inputs @ layer.linear.weight.T + bias))


def test_without_clamp_deposit_and_tick_a_simple_layer_is_a_sigmoid_layer_at_every_step() -> None:
    layer = seeded_cell(3, 4, "identity").simple
    with torch.no_grad():
        layer.threshold_deposit.zero_()
        layer.threshold_tick.zero_()
    threshold = layer.initial_state(5)
    for inputs in randn(10, 5, 3):
        output, threshold = layer(inputs, threshold)
        bias = layer.linear.bias - layer.initial_threshold
        torch.testing.assert_close(output, torch.sigmoid(inputs @ layer.linear.weight.T + bias))


def test_weights_lose_their_tick_once_a_step() -> None:
    layer = seeded_cell(3, 4, "identity").full
    weight, threshold = layer.initial_state(2)
    for _ in range(7):
        _, weight, threshold = layer(weight.new_zeros(2, 4), weight, threshold)
    expected = layer.initial_weight - 7 * layer.weight_tick
    torch.testing.assert_close(weight, expected.expand(2, -1, -1))


def test_every_sample_moves_only_its_own_weights() -> None:
    layer = seeded_cell(3, 4).full
    inputs = torch.rand(2, 4, dtype=torch.float64)
    _, weight, _ = layer(inputs, *layer.initial_state(2))
    for sample in range(2):
        _, alone, _ = layer(inputs[sample : sample + 1], *layer.initial_state(1))
        torch.testing.assert_close(weight[sample : sample + 1], alone)
    assert not torch.allclose(weight[0], weight[1])


def test_a_softplus_mark_without_deposit_and_tick_grows_like_the_logarithm_of_time() -> None:
    layer = seeded_cell(1, 1).simple
    with torch.no_grad():
        for parameter in (layer.initial_threshold, layer.threshold_deposit, layer.threshold_tick):
            parameter.zero_()
    threshold = layer.initial_state(1)
    for step in range(1, 101):
        _, threshold = layer(threshold.new_zeros(1, 1), threshold)
        # kappa is applied once at the start and twice per step, and log(1 + e^s) adds 1 to e^s.
        assert threshold.item() == pytest.approx(np.log(2 + 2 * step))


def test_the_gradient_is_that_of_finite_differences() -> None:
    cell = seeded_cell(2, 2)
    state = [part.detach().clone().requires_grad_() for part in cell.initial_state(2)]
    inputs = randn(2, 2).requires_grad_()

    def two_steps(x: Tensor, *state: Tensor) -> Tensor:
        return torch.as_tensor(cell(x, cell(x, state)[1])[0])

    assert torch.autograd.gradcheck(two_steps, (inputs, *state))


def test_one_neuron_with_moving_weights_learns_the_exclusive_or_of_two_successive_bits() -> None:
    torch.manual_seed(0)
    neuron = FullLayer(1, 1, "identity")
    first, second = torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 1]]).unsqueeze(2)
    target = torch.tensor([[0.0], [1], [1], [0]])
    optimizer = torch.optim.Adam(neuron.parameters(), lr=0.03)
    for _ in range(2000):
        _, weight, threshold = neuron(first, *neuron.initial_state(4))
        output, _, _ = neuron(second, weight, threshold)
        loss = (output - target).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(output.round(), target)
    assert loss.item() < 0.05
