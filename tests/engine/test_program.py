"""Whole training steps in machine code train like torch, and members are independent."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnsearch import ModelSpec, SequenceShape, build_model, load_registry
from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.cpp_compiler import toolchain
from rnnsearch.engine.program import Data, Measured, Member, Plan, Program
from rnnsearch.plugin.builtin.linear import LinearHead
from rnnsearch.plugin.layers import Stacked, Unrolled
from rnnsearch.plugin.losses import (
    Measure,
    accuracy,
    binary_cross_entropy,
    cross_entropy,
    mean_squared_error,
)
from rnnsearch.training.compiled_model import plan_program
from rnnsearch_baselines.elman import ElmanCell

pytestmark = pytest.mark.usefixtures("compiler")

STEPS, SAMPLES, BATCH, INPUTS, OUTPUTS, HIDDEN = 9, 50, 21, 5, 4, 6
SHAPE = SequenceShape(input_size=INPUTS, output_size=OUTPUTS, length=STEPS, readout="last_step")
TOLERANCE = 2e-5  # relative to the change in two epochs; Adam amplifies rounding


@dataclass
class Setting:
    """A model with matching data and measures."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    loss: Measure = cross_entropy
    score: Measure = accuracy

    def plan(self) -> Plan:
        return plan_program(self.model, self, STEPS, BATCH, lanes=toolchain().width)

    def data(self) -> Data:
        return Data(self.inputs, self.targets, self.lengths, OUTPUTS, self.loss.compiled_as)


def _drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _classes(*shape: int) -> Tensor:
    return torch.randint(0, OUTPUTS, shape, generator=torch.Generator().manual_seed(2))


def _model(architecture: str = "elman", seed: int = 0, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    spec = ModelSpec(architecture=architecture, shape=SHAPE, hidden_size=HIDDEN)
    model = build_model(load_registry().architecture(architecture), replace(spec, **changes))
    with torch.no_grad():
        for parameter in model.parameters():  # away from zero, where some start
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def _one_layer() -> Setting:
    return Setting(_model(), _drawn(SAMPLES, STEPS, INPUTS), _classes(SAMPLES))


def _stacked() -> Setting:
    lengths = torch.randint(1, STEPS + 1, (SAMPLES,), generator=torch.Generator().manual_seed(3))
    model = _model(
        "gru",
        shape=replace(SHAPE, length=None, readout="masked_step"),
        num_layers=2,
        bidirectional=True,
        learned_initial_state=True,
        head="mlp",
        head_hidden_size=7,
    )
    return replace(_one_layer(), model=model, lengths=lengths)


def _every_step() -> Setting:
    targets = _classes(SAMPLES, STEPS)
    targets[:, 6:] = -100
    targets[::3, 2] = -100
    return replace(
        _one_layer(),
        model=_model(shape=replace(SHAPE, readout="every_step"), head="prelu", head_hidden_size=5),
        targets=targets,
    )


def _all_steps() -> Setting:
    torch.manual_seed(0)
    body = Stacked([Unrolled(ElmanCell(INPUTS, HIDDEN))])
    head = LinearHead(STEPS * HIDDEN, OUTPUTS)
    return replace(_one_layer(), model=RecurrentModel(body, head, "all_steps"))


def _values(loss: Measure) -> Setting:
    targets = _drawn(SAMPLES, OUTPUTS, seed=4)
    targets = targets if loss is mean_squared_error else (targets > 0).float()
    targets[::4, 1] = torch.nan
    return replace(_one_layer(), targets=targets, loss=loss, score=mean_squared_error)


def _values_at_every_step() -> Setting:
    targets = _drawn(SAMPLES, STEPS, OUTPUTS, seed=4)
    return replace(
        _every_step(), targets=targets, loss=mean_squared_error, score=mean_squared_error
    )


SETTINGS = {
    "one layer": _one_layer,
    "stacked, bidirectional, learned initial state, lengths": _stacked,
    "every step": _every_step,
    "all steps": _all_steps,
    "squared error": lambda: _values(mean_squared_error),
    "binary cross-entropy": lambda: _values(binary_cross_entropy),
    "squared error at every step": _values_at_every_step,
}


def _optimizer(model: nn.Module, name: str, rate: float, decay: float) -> torch.optim.Optimizer:
    kinds: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
    }
    optimizer: torch.optim.Optimizer = kinds[name](model.parameters(), lr=rate, weight_decay=decay)
    return optimizer


