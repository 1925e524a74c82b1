"""SM-RNN against its equations, its published sizes and the required behaviour of its marks."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model, count_parameters
from rnnsearch.testing import CellConformance
from rnnsearch_stigmergic.sm_rnn import SMRNNCell


class TestSMRNNCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return SMRNNCell


def seeded_cell(*sizes: int, seed: int = 0, **options: Any) -> SMRNNCell:
    torch.manual_seed(seed)
    return SMRNNCell(*sizes, **options).double()


def silence(cell: SMRNNCell) -> None:
    """Make deposit and removal zero for any stimulus."""
    for network in (cell.deposit, cell.removal):
        set_output(network, bias=-1.0)


def set_output(network: nn.Module, bias: float, scale: float = 0.0) -> None:
    last = network[2]  # type: ignore[index]
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.fill_(bias)


def marks_over_time(cell: SMRNNCell, inputs: Tensor, marks: Tensor) -> Tensor:
    history = []
    for step_inputs in inputs:
        _, (marks,) = cell(step_inputs, (marks,))
        history.append(marks)
    return torch.stack(history)


@pytest.mark.parametrize(
    ("input_size", "marks", "mlp_size", "head_size", "slopes", "published"),
    [
        # The paper prints 3190: it omits the ten slopes of the output.
        pytest.param(28, 15, 20, 10, "per_unit", 3190 + 10, id="spatial-per_unit"),
        pytest.param(28, 15, 20, 10, "shared", 3144, id="spatial-shared"),
        pytest.param(4, 30, 20, 20, "per_unit", 5420, id="temporal-per_unit"),
        pytest.param(4, 30, 20, 20, "shared", 5354, id="temporal-shared"),
    ],
)
def test_the_paper_s_nets_have_their_published_number_of_parameters(
    input_size: int, marks: int, mlp_size: int, head_size: int, slopes: str, published: int
) -> None:
    spec = ModelSpec(
        architecture="sm_rnn",
        shape=SequenceShape(input_size, 10, 28, "last_step"),
        hidden_size=marks,
        head="prelu",
        head_hidden_size=head_size,
        head_options={"slopes": slopes},
        options={"mlp_size": mlp_size, "slopes": slopes},
    )
    assert count_parameters(SMRNNCell, spec)[0] == published
    assert sum(p.numel() for p in build_model(SMRNNCell, spec).parameters()) == published


def test_the_default_ratio_gives_the_paper_s_width_on_spatial_mnist() -> None:
    assert SMRNNCell.parameter_count(28, 15) == SMRNNCell.parameter_count(28, 15, mlp_size=20)


@pytest.mark.parametrize(
    ("ratio", "marks", "width"), [(0.5, 3, 2), (0.5, 4, 2), (0.6, 2, 1), (0.8, 2, 2), (2.0, 7, 14)]
)
def test_the_width_from_the_ratio_is_rounded_half_up(ratio: float, marks: int, width: int) -> None:
    assert SMRNNCell(1, marks, mlp_ratio=ratio).deposit[0].out_features == width


@pytest.mark.parametrize("seed", range(20))
def test_the_count_is_what_is_built_at_random_sizes(seed: int) -> None:
    draw = random.Random(seed)
    sizes = draw.randint(1, 40), draw.randint(1, 40)
    structure: dict[str, Any] = {
        "mlp_ratio": draw.uniform(0.5, 2.0),
        "mlp_size": draw.choice((0, 0, 1, 17)),
        "slopes": draw.choice(("per_unit", "shared")),
    }
    built = sum(p.numel() for p in SMRNNCell(*sizes, **structure).parameters())
    assert SMRNNCell.parameter_count(*sizes, **structure) == built


@pytest.mark.parametrize("clamp", ["soft", "hard"])
@pytest.mark.parametrize("slopes", ["per_unit", "shared"])
def test_the_cell_computes_the_equations_written_out_in_numpy(slopes: str, clamp: str) -> None:
    cell = seeded_cell(3, 5, slopes=slopes, clamp=clamp)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    weights = {name: p.detach().numpy() for name, p in cell.named_parameters()}
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)

    def network(name: str, x: np.ndarray, marks: np.ndarray) -> np.ndarray:
        feedback = weights[f"{name}_feedback.weight"] @ marks + weights[f"{name}_feedback.bias"]
        hidden = weights[f"{name}.0.weight"] @ np.concatenate([x, feedback])
        hidden = hidden + weights[f"{name}.0.bias"]
        hidden = np.where(hidden > 0, hidden, weights[f"{name}.1.weight"] * hidden)
        return np.maximum(0, weights[f"{name}.2.weight"] @ hidden + weights[f"{name}.2.bias"])

    def clamped(marks: np.ndarray) -> np.ndarray:
        if clamp == "hard":
            return np.minimum(np.maximum(marks, 0), 10)
        return 10 / (1 + np.exp(-(0.4 * marks - 2)))

    expected = np.zeros((6, 4, 5))
    for sample in range(4):
        marks = np.zeros(5)
        for step in range(6):
            x = inputs[step, sample].numpy()
            deposit, removal = network("deposit", x, marks), network("removal", x, marks)
            marks = clamped(marks + deposit - removal)
            expected[step, sample] = marks
    marks_found = marks_over_time(cell, inputs, *cell.initial_state(4))
    np.testing.assert_allclose(marks_found.detach().numpy(), expected, rtol=0, atol=1e-12)
    if clamp == "hard":
        assert 0 < (expected == 0).sum() < expected.size, "some marks should meet the clamp"


def test_deposit_and_removal_are_never_negative() -> None:
    cell = seeded_cell(3, 8)
    inputs = 10 * torch.randn(500, 3, dtype=torch.float64)
    marks = 10 * torch.rand(500, 8, dtype=torch.float64)
    for stimulus in cell.stimulate(inputs, marks):
        assert (stimulus >= 0).all()
        assert (stimulus > 0).any()


@pytest.mark.parametrize("clamp", ["soft", "hard"])
def test_marks_stay_between_the_finishing_and_the_saturation_level(clamp: str) -> None:
    cell = seeded_cell(3, 8, clamp=clamp)
    history = marks_over_time(
        cell, 100 * torch.randn(50, 16, 3, dtype=torch.float64), *cell.initial_state(16)
    )
    assert (history >= 0).all()
    assert (history <= 10).all()
    assert history.max() - history.min() > 9, "the inputs should drive the marks to both ends"


def test_with_a_hard_clamp_marks_stay_where_nothing_is_deposited_or_removed() -> None:
    cell = seeded_cell(3, 8, clamp="hard")
    silence(cell)
    marks = 10 * torch.rand(4, 8, dtype=torch.float64)
    history = marks_over_time(cell, torch.randn(30, 4, 3, dtype=torch.float64), marks)
    assert torch.equal(history, marks.expand_as(history))


def test_away_from_a_hard_clamp_a_mark_is_the_deposits_less_the_removals() -> None:
    cell = seeded_cell(3, 8, clamp="hard")
    set_output(cell.deposit, bias=0.3, scale=0.2)
    set_output(cell.removal, bias=0.05, scale=0.2)
    (marks,) = cell.initial_state(4)
    deposits, removals = torch.zeros_like(marks), torch.zeros_like(marks)
    for step_inputs in torch.randn(20, 4, 3, dtype=torch.float64):
        deposit, removal = cell.stimulate(step_inputs, marks)
        _, (marks,) = cell(step_inputs, (marks,))
        deposits, removals = deposits + deposit, removals + removal
        assert (marks > 0).all(), "the test should stay off the clamp"
        assert (marks < 10).all(), "the test should stay off the clamp"
    assert (removals > 0).all()
    torch.testing.assert_close(marks, deposits - removals, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("before", "after"), [(0.0, 1.1920292), (5.0, 5.0), (10.0, 8.8079708)])
def test_the_soft_clamp_pulls_a_mark_towards_five(before: float, after: float) -> None:
    marks = SMRNNCell(1, 1).clamped(torch.tensor([before], dtype=torch.float64))
    assert marks.item() == pytest.approx(after, abs=1e-7)


def test_the_soft_clamp_has_slope_one_at_five_and_less_elsewhere() -> None:
    marks = torch.linspace(0, 10, 101, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(SMRNNCell(1, 1).clamped(marks).sum(), marks)
    assert slopes[50].item() == pytest.approx(1)
    assert (torch.cat((slopes[:50], slopes[51:])) < 1).all()


def test_under_the_soft_clamp_an_unstimulated_mark_drifts_to_3_88_in_28_steps() -> None:
    cell = seeded_cell(3, 2)
    silence(cell)
    inputs = torch.randn(28, 1, 3, dtype=torch.float64)
    history = marks_over_time(cell, inputs, *cell.initial_state(1))
    assert history[0, 0, 0].item() == pytest.approx(10 / (1 + math.exp(2)))
    assert history[-1, 0, 0].item() == pytest.approx(3.88, abs=0.005)


def test_deposit_and_removal_have_feedback_layers_of_their_own() -> None:
    cell = seeded_cell(3, 8)
    inputs = torch.randn(4, 3, dtype=torch.float64)
    marks = 10 * torch.rand(4, 8, dtype=torch.float64)
    deposit, removal = cell.stimulate(inputs, marks)
    with torch.no_grad():
        cell.removal_feedback.weight.zero_()
    deposit_after, removal_after = cell.stimulate(inputs, marks)
    assert torch.equal(deposit, deposit_after)
    assert not torch.equal(removal, removal_after)


@pytest.mark.parametrize("clamp", ["soft", "hard"])
def test_the_gradient_is_that_of_finite_differences(clamp: str) -> None:
    cell = seeded_cell(2, 3, clamp=clamp)
    inputs = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    marks = (3 + 4 * torch.rand(2, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, m: cell(x, (m,))[0], (inputs, marks))
