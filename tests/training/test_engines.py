"""Engines train the same model equally, say what they do not support, and are distinguishable."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import Examples, ModelSpec, SequenceShape, accuracy, cross_entropy, load_registry
from rnnsearch.budget.model import RecurrentModel, build_model
from rnnsearch.engine import cpp_compiler
from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.vmapped import VmappedPopulation
from rnnsearch.errors import DivergedError
from rnnsearch.plugin.cell import RecurrentCell, State
from rnnsearch.plugin.layers import Stacked, Unrolled
from rnnsearch.plugin.losses import Classification, StandIn
from rnnsearch.plugin.noise import sample_keys
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.trial import OPTIMIZERS, TrainingConfig, TrialSpec
from rnnsearch.training.batches import Batches
from rnnsearch.training.engine_check import Mismatch, NotFinite, relative_error, verify
from rnnsearch.training.engine_choice import choose_engine
from rnnsearch.training.engines import compile_layers, join_layers, prepare
from rnnsearch.training.optimizers import ModelOptimizer
from rnnsearch.training.population import PopulationRun
from rnnsearch.training.run import TrainingRun

CPU = torch.device("cpu")
SHAPE = SequenceShape(input_size=3, output_size=4, length=6, readout="last_step")
CONFIG = TrainingConfig(epochs=3, batch_size=16, learning_rate=0.01, gradient_clip=0.5)


class CounterCell(RecurrentCell):
    """Has a hidden counter, which engines that look at a single step cannot see."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)
        self.steps = 0

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Any) -> int:
        return (input_size + hidden_size + 1) * hidden_size

    def initial_state(self, batch_size: int) -> State:
        self.steps = 0
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        self.steps += 1
        hidden = torch.tanh(self.linear(torch.cat((inputs, state[0]), dim=-1))) / self.steps
        return hidden, (hidden,)


class ShyCell(CounterCell):
    """Branches on the value of a tensor."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = torch.tanh(self.linear(torch.cat((inputs, state[0]), dim=-1)))
        if hidden.sum() > 0:
            hidden = hidden * 2
        return hidden, (hidden,)


class ZoneoutCell(CounterCell):
    """Keeps a unit's old value with probability 0.3 (Krueger et al., arXiv:1606.01305)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.noise_size = hidden_size

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        features, noise = inputs.split((self.input_size, self.noise_size), dim=-1)
        hidden = torch.tanh(self.linear(torch.cat((features, state[0]), dim=-1)))
        kept = (noise < 0.3).float() if self.training else torch.full_like(noise, 0.3)
        hidden = kept * state[0] + (1 - kept) * hidden
        return hidden, (hidden,)