def _outputs(setting: Setting, model: nn.Module, index: Tensor) -> Tensor:
    inputs, lengths = setting.inputs[index], None
    if setting.lengths is not None:
        lengths = setting.lengths[index]
        inputs = inputs[:, : int(lengths.max())]
    dtype = next(model.parameters()).dtype
    outputs: Tensor = model(inputs.transpose(0, 1).to(dtype), lengths)
    return outputs


def _targets(setting: Setting, index: Tensor) -> Tensor:
    targets = setting.targets[index]
    return targets.double() if targets.is_floating_point() else targets


def _train_with_torch(
    setting: Setting, model: nn.Module, orders: list[Tensor], name: str, *settings: float
) -> tuple[float, float, float]:
    """Train; return the sums over samples of loss and score, and over updates of the norm."""
    rate, decay, clip = settings
    optimizer = _optimizer(model, name, rate, decay)
    sums = [0.0, 0.0, 0.0]
    for order in orders:
        for index in order.split(BATCH):
            optimizer.zero_grad()
            outputs, targets = _outputs(setting, model, index), _targets(setting, index)
            loss = setting.loss(outputs, targets)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip or float("inf"))
            optimizer.step()
            score = setting.score(outputs.detach(), targets)
            sums[0] += float(loss.detach()) * len(index)
            sums[1] += float(score) * len(index)
            sums[2] += float(norm)
    return sums[0], sums[1], sums[2]


def _orders(seed: int = 5, epochs: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(SAMPLES, generator=generator) for _ in range(epochs)]


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


def _totals(measured: list[Measured]) -> tuple[float, float, float]:
    losses, scores, norms = zip(*((m.loss, m.score, m.norm) for m in measured), strict=True)
    return sum(losses), sum(scores), sum(norms)


def _assert_trains_as_torch(setting: Setting, name: str, *settings: float) -> None:
    rate, decay, clip = settings
    before = _flat(setting.model)
    reference = copy.deepcopy(setting.model).double()
    expected = _train_with_torch(setting, reference, _orders(), name, *settings)
    plan = setting.plan()
    member = Member(setting.model, plan, name, rate, decay, clip)
    program, data = Program(plan, member.names), setting.data()
    measured = [program.run(member, data, order, BATCH, train=True) for order in _orders()]
    assert _totals(measured) == pytest.approx(expected, rel=1e-5)
    moved = float((_flat(reference) - before).norm())
    assert moved > 0
    rounding = 1e-6 * float(before.norm())  # of parameters in single precision
    distance = float((_flat(setting.model) - _flat(reference)).norm())
    assert distance < TOLERANCE * moved + rounding
    # Evaluation, including the smaller last block.
    index = torch.arange(SAMPLES)
    found = program.run(member, data, index, SAMPLES, train=False)
    with torch.no_grad():
        outputs, targets = _outputs(setting, reference, index), _targets(setting, index)
    assert found.loss / SAMPLES == pytest.approx(float(setting.loss(outputs, targets)), rel=1e-4)
    assert found.score / SAMPLES == pytest.approx(float(setting.score(outputs, targets)), rel=1e-4)


# Against torch


@pytest.mark.parametrize("name", SETTINGS)
def test_two_epochs_equal_those_of_torch(name: str) -> None:
    _assert_trains_as_torch(SETTINGS[name](), "adam", 0.01, 0.01, 0.05)


