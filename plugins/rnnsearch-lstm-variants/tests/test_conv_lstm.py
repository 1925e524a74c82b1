"""The convolutional LSTM against convolutions, LSTMs and the paper's numbers of parameters."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from rnnsearch import (
    Budget,
    ModelSpec,
    RecurrentCell,
    SequenceShape,
    build_model,
    count_parameters,
    solve,
)
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch.training.compiled_model import cell_source
from rnnsearch_lstm_variants.conv_lstm import ConvLSTMCell
from rnnsearch_lstm_variants.lstm_peephole import PeepholeLSTMCell


class TestConvLSTMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return ConvLSTMCell


def drawn(m: int, p: int, **structure: Any) -> ConvLSTMCell:
    torch.manual_seed(0)
    cell = ConvLSTMCell(m, p, **structure).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(std=0.5)
    return cell


def randn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64)


def run(cell: RecurrentCell, inputs: Tensor) -> Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0]


# The equations


@pytest.mark.parametrize("peepholes", ["channel", "position", "none"])
@pytest.mark.parametrize(
    ("channels", "rows", "columns", "kernel_size"),
    [(1, 5, 4, 3), (3, 5, 4, 3), (2, 3, 6, 5), (2, 4, 4, 1), (1, 1, 9, 3), (2, 1, 9, 5)],
)
def test_the_cell_computes_the_equations_with_the_convolution_of_torch(
    channels: int, rows: int, columns: int, kernel_size: int, peepholes: str
) -> None:
    p = 4
    cell = drawn(
        channels * rows * columns,
        p,
        rows=rows,
        columns=columns,
        kernel_size=kernel_size,
        peepholes=peepholes,
    )
    height, width = cell.kernel
    weight = cell.gates.weight.reshape(4 * p, height, width, channels + p).permute(0, 3, 1, 2)
    peephole: dict[str, Tensor | float] = dict.fromkeys(("input", "forget", "output"), 0.0)
    if peepholes != "none":
        for gate in peephole:
            peephole[gate] = cell.get_parameter(f"{gate}_peephole").permute(2, 0, 1)

    inputs = randn(5, 2, channels, rows, columns)
    hidden = memory = torch.zeros(2, p, rows, columns, dtype=torch.float64)
    expected = []
    for x in inputs:
        padding = (height // 2, width // 2)
        net = conv2d(torch.cat((x, hidden), 1), weight, cell.gates.bias, padding=padding)
        i, f, g, o = net.chunk(4, dim=1)
        i = torch.sigmoid(i + peephole["input"] * memory)
        f = torch.sigmoid(f + peephole["forget"] * memory)
        memory = f * memory + i * torch.tanh(g)
        hidden = torch.sigmoid(o + peephole["output"] * memory) * torch.tanh(memory)
        expected.append(hidden.flatten(1))
    torch.testing.assert_close(run(cell, inputs.flatten(2)), torch.stack(expected))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_on_one_position_without_peepholes_it_is_the_torch_lstm(kernel_size: int) -> None:
    cell = drawn(3, 5, columns=1, kernel_size=kernel_size, peepholes="none")
    lstm = nn.LSTM(3, 5).double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(cell.gates.weight[:, :3])
        lstm.weight_hh_l0.copy_(cell.gates.weight[:, 3:])
        lstm.bias_ih_l0.copy_(cell.gates.bias)
        lstm.bias_hh_l0.zero_()
    inputs = randn(7, 4, 3)
    torch.testing.assert_close(run(cell, inputs), lstm(inputs)[0])


@pytest.mark.parametrize("peepholes", ["channel", "position"])
def test_on_one_position_it_is_the_lstm_with_diagonal_peepholes(peepholes: str) -> None:
    cell, reference = drawn(3, 5, columns=1, peepholes=peepholes), PeepholeLSTMCell(3, 5).double()
    assert ConvLSTMCell.parameter_count(3, 5, columns=1) == PeepholeLSTMCell.parameter_count(3, 5)
    with torch.no_grad():
        reference.gates.load_state_dict(cell.gates.state_dict())
        for gate in ("input", "forget", "output"):
            weight = cell.get_parameter(f"{gate}_peephole")
            reference.get_parameter(f"{gate}_peephole").copy_(weight.flatten())
    inputs = randn(7, 4, 3)
    torch.testing.assert_close(run(cell, inputs), run(reference, inputs))


@pytest.mark.parametrize(("rows", "shift"), [(1, (0, 3)), (14, (2, 3)), (14, (-2, 1))])
def test_moving_the_inputs_moves_the_outputs_where_the_edge_is_far(
    rows: int, shift: tuple[int, int]
) -> None:
    columns, steps = 14, 3
    cell = drawn(rows * columns, 4, rows=rows)
    inputs = torch.zeros(steps, 2, rows, columns, dtype=torch.float64)
    middle = slice(6, 8) if rows > 1 else slice(0, 1)
    inputs[:, :, middle, 6:8] = randn(steps, 2, middle.stop - middle.start, 2)
    moved = inputs.roll(shift, dims=(2, 3))
    before = run(cell, inputs.flatten(2)).reshape(steps, 2, 4, rows, columns)
    after = run(cell, moved.flatten(2)).reshape(steps, 2, 4, rows, columns)
    # Each step carries the influence of an edge one position inwards.
    reached = steps
    down, right = shift
    inner_rows = slice(0, 1) if rows == 1 else slice(reached + 2, rows - reached - 2)
    inner = slice(reached + 3, columns - reached - 3)
    there_rows = slice(inner_rows.start + down, inner_rows.stop + down)
    there = slice(inner.start + right, inner.stop + right)
    assert not torch.allclose(after[..., there_rows, there], before[..., there_rows, there])
    torch.testing.assert_close(after[..., there_rows, there], before[..., inner_rows, inner])


def test_an_output_depends_on_the_inputs_that_its_kernel_has_reached_and_on_no_others() -> None:
    cell = drawn(81, 2, rows=9, kernel_size=3)
    inputs = randn(3, 1, 81).requires_grad_()
    centre = run(cell, inputs)[-1, 0].reshape(2, 9, 9)[:, 4, 4].sum()
    (gradient,) = torch.autograd.grad(centre, inputs)
    reached = gradient.reshape(3, 9, 9) != 0
    for step, radius in ((2, 1), (1, 2), (0, 3)):
        within = torch.zeros(9, 9, dtype=torch.bool)
        within[4 - radius : 5 + radius, 4 - radius : 5 + radius] = True
        assert torch.equal(reached[step], within)


@pytest.mark.parametrize("peepholes", ["channel", "position", "none"])
def test_the_gradient_on_a_grid_of_several_channels_is_that_of_finite_differences(
    peepholes: str,
) -> None:
    cell = drawn(12, 2, rows=2, columns=3, peepholes=peepholes)
    inputs = randn(2, 2, 12).requires_grad_()
    leaves = (inputs, *cell.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: run(cell, x), leaves, fast_mode=True)


# Counts


def test_the_counts_are_the_closed_forms() -> None:
    counts = {
        peepholes: ConvLSTMCell.parameter_count(
            2 * 5 * 6, 7, rows=5, columns=6, kernel_size=3, peepholes=peepholes
        )
        for peepholes in ("none", "channel", "position")
    }
    convolution = 4 * (2 + 7) * 7 * 9 + 4 * 7
    assert counts == {
        "none": convolution,
        "channel": convolution + 3 * 7,
        "position": convolution + 3 * 7 * 5 * 6,
    }


@pytest.mark.parametrize(
    ("widths", "published"),
    [
        pytest.param((256,), 13_524_496, id="1-layer"),
        pytest.param((128, 128), 10_042_896, id="2-layers"),
        pytest.param((128, 64, 64), 7_585_296, id="3-layers"),
    ],
)
def test_the_paper_s_nets_have_their_published_number_of_parameters(
    widths: tuple[int, ...], published: int
) -> None:
    """Table 1, kernels 5 x 5: frames of 64 x 64 as 16 channels of 16 x 16.

    Encoder and forecaster have the same layers; the top layer of the forecaster has no inputs, and
    each other layer reads the one above. The last map reads the channels of all layers at each
    position.
    """
    places, grid = 16 * 16, {"rows": 16, "columns": 16, "kernel_size": 5}

    def layer(channels: int, width: int) -> int:
        if not channels:
            return layer(1, width) - 4 * width * 25
        return ConvLSTMCell.parameter_count(channels * places, width, **grid)

    encoder = sum(map(layer, (16, *widths[:-1]), widths))
    forecaster = sum(map(layer, (*widths[1:], 0), widths))
    assert encoder + forecaster + (sum(widths) + 1) * 16 == published


@pytest.mark.parametrize(
    ("rows", "columns", "kernel"),
    [(1, 9, (1, 5)), (2, 9, (3, 5)), (9, 1, (5, 1)), (1, 1, (1, 1)), (3, 3, (5, 5))],
)
def test_weights_that_would_only_ever_meet_the_padding_are_not_built(
    rows: int, columns: int, kernel: tuple[int, int]
) -> None:
    cell = drawn(rows * columns, 2, rows=rows, columns=columns, kernel_size=5)
    assert cell.kernel == kernel
    run(cell, randn(3, 2, rows * columns)).sum().backward()
    weight_gradient = cell.gates.weight.grad
    assert weight_gradient is not None
    assert (weight_gradient != 0).all(), "every weight meets the grid somewhere"


# The grid


@pytest.mark.parametrize(
    ("features", "options", "words"),
    [
        (28, {"rows": 3}, "28 inputs do not fill 3 rows; it takes multiples of 3"),
        (4, {"rows": 5}, "4 inputs do not fill 5 rows; it takes multiples of 5"),
        (4, {"columns": 5}, "4 inputs do not fill a grid of 1 x 5; it takes multiples of 5"),
        (
            28,
            {"rows": 2, "columns": 5},
            "28 inputs do not fill a grid of 2 x 5; it takes multiples of 10",
        ),
    ],
)
def test_inputs_that_do_not_fill_the_grid_are_refused(
    features: int, options: dict[str, Any], words: str
) -> None:
    assert ConvLSTMCell.refusal(features, **options) == words
    with pytest.raises(ValueError, match=f"^ConvLSTMCell: {words}$"):
        ConvLSTMCell(features, 2, **options)


@pytest.mark.parametrize(
    "options", [{}, {"rows": 4}, {"columns": 7}, {"rows": 28}, {"rows": 2, "columns": 7}]
)
def test_inputs_that_fill_the_grid_are_taken(options: dict[str, Any]) -> None:
    assert ConvLSTMCell.refusal(28, **options) is None
    cell = ConvLSTMCell(28, 2, **options)
    assert cell.channels * cell.rows * cell.columns == 28


def test_features_are_read_channel_by_channel_and_row_by_row() -> None:
    """A kernel of one weight per channel, open gates: `G` shows where each feature went."""
    cell = ConvLSTMCell(2 * 3 * 4, 2, rows=3, columns=4, kernel_size=1, peepholes="none").double()
    with torch.no_grad():
        cell.gates.weight.zero_()
        cell.gates.bias.zero_()
        for gate, bias in ((0, 1000.0), (1, -1000.0), (3, 1000.0)):  # i, f, o
            cell.gates.bias[2 * gate : 2 * gate + 2] = bias
        cell.gates.weight[4, 1] = 1  # the first channel of G reads the second of X
        cell.gates.weight[5, 0] = 1  # and the second the first
    inputs = randn(1, 24)
    output, _ = cell(inputs, cell.initial_state(1))
    swapped = torch.cat((inputs[:, 12:], inputs[:, :12]), 1)
    torch.testing.assert_close(output, swapped.tanh().tanh())


# In a model


def spec(features: int, layers: int, width: int = 3, **options: Any) -> ModelSpec:
    shape = SequenceShape(features, output_size=5, length=4, readout="last_step")
    return ModelSpec("conv_lstm", shape, width, num_layers=layers, options=options)


def test_with_columns_given_stacked_layers_convolve_over_the_same_grid() -> None:
    stack = build_model(ConvLSTMCell, spec(24, 3, rows=4, columns=6))
    cells = [layer.cell for layer in stack.body.layers]
    assert [(c.channels, c.rows, c.columns) for c in cells] == [(1, 4, 6), (3, 4, 6), (3, 4, 6)]
    assert stack(torch.zeros(4, 2, 24)).shape == (2, 5)


def test_without_columns_the_next_layer_reads_the_channels_end_to_end() -> None:
    stack = build_model(ConvLSTMCell, spec(24, 2))
    cells = [layer.cell for layer in stack.body.layers]
    assert [(c.channels, c.rows, c.columns) for c in cells] == [(1, 1, 24), (1, 1, 72)]
    assert stack(torch.zeros(4, 2, 24)).shape == (2, 5)


@pytest.mark.parametrize("options", [{}, {"columns": 24}, {"rows": 4, "columns": 6}])
@pytest.mark.parametrize("layers", [1, 2])
def test_counted_parameters_of_a_model_are_those_built_and_meet_a_budget(
    layers: int, options: dict[str, Any]
) -> None:
    solution = solve(ConvLSTMCell, spec(24, layers, **options), Budget(20_000))
    assert abs(solution.residual) <= 0.02
    built = build_model(ConvLSTMCell, solution.spec)
    assert sum(p.numel() for p in built.parameters()) == solution.parameters
    assert count_parameters(ConvLSTMCell, solution.spec)[0] == solution.parameters


def test_the_engine_captures_it_on_a_grid() -> None:
    source = cell_source(ConvLSTMCell(24, 3, rows=2, columns=6, kernel_size=5))
    assert "step_backward" in source


def test_the_count_does_not_grow_with_the_grid() -> None:
    counts = {
        ConvLSTMCell.parameter_count(math.prod(grid), 8, rows=grid[0]) for grid in ((4, 4), (64, 9))
    }
    assert len(counts) == 1
