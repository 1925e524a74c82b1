"""The wrappers."""

from __future__ import annotations

import pytest
import torch

from rnnsearch import CellWrapper, ModelSpec, SequenceShape, build_model, count_parameters
from rnnsearch.layers import Unrolled, run_eagerly
from rnnsearch.testing import WrapperConformance
from rnnsearch.testing.wrappers import PlainCell
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_wrappers.residual import Residual
from rnnsearch_wrappers.slow_layers import SlowLayers

SHAPE = SequenceShape(input_size=3, output_size=2, length=12, readout="last_step")


class TestResidual(WrapperConformance):
    @pytest.fixture
    def wrapper_class(self) -> type[CellWrapper]:
        return Residual


class TestSlowLayers(WrapperConformance):
    @pytest.fixture
    def wrapper_class(self) -> type[CellWrapper]:
        return SlowLayers


def _zeroed(cell: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
    return cell


def test_a_residual_cell_that_gives_nothing_is_the_identity() -> None:
    inside = PlainCell(4, 4)
    _zeroed(inside)
    inputs = torch.randn(6, 2, 4)
    whole = Residual(inside, 4)
    outputs, _ = run_eagerly(whole, inputs, whole.initial_state(2))
    assert torch.equal(outputs, inputs)


def test_a_layer_wider_than_its_inputs_is_left_as_it_is() -> None:
    inside = PlainCell(3, 4)
    inputs = torch.randn(6, 2, 3)
    start = inside.initial_state(2)
    expected = run_eagerly(inside, inputs, start)
    torch.testing.assert_close(run_eagerly(Residual(inside, 4), inputs, start), expected)


def test_a_slow_layer_of_period_one_is_the_cell_itself() -> None:
    torch.manual_seed(0)
    inside = PlainCell(3, 4)
    inputs = torch.randn(6, 2, 3)
    whole = SlowLayers(inside, 4, layer=2, period=1)
    outputs, state = run_eagerly(whole, inputs, whole.initial_state(2))
    expected, last = run_eagerly(inside, inputs, inside.initial_state(2))
    torch.testing.assert_close((outputs, state[2:]), (expected, last))


@pytest.mark.parametrize(("layer", "period", "every"), [(1, 3, 3), (2, 2, 4)])
def test_a_slow_layer_equals_the_cell_on_every_nth_input_and_holds_in_between(
    layer: int, period: int, every: int
) -> None:
    torch.manual_seed(0)
    inside = PlainCell(3, 4)
    inputs = torch.randn(12, 2, 3)
    whole = SlowLayers(inside, 4, layer=layer, period=period)
    outputs, _ = run_eagerly(whole, inputs, whole.initial_state(2))
    expected, _ = run_eagerly(inside, inputs[::every], inside.initial_state(2))
    torch.testing.assert_close(outputs, expected.repeat_interleave(every, dim=0))


def _spec(**rest: object) -> ModelSpec:
    return ModelSpec("elman", SHAPE, 5, num_layers=3, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("name", ["residual", "slow_layers"])
def test_every_layer_of_a_model_is_wrapped_and_counted(name: str, learned: bool) -> None:
    spec = _spec(wrappers=((name, {}),), learned_initial_state=learned, bidirectional=True)
    model = build_model(ElmanCell, spec)
    built = sum(p.numel() for p in model.parameters())
    assert count_parameters(ElmanCell, spec)[0] == built
    layers = [m.cell for m in model.modules() if isinstance(m, Unrolled)]
    assert len(layers) == 6
    assert [getattr(cell, "layer", None) for cell in layers] == [0, 0, 1, 1, 2, 2]


def test_wrappers_stand_around_each_other_the_innermost_first() -> None:
    model = build_model(
        ElmanCell, _spec(wrappers=(("slow_layers", {"period": 2}), ("residual", {})))
    )
    outer = next(m.cell for m in model.modules() if isinstance(m, Unrolled))
    assert isinstance(outer, Residual)
    assert isinstance(outer.cell, SlowLayers)
    assert isinstance(outer.cell.cell, ElmanCell)