@pytest.mark.parametrize("clip", [0.0, 0.05, 100.0])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_with_decay_and_clipping_equals_torchs(
    optimizer: str, decay: float, clip: float
) -> None:
    _assert_trains_as_torch(_one_layer(), optimizer, 0.01, decay, clip)


def test_what_an_epoch_measures_does_not_depend_on_where_it_is_cut_into_calls() -> None:
    """The split depends on how long an update takes, and so on the load of the machine."""
    found = []
    for updates in (SAMPLES, 1):
        setting = _one_layer()
        plan = setting.plan()
        member = Member(setting.model, plan, "adam", 0.01, 0.0, 0.0)
        program, data, sums = Program(plan, member.names), setting.data(), Measured()
        for order in _orders():
            for some in order.split(updates * BATCH):
                program.run(member, data, some, BATCH, train=True, sums=sums)
        found.append((sums.loss, sums.score, sums.norm))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["lstm", "sm_rnn"])
def test_other_cells_train_as_with_torch(name: str) -> None:
    _assert_trains_as_torch(replace(_one_layer(), model=_model(name)), "adam", 0.01, 0.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.float64])
def test_compact_inputs_train_as_their_float32_copies_to_the_bit(dtype: torch.dtype) -> None:
    whole = (10 * _drawn(SAMPLES, STEPS, INPUTS)).clamp(-100, 100).abs().round()
    trained = []
    for inputs in (whole, whole.to(dtype)):
        setting = replace(_one_layer(), inputs=inputs)
        plan = setting.plan()
        member = Member(setting.model, plan, "adam", 0.01)
        Program(plan, member.names).run(member, setting.data(), _orders()[0], BATCH, train=True)
        trained.append(_flat(setting.model))
    assert torch.equal(*trained)


def test_signed_inputs_keep_their_sign() -> None:
    inputs = (10 * _drawn(SAMPLES, STEPS, INPUTS)).round().to(torch.int8)
    assert inputs.min() < 0
    _assert_trains_as_torch(replace(_one_layer(), inputs=inputs), "sgd", 0.01, 0.0, 0.0)


def test_a_frozen_parameter_stays_as_it_is() -> None:
    setting = _one_layer()
    frozen = next(setting.model.parameters())
    frozen.requires_grad_(False)
    setting.model.spec = None  # type: ignore[assignment]  # not the plan with all trained
    before = frozen.clone()
    plan = setting.plan()
    member = Member(setting.model, plan, "adam", 0.01)
    reference = copy.deepcopy(setting.model).double()
    Program(plan, member.names).run(member, setting.data(), _orders()[0], BATCH, train=True)
    assert torch.equal(frozen, before)
    _train_with_torch(setting, reference, _orders()[:1], "adam", 0.01, 0.0, 0.0)
    assert torch.allclose(_flat(setting.model), _flat(reference), atol=1e-6)


def test_evaluation_changes_nothing() -> None:
    setting = _one_layer()
    plan = setting.plan()
    member = Member(setting.model, plan, "adam", 0.01)
    before, state = _flat(setting.model), member.state_dict()
    program = Program(plan, member.names)
    program.run(member, setting.data(), torch.arange(SAMPLES), BATCH, train=False)
    after = member.state_dict()
    assert torch.equal(_flat(setting.model), before)
    assert after["updates"] == state["updates"] == 0
    assert not after["first"].any()


def test_the_gradient_of_a_batch_is_autograds_and_leaves_the_parameters_alone() -> None:
    setting = _one_layer()
    reference = copy.deepcopy(setting.model).double()
    plan = setting.plan()
    member = Member(setting.model, plan, "adam", 0.01)
    before, index = _flat(setting.model), torch.arange(BATCH)
    gradient, loss = Program(plan, member.names).gradient(member, setting.data(), index)
    expected = setting.loss(_outputs(setting, reference, index), setting.targets[index])
    expected.backward()
    wanted = torch.cat([p.grad.flatten() for p in reference.parameters() if p.grad is not None])
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float((gradient.double() - wanted).norm()) < 1e-5 * float(wanted.norm())
    assert torch.equal(_flat(setting.model), before)


