"""The TCN against loops in numpy, its published size, its receptive field and the budget solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import Budget, ModelSpec, SequenceModel, SequenceShape, build_model, solve
from rnnsearch.testing import SequenceModelConformance
from rnnsearch_feedforward.tcn import TCN, CausalConvolution

EVERY_STEP = SequenceShape(input_size=3, output_size=2, length=None, readout="every_step")


class TestTCN(SequenceModelConformance):
    @pytest.fixture
    def model_class(self) -> type[SequenceModel]:
        return TCN


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).double()


def _opened(model: TCN) -> TCN:
    """All weights positive: with positive inputs no rectifier hides a dependency."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().add_(0.1)
    return model


def test_the_papers_net_for_sequential_mnist_has_about_its_published_size() -> None:
    shape = SequenceShape(input_size=1, output_size=10, length=784, readout="last_step")
    options = {"kernel_size": 7, "levels": 8}
    count = TCN.parameter_count(shape, 25, **options)
    # Filters of 7 with bias and length, two per block; the map around block 0; the output.
    block = 25 * (25 * 7 + 2)
    assert count == 25 * (7 + 2) + 15 * block + (1 + 1) * 25 + (25 + 1) * 10 == 66910
    assert abs(count / 70_000 - 1) < 0.05
    assert sum(p.numel() for p in TCN(shape, 25, **options).parameters()) == count


@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize("dilation", [1, 2, 5])
def test_a_causal_convolution_is_a_sum_over_its_taps(dilation: int, weight_norm: bool) -> None:
    torch.manual_seed(0)
    layer = CausalConvolution(2, 3, 4, dilation, weight_norm).double()
    v = layer.convolution.weight.detach().numpy()
    filters = v
    if weight_norm:
        with torch.no_grad():
            layer.lengths.copy_(torch.tensor([0.5, -1.0, 2.0]).view(3, 1, 1))
        norms = np.sqrt((v**2).sum((1, 2), keepdims=True))
        filters = np.array([0.5, -1.0, 2.0]).reshape(3, 1, 1) * v / norms
    bias = layer.convolution.bias.detach().numpy()
    # From one step, where only the last tap sees anything, to more steps than all taps span.
    for steps in (1, 2, 7, 20):
        inputs = _noise(2, 2, steps)
        found = layer(inputs).detach().numpy()
        for t in range(steps):
            expected = np.tile(bias, (2, 1))
            for age in range(4):
                if t >= age * dilation:
                    seen = inputs[:, :, t - age * dilation].numpy()
                    expected += seen @ filters[:, :, 3 - age].T
            np.testing.assert_allclose(found[:, :, t], expected, rtol=0, atol=1e-12)


def test_learning_lengths_apart_changes_nothing_at_first() -> None:
    outputs = []
    for weight_norm in (True, False):
        torch.manual_seed(0)
        model = TCN(EVERY_STEP, 4, kernel_size=3, levels=2, weight_norm=weight_norm).double()
        outputs.append(model(_noise(9, 2, 3)))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-6, atol=1e-6)


def test_a_net_of_two_blocks_is_its_layers_in_the_order_of_the_paper() -> None:
    torch.manual_seed(0)
    model = TCN(EVERY_STEP, 4, kernel_size=3, levels=2).double()
    inputs = _noise(9, 2, 3)
    values = inputs.permute(1, 2, 0)
    a, b, c, d = (layer for block in model.blocks for layer in (block.first, block.second))
    widening = model.blocks[0].shortcut
    widened = (inputs @ widening.weight[:, :, 0].T + widening.bias).permute(1, 2, 0)
    values = (b(a(values).relu()).relu() + widened).relu()
    values = (d(c(values).relu()).relu() + values).relu()
    expected = model.output_map(values.permute(2, 0, 1))
    torch.testing.assert_close(model(inputs), expected)
    assert [layer.convolution.dilation for layer in (a, b, c, d)] == [(1,), (1,), (2,), (2,)]


@pytest.mark.parametrize(("kernel_size", "levels"), [(2, 1), (2, 4), (3, 3), (7, 2)])
def test_an_output_sees_the_steps_of_its_receptive_field_and_no_others(
    kernel_size: int, levels: int
) -> None:
    model = _opened(TCN(EVERY_STEP, 2, kernel_size=kernel_size, levels=levels).double())
    inputs = _noise(60, 1, 3).abs().requires_grad_()
    model(inputs)[50].sum().backward()
    seen = inputs.grad.abs().sum((1, 2)).nonzero().flatten().tolist()
    field = 1 + 2 * (kernel_size - 1) * (2**levels - 1)
    assert seen == list(range(51 - field, 51))


@pytest.mark.parametrize(
    ("length", "kernel_size", "levels"),
    [(28, 7, 2), (37, 7, 2), (38, 7, 3), (784, 7, 7), (1, 2, 1), (None, 7, 6)],
)
def test_by_default_there_are_as_many_blocks_as_it_takes_to_see_the_whole_sequence(
    length: int | None, kernel_size: int, levels: int
) -> None:
    shape = SequenceShape(input_size=1, output_size=1, length=length, readout="every_step")
    assert len(TCN(shape, 1, kernel_size=kernel_size).blocks) == levels


def test_the_output_of_a_short_sequence_is_that_at_its_last_step() -> None:
    torch.manual_seed(0)
    shape = SequenceShape(input_size=3, output_size=2, length=None, readout="masked_step")
    model = TCN(shape, 4, kernel_size=3, levels=2).double()
    inputs, lengths = _noise(9, 3, 3), torch.tensor([4, 9, 1])
    together = model(inputs, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(inputs[:length, row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


def test_extra_channels_are_between_the_convolutions_of_the_last_block() -> None:
    torch.manual_seed(0)
    model = TCN(EVERY_STEP, 4, kernel_size=3, levels=2, extra_channels=5)
    widths = [
        (layer.convolution.in_channels, layer.convolution.out_channels)
        for block in model.blocks
        for layer in (block.first, block.second)
    ]
    assert widths == [(3, 4), (4, 4), (4, 9), (9, 4)]


@pytest.mark.parametrize(
    ("shape", "budget"),
    [
        (SequenceShape(28, 10, 28, "last_step"), 3200),
        (SequenceShape(1, 10, 784, "last_step"), 1000),
        (SequenceShape(4, 10, None, "masked_step"), 5420),
        (SequenceShape(50, 50, None, "every_step"), 50_000),
    ],
)
def test_the_solver_meets_budgets(shape: SequenceShape, budget: int) -> None:
    spec = ModelSpec(architecture="tcn", shape=shape, hidden_size=1, head="")
    solution = solve(TCN, spec, Budget(budget, tolerance=0.02))
    built = sum(p.numel() for p in build_model(TCN, solution.spec).parameters())
    assert built == solution.parameters
    assert abs(built / budget - 1) <= 0.02
