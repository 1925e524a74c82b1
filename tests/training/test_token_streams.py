"""Tokens are embedded, and a state is carried through the windows of a long sequence."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import Examples, ModelSpec, SequenceShape, Task, Value, load_registry
from rnnsearch.budget.budget import Budget, solve
from rnnsearch.budget.complexity import measure_complexity
from rnnsearch.budget.model import (
    RecurrentModel,
    build_model,
    count_parameters,
    layer_inputs,
    refusal,
)
from rnnsearch.engine.capture import Unsupported
from rnnsearch.errors import CapabilityError
from rnnsearch.plugin.losses import Classification, cross_entropy
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.trial import TrainingConfig, TrialSpec
from rnnsearch.testing.probes import trained_scalars
from rnnsearch.training.batches import Batches, in_streams
from rnnsearch.training.engine_check import verify
from rnnsearch.training.engine_choice import choose_engine
from rnnsearch.training.engines import (
    EVALUATION_STREAMS,
    AutogradUpdates,
    ProgramUpdates,
    carried_stride,
    prepare,
)
from rnnsearch.training.population import share_a_program
from rnnsearch.training.run import TrainingRun

CPU = torch.device("cpu")
TOKENS, WINDOW, STRIDE = 7, 6, 4
SHAPE = SequenceShape(
    1, TOKENS, WINDOW, "every_step", vocabulary=TOKENS, embedding="tied", stride=STRIDE
)
APART = replace(SHAPE, embedding="separate")
INDEPENDENT = replace(SHAPE, stride=0)
CONFIG = TrainingConfig(epochs=2, batch_size=3, learning_rate=0.05, optimizer="sgd")


class NextToken(Task):
    """Predicts the next token in noise."""

    metric, direction, no_skill = "perplexity", "minimize", float(TOKENS)
    loss = cross_entropy
    score = cross_entropy
    shape = SHAPE  # type: ignore[assignment]

    def find(self) -> None:  # type: ignore[override]
        raise NotImplementedError

    def load(self, source: object, split: str) -> Examples:
        raise NotImplementedError

    def metric_of(self, score: float) -> float:
        return math.exp(score)


def text(windows: int, seed: int = 0) -> np.ndarray:
    """A text that fills this number of windows, plus the token after the last."""
    steps = (windows - 1) * STRIDE + WINDOW + 1
    return np.random.default_rng(seed).integers(0, TOKENS, steps)


def examples(windows: int, seed: int = 0) -> Examples:
    tokens = text(windows, seed)
    start = np.arange(windows)[:, None] * STRIDE + np.arange(WINDOW)
    targets = tokens[start + 1]
    targets[:, : WINDOW - STRIDE] = -100
    return Examples(tokens[start][:, :, None], targets)


def batches(windows: int = 11, seed: int = 0) -> Batches:
    return Batches(examples(windows, seed), CPU)


def spec_of(name: str = "gru", shape: SequenceShape = SHAPE, **options: object) -> ModelSpec:
    return ModelSpec(name, shape, 5, **options)  # type: ignore[arg-type]


def built(spec: ModelSpec, seed: int = 0) -> RecurrentModel:
    torch.manual_seed(seed)
    model = build_model(load_registry().architecture(spec.architecture), spec)
    assert isinstance(model, RecurrentModel)
    return model


def trial(spec: ModelSpec, engine: str = "eager", batch_size: int = 3) -> TrialSpec:
    return TrialSpec(
        phase="search",
        model=spec,
        training=replace(CONFIG, batch_size=batch_size),
        seed=3,
        task="",
        task_options={},
        parameters=1,
        residual=0.0,
        engine=engine,
    )


def as_one(model: nn.Module, tokens: np.ndarray) -> Tensor:
    """Outputs over a whole text at once, from the initial state: `(time, 1, tokens)`."""
    outputs: Tensor = model(torch.from_numpy(tokens[:-1]).float()[:, None, None])
    return outputs


# The shape


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"embedding": ""}, "embedding: expected `tied` or `separate` for tokens, got ``"),
        ({"vocabulary": 0}, "embedding: expected none for vectors, got `tied`"),
        ({"input_size": 2}, "input_size: expected 1, the number of a token, got 2"),
        ({"output_size": 5}, "output_size: expected 7, one for each token of a tied"),
        ({"stride": 7}, "at least the stride, .* got a stride of 7, the length 6"),
        ({"stride": -1}, "got a stride of -1"),
        ({"length": None}, "got a stride of 4, the length None"),
        ({"readout": "last_step"}, "the readout `last_step`"),
    ],
)
def test_a_shape_that_contradicts_itself_is_refused(
    changes: dict[str, Value], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(SHAPE, **changes)  # type: ignore[arg-type]


def test_a_trial_of_tokens_survives_json() -> None:
    spec = trial(spec_of())
    assert TrialSpec.from_json(spec.to_json()) == spec


def test_a_trial_from_before_there_were_tokens_is_still_read() -> None:
    fields = json.loads(trial(ModelSpec("gru", SequenceShape(3, 2, 6, "last_step"), 5)).to_json())
    for name in ("vocabulary", "embedding", "stride"):
        del fields["model"]["shape"][name]
    found = TrialSpec.from_json(json.dumps(fields)).model.shape
    assert found == SequenceShape(3, 2, 6, "last_step")


# Refusals


def test_a_model_of_whole_sequences_refuses_tokens_and_carried_states() -> None:
    architecture = load_registry().architecture("ff_nn")
    assert "inputs are tokens" in (refusal(architecture, SHAPE) or "")
    vectors = SequenceShape(3, 2, WINDOW, "every_step", stride=STRIDE)
    assert "no state to carry" in (refusal(architecture, vectors) or "")


def test_directions_refuse_a_carried_state() -> None:
    with pytest.raises(CapabilityError, match="Remove `bidirectional`"):
        spec_of(bidirectional=True)


def test_the_tied_head_refuses_a_task_without_a_tied_embedding() -> None:
    for shape in (APART, SequenceShape(3, 2, 6, "last_step")):
        with pytest.raises(CapabilityError, match="head `tied` needs a task of tokens"):
            ModelSpec("gru", shape, 5, head="tied")


def test_a_cell_whose_output_depends_on_its_input_width_cannot_be_tied() -> None:
    class Echo(load_registry().architecture("elman")):  # type: ignore[misc]
        @classmethod
        def output_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
            return input_size + hidden_size

    with pytest.raises(CapabilityError, match="the width of its output depends on"):
        layer_inputs(Echo, spec_of("elman"))


# The embedding


def test_a_tied_embedding_is_one_tensor_with_the_output_weight() -> None:
    model = built(spec_of())
    assert model.embedding is not None
    assert model.embedding.weight is model.head.weight
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len({id(p) for p in model.parameters()})
    updates, _ = prepare(Engine.EAGER, model, CONFIG, Classification(), batches())
    updates.train(batches(), torch.arange(6))
    assert model.embedding.weight is model.head.weight


def test_a_separate_embedding_is_its_own_and_leaves_the_head_to_the_study() -> None:
    model = built(spec_of(shape=APART, head="mlp", head_hidden_size=4))
    assert model.embedding is not None
    assert model.embedding.weight.shape == (TOKENS, 5)
    assert all(p is not model.embedding.weight for p in model.head.parameters())
    assert model.embedding.weight.abs().max() <= 0.1
    assert model.spec is not None
    assert model.spec.head == "mlp"


def test_whatever_head_is_asked_for_a_tied_task_gets_its_own() -> None:
    spec = spec_of(head="prelu", head_hidden_size=9, head_options={"slopes": "shared"})
    assert (spec.head, spec.head_hidden_size, spec.head_options) == ("tied", 0, {})
    assert replace(spec, head="mlp", head_hidden_size=9) == spec


@pytest.mark.parametrize("shape", [SHAPE, APART], ids=["tied", "separate"])
@pytest.mark.parametrize("name", ["elman", "lstm", "mcrm", "lstm_projection", "scrn"])
def test_counted_parameters_equal_the_parameters_built(name: str, shape: SequenceShape) -> None:
    for options in ({}, {"num_layers": 2, "last_hidden_size": 3}):
        architecture = load_registry().architecture(name)
        defaults = {k: rule.default for k, rule in architecture.structure.items()}
        spec = spec_of(name, shape, options=defaults, **options)
        counted, _, _ = count_parameters(architecture, spec)
        assert counted == trained_scalars(built(spec))
        assert layer_inputs(architecture, spec)[0] == layer_inputs(architecture, spec)[-1]


def test_a_tied_vocabulary_counts_once_with_its_bias() -> None:
    gru = load_registry().architecture("gru")
    cell = gru.parameter_count(5, 5)
    assert count_parameters(gru, spec_of())[0] == TOKENS * 5 + TOKENS + cell
    assert count_parameters(gru, spec_of(shape=APART))[0] == 2 * TOKENS * 5 + TOKENS + cell


def test_the_budget_is_solved_with_the_embedding_in_it() -> None:
    architecture = load_registry().architecture("mcrm")
    shape = replace(SHAPE, output_size=10_000, vocabulary=10_000)
    solution = solve(architecture, ModelSpec("mcrm", shape, 1), Budget(1_303_067))
    assert (solution.spec.hidden_size, solution.parameters) == (109, 1_303_067)
    assert solution.spec.head == "tied"


def test_an_embedded_token_is_its_row() -> None:
    model = built(spec_of()).double()
    assert model.embedding is not None
    tokens = torch.tensor([[[3.0], [0.0]], [[6.0], [3.0]]])
    one_hot = nn.functional.one_hot(tokens.long().squeeze(-1), TOKENS).double()
    expected = model.head(model.body(one_hot @ model.embedding.weight))
    torch.testing.assert_close(model(tokens), expected)
    assert torch.equal(model(tokens), model(tokens.to(torch.int16)))


def test_a_token_that_is_not_in_the_vocabulary_is_an_error() -> None:
    with pytest.raises(IndexError):
        built(spec_of())(torch.full((2, 1, 1), float(TOKENS)))


def test_complexity_counts_the_output_of_every_step_and_no_lookup() -> None:
    measured = measure_complexity(load_registry().architecture("elman"), spec_of("elman"))
    assert (
        measured.trainable
        == count_parameters(load_registry().architecture("elman"), spec_of("elman"))[0]
    )
    units = 4 * 5  # two biases, the sum of both maps, tanh
    assert measured.flops_per_step == 2 * (5 * 5 + 5 * 5 + 5 * TOKENS) + units + TOKENS


# The order of windows


@pytest.mark.parametrize(("samples", "streams"), [(12, 3), (11, 3), (2, 3), (3, 3), (7, 1)])
def test_each_batch_has_the_windows_after_those_of_the_batch_before(
    samples: int, streams: int
) -> None:
    order = in_streams(samples, streams)
    assert sorted(order.tolist()) == list(range(samples))
    split = order.split(streams)
    assert len(split) == math.ceil(samples / streams)
    for before, after in pairwise(split):
        assert torch.equal(after, before[: len(after)] + 1)


class Watched(Batches):
    """Records which samples were taken."""

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        self.__dict__.setdefault("taken", []).append(index.tolist())
        return super().take(index)


def order_of_two_epochs(shape: SequenceShape) -> list[list[int]]:
    data = Watched(examples(11), CPU)
    architecture = load_registry().architecture("gru")
    run = TrainingRun(architecture, trial(spec_of(shape=shape)), NextToken(), data, None)
    run.run_epoch()
    run.run_epoch()
    taken: list[list[int]] = data.__dict__["taken"]
    return taken


def test_windows_are_not_shuffled_and_independent_samples_are() -> None:
    in_order = [part.tolist() for part in in_streams(11, 3).split(3)]
    assert order_of_two_epochs(SHAPE) == in_order * 2
    shuffled = order_of_two_epochs(INDEPENDENT)
    assert sorted(chain.from_iterable(shuffled[:4])) == list(range(11))
    assert shuffled[:4] not in (shuffled[4:], in_order)


# The carried state


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ["gru", "lstm", "mcrm", "nlstm"])
def test_windows_with_a_carried_state_give_the_outputs_of_the_whole_text(
    name: str, layers: int
) -> None:
    model = built(spec_of(name, num_layers=layers)).double()
    whole = as_one(model, text(5)).double()
    states = model.initial_states(1)
    inputs, _, _ = batches(5).take(torch.arange(5))
    for window in range(5):
        outputs, states = model.continued(inputs[:, window : window + 1], states, STRIDE)
        start = window * STRIDE
        torch.testing.assert_close(outputs, whole[start : start + WINDOW], rtol=0, atol=1e-12)


def test_a_window_as_long_as_its_stride_carries_its_last_state() -> None:
    model = built(spec_of())
    inputs = torch.tensor([1.0, 4, 2, 0]).view(4, 1, 1)
    outputs, states = model.continued(inputs, model.initial_states(1), 4)
    again, _ = model.continued(inputs, states, 4)
    torch.testing.assert_close(torch.cat((outputs, again)), model(inputs.repeat(2, 1, 1)))


def test_the_gradient_goes_through_a_window_and_not_into_the_one_before() -> None:
    model = built(spec_of())
    start = [tuple(p.clone().requires_grad_() for p in s) for s in model.initial_states(1)]
    inputs, _, _ = batches(2).take(torch.arange(2))
    first, states = model.continued(inputs[:, :1], start, STRIDE)
    assert not any(part.requires_grad for state in states for part in state)
    second, _ = model.continued(inputs[:, 1:], states, STRIDE)
    (gone,) = torch.autograd.grad(second.sum(), start[0][0], allow_unused=True)
    assert gone is None
    (kept,) = torch.autograd.grad(first[-1].sum(), start[0][0])
    assert kept.abs().max() > 0  # across the stride, inside the window


def whole_text_loss(model: nn.Module, windows: int, seed: int) -> float:
    """Expected evaluation from this number of places, each starting from the initial state."""
    tokens, loss, counted = text(windows, seed), 0.0, 0
    parts = min(EVALUATION_STREAMS, windows)
    shortest, longer = divmod(windows, parts)
    first = 0
    for part in range(parts):
        last = first + shortest + (part < longer)
        here = tokens[first * STRIDE : (last - 1) * STRIDE + WINDOW + 1]
        outputs = as_one(model, here)[WINDOW - STRIDE :, 0]
        targets = torch.from_numpy(here[1 + WINDOW - STRIDE :])
        loss += nn.functional.cross_entropy(outputs, targets, reduction="sum").item()
        counted += len(targets)
        first = last
    return loss / counted


@pytest.mark.parametrize("windows", [4, 10, 37])
@pytest.mark.parametrize("engine", ["eager", "torch"])
def test_evaluation_carries_the_state_through_the_split(engine: str, windows: int) -> None:
    model = built(spec_of(num_layers=2))
    updates, _ = prepare(Engine(engine), model, CONFIG, NextToken(), batches(windows, 1))
    expected = whole_text_loss(model, windows, 1)
    for _ in range(2):  # the second result equals the first: nothing carries over
        loss, _ = updates.measure(batches(windows, 1))
        assert loss == pytest.approx(expected, abs=1e-6)


def test_a_last_window_that_is_not_full_weighs_what_it_holds() -> None:
    model = built(spec_of())
    updates = AutogradUpdates("eager", model, CONFIG, NextToken())
    data = examples(11, 1)
    data.targets[-1, -3:] = -100
    found, _ = updates.measure(Batches(data, CPU))
    full, _ = updates.measure(batches(11, 1))
    # Of ten places the first has two windows; the last place has only the last window.
    tokens = text(11, 1)
    outputs = as_one(model, tokens[10 * STRIDE :])[-3:, 0]
    targets = torch.from_numpy(tokens[-3:])
    gone = nn.functional.cross_entropy(outputs, targets, reduction="sum").item()
    scored = 11 * STRIDE
    assert found == pytest.approx((full * scored - gone) / (scored - 3), abs=1e-6)


def trained(engine: str, name: str = "gru", layers: int = 1, windows: int = 11) -> TrainingRun:
    """Two epochs."""
    spec = trial(spec_of(name, num_layers=layers), engine)
    run = TrainingRun(
        load_registry().architecture(name),
        spec,
        NextToken(),
        batches(windows),
        batches(13, 1),
    )
    run.run_epoch()
    run.run_epoch()
    return run


@pytest.mark.parametrize("layers", [1, 2])
def test_training_is_truncated_backpropagation_from_the_carried_state(layers: int) -> None:
    run = trained("eager", layers=layers)
    model = built(spec_of(num_layers=layers), seed=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=CONFIG.learning_rate)
    inputs, targets, _ = batches().take(torch.arange(11))
    for _ in range(2):
        hidden = [torch.zeros(3, 5) for _ in range(layers)]
        for index in in_streams(11, 3).split(3):
            sequence = model.embedding(inputs[:, index, 0].long())  # type: ignore[misc]
            for i, layer in enumerate(model.body.layers):
                state, outputs = hidden[i][: len(index)].detach(), []
                for step, now in enumerate(sequence):
                    output, (state,) = layer.cell(now, (state,))
                    outputs.append(output)
                    if step == STRIDE - 1:
                        hidden[i] = state
                sequence = torch.stack(outputs)
            optimizer.zero_grad()
            cross_entropy(model.head(sequence), targets[index]).backward()
            optimizer.step()
    for mine, theirs in zip(model.parameters(), run.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("engine", ["torch", "layers"])
def test_every_engine_carries_the_state_as_the_eager_loop_does(engine: str) -> None:
    name = "gru" if engine == "torch" else "mcrm"
    found, expected = trained(engine, name, layers=2), trained("eager", name, layers=2)
    assert found.engine == {"torch": "torch.nn.GRU", "layers": "compiled layers"}[engine]
    for mine, theirs in zip(found.model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert found.evaluate(batches(13, 1)) == pytest.approx(
        expected.evaluate(batches(13, 1)), rel=1e-5
    )


def test_a_run_goes_on_from_a_saved_epoch_as_if_it_had_not_stopped() -> None:
    whole = trained("eager")
    architecture, spec = load_registry().architecture("gru"), trial(spec_of())
    first, second = (
        TrainingRun(architecture, spec, NextToken(), batches(), None) for _ in range(2)
    )
    first.run_epoch()
    second.load_state_dict(first.state_dict())
    second.run_epoch()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_the_compiled_layer_below_an_embedding_hands_its_gradient_down() -> None:
    model = built(spec_of("mcrm", INDEPENDENT))
    assert verify(Engine.LAYERS, model, INDEPENDENT, CONFIG, NextToken()) < 1e-5


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (SHAPE, "tokens, which whole programs do not look up"),
        (
            SequenceShape(3, TOKENS, WINDOW, "every_step", stride=STRIDE),
            "carried from window to window, which whole programs do not do",
        ),
    ],
)
def test_whole_programs_refuse_in_words(shape: SequenceShape, reason: str) -> None:
    model = built(spec_of(shape=shape))
    with pytest.raises(Unsupported, match=reason):
        ProgramUpdates(model, CONFIG, NextToken(), batches())


def test_an_engine_is_chosen_and_says_why_it_is_no_program() -> None:
    architecture = load_registry().architecture("mcrm")
    choice = choose_engine(architecture, trial(spec_of("mcrm")), NextToken(), requested="program")
    assert choice.engine in ("layers", "torch")
    assert "program: the task's inputs are tokens" in choice.reason


def test_seeds_that_carry_a_state_train_one_by_one() -> None:
    specs = [replace(trial(spec_of("mcrm"), "vmapped"), seed=seed) for seed in range(2)]
    assert not share_a_program(specs)
    architecture = load_registry().architecture("mcrm")
    choice = choose_engine(architecture, specs[0], NextToken(), requested="vmapped")
    assert choice.engine == "torch"
    assert "one trial at a time" in choice.reason
    alone = [replace(s, model=spec_of("mcrm", INDEPENDENT)) for s in specs]
    assert share_a_program(alone)


def test_a_model_by_hand_carries_nothing() -> None:
    assert carried_stride(nn.Linear(1, 1)) == 0
    model = built(spec_of())
    model.spec = None
    assert carried_stride(model) == 0


# The metric


def test_a_metric_that_is_no_mean_is_made_of_the_mean() -> None:
    architecture = load_registry().architecture("gru")
    run = TrainingRun(architecture, trial(spec_of()), NextToken(), batches(), batches(13, 1))
    metrics = run.run_epoch()
    assert metrics.train_metric == pytest.approx(math.exp(metrics.train_loss))
    assert metrics.validation_metric == pytest.approx(math.exp(metrics.validation_loss))
    loss, metric = run.evaluate(batches(13, 2))
    assert metric == pytest.approx(math.exp(loss))