# Bit-for-bit equality


@dataclass
class _Run:
    """A member with its data; two with the same seed start equal."""

    setting: Setting
    member: Member
    orders: list[Tensor]


@cache
def _plan() -> Plan:
    return _stacked().plan()


def _run(seed: int, rate: float = 0.01) -> _Run:
    setting = _stacked()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in setting.model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    member = Member(setting.model, _plan(), "adam", rate, 0.01, 0.5)
    return _Run(setting, member, _orders(seed, 3))


def _epoch(program: Program, run: _Run, epoch: int) -> Measured:
    return program.run(run.member, run.setting.data(), run.orders[epoch], BATCH, train=True)


@cache
def _alone(seed: int) -> tuple[Tensor, list[float]]:
    """Parameters and losses of a seed that is the only member of a program."""
    run = _run(seed)
    program = Program(_plan(), run.member.names)
    losses = [_epoch(program, run, epoch).loss for epoch in range(3)]
    return run.member.flat.clone(), losses


def test_a_seed_trains_to_the_same_bits_alone_and_among_others() -> None:
    runs = [_run(seed) for seed in range(4)]
    program = Program(_plan(), runs[0].member.names)
    losses = [[_epoch(program, run, epoch).loss for run in runs] for epoch in range(3)]
    for seed, run in enumerate(runs):
        assert torch.equal(run.member.flat, _alone(seed)[0])
        assert [of_epoch[seed] for of_epoch in losses] == _alone(seed)[1]


def test_a_seed_trains_to_the_same_bits_in_a_thread_beside_another() -> None:
    def train(seed: int) -> Tensor:
        run = _run(seed)
        program = Program(_plan(), run.member.names)
        for epoch in range(3):
            _epoch(program, run, epoch)
        return run.member.flat

    expected = [_alone(seed)[0] for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(train, range(4)))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_member_that_diverges_does_not_touch_the_bits_of_another() -> None:
    good, bad = _run(0), _run(1, rate=1e30)
    program = Program(_plan(), good.member.names)
    for epoch in range(3):
        lost = _epoch(program, bad, epoch)
        _epoch(program, good, epoch)
    assert lost.loss != lost.loss
    assert bad.member.flat.isnan().any()
    assert torch.equal(good.member.flat, _alone(0)[0])


def test_an_evaluation_in_between_does_not_change_the_bits() -> None:
    run = _run(0)
    program = Program(_plan(), run.member.names)
    for epoch in range(3):
        _epoch(program, run, epoch)
        program.run(run.member, run.setting.data(), torch.arange(SAMPLES), 7, train=False)
    assert torch.equal(run.member.flat, _alone(0)[0])


def test_an_epoch_in_several_calls_trains_to_the_same_bits() -> None:
    run = _run(0)
    program = Program(_plan(), run.member.names)
    for order in run.orders:
        for part in order.split(BATCH):
            program.run(run.member, run.setting.data(), part, BATCH, train=True)
    assert torch.equal(run.member.flat, _alone(0)[0])


def test_a_run_continues_from_its_state_to_the_same_bits() -> None:
    first = _run(0)
    program = Program(_plan(), first.member.names)
    _epoch(program, first, 0)
    state, weights = first.member.state_dict(), copy.deepcopy(first.setting.model.state_dict())
    second = _run(7)
    second.setting.model.load_state_dict(weights)
    second.member.load_state_dict(state)
    second.orders = first.orders
    for epoch in (1, 2):
        _epoch(program, second, epoch)
    assert torch.equal(second.member.flat, _alone(0)[0])


def test_the_model_and_its_member_share_parameters() -> None:
    run = _run(0)
    program = Program(_plan(), run.member.names)
    _epoch(program, run, 0)
    assert torch.equal(_flat(run.setting.model).float(), run.member.flat)


# Refusals


