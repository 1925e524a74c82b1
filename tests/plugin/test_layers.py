"""Layers over time agree with torch's own layers, and keep padding out of their results."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnsearch import RecurrentCell
from rnnsearch.plugin.layers import (
    Bidirectional,
    Stacked,
    Unrolled,
    reversed_steps,
    run_as_torch,
    run_eagerly,
)
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_gated.gru import GRUCell
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_nested.mcrm import MCRMCell

STEPS, BATCH, INPUTS, HIDDEN = 6, 4, 3, 5
LENGTHS = torch.tensor([6, 1, 4, 3])


class SteppedLSTMCell(LSTMCell):
    """The LSTM cell without its torch layer, so that it runs step by step."""

    def as_torch(self) -> None:
        return None


def _inputs(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(STEPS, BATCH, INPUTS, generator=generator, dtype=torch.float64)


def _copy(cell: LSTMCell, reference: nn.LSTM, suffix: str) -> None:
    with torch.no_grad():
        for name, parameter in cell.lstm.named_parameters():
            source = name.removesuffix("_l0") + suffix
            parameter.copy_(reference.get_parameter(source))


def _stack(reference: nn.LSTM, cell_class: type[LSTMCell] = LSTMCell) -> Stacked:
    """Our layers with the weights of a torch LSTM."""
    layers: list[Unrolled | Bidirectional] = []
    features = reference.input_size
    for index in range(reference.num_layers):
        sizes = (features, reference.hidden_size)

        def make(sizes: tuple[int, int] = sizes) -> Unrolled:
            return Unrolled(cell_class(*sizes).double())

        if reference.bidirectional:
            both = Bidirectional(make)
            _copy(both.forwards.cell, reference, f"_l{index}")
            _copy(both.backwards.cell, reference, f"_l{index}_reverse")
            layers.append(both)
        else:
            one = make()
            _copy(one.cell, reference, f"_l{index}")
            layers.append(one)
        features = reference.hidden_size * (2 if reference.bidirectional else 1)
    return Stacked(layers)


# Unrolling


@pytest.mark.parametrize("cell_class", [LSTMCell, GRUCell, ElmanCell])
def test_torch_layer_and_eager_loop_agree_from_any_state(
    cell_class: type[RecurrentCell],
) -> None:
    cell = cell_class(INPUTS, HIDDEN).double()
    layer = cell.as_torch()
    assert layer is not None
    state = tuple(torch.randn_like(part) for part in cell.initial_state(BATCH))
    torch.testing.assert_close(
        run_as_torch(cell, _inputs(), state), run_eagerly(cell, _inputs(), state)
    )


# Stacks and directions


@pytest.mark.parametrize("cell_class", [LSTMCell, SteppedLSTMCell])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
def test_layers_match_torch_lstm_after_copying_weights(
    cell_class: type[LSTMCell], num_layers: int, bidirectional: bool
) -> None:
    reference = nn.LSTM(INPUTS, HIDDEN, num_layers, bidirectional=bidirectional).double()
    ours = _stack(reference, cell_class)
    inputs, other_inputs = _inputs().requires_grad_(), _inputs().requires_grad_()
    outputs, expected = ours(inputs), reference(other_inputs)[0]
    torch.testing.assert_close(outputs, expected)

    weights = expected.detach().cos()
    (outputs * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(inputs.grad, other_inputs.grad)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
def test_layers_with_lengths_match_torch_lstm_on_a_packed_sequence(
    num_layers: int, bidirectional: bool
) -> None:
    reference = nn.LSTM(INPUTS, HIDDEN, num_layers, bidirectional=bidirectional).double()
    outputs = _stack(reference)(_inputs(), LENGTHS)
    packed = pack_padded_sequence(_inputs(), LENGTHS, enforce_sorted=False)
    expected, _ = pad_packed_sequence(reference(packed)[0])
    for sample, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(outputs[:length, sample], expected[:length, sample])


def test_reversing_the_sequence_swaps_the_directions() -> None:
    layer = Bidirectional(lambda: Unrolled(MCRMCell(INPUTS, HIDDEN).double()))
    forward, backward = layer(_inputs()).chunk(2, dim=-1)
    layer.forwards, layer.backwards = layer.backwards, layer.forwards
    swapped_forward, swapped_backward = layer(_inputs().flip(0)).chunk(2, dim=-1)
    torch.testing.assert_close(swapped_forward, backward.flip(0))
    torch.testing.assert_close(swapped_backward, forward.flip(0))


def test_padding_never_reaches_a_valid_step_of_a_bidirectional_stack() -> None:
    torch.manual_seed(0)
    first = Bidirectional(lambda: Unrolled(MCRMCell(INPUTS, HIDDEN).double()))
    second = Bidirectional(lambda: Unrolled(MCRMCell(2 * HIDDEN, HIDDEN).double()))
    model = Stacked([first, second])
    valid = torch.arange(STEPS).unsqueeze(1) < LENGTHS
    repadded = torch.where(valid.unsqueeze(-1), _inputs(), _inputs(seed=1))
    outputs, again = model(_inputs(), LENGTHS), model(repadded, LENGTHS)
    assert torch.equal(outputs[valid], again[valid])
    assert not torch.equal(outputs, again)


def test_reversed_steps_turn_each_sequence_around_and_leave_its_padding() -> None:
    index = reversed_steps(4, 3, torch.tensor([4, 2, 1]), torch.device("cpu"))
    assert index.T.tolist() == [[3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3]]


def test_reversed_steps_without_lengths_turn_the_whole_time_axis_around() -> None:
    index = reversed_steps(3, 2, None, torch.device("cpu"))
    assert index.T.tolist() == [[2, 1, 0], [2, 1, 0]]


# Learned initial states


@pytest.mark.parametrize("cell_class", [LSTMCell, ElmanCell, MCRMCell])
def test_learned_initial_state_adds_one_parameter_per_scalar_of_state_and_trains(
    cell_class: type[RecurrentCell],
) -> None:
    layer = Unrolled(cell_class(INPUTS, HIDDEN).double(), learned_initial_state=True)
    offsets = list(layer.initial_offsets)
    assert sum(p.numel() for p in offsets) == cell_class.state_size(INPUTS, HIDDEN)
    layer(_inputs()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in offsets)


def test_learned_initial_state_starts_as_the_cells_own() -> None:
    torch.manual_seed(0)
    cell = LSTMCell(INPUTS, HIDDEN).double()
    plain, learned = Unrolled(cell), Unrolled(cell, learned_initial_state=True)
    assert torch.equal(plain(_inputs()), learned(_inputs()))


def test_learned_initial_state_is_the_state_before_the_first_step_of_every_sample() -> None:
    cell = LSTMCell(INPUTS, HIDDEN).double()
    layer = Unrolled(cell, learned_initial_state=True)
    with torch.no_grad():
        for offset in layer.initial_offsets:
            offset.normal_()
    state = tuple(offset.expand(BATCH, -1) for offset in layer.initial_offsets)
    torch.testing.assert_close(layer(_inputs()), run_eagerly(cell, _inputs(), state)[0])


def test_each_direction_learns_an_initial_state_of_its_own() -> None:
    layer = Bidirectional(
        lambda: Unrolled(LSTMCell(INPUTS, HIDDEN).double(), learned_initial_state=True)
    )
    layer(_inputs(), LENGTHS).square().sum().backward()
    offsets = [*layer.forwards.initial_offsets, *layer.backwards.initial_offsets]
    assert len(offsets) == 4
    assert all(offset.grad.any() for offset in offsets)


def test_a_layer_without_learned_initial_state_has_the_parameters_of_its_cell() -> None:
    cell = LSTMCell(INPUTS, HIDDEN)
    assert {*Unrolled(cell).parameters()} == {*cell.parameters()}