@pytest.fixture(autouse=True, scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One folder of compiled kernels for all tests here."""
    folder = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpp_compiler, "cache_folder", lambda: folder)
        yield


def spec_of(architecture: str = "mcrm", engine: str = "program", **model: Any) -> TrialSpec:
    """A small trial."""
    model_spec = ModelSpec(architecture, SHAPE, 5, **{"head": "linear", **model})
    return TrialSpec("search", model_spec, CONFIG, 3, "noise", {}, 0, 0.0, engine=engine)


def data(samples: int = 50, seed: int = 0, *, varying: bool = False) -> Batches:
    """Four classes of noise."""
    source = np.random.default_rng(seed)
    inputs = source.normal(size=(samples, 6, 3)).astype(np.float32)
    lengths = source.integers(1, 7, samples) if varying else None
    return Batches(Examples(inputs, source.integers(0, 4, samples), lengths), CPU)


def start(spec: TrialSpec, objective: Any = None) -> TrainingRun:
    """A run on noise."""
    architecture = load_registry().architecture(spec.model.architecture)
    return TrainingRun(architecture, spec, objective or Classification(), data(), data(23, 1))


def model_with(cell: RecurrentCell) -> RecurrentModel:
    """A cell with a linear head that reads the last step."""
    head = torch.nn.Linear(cell.hidden_size, 4)
    return RecurrentModel(Stacked([Unrolled(cell)]), head, "last_step")


@pytest.mark.parametrize("architecture", ["mcrm", "lstm", "snn"])
def test_every_engine_trains_the_same_model_alike(architecture: str) -> None:
    runs = {engine: start(spec_of(architecture, engine)) for engine in Engine.PROGRAM.fallbacks}
    metrics = {engine: [run.run_epoch() for _ in range(2)][-1] for engine, run in runs.items()}
    for engine, found in metrics.items():
        for name in ("train_loss", "train_metric", "validation_loss", "gradient_norm"):
            expected = getattr(metrics["eager"], name)
            assert getattr(found, name) == pytest.approx(expected, rel=2e-4), (engine, name)
    assert [run.engine for run in runs.values()][:2] == ["compiled program", "compiled layers"]
    assert runs["eager"].engine == "eager"
    assert runs["torch"].engine == ("torch.nn.LSTM" if architecture == "lstm" else "eager")


def _step(model: RecurrentModel, *, joined: bool) -> Tensor:
    """All parameters after one update with compiled layers."""
    optimizer = ModelOptimizer(model, CONFIG)
    if joined:
        join_layers(model, optimizer)
    inputs, targets, _ = data().take(torch.arange(16))
    cross_entropy(model(inputs), targets).backward()
    optimizer.clip(math.inf)
    optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("architecture", ["mcrm", "sm_rnn", "lstm"])
def test_a_layer_reads_its_parameters_from_one_leaf_as_from_its_own(architecture: str) -> None:
    torch.manual_seed(0)
    cls = load_registry().architecture(architecture)
    spec = ModelSpec(architecture, SHAPE, 5, head="linear", num_layers=2)
    model = build_model(cls, spec)
    other = copy.deepcopy(model)
    for one in (model, other):
        compile_layers(one, CONFIG.batch_size, CPU)
    assert torch.equal(_step(model, joined=True), _step(other, joined=False))
    body = [layer for layer in model.modules() if isinstance(layer, Unrolled)]
    assert len(body) == 2
    for layer in body:
        assert all(p.grad is None for p in layer.cell.parameters()), "the leaf was not read"


def test_a_copy_of_a_model_in_training_is_trained_on_its_own() -> None:
    torch.manual_seed(0)
    model = model_with(load_registry().architecture("mcrm")(3, 5))
    compile_layers(model, CONFIG.batch_size, CPU)
    _step(model, joined=True)
    first = copy.deepcopy(model)
    second = copy.deepcopy(model)
    inputs = data().take(torch.arange(16))[0]
    before = model(inputs)
    after = _step(first, joined=True)
    assert torch.equal(model(inputs), before)
    assert torch.equal(_step(second, joined=False), after)


def test_a_program_resumes_to_the_last_bit(tmp_path: Path) -> None:
    whole, half = start(spec_of()), start(spec_of())
    expected = [whole.run_epoch().train_loss for _ in range(3)]
    half.run_epoch()
    torch.save(half.state_dict(), tmp_path / "half.pt")
    again = start(replace(spec_of(), seed=99))
    again.load_state_dict(torch.load(tmp_path / "half.pt", weights_only=True))
    assert [again.run_epoch().train_loss for _ in range(2)] == expected[1:]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("engine", "next_engine"), list(permutations(("program", "layers", "eager"), 2))
)
def test_a_run_goes_on_with_another_engine_where_one_was_lost(
    optimizer: str, engine: str, next_engine: str
) -> None:
    """A node without a compiler resumes a run started with one, and the other way round."""
    config = replace(CONFIG, optimizer=optimizer, learning_rate=0.05)
    first = replace(spec_of(engine=engine), training=config)
    whole = start(first)
    expected = [whole.run_epoch().train_loss for _ in range(3)]
    begun = start(first)
    begun.run_epoch()
    again = start(replace(first, seed=99, engine=next_engine))
    assert begun.engine != again.engine
    again.load_state_dict(begun.state_dict())
    ended = [again.run_epoch().train_loss for _ in range(2)]
    assert ended == pytest.approx(expected[1:], rel=1e-5)
    assert expected[2] < expected[1], "what is trained on is not learned"


def test_the_model_of_a_program_is_always_up_to_date() -> None:
    run = start(spec_of())
    run.run_epoch()
    exported = build_model(load_registry().architecture("mcrm"), run.model.spec)  # type: ignore[arg-type]
    exported.load_state_dict(run.state_dict()["model"])
    inputs, targets, _ = data(23, 1).take(torch.arange(23))
    with torch.no_grad():
        loss = float(cross_entropy(exported(inputs, None), targets))
    assert loss == pytest.approx(run.evaluate(data(23, 1))[0], rel=1e-5)


def test_a_program_that_diverges_says_so_as_eager_does() -> None:
    config = replace(CONFIG, learning_rate=1e30, gradient_clip=0.0)
    run = start(replace(spec_of("prelu_rnn"), training=config))
    with pytest.raises(DivergedError, match="is not finite in epoch 1"):
        run.run_epoch()


def test_a_split_with_longer_sequences_is_measured_as_eager_measures_it() -> None:
    shape = replace(SHAPE, length=None, readout="masked_step")
    model = build_model(load_registry().architecture("lstm"), ModelSpec("lstm", shape, 5))

    def split(steps: int) -> Batches:
        generator = np.random.default_rng(steps)
        inputs = generator.standard_normal((9, steps, 3), dtype=np.float32)
        lengths = generator.integers(1, steps + 1, 9)
        lengths[0] = steps
        return Batches(Examples(inputs, generator.integers(0, 4, 9), lengths), CPU)

    compiled, _ = prepare(Engine.PROGRAM, model, CONFIG, Classification(), split(5))
    assert compiled.name == "compiled program"
    eager, _ = prepare(Engine.EAGER, model, CONFIG, Classification(), split(5))
    for steps in (5, 90, 7):
        assert compiled.measure(split(steps)) == pytest.approx(
            eager.measure(split(steps)), rel=1e-4
        )


def test_a_loss_that_the_engine_lacks_leaves_compiled_layers_and_says_why() -> None:
    run = start(spec_of(), StandIn())
    assert run.engine == "compiled layers"
    assert run.engine_reason == "program: the loss is not one that the engine has"


def test_what_cannot_be_compiled_runs_eagerly_and_says_why() -> None:
    updates, reason = prepare(
        Engine.PROGRAM, model_with(ShyCell(3, 5)), CONFIG, Classification(), data()
    )
    assert updates.name == "eager"
    assert "program: " in reason
    assert "layers: " in reason
    loss, _, _ = updates.train(data(), torch.arange(50))
    assert math.isfinite(loss)


def test_no_compiler_leaves_the_plain_engine_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    cpp_compiler.toolchain.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    try:
        choice = choose_engine(load_registry().architecture("mcrm"), spec_of(), Classification())
    finally:
        cpp_compiler.toolchain.cache_clear()
    assert (choice.engine, choice.name, choice.speedup) == ("vmapped", "vmapped seeds", None)
    assert "no C++ compiler found (looked for CXX=no-such-compiler)" in choice.reason
    assert not choice.failed


NOISY = (
    ("zoneout", {"rate": 0.3, "cell_rate": 0.2}),
    ("dropout", {"rate": 0.4, "input_rate": 0.2, "recurrent_rate": 0.2, "per": "sequence"}),
)


def noisy(engine: str, architecture: str = "lstm", seed: int = 3, **model: Any) -> TrialSpec:
    """A trial whose cells ask for random numbers."""
    wrapped = spec_of(architecture, engine, wrappers=NOISY, num_layers=2, **model)
    return replace(wrapped, seed=seed)


def test_every_engine_draws_the_same_noise() -> None:
    both = {"bidirectional": True}
    runs = {engine: start(noisy(engine, **both)) for engine in ("program", "torch", "eager")}
    assert [run.engine for run in runs.values()] == ["compiled layers", "eager", "eager"]
    assert "the cell asks for noise" in runs["program"].engine_reason
    measured = {engine: [run.run_epoch() for _ in range(2)] for engine, run in runs.items()}
    specs = [noisy("vmapped", seed=seed, **both) for seed in (3, 4)]
    lstm = load_registry().architecture("lstm")
    population = PopulationRun(lstm, specs, Classification(), data(), data(23, 1))
    epochs = [population.run_epoch() for _ in range(2)]
    measured["vmapped"] = [epoch[0] for epoch in epochs]  # type: ignore[misc]
    for engine, found in measured.items():
        for epoch, expected in zip(found, measured["eager"], strict=True):
            for name in ("train_loss", "validation_loss", "gradient_norm"):
                value = pytest.approx(getattr(expected, name), rel=1e-4)
                assert getattr(epoch, name) == value, (engine, name)
    other = start(noisy("eager", seed=4, **both))
    assert other.run_epoch().train_loss == pytest.approx(epochs[0][1].train_loss, rel=1e-4)  # type: ignore[union-attr]


def test_noise_is_drawn_anew_in_every_epoch_and_for_every_seed() -> None:
    model = model_with(ZoneoutCell(3, 5))
    losses = []
    for noise in ((3, 0), (3, 0), (3, 1), (4, 0)):
        updates, _ = prepare(Engine.EAGER, copy.deepcopy(model), CONFIG, Classification(), data())
        losses.append(updates.train(data(), torch.arange(50), noise)[0])
    assert losses[0] == losses[1]
    assert len({*losses}) == 3


def test_a_run_that_goes_on_from_a_checkpoint_draws_what_it_would_have_drawn() -> None:
    whole, first = start(noisy("layers")), start(noisy("layers"))
    expected = [whole.run_epoch() for _ in range(2)][-1]
    first.run_epoch()
    torch.manual_seed(99)  # another process has another global generator
    second = start(noisy("layers"))
    torch.manual_seed(98)
    second.load_state_dict(first.state_dict())
    found = second.run_epoch()
    assert replace(found, step_ms=0.0, seconds=0.0) == replace(expected, step_ms=0.0, seconds=0.0)


def test_training_with_noise_takes_nothing_from_the_global_generator() -> None:
    run = start(noisy("eager"))
    before = torch.get_rng_state()
    run.run_epoch()
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_draws_nothing() -> None:
    run = start(noisy("layers"))
    run.run_epoch()
    assert run.evaluate(data(23, 1)) == run.evaluate(data(23, 1))


def test_a_sample_gives_the_same_alone_as_among_others_also_while_noise_is_drawn() -> None:
    model = start(noisy("eager")).model.train()
    batch = data(varying=True)
    samples = torch.arange(50)
    inputs, _, lengths = batch.take(samples)
    together = model(inputs, lengths, sample_keys(3, 0, samples))
    for sample in (4, 31):
        only = torch.tensor([sample])
        inputs, _, lengths = batch.take(only)
        alone = model(inputs, lengths, sample_keys(3, 0, only))
        torch.testing.assert_close(alone[0], together[sample])


def test_a_model_that_is_given_no_keys_draws_from_the_global_generator() -> None:
    model = start(noisy("eager")).model.train()
    inputs, _, _ = data().take(torch.arange(5))

    def outputs(seed: int) -> Tensor:
        torch.manual_seed(seed)
        found: Tensor = model(inputs)
        return found

    assert torch.equal(outputs(0), outputs(0))
    assert not torch.equal(outputs(0), outputs(1))


@pytest.mark.parametrize("engine", ["layers", "program"])
def test_an_engine_is_verified_on_the_noise_that_the_eager_loop_has(engine: str) -> None:
    torch.manual_seed(0)
    model = model_with(ZoneoutCell(3, 5))
    if engine == "program":
        with pytest.raises(Unsupported, match="asks for noise"):
            verify(Engine(engine), model, SHAPE, CONFIG, Classification())
    else:
        assert verify(Engine(engine), model, SHAPE, CONFIG, Classification()) < 1e-6


def test_a_model_that_overflows_by_itself_is_not_called_an_engines_mistake() -> None:
    class Bursting(CounterCell):
        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            hidden = torch.tanh(self.linear(torch.cat((inputs, state[0]), dim=-1)))
            hidden = torch.exp(25 * hidden) * (1 + state[0])
            return hidden, (hidden,)

    with pytest.raises(NotFinite, match=r"the model itself is not finite: .* in plain torch"):
        verify(Engine.LAYERS, model_with(Bursting(3, 5)), SHAPE, CONFIG, Classification())


class TurningCell(CounterCell):
    """Complex units and a step counter: both are state, neither is a parameter."""

    def initial_state(self, batch_size: int) -> State:
        zeros = self.zeros(batch_size, self.hidden_size)
        return torch.complex(zeros, zeros), torch.zeros_like(zeros[:, :1], dtype=torch.int64)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        units, steps = state
        moved = self.linear(torch.cat((inputs, units.real), dim=-1))
        units = 0.9j * units + torch.tanh(moved) / (1 + steps)
        return units.abs(), (units, steps + 1)


def test_complex_and_whole_numbers_in_the_state_train_in_torch_and_are_refused_in_words() -> None:
    torch.manual_seed(0)
    cell = TurningCell(3, 5)
    layer = Unrolled(cell, learned_initial_state=True)
    model = RecurrentModel(Stacked([layer]), torch.nn.Linear(5, 4), "last_step")
    assert [tuple(p.shape) for p in layer.initial_offsets] == [(1, 5, 2)]
    updates, reason = prepare(Engine.PROGRAM, model, CONFIG, Classification(), data())
    assert updates.name == "eager"
    assert reason.count("part 1 of the state is complex: machine code takes real numbers") == 2
    first = updates.train(data(), torch.arange(50))[0]
    assert updates.train(data(), torch.arange(50))[0] < first
    assert layer.initial_offsets[0].detach().any()
    assert [part.dtype for part in layer.initial_state(2)] == [torch.complex64, torch.int64]
    members = [model, copy.deepcopy(model)]
    population = VmappedPopulation(members, "adam", [0.01, 0.01], 0.0, [0.0, 0.0])
    inputs, targets, _ = data().take(torch.arange(50))
    losses, _, _ = population.step(
        torch.stack((inputs, inputs)),
        torch.stack((targets, targets)),
        None,
        Classification().loss,
        Classification().score,
    )
    assert losses.isfinite().all()


def test_a_cell_that_draws_by_itself_is_still_caught() -> None:
    class Drawing(CounterCell):
        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            output, after = super().forward(inputs, state)
            return torch.nn.functional.dropout(output, 0.5, self.training), after

    with pytest.raises(Unsupported, match="draws at random inside the step"):
        verify(Engine.LAYERS, model_with(Drawing(3, 5)), SHAPE, CONFIG, Classification())


def test_a_carried_state_goes_on_where_the_last_piece_ended() -> None:
    model = build_model(load_registry().architecture("mcrm"), spec_of().model)
    updates, _ = prepare(Engine.LAYERS, model, CONFIG, Classification(), data())
    assert updates.name == "compiled layers"
    layer = next(m for m in model.modules() if isinstance(m, Unrolled))
    inputs = torch.randn(7, 4, 3)
    whole, end = layer.continued(inputs, layer.initial_state(4))
    first, state = layer.continued(inputs[:3], layer.initial_state(4))
    second, last = layer.continued(inputs[3:], tuple(part.detach() for part in state))
    torch.testing.assert_close(torch.cat((first, second)), whole)
    torch.testing.assert_close(last, end)


# Verification


@pytest.mark.parametrize("engine", ["program", "layers"])
def test_an_engine_that_computes_what_eager_does_is_let_through(engine: str) -> None:
    model = build_model(load_registry().architecture("nlstm"), spec_of("nlstm").model)
    assert verify(Engine(engine), model, SHAPE, CONFIG, Classification()) < 1e-6


@pytest.mark.parametrize("engine", ["program", "layers"])
def test_a_counter_that_a_cell_hides_is_found(engine: str) -> None:
    with pytest.raises(Mismatch, match="gradients over 5 steps differ from the eager loop's"):
        verify(Engine(engine), model_with(CounterCell(3, 5)), SHAPE, CONFIG, Classification())


def test_variable_lengths_and_both_directions_are_verified_too() -> None:
    shape = replace(SHAPE, length=None, readout="masked_step")
    spec = replace(spec_of("gru").model, shape=shape, bidirectional=True, num_layers=2)
    model = build_model(load_registry().architecture("gru"), spec)
    assert verify(Engine.PROGRAM, model, shape, CONFIG, Classification()) < 1e-6


def test_a_relative_error_with_something_not_finite_is_infinite() -> None:
    exact = [torch.ones(2, dtype=torch.float64)]
    assert relative_error(exact, [torch.tensor([1.0, math.nan])]) == math.inf
    assert relative_error(exact, [torch.tensor([1.0, 1.5])]) == pytest.approx(0.5 / math.sqrt(2))


# Choice of an engine


def test_a_mismatch_falls_back_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> float:
        raise Mismatch("gradients over 5 steps differ from the eager loop's by 1.0e-02")

    monkeypatch.setattr("rnnsearch.training.engine_choice.verify", refuse)
    choice = choose_engine(load_registry().architecture("mcrm"), spec_of(), Classification())
    assert choice.failed
    assert choice.engine == "torch"
    assert "program: gradients over 5 steps differ" in choice.reason


def test_nobody_waits_for_a_compiler_on_what_eager_would_finish_sooner() -> None:
    architecture = load_registry().architecture("mcrm")
    choice = choose_engine(architecture, spec_of(), Classification(), updates=3_000)
    assert (choice.engine, choice.speedup) == ("torch", None)
    assert choice.reason == "18,000 time steps in all: not worth compiling"


def test_the_choice_says_how_much_faster_and_how_exact_the_engine_is() -> None:
    choice = choose_engine(load_registry().architecture("mcrm"), spec_of(), Classification())
    assert (choice.engine, choice.name, choice.reason) == ("program", "compiled program", "")
    assert choice.speedup is not None
    assert choice.speedup > 1
    assert choice.error is not None
    assert choice.error < 1e-6


@pytest.mark.parametrize("engine", ["eager", "torch"])
def test_a_plain_engine_that_was_asked_for_is_taken(engine: str) -> None:
    architecture = load_registry().architecture("lstm")
    choice = choose_engine(architecture, spec_of("lstm"), Classification(), requested=engine)
    assert choice.engine == engine
    assert choice.name == {"eager": "eager", "torch": "torch.nn.LSTM"}[engine]


def test_a_gpu_leaves_the_compiled_cpu_engines_out() -> None:
    architecture = load_registry().architecture("mcrm")
    choice = choose_engine(architecture, spec_of(), Classification(), on_gpu=True)
    assert (choice.engine, choice.reason) == ("torch", "the trials run on a GPU")


def test_a_model_without_a_time_loop_is_named_feed_forward() -> None:
    architecture = load_registry().architecture("ff_nn")
    spec = replace(spec_of("ff_nn"), model=ModelSpec("ff_nn", SHAPE, 5, head=""))
    choice = choose_engine(architecture, spec, Classification())
    assert (choice.engine, choice.name) == ("torch", "feed-forward")


def test_unsupported_data_are_refused_by_type() -> None:
    batches = Batches(Examples(np.zeros((4, 6, 3), np.int64), np.zeros(4, np.int64)), CPU)
    with pytest.raises(Unsupported, match=r"inputs are torch\.int64"):
        batches.compiled(4, "cross_entropy")


def test_a_class_that_the_model_has_no_output_for_is_refused() -> None:
    batches = Batches(Examples(np.zeros((4, 6, 3), np.float32), np.array([0, 1, 2, 4])), CPU)
    with pytest.raises(Unsupported, match="class targets are not all from 0 to 3"):
        batches.compiled(4, "cross_entropy")


def test_an_accuracy_leaves_out_what_the_loss_leaves_out() -> None:
    outputs = torch.tensor([[[2.0, 1.0]], [[1.0, 2.0]], [[5.0, 0.0]]])  # (time, batch, classes)
    assert float(accuracy(outputs, torch.tensor([[0, 0, -100]]))) == 0.5