def test_a_model_that_is_not_unrolled_is_refused() -> None:
    setting = replace(_one_layer(), model=nn.Linear(2, 2))
    with pytest.raises(Unsupported, match="Linear is not unrolled over time"):
        setting.plan()


def test_a_loss_that_the_engine_lacks_is_refused() -> None:
    own = Measure("own", lambda outputs, targets: outputs.mean())
    with pytest.raises(Unsupported, match="the loss is not one that the engine has"):
        replace(_one_layer(), loss=own).plan()


def test_classes_that_the_model_has_no_output_for_are_refused() -> None:
    setting = _one_layer()
    setting.targets[3] = OUTPUTS
    with pytest.raises(Unsupported, match=f"class targets are not all from 0 to {OUTPUTS - 1}"):
        setting.data()


def test_inputs_of_an_element_type_without_a_loader_are_refused() -> None:
    setting = _one_layer()
    with pytest.raises(Unsupported, match=r"inputs are torch\.int32"):
        replace(setting, inputs=setting.inputs.int()).data()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": torch.zeros(SAMPLES, STEPS)}, "inputs are of shape"),
        ({"inputs": torch.zeros(0, STEPS, INPUTS)}, "inputs are of shape"),
        ({"inputs": torch.zeros(SAMPLES + 1, STEPS, INPUTS)}, "targets are of shape .* 51 samples"),
        ({"targets": _classes(SAMPLES - 1)}, "targets are of shape"),
        ({"targets": _classes(SAMPLES, STEPS - 1)}, "a sample has 8 targets, not 1"),
        ({"lengths": torch.full((SAMPLES - 1,), STEPS)}, "lengths are of shape"),
        ({"lengths": torch.full((SAMPLES, 1), STEPS)}, "lengths are torch.int64 of shape"),
        ({"lengths": torch.full((SAMPLES,), 1.0)}, "lengths are torch.float32"),
        ({"lengths": torch.full((SAMPLES,), 0)}, "a sequence has no steps"),
        ({"lengths": torch.full((SAMPLES,), STEPS + 1)}, "a sequence of 10 steps is cut at 9"),
    ],
)
def test_a_program_is_given_no_data_that_it_would_read_past(
    change: dict[str, Tensor], said: str
) -> None:
    with pytest.raises((ValueError, Unsupported), match=said):
        replace(_one_layer(), **change).data()  # type: ignore[arg-type]


def _made() -> tuple[Setting, Member, Program]:
    setting = _one_layer()
    member = Member(setting.model, setting.plan(), "adam", 0.01)
    return setting, member, Program(setting.plan(), member.names)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": torch.zeros(SAMPLES, STEPS, INPUTS + 1)}, "reads 5 features, .* have 6"),
        ({"inputs": torch.zeros(SAMPLES, STEPS, INPUTS - 1)}, "reads 5 features, .* have 4"),
        ({"inputs": torch.zeros(SAMPLES, STEPS + 1, INPUTS)}, "holds 9 steps, and .* have 10"),
        ({"targets": _classes(SAMPLES, STEPS)}, "reads 1 targets of a sample, not 9"),
        (
            {"targets": _drawn(SAMPLES, OUTPUTS), "loss": mean_squared_error},
            "has 4 outputs and `cross_entropy`, not 4 outputs and `mean_squared_error`",
        ),
    ],
)
def test_a_program_refuses_data_that_it_was_not_made_for(change: dict[str, Any], said: str) -> None:
    setting, member, program = _made()
    data = replace(setting, **change).data()
    for train in (True, False):
        with pytest.raises(ValueError, match=said):
            program.run(member, data, torch.arange(SAMPLES), BATCH, train=train)
    with pytest.raises(ValueError, match=said):
        program.gradient(member, data, torch.arange(SAMPLES))


def test_a_program_of_every_step_refuses_one_target_for_all() -> None:
    setting = _every_step()
    plan = setting.plan()
    member = Member(setting.model, plan, "adam", 0.01)
    data = replace(setting, targets=_classes(SAMPLES)).data()
    with pytest.raises(ValueError, match="reads 9 targets of a sample, not 1"):
        Program(plan, member.names).run(member, data, torch.arange(3), 3, train=False)


