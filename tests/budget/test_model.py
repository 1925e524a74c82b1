"""A model is built as its specification says, and reads the right steps."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape
from rnnsearch.budget.complexity import measure_complexity
from rnnsearch.budget.model import (
    RecurrentModel,
    build_model,
    count_parameters,
    default_head_hidden_size,
    refusal,
)
from rnnsearch.plugin.layers import Bidirectional, Unrolled, run_eagerly
from rnnsearch.plugin.registry import load_registry
from rnnsearch.testing.probes import trained_scalars
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_baselines.ff_nn import FFNN
from rnnsearch_gated.gru import GRUCell
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_nested.mcrm import MCRMCell
from rnnsearch_nested.nlstm import NestedLSTMCell
from rnnsearch_nested.nlstm_concat import ConcatNestedLSTMCell
from rnnsearch_stigmergic.snn import SNNCell

CELLS: dict[str, type[RecurrentCell]] = {
    "elman": ElmanCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
    "mcrm": MCRMCell,
    "nlstm": NestedLSTMCell,
    "nlstm_concat": ConcatNestedLSTMCell,
}
HEADS = ("linear", "mlp", "prelu")
FIXED = SequenceShape(input_size=3, output_size=2, length=6, readout="last_step")
VARIABLE = replace(FIXED, length=None, readout="masked_step")
EVERY_STEP = replace(FIXED, readout="every_step")
LENGTHS = torch.tensor([6, 1, 4])


def _inputs(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 3, 3, generator=generator, dtype=torch.float64)


def _build(spec: ModelSpec) -> RecurrentModel:
    torch.manual_seed(0)
    model = build_model(CELLS[spec.architecture], spec).double()
    assert isinstance(model, RecurrentModel)
    return model


# Counts


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    head = draw(st.sampled_from(HEADS))
    has_hidden_layer = load_registry().head(head).hidden_ratio is not None
    return ModelSpec(
        architecture=draw(st.sampled_from(sorted(CELLS))),
        shape=replace(
            FIXED, input_size=draw(st.integers(1, 5)), output_size=draw(st.integers(1, 4))
        ),
        hidden_size=draw(st.integers(1, 7)),
        last_hidden_size=draw(st.integers(0, 5)),
        num_layers=draw(st.integers(1, 3)),
        bidirectional=draw(st.booleans()),
        learned_initial_state=draw(st.booleans()),
        head=head,
        head_hidden_size=draw(st.integers(1, 6)) if has_hidden_layer else 0,
        head_options={"slopes": "shared"} if head == "prelu" and draw(st.booleans()) else {},
    )


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(spec=specs())
def test_counted_parameters_equal_the_parameters_built(spec: ModelSpec) -> None:
    architecture = CELLS[spec.architecture]
    trainable, redundant, frozen = count_parameters(architecture, spec)
    assert trainable == trained_scalars(build_model(architecture, spec))
    assert 0 <= redundant < trainable
    assert frozen == 0


@pytest.mark.parametrize("second_size", [0, 4])
def test_counted_parameters_of_a_sequence_model_equal_the_parameters_built(
    second_size: int,
) -> None:
    spec = ModelSpec("ff_nn", FIXED, 5, head="", options={"second_size": second_size})
    assert count_parameters(FFNN, spec)[0] == trained_scalars(build_model(FFNN, spec))


def test_counted_parameters_of_a_model_that_reads_all_steps_equal_the_parameters_built() -> None:
    spec = ModelSpec("snn", FIXED, 4)
    assert count_parameters(SNNCell, spec)[0] == trained_scalars(build_model(SNNCell, spec))


def test_redundant_biases_add_up_over_layers_and_directions() -> None:
    spec = ModelSpec("lstm", FIXED, 5, last_hidden_size=4, num_layers=2, bidirectional=True)
    assert count_parameters(LSTMCell, spec)[1] == 2 * (4 * 5 + 4 * 4)


@pytest.mark.parametrize(
    ("head", "width", "expected"),
    [
        ("linear", 15, 0),
        ("mlp", 15, 15),
        # As in the SM-RNN paper's spatial MNIST; rounded to the nearest, halves up.
        ("prelu", 15, 10),
        ("prelu", 1, 1),
        ("prelu", 2, 1),
        ("prelu", 4, 3),
    ],
)
def test_head_hidden_size_that_a_study_does_not_fix(head: str, width: int, expected: int) -> None:
    assert default_head_hidden_size(head, width) == expected


# Structure


def test_specification_survives_pickling() -> None:
    spec = ModelSpec("lstm", FIXED, 5, head="prelu", head_options={"slopes": "shared"})
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_widths_end_with_the_last_hidden_size_where_one_is_given() -> None:
    assert ModelSpec("lstm", FIXED, 5, num_layers=3).widths == [5, 5, 5]
    assert ModelSpec("lstm", FIXED, 5, num_layers=3, last_hidden_size=2).widths == [5, 5, 2]


def test_each_layer_reads_the_outputs_of_the_one_before() -> None:
    spec = ModelSpec("lstm", FIXED, 5, last_hidden_size=4, num_layers=2, bidirectional=True)
    first, second = _build(spec).body.layers
    assert isinstance(first, Bidirectional)
    assert isinstance(second, Bidirectional)
    cells = [layer.cell for layer in (first.forwards, second.forwards)]
    assert [(cell.input_size, cell.hidden_size) for cell in cells] == [(3, 5), (10, 4)]


def test_hyperparameters_reach_the_cell() -> None:
    spec = ModelSpec("mcrm", FIXED, 5, options={"convention": "torch"})
    (layer,) = _build(spec).body.layers
    assert isinstance(layer, Unrolled)
    assert layer.cell.convention == "torch"


def test_same_seed_builds_the_same_model() -> None:
    spec = ModelSpec("mcrm", FIXED, 5, num_layers=2)
    one, two = _build(spec), _build(spec)
    assert torch.equal(one(_inputs()), two(_inputs()))


# Readouts


def test_last_step_is_the_cell_run_to_the_end_and_then_the_head() -> None:
    model = _build(ModelSpec("mcrm", FIXED, 5))
    (layer,) = model.body.layers
    assert isinstance(layer, Unrolled)
    outputs, _ = run_eagerly(layer.cell, _inputs(), layer.cell.initial_state(3))
    torch.testing.assert_close(model(_inputs()), model.head(outputs[-1]))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["last_step", "masked_step"])
def test_a_bidirectional_net_is_read_where_each_direction_has_seen_the_whole_sequence(
    lengths: Tensor | None,
) -> None:
    shape = FIXED if lengths is None else VARIABLE
    model = _build(ModelSpec("lstm", shape, 5, bidirectional=True))
    reference = nn.LSTM(3, 5, bidirectional=True).double()
    (layer,) = model.body.layers
    forwards = layer.forwards.cell.lstm.state_dict()
    backwards = {f"{k}_reverse": v for k, v in layer.backwards.cell.lstm.state_dict().items()}
    reference.load_state_dict({**forwards, **backwards})
    inputs = _inputs()
    packed = (
        inputs
        if lengths is None
        else nn.utils.rnn.pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    )
    _, (last, _) = reference(packed)
    torch.testing.assert_close(model(inputs, lengths), model.head(torch.cat((*last,), dim=-1)))


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("architecture", ["lstm", "mcrm"])
def test_masked_step_gives_each_sequence_what_it_gets_without_its_padding(
    architecture: str, num_layers: int, bidirectional: bool
) -> None:
    spec = ModelSpec(architecture, VARIABLE, 5, num_layers=num_layers, bidirectional=bidirectional)
    model = _build(spec)
    padded = model(_inputs(), LENGTHS)
    for sample, length in enumerate(LENGTHS.tolist()):
        alone = model(_inputs()[:length, sample : sample + 1])
        torch.testing.assert_close(padded[sample : sample + 1], alone)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
def test_every_step_gives_an_output_at_every_step(bidirectional: bool) -> None:
    model = _build(ModelSpec("lstm", EVERY_STEP, 5, bidirectional=bidirectional))
    outputs = model(_inputs())
    assert outputs.shape == (6, 3, 2)
    torch.testing.assert_close(outputs, model.head(model.body(_inputs())))


def test_all_steps_gives_the_head_the_outputs_of_each_sample_in_order_of_time() -> None:
    torch.manual_seed(0)
    model = build_model(SNNCell, ModelSpec("snn", FIXED, 4)).double()
    assert isinstance(model, RecurrentModel)
    outputs = model.body(_inputs())
    joined = torch.stack([torch.cat([step[row] for step in outputs]) for row in range(3)])
    torch.testing.assert_close(model(_inputs()), model.head(joined))


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (FIXED, None),
        (VARIABLE, "every sequence must have the same length"),
        (EVERY_STEP, "cannot give an output at every step"),
    ],
    ids=["fixed", "variable", "every_step"],
)
@pytest.mark.parametrize("architecture", [SNNCell, FFNN])
def test_what_reads_all_steps_refuses_other_sequences_in_words(
    architecture: type, shape: SequenceShape, reason: str | None
) -> None:
    said = refusal(architecture, shape)
    assert said is None if reason is None else reason in (said or "")


@pytest.mark.parametrize("shape", [FIXED, VARIABLE, EVERY_STEP])
def test_a_step_cell_takes_any_sequences(shape: SequenceShape) -> None:
    assert refusal(LSTMCell, shape) is None


# Complexity


def test_complexity_of_an_lstm_is_that_worked_out_by_hand() -> None:
    m, p, k, steps = 3, 5, 2, 6
    complexity = measure_complexity(LSTMCell, ModelSpec("lstm", FIXED, p))
    assert complexity.trainable == 4 * p * (m + p + 2) + (p + 1) * k
    assert complexity.one_bias == 4 * p * (m + p + 1) + (p + 1) * k
    assert complexity.frozen == 0
    assert complexity.state_size == 2 * p
    head = 2 * p * k + k
    assert complexity.flops_per_step == pytest.approx(_lstm_step(m, p) + head / steps)


def _lstm_step(m: int, p: int) -> int:
    """FLOPs of one step of an LSTM with two biases."""
    products, biases = 2 * 4 * p * (m + p), 3 * 4 * p  # both biases, and the sum of the two maps
    activations = 5 * p  # three sigmoids, two tanh
    return products + biases + activations + 4 * p  # f c + i g, o tanh


def test_a_head_at_every_step_costs_its_flops_at_every_step() -> None:
    m, p, k = 3, 5, 2
    complexity = measure_complexity(LSTMCell, ModelSpec("lstm", EVERY_STEP, p))
    assert complexity.flops_per_step == _lstm_step(m, p) + 2 * p * k + k


def test_complexity_adds_up_over_layers_and_directions() -> None:
    m, p, last, k, steps = 3, 5, 4, 2, 6
    spec = ModelSpec("lstm", FIXED, p, last_hidden_size=last, num_layers=2, bidirectional=True)
    complexity = measure_complexity(LSTMCell, spec)
    assert complexity.state_size == 2 * 2 * (p + last)
    per_step = 2 * (_lstm_step(m, p) + _lstm_step(2 * p, last))
    head = 2 * (2 * last) * k + k
    assert complexity.flops_per_step == pytest.approx(per_step + head / steps)


def test_flops_of_the_nested_cells_are_those_of_their_matrices_biases_and_units() -> None:
    m, p = 3, 5
    head = (2 * p * 2 + 2) / 6
    outer = 2 * 4 * p * (m + p) + 4 * p + 4 * p + 2 * p  # gates, and the terms they gate
    # The inner GRU: r and z with two maps, n, and the mixture; both cells: o tanh(c).
    gru = 2 * 9 * p * p + 6 * p + 2 * 2 * p + 3 * p + 4 * p
    lstm = 2 * 8 * p * p + 4 * p + 3 * p + 3 * p + 2 * p  # its candidate has no tanh by default
    for name, inner in {"mcrm": gru, "nlstm": lstm}.items():
        complexity = measure_complexity(CELLS[name], ModelSpec(name, FIXED, p))
        assert complexity.flops_per_step == pytest.approx(outer + inner + 2 * p + head)


def test_flops_of_a_head_that_reads_all_steps_are_spread_over_them() -> None:
    n, k, steps = 4, 2, 6
    cell = measure_complexity(SNNCell, ModelSpec("snn", EVERY_STEP, n)).flops_per_step
    assert cell > 0
    with_head = measure_complexity(SNNCell, ModelSpec("snn", FIXED, n)).flops_per_step
    wider = replace(FIXED, output_size=k + 1)
    one_more = measure_complexity(SNNCell, ModelSpec("snn", wider, n)).flops_per_step
    assert math.isclose(one_more - with_head, (2 * steps * n + 1) / steps)


def test_flops_of_a_feed_forward_net_are_spread_over_the_steps() -> None:
    p, k, steps = 5, 2, 6
    complexity = measure_complexity(FFNN, ModelSpec("ff_nn", FIXED, p, head=""))
    products, biases, squashed = 2 * (18 * p + p * p + p * k), 2 * p + k, 2 * p
    assert complexity.flops_per_step * steps == pytest.approx(products + biases + squashed)
    assert complexity.state_size == 0


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shape", [FIXED, VARIABLE, EVERY_STEP])
@pytest.mark.parametrize("name", sorted(CELLS))
def test_complexity_of_every_cell_agrees_with_its_counts(
    name: str, shape: SequenceShape, head: str
) -> None:
    spec = ModelSpec(
        name,
        shape,
        5,
        learned_initial_state=True,
        head=head,
        head_hidden_size=3 * (head != "linear"),
    )
    complexity = measure_complexity(CELLS[name], spec)
    trainable, redundant, _ = count_parameters(CELLS[name], spec)
    assert (complexity.trainable, complexity.one_bias) == (trainable, trainable - redundant)
    assert complexity.state_size == CELLS[name].state_size(3, 5)
    assert complexity.flops_per_step > 0
