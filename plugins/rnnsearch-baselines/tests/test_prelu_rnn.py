"""The PReLU network with feedback, against its equation and its published size."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model, count_parameters
from rnnsearch.testing import CellConformance
from rnnsearch_baselines.prelu_rnn import PReLURNNCell


class TestPReLURNNCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return PReLURNNCell


@pytest.mark.parametrize(("slopes", "published"), [("per_unit", 5480), ("shared", 5344)])
def test_the_paper_s_net_has_its_published_number_of_parameters(
    slopes: str, published: int
) -> None:
    spec = ModelSpec(
        architecture="prelu_rnn",
        shape=SequenceShape(4, 10, None, "masked_step"),
        hidden_size=30,
        head="prelu",
        head_hidden_size=50,
        head_options={"slopes": slopes},
        options={"mlp_size": 50, "slopes": slopes},
    )
    assert count_parameters(PReLURNNCell, spec)[0] == published
    assert sum(p.numel() for p in build_model(PReLURNNCell, spec).parameters()) == published


def test_the_cell_of_the_paper_s_net_counts_3360_by_default() -> None:
    assert PReLURNNCell.parameter_count(4, 30) == 3360


@pytest.mark.parametrize(
    ("ratio", "units", "width"), [(0.5, 3, 2), (0.5, 4, 2), (0.6, 2, 1), (0.8, 2, 2), (2.0, 7, 14)]
)
def test_the_width_from_the_ratio_is_rounded_half_up(ratio: float, units: int, width: int) -> None:
    assert PReLURNNCell(1, units, mlp_ratio=ratio).network[0].out_features == width


@pytest.mark.parametrize("seed", range(20))
def test_the_count_is_what_is_built_at_random_sizes(seed: int) -> None:
    draw = random.Random(seed)
    sizes = draw.randint(1, 40), draw.randint(1, 40)
    structure: dict[str, Any] = {
        "mlp_ratio": draw.uniform(0.5, 2.0),
        "mlp_size": draw.choice((0, 0, 1, 17)),
        "slopes": draw.choice(("per_unit", "shared")),
    }
    built = sum(p.numel() for p in PReLURNNCell(*sizes, **structure).parameters())
    assert PReLURNNCell.parameter_count(*sizes, **structure) == built


@pytest.mark.parametrize("slopes", ["per_unit", "shared"])
def test_the_cell_computes_the_equation_written_out_in_numpy(slopes: str) -> None:
    torch.manual_seed(0)
    cell = PReLURNNCell(3, 5, slopes=slopes).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    weights = {name: p.detach().numpy() for name, p in cell.named_parameters()}

    def layer(x: np.ndarray, affine: int, slope: int) -> np.ndarray:
        total = weights[f"network.{affine}.weight"] @ x + weights[f"network.{affine}.bias"]
        return np.where(total > 0, total, weights[f"network.{slope}.weight"] * total)

    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    recurrent, state = np.zeros((2, 5)), cell.initial_state(2)
    for step_inputs in inputs:
        joined = np.concatenate([step_inputs.numpy(), recurrent], axis=1)
        recurrent = np.stack([layer(layer(row, 0, 1), 2, 3) for row in joined])
        output, state = cell(step_inputs, state)
        np.testing.assert_allclose(output.detach().numpy(), recurrent, rtol=1e-12, atol=1e-12)
        assert output is state[0]