def test_a_program_of_all_steps_refuses_shorter_sequences() -> None:
    setting = _all_steps()
    plan = setting.plan()
    member = Member(setting.model, plan, "adam", 0.01)
    data = replace(setting, inputs=setting.inputs[:, 1:]).data()
    with pytest.raises(ValueError, match="reads sequences of 9 steps, all alike"):
        Program(plan, member.names).run(member, data, torch.arange(3), 3, train=False)


@pytest.mark.parametrize(
    ("order", "batch", "said"),
    [
        (torch.tensor([0, SAMPLES]), BATCH, "samples that are not among 50"),
        (torch.tensor([-1]), BATCH, "samples that are not among 50"),
        (torch.tensor([0], dtype=torch.int32), BATCH, "the order is torch.int32"),
        (torch.zeros(2, 2, dtype=torch.int64), BATCH, "the order is torch.int64 of shape"),
        (torch.arange(3), 0, "a batch has at least one sample, not 0"),
    ],
)
def test_a_program_refuses_samples_that_are_not_there(order: Tensor, batch: int, said: str) -> None:
    setting, member, program = _made()
    with pytest.raises(ValueError, match=said):
        program.run(member, setting.data(), order, batch, train=True)


def test_an_order_that_skips_is_read_as_it_stands() -> None:
    setting, member, program = _made()
    every_other = torch.arange(SAMPLES)[::2]
    found, expected = (
        program.run(member, setting.data(), order, BATCH, train=False).loss
        for order in (every_other, every_other.clone())
    )
    assert found == expected


def test_a_model_that_was_not_planned_is_refused() -> None:
    plan = _one_layer().plan()
    with pytest.raises(ValueError, match=r"the model has no `body.* of shape .*, as planned"):
        Member(_model(hidden_size=HIDDEN + 1), plan, "adam", 0.01)
    with pytest.raises(ValueError, match=r"is torch\.float64 on cpu"):
        Member(_one_layer().model.double(), plan, "adam", 0.01)
    _, _, program = _made()
    other = _stacked()
    member = Member(other.model, other.plan(), "adam", 0.01)
    with pytest.raises(ValueError, match="made for a model with other parameters"):
        program.run(member, other.data(), torch.arange(3), 3, train=True)


def test_a_program_reads_the_weights_it_was_set_up_with_whatever_becomes_of_the_model() -> None:
    setting, member, program = _made()
    before = program.run(member, setting.data(), torch.arange(SAMPLES), BATCH, train=False).loss
    for parameter in setting.model.parameters():
        parameter.data = torch.full_like(parameter, torch.nan)
    after = program.run(member, setting.data(), torch.arange(SAMPLES), BATCH, train=False).loss
    assert before == after


def test_samples_weigh_what_they_are_said_to_in_a_mean_over_batches() -> None:
    setting, member, program = _made()
    weights = torch.arange(SAMPLES) % 4 + 1
    data = Data(setting.inputs, setting.targets, None, OUTPUTS, "cross_entropy", weights)
    found = program.run(member, data, torch.arange(SAMPLES), BATCH, train=False)
    sums = torch.zeros(2, dtype=torch.float64)
    for index in torch.arange(SAMPLES).split(BATCH):
        with torch.no_grad():
            outputs = _outputs(setting, setting.model, index)
        for i, measure in enumerate((cross_entropy, accuracy)):
            sums[i] += measure(outputs, setting.targets[index]) * weights[index].sum()
    assert [found.loss, found.score] == pytest.approx(sums.tolist(), rel=1e-5)
    _, loss = program.gradient(member, data, torch.arange(BATCH))
    with torch.no_grad():
        outputs = _outputs(setting, setting.model, torch.arange(BATCH))
    assert loss == pytest.approx(float(cross_entropy(outputs, setting.targets[:BATCH])), rel=1e-5)
