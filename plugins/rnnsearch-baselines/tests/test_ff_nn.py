"""The feed-forward net against its published size, its equation and the budget solver."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnsearch import (
    Budget,
    ModelSpec,
    SequenceModel,
    SequenceShape,
    build_model,
    count_parameters,
    solve,
)
from rnnsearch.testing import SequenceModelConformance
from rnnsearch_baselines.ff_nn import FFNN

MNIST = SequenceShape(input_size=28, output_size=10, length=28, readout="last_step")


class TestFFNN(SequenceModelConformance):
    @pytest.fixture
    def model_class(self) -> type[SequenceModel]:
        return FFNN


def spec(shape: SequenceShape = MNIST, hidden_size: int = 1) -> ModelSpec:
    return ModelSpec(architecture="ff_nn", shape=shape, hidden_size=hidden_size, head="")


def test_the_paper_s_net_has_its_published_number_of_parameters() -> None:
    assert count_parameters(FFNN, spec(hidden_size=300)) == (328810, 0, 0)
    built = build_model(FFNN, spec(hidden_size=300))
    assert sum(p.numel() for p in built.parameters()) == 328810


@pytest.mark.parametrize("seed", range(20))
def test_the_count_is_what_is_built_at_random_sizes(seed: int) -> None:
    draw = random.Random(seed)
    shape = SequenceShape(draw.randint(1, 9), draw.randint(1, 9), draw.randint(1, 9), "last_step")
    hidden_size, second_size = draw.randint(1, 20), draw.choice((0, draw.randint(1, 20)))
    built = sum(p.numel() for p in FFNN(shape, hidden_size, second_size).parameters())
    assert FFNN.parameter_count(shape, hidden_size, second_size=second_size) == built


@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_the_net_computes_its_equation_on_the_steps_side_by_side(output: str) -> None:
    torch.manual_seed(0)
    model = FFNN(SequenceShape(3, 2, 4, "last_step"), 5, second_size=6, output=output).double()
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    inputs = torch.randn(4, 7, 3, dtype=torch.float64)

    def sigmoid(s: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-s))

    found = model(inputs).detach().numpy()
    for sample in range(7):
        values = np.concatenate([inputs[step, sample].numpy() for step in range(4)])
        for layer in (0, 2):
            affine = weights[f"network.{layer}.weight"] @ values
            values = sigmoid(affine + weights[f"network.{layer}.bias"])
        values = weights["network.4.weight"] @ values + weights["network.4.bias"]
        expected = sigmoid(values) if output == "sigmoid" else values
        np.testing.assert_allclose(found[sample], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        pytest.param(replace(MNIST, length=None), "same length", id="no-length"),
        pytest.param(
            SequenceShape(4, 10, None, "masked_step"), "same length", id="masked-no-length"
        ),
        pytest.param(replace(MNIST, readout="every_step"), "every step", id="every_step"),
    ],
)
def test_sequences_that_the_net_cannot_take_are_refused_with_the_reason(
    shape: SequenceShape, reason: str
) -> None:
    assert reason in (FFNN.refusal(shape) or "")


def test_sequences_of_one_length_are_not_refused() -> None:
    assert FFNN.refusal(MNIST) is None


def test_a_net_for_sequences_without_a_length_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="sequences of one length"):
        FFNN(replace(MNIST, length=None), 5)


def test_the_solver_finds_the_paper_s_width_from_its_parameters() -> None:
    solution = solve(FFNN, spec(), Budget(328810, tolerance=0.0))
    assert (solution.spec.hidden_size, solution.closed_by) == (300, "")


@pytest.mark.parametrize(
    ("budget", "closed_by"),
    [(2000, "second_size"), (3200, ""), (3482, "second_size"), (5420, "second_size"), (50_000, "")],
)
def test_the_solver_meets_small_budgets_by_the_width_or_with_the_second_layer(
    budget: int, closed_by: str
) -> None:
    solution = solve(FFNN, spec(), Budget(budget, tolerance=0.02))
    built = sum(p.numel() for p in build_model(FFNN, solution.spec).parameters())
    assert built == solution.parameters
    assert abs(built / budget - 1) <= 0.02
    assert solution.closed_by == closed_by
