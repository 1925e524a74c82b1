"""The LSTM with a projection against `torch.nn.LSTM` and against its equations."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model, count_parameters
from rnnsearch.plugin.layers import run_as_torch, run_eagerly
from rnnsearch.testing import CellConformance
from rnnsearch_lstm_variants.lstm_projection import ProjectionLSTMCell


class TestProjectionLSTMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return ProjectionLSTMCell


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_it_matches_torch_after_copying_weights_in_outputs_and_gradients(
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(0)
    reference = nn.LSTM(3, 6, proj_size=2).to(dtype)
    cell = ProjectionLSTMCell(3, 6, projection_ratio=1 / 3).to(dtype)
    cell.lstm.load_state_dict(reference.state_dict())
    inputs = torch.randn(7, 4, 3, dtype=dtype)
    start = (torch.randn(4, 2, dtype=dtype), torch.randn(4, 6, dtype=dtype))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        expected, (hidden, memory) = reference(inputs, (start[0][None], start[1][None]))
    outputs, state = run_eagerly(cell, inputs, start)
    torch.testing.assert_close((outputs, state), (expected, (hidden[0], memory[0])))

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (outputs * weights).sum().backward()
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(cell.get_parameter(f"lstm.{name}").grad, parameter.grad)


def test_running_it_as_torch_does_not_warn_of_what_nobody_can_change() -> None:
    cell = ProjectionLSTMCell(3, 6)
    torch.set_warn_always(True)
    try:
        run_as_torch(cell, torch.randn(7, 4, 3), cell.initial_state(4))
    finally:
        torch.set_warn_always(False)


def test_the_cell_computes_its_equations_in_numpy() -> None:
    torch.manual_seed(0)
    cell = ProjectionLSTMCell(3, 6, projection_ratio=0.5).double()
    w = {name: value.detach().numpy() for name, value in cell.lstm.named_parameters()}
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    expected = np.zeros((6, 2, 3))
    for sample in range(2):
        r, c = np.zeros(3), np.zeros(6)
        for step in range(6):
            net = w["weight_ih_l0"] @ inputs[step, sample].numpy() + w["weight_hh_l0"] @ r
            i, f, g, o = np.split(net + w["bias_ih_l0"] + w["bias_hh_l0"], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            r = w["weight_hr_l0"] @ (sigmoid(o) * np.tanh(c))
            expected[step, sample] = r
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(2))
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("ratio", "units", "width"),
    [(0.25, 8, 2), (0.25, 10, 3), (0.5, 3, 2), (0.1, 3, 1), (0.9, 2, 1), (0.9, 3, 2), (0.9, 9, 8)],
)
def test_the_projection_is_the_rounded_fraction_of_the_units_within_its_bounds(
    ratio: float, units: int, width: int
) -> None:
    assert ProjectionLSTMCell.output_size(5, units, projection_ratio=ratio) == width
    assert ProjectionLSTMCell(5, units, projection_ratio=ratio).lstm.proj_size == width


def test_a_single_unit_is_not_projected() -> None:
    cell = ProjectionLSTMCell(3, 1)
    assert cell.lstm.proj_size == 0
    assert ProjectionLSTMCell.output_size(3, 1) == 1
    assert ProjectionLSTMCell.parameter_count(3, 1) == 4 * (3 + 1 + 2)


@pytest.mark.parametrize(("m", "p"), [(1, 8), (28, 20)])
def test_the_one_bias_count_is_the_closed_form(m: int, p: int) -> None:
    q = p // 4
    one_bias = ProjectionLSTMCell.parameter_count(m, p) - ProjectionLSTMCell.redundant_biases(m, p)
    assert one_bias == 4 * p * (m + q + 1) + p * q


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.77, 0.9])
@pytest.mark.parametrize("m", [1, 28])
def test_the_count_grows_at_every_width(ratio: float, m: int) -> None:
    counts = [
        ProjectionLSTMCell.parameter_count(m, p, projection_ratio=ratio) for p in range(1, 300)
    ]
    assert counts == sorted(set(counts))


def test_the_next_layer_and_the_head_read_the_projection() -> None:
    spec = ModelSpec(
        "lstm_projection",
        SequenceShape(input_size=7, output_size=3, length=5, readout="last_step"),
        hidden_size=12,
        num_layers=2,
        bidirectional=True,
    )
    model = build_model(ProjectionLSTMCell, spec)
    first = ProjectionLSTMCell.parameter_count(7, 12)
    second = ProjectionLSTMCell.parameter_count(2 * 3, 12)
    expected = 2 * (first + second) + (2 * 3 + 1) * 3
    assert sum(p.numel() for p in model.parameters()) == expected
    assert count_parameters(ProjectionLSTMCell, spec)[0] == expected
    assert model(torch.zeros(5, 2, 7)).shape == (2, 3)
