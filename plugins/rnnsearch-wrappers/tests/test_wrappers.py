"""The wrappers."""

from __future__ import annotations

import pytest
import torch

from rnnsearch import (
    CellWrapper,
    ModelSpec,
    SequenceShape,
    State,
    build_model,
    count_parameters,
)
from rnnsearch.plugin.layers import Unrolled, run_eagerly
from rnnsearch.plugin.noise import sample_keys, uniform
from rnnsearch.testing import WrapperConformance
from rnnsearch.testing.wrappers import PlainCell
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_wrappers.dropout import Dropout
from rnnsearch_wrappers.residual import Residual
from rnnsearch_wrappers.slow_layers import SlowLayers
from rnnsearch_wrappers.zoneout import Zoneout

SHAPE = SequenceShape(input_size=3, output_size=2, length=12, readout="last_step")


class TestResidual(WrapperConformance):
    @pytest.fixture
    def wrapper_class(self) -> type[CellWrapper]:
        return Residual


class TestSlowLayers(WrapperConformance):
    @pytest.fixture
    def wrapper_class(self) -> type[CellWrapper]:
        return SlowLayers


class TestZoneout(WrapperConformance):
    @pytest.fixture
    def wrapper_class(self) -> type[CellWrapper]:
        return Zoneout


class TestDropout(WrapperConformance):
    @pytest.fixture
    def wrapper_class(self) -> type[CellWrapper]:
        return Dropout


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
@pytest.mark.parametrize("name", ["residual", "slow_layers", "zoneout", "dropout"])
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


# Wrappers that need noise


