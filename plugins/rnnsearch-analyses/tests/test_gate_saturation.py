"""Saturated gates, counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnsearch import Analysis
from rnnsearch.testing import AnalysisConformance, example_model
from rnnsearch_analyses.gate_saturation import GateSaturation

# Two samples of five steps; only three steps of the second are valid. sigmoid(2.1972...) is 0.9.
DRIVE = np.array([[-9.0, -2.3, -2.1, 0.0, 9.0], [2.1, 2.3, -9.0, 9.0, 9.0]])[:, :, None]
LENGTHS = np.array([5, 3])


class TestGateSaturation(AnalysisConformance):
    @pytest.fixture
    def analysis_class(self) -> type[Analysis]:
        return GateSaturation


@pytest.mark.parametrize(
    "sigmoid",
    [
        torch.sigmoid,
        Tensor.sigmoid,
        lambda x: x.clone().sigmoid_(),
        functional.sigmoid,
        nn.Sigmoid(),
        torch.special.expit,
    ],
    ids=["torch", "method", "in place", "functional", "module", "expit"],
)
def test_gates_near_nought_and_one_are_counted_without_padding(
    look_at: Any, cell_of: Any, sigmoid: Callable[[Tensor], Tensor]
) -> None:
    cell = cell_of(1, 1, lambda x, m: m * sigmoid(x))
    trained = look_at(cell, inputs=DRIVE, lengths=LENGTHS)
    assert GateSaturation().refusal(trained) is None
    (finding,) = GateSaturation().analyse(trained)
    # Valid drives: -9, -2.3, -2.1, 0, 9 and 2.1, 2.3, -9.
    assert finding.numbers["gate_1_near_0"] == pytest.approx(3 / 8)
    assert finding.numbers["gate_1_near_1"] == pytest.approx(2 / 8)


def test_the_margin_decides_what_is_near(look_at: Any, cell_of: Any) -> None:
    trained = look_at(cell_of(1, 1, lambda x, m: torch.sigmoid(x)), inputs=DRIVE, lengths=LENGTHS)
    (finding,) = GateSaturation(margin=0.2).analyse(trained)
    assert finding.numbers["near_0"] == pytest.approx(4 / 8)
    assert finding.numbers["near_1"] == pytest.approx(3 / 8)


def test_each_sigmoid_of_a_step_is_a_gate_in_the_order_of_computation(
    look_at: Any, cell_of: Any
) -> None:
    def step(x: Tensor, m: Tensor) -> Tensor:
        return torch.sigmoid(x + 100) * torch.sigmoid(x - 100) * torch.sigmoid(0 * x)

    (finding,) = GateSaturation().analyse(look_at(cell_of(1, 1, step), inputs=DRIVE))
    shares = [
        (finding.numbers[f"gate_{n}_near_0"], finding.numbers[f"gate_{n}_near_1"])
        for n in (1, 2, 3)
    ]
    assert shares == [(0, 1), (1, 0), (0, 0)]
    assert finding.numbers["near_0"] == finding.numbers["near_1"] == pytest.approx(1 / 3)


def test_a_gate_made_of_parameters_alone_counts_for_every_sample(
    look_at: Any, cell_of: Any
) -> None:
    fixed = torch.tensor([50.0, -50.0])
    cell = cell_of(2, 2, lambda x, m: torch.sigmoid(fixed) * x)
    inputs = np.ones((3, 4, 2), np.float32)
    (finding,) = GateSaturation().analyse(look_at(cell, inputs=inputs))
    assert finding.numbers["near_0"] == finding.numbers["near_1"] == 0.5


def test_an_lstm_has_the_three_gates_of_its_equations() -> None:
    trained = example_model("lstm")
    (finding,) = GateSaturation().analyse(trained)
    assert {n for n in finding.numbers if n.startswith("gate_")} == {
        f"gate_{n}_near_{end}" for n in (1, 2, 3) for end in (0, 1)
    }


def test_a_cell_without_a_sigmoid_is_refused_in_words(look_at: Any, cell_of: Any) -> None:
    trained = look_at(cell_of(1, 1, lambda x, m: torch.tanh(x + m)), inputs=DRIVE)
    assert "no gates" in str(GateSaturation().refusal(trained))
    # A sigmoid on top of the layers is not one of their gates.
    trained.model.head = nn.Sigmoid()
    assert "no gates" in str(GateSaturation().refusal(trained))