class Still(PlainCell):
    """Its next state is always one everywhere; its output is its inputs."""

    def forward(self, inputs: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        return inputs, tuple(map(torch.ones_like, state))


def _drawn(cell: CellWrapper, batch: int, steps: int, features: torch.Tensor) -> torch.Tensor:
    keys = sample_keys(0, 0, torch.arange(batch))
    noise = uniform(keys, steps, cell.noise_size, cell.held_noise)
    return torch.cat((features.expand(steps, batch, -1), noise), dim=-1)


def _near(share: float, expected: float, numbers: int) -> bool:
    return abs(share - expected) < 4 * (expected * (1 - expected) / numbers) ** 0.5


def test_zoneout_keeps_each_part_of_the_state_at_its_rate() -> None:
    cell = Zoneout(Still(3, 5), 3, rate=0.2, cell_rate=0.6)
    inputs = _drawn(cell, 4000, 1, torch.zeros(3))[0]
    _, (hidden, memory) = cell(inputs, cell.initial_state(4000))
    assert {*hidden.unique().tolist()} == {0.0, 1.0}
    assert _near(float((hidden == 0).double().mean()), 0.2, hidden.numel())
    assert _near(float((memory == 0).double().mean()), 0.6, memory.numel())


def test_zoneout_in_evaluation_is_the_mean_over_its_draws() -> None:
    torch.manual_seed(0)
    cell = Zoneout(LSTMCell(3, 5).double(), 5, rate=0.3, cell_rate=0.5)
    samples = 40_000
    one = tuple(torch.randn(1, 5, dtype=torch.float64) for _ in range(2))
    features = torch.randn(3, dtype=torch.float64)
    given = _drawn(cell, samples, 1, features)[0]
    output, drawn = cell(given, tuple(part.expand(samples, 5) for part in one))
    assert output is drawn[0]
    _, expected = cell.eval()(given[:1], one)
    for found, mean in zip(drawn, expected, strict=True):
        torch.testing.assert_close(found.mean(dim=0), mean[0], rtol=0.0, atol=0.02)


@pytest.mark.parametrize("name", ["zoneout", "dropout"])
def test_with_rates_of_zero_a_model_trains_as_the_unwrapped_one_bit_for_bit(name: str) -> None:
    wrapper, rates = {
        "zoneout": (Zoneout, {"rate": 0.0, "cell_rate": 0.0}),
        "dropout": (Dropout, {"rate": 0.0}),
    }[name]
    torch.manual_seed(0)
    inside = LSTMCell(3, 5)
    whole = wrapper(inside, 5, **rates)  # type: ignore[arg-type]
    assert whole.noise_size == 0
    inputs = torch.randn(6, 4, 3)
    found, expected = (run_eagerly(cell, inputs, cell.initial_state(4)) for cell in (whole, inside))
    assert torch.equal(found[0], expected[0])
    gradients = [torch.autograd.grad(o.sum(), [*inside.parameters()]) for o, _ in (found, expected)]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("per", ["step", "sequence"])
def test_dropout_drops_inputs_what_is_fed_back_and_outputs_at_their_rates(per: str) -> None:
    inside = Still(3, 4)
    rates = {"rate": 0.1, "input_rate": 0.3, "recurrent_rate": 0.5}
    cell = Dropout(inside, 3, per=per, **rates)  # type: ignore[arg-type]
    seen: dict[str, list[torch.Tensor]] = {"inputs": [], "state": []}

    def listen(_: object, given: tuple[torch.Tensor, State]) -> None:
        seen["inputs"].append(given[0])
        seen["state"].append(given[1][0])

    inside.register_forward_pre_hook(listen)
    steps, batch = 6, 2000
    start = tuple(torch.ones(batch, 4) for _ in range(2))
    outputs, _ = run_eagerly(cell, _drawn(cell, batch, steps, torch.ones(3)), start)
    inputs, states = torch.stack(seen["inputs"]), torch.stack(seen["state"])
    kept = inputs > 0
    torch.testing.assert_close(inputs[kept], torch.full_like(inputs[kept], 1 / 0.7))
    assert {*states.unique().tolist()} == {0.0, 1.0}  # not scaled up
    passed = outputs[kept]
    torch.testing.assert_close(passed[passed > 0], torch.full_like(passed[passed > 0], 1 / 0.63))
    independent = steps if per == "step" else 1
    for values, rate in ((inputs, 0.3), (states, 0.5), (passed.unsqueeze(0), 0.1)):
        numbers = values.numel() * independent // steps
        assert _near(float((values == 0).double().mean()), rate, numbers)
    held = (kept == kept[:1]).all()
    assert bool(held) is (per == "sequence")
    assert bool((states == states[:1]).all()) is (per == "sequence")


def test_dropout_of_outputs_is_that_of_torch_given_its_mask() -> None:
    torch.manual_seed(0)
    inside = LSTMCell(3, 5)
    cell = Dropout(inside, 5, rate=0.4)
    given = _drawn(cell, 8, 6, torch.randn(3))
    outputs, _ = run_eagerly(cell, given, cell.initial_state(8))
    plain, _ = run_eagerly(inside, given[..., :3], inside.initial_state(8))
    mask = (given[..., 3:] >= 0.4).float()
    expected = torch.ops.aten.native_dropout_backward(plain, mask.bool(), 1 / 0.6)
    torch.testing.assert_close(outputs, expected)
    evaluated, _ = run_eagerly(cell.eval(), given, cell.initial_state(8))
    assert torch.equal(evaluated, plain)


def test_what_is_fed_back_counts_by_its_expectation_in_evaluation() -> None:
    torch.manual_seed(0)
    inside = LSTMCell(3, 5)
    cell = Dropout(inside, 5, rate=0.0, recurrent_rate=0.25).eval()
    hidden, memory = torch.randn(2, 4, 5).unbind()
    given = torch.cat((torch.randn(4, 3), torch.full((4, 5), 0.5)), dim=-1)
    found = cell(given, (hidden, memory))
    torch.testing.assert_close(found, inside(given[:, :3], (0.75 * hidden, memory)))


@pytest.mark.parametrize("outer", [Zoneout, Dropout])
def test_the_state_of_a_wrapper_inside_is_left_alone(outer: type[CellWrapper]) -> None:
    slow = SlowLayers(PlainCell(3, 4), 4, layer=1, period=2)
    rates = {"rate": 0.9, "recurrent_rate" if outer is Dropout else "cell_rate": 0.9}
    whole = outer(slow, 4, 1, **rates)
    state = whole.initial_state(50)
    given = _drawn(whole, 50, 5, torch.randn(3))
    _, after = run_eagerly(whole, given, state)
    assert torch.equal(after[0], torch.full((50, 1), 5.0))  # counted steps


def test_noise_of_nested_wrappers_reaches_the_one_that_asked_for_it() -> None:
    torch.manual_seed(0)
    inside = LSTMCell(3, 5)
    zoned = Zoneout(inside, 5, rate=0.3, cell_rate=0.3)
    whole = Dropout(zoned, 5, rate=0.4, per="sequence")
    assert (whole.noise_size, {*whole.held_noise}) == (15, {*range(10, 15)})
    given = _drawn(whole, 8, 6, torch.randn(3))
    outputs, _ = run_eagerly(whole, given, whole.initial_state(8))
    between, _ = run_eagerly(zoned, given[..., :13], zoned.initial_state(8))
    torch.testing.assert_close(outputs, between * (given[..., 13:] >= 0.4) / 0.6)
