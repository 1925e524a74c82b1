"""Members that train together with vmap train as each would alone with torch.optim."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell, State
from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.vmapped import VmappedPopulation
from rnnsearch.plugin.builtin.linear import LinearHead
from rnnsearch.plugin.layers import Bidirectional, Stacked, Unrolled
from rnnsearch.plugin.losses import accuracy, cross_entropy, mean_squared_error
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_baselines.prelu_rnn import PReLURNNCell
from rnnsearch_gated.gru import GRUCell
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_nested.mcrm import MCRMCell
from rnnsearch_stigmergic.sm_rnn import SMRNNCell

MEMBERS, STEPS, BATCH, INPUTS, HIDDEN, CLASSES = 3, 5, 4, 3, 6, 4
RATES = (0.01, 0.03, 0.002)
CLIPS = (0.0, 0.05, 10.0)
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


def _models(cell_class: Callable[..., RecurrentCell] = MCRMCell, **options: Any) -> list[nn.Module]:
    models: list[nn.Module] = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        layer = Unrolled(cell_class(INPUTS, HIDDEN, **options), learned_initial_state=True)
        head = LinearHead(HIDDEN, CLASSES)
        models.append(RecurrentModel(Stacked([layer]), head, "last_step").double())
    return models


def _batches(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    return [
        (
            torch.randn(MEMBERS, STEPS, BATCH, INPUTS, generator=generator, dtype=torch.float64),
            torch.randint(CLASSES, (MEMBERS, BATCH), generator=generator),
        )
        for _ in range(count)
    ]


class Alone:
    """One member alone, as in a training run."""

    def __init__(self, model: nn.Module, optimizer: str, row: int, decay: float = 0.0) -> None:
        self.model, self.limit = copy.deepcopy(model), CLIPS[row] or math.inf
        self.optimizer = OPTIMIZERS[optimizer](
            self.model.parameters(), lr=RATES[row], weight_decay=decay
        )

    def step(self, inputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> list[float]:
        self.model.train()
        self.optimizer.zero_grad()
        outputs = self.model(inputs, lengths)
        loss = cross_entropy(outputs, targets)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.limit)
        self.optimizer.step()
        return [loss.item(), accuracy(outputs, targets).item(), norm.item()]


def _population(models: list[nn.Module], optimizer: str = "adam", **options: Any) -> Any:
    decay = options.pop("weight_decay", 0.0)
    return VmappedPopulation(models, optimizer, RATES, decay, CLIPS, **options)


def _assert_equal(model: nn.Module, other: nn.Module, tolerance: float = 1e-9) -> None:
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_members_train_as_each_would_alone_with_torch_optim(optimizer: str, decay: float) -> None:
    models = _models()
    alone = [Alone(model, optimizer, row, decay) for row, model in enumerate(models)]
    population = _population(models, optimizer, weight_decay=decay)
    for inputs, targets in _batches(6):
        measured = torch.stack(
            population.step(inputs, targets, None, cross_entropy, accuracy), dim=1
        )
        wanted = [one.step(inputs[i], targets[i]) for i, one in enumerate(alone)]
        torch.testing.assert_close(measured, torch.tensor(wanted).double(), rtol=1e-6, atol=1e-8)
    population.write_back()
    for model, one in zip(models, alone, strict=True):
        _assert_equal(model, one.model)


@pytest.mark.parametrize("cell_class", [SMRNNCell, LSTMCell, GRUCell, ElmanCell, PReLURNNCell])
def test_cells_train_by_vmap_as_they_do_alone(cell_class: type[RecurrentCell]) -> None:
    models = _models(cell_class)
    alone = [Alone(model, "adam", row) for row, model in enumerate(models)]
    population = _population(models)
    for inputs, targets in _batches(3):
        population.step(inputs, targets, None, cross_entropy, accuracy)
        for i, one in enumerate(alone):
            one.step(inputs[i], targets[i])
    population.write_back()
    for model, one in zip(models, alone, strict=True):
        _assert_equal(model, one.model)


def test_both_directions_of_unequal_lengths_train_by_vmap_as_alone() -> None:
    models: list[nn.Module] = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        both = Bidirectional(lambda: Unrolled(GRUCell(INPUTS, HIDDEN)))
        body, head = Stacked([both]), LinearHead(2 * HIDDEN, CLASSES)
        models.append(RecurrentModel(body, head, "masked_step", bidirectional=True).double())
    alone = [Alone(model, "sgd", row) for row, model in enumerate(models)]
    population = _population(models, "sgd")
    lengths = torch.tensor([[5, 1, 3, 2], [2, 5, 4, 1], [5, 5, 2, 3]])
    for inputs, targets in _batches(2):
        population.step(inputs, targets, lengths, cross_entropy, accuracy)
        for i, one in enumerate(alone):
            one.step(inputs[i], targets[i], lengths[i])
    population.write_back()
    for model, one in zip(models, alone, strict=True):
        _assert_equal(model, one.model)


def test_a_loss_that_picks_elements_by_a_mask_is_taken_member_by_member() -> None:
    models = _models()
    for model in models:
        model.readout = "every_step"  # type: ignore[assignment]
    inputs, _ = _batches(1)[0]
    targets = torch.randn(MEMBERS, BATCH, STEPS, CLASSES, dtype=torch.float64)
    targets[0, :, 3:] = math.nan
    losses, _, norms = _population(models).step(
        inputs, targets, None, mean_squared_error, mean_squared_error
    )
    for i, model in enumerate(models):
        loss = mean_squared_error(model(inputs[i]), targets[i])
        loss.backward()
        norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        torch.testing.assert_close(losses[i], loss.detach())
        torch.testing.assert_close(norms[i], norm)


def test_evaluation_measures_each_member_and_changes_nothing() -> None:
    models = _models()
    population = _population(models)
    inputs, targets = _batches(1)[0]
    before = population.state_dict()
    own = torch.stack(population.evaluate(inputs, targets, None, cross_entropy, accuracy), dim=1)
    same = torch.stack(
        population.evaluate(inputs[0], targets[0], None, cross_entropy, accuracy), dim=1
    )
    for i, model in enumerate(models):
        for given, measured in ((i, own[i]), (0, same[i])):
            outputs = model(inputs[given])
            wanted = [measure(outputs, targets[given]) for measure in (cross_entropy, accuracy)]
            torch.testing.assert_close(measured, torch.stack([w.double() for w in wanted]))
    torch.testing.assert_close(population.state_dict(), before, rtol=0, atol=0)


def test_a_member_that_leaves_takes_its_parameters_and_does_not_touch_the_others() -> None:
    models, untouched = _models(), _models()
    population, whole = _population(models), _population(untouched)
    for step, (inputs, targets) in enumerate(_batches(4)):
        if step == 2:
            whole.write_back()
            population.drop(1)
            _assert_equal(models[1], untouched[1], tolerance=0)
            left = copy.deepcopy(models[1])
        here = list(population.members)
        population.step(inputs[here], targets[here], None, cross_entropy, accuracy)
        whole.step(inputs, targets, None, cross_entropy, accuracy)
    population.write_back()
    whole.write_back()
    assert population.members == (0, 2)
    _assert_equal(models[0], untouched[0])
    _assert_equal(models[2], untouched[2])
    _assert_equal(models[1], left, tolerance=0)
    with pytest.raises(ValueError, match="member 1 is not here"):
        population.drop(1)


def test_a_member_that_diverges_does_not_touch_the_others() -> None:
    models, healthy = _models(), _models()
    with torch.no_grad():
        next(models[1].parameters()).fill_(math.nan)
    population, whole = _population(models), _population(healthy)
    for inputs, targets in _batches(2):
        losses, _, _ = population.step(inputs, targets, None, cross_entropy, accuracy)
        whole.step(inputs, targets, None, cross_entropy, accuracy)
    assert losses.isfinite().tolist() == [True, False, True]
    population.write_back()
    whole.write_back()
    for i in (0, 2):
        _assert_equal(models[i], healthy[i])


def test_training_goes_on_from_a_saved_state_as_if_it_had_not_stopped() -> None:
    batches = _batches(4)
    models, others = _models(), _models()
    population = _population(models, "rmsprop")
    file = io.BytesIO()
    for step, (inputs, targets) in enumerate(batches):
        if step == 2:
            population.drop(0)
            torch.save(population.state_dict(), file)
        here = list(population.members)
        population.step(inputs[here], targets[here], None, cross_entropy, accuracy)
    file.seek(0)
    again = _population(others, "rmsprop")
    again.load_state_dict(torch.load(file, weights_only=True))
    for inputs, targets in batches[2:]:
        again.step(inputs[1:], targets[1:], None, cross_entropy, accuracy)
    torch.testing.assert_close(again.state_dict(), population.state_dict(), rtol=0, atol=0)
    with pytest.raises(ValueError, match="only"):
        again.load_state_dict(_population(_models(), "rmsprop").state_dict())


def test_frozen_parameters_stay_as_they_are() -> None:
    models = _models()
    for model in models:
        model.head.linear.bias.requires_grad_(False)
    frozen = [model.head.linear.bias.clone() for model in models]
    population = _population(models, "adamw", weight_decay=0.1)
    inputs, targets = _batches(1)[0]
    population.step(inputs, targets, None, cross_entropy, accuracy)
    population.write_back()
    for model, before in zip(models, frozen, strict=True):
        torch.testing.assert_close(model.head.linear.bias, before, rtol=0, atol=0)


def test_mixed_precision_loses_no_more_than_its_digits() -> None:
    models = [model.float() for model in _models()]
    inputs, targets = _batches(1)[0]
    given = (inputs.float(), targets, None, cross_entropy, accuracy)
    exact = _population(copy.deepcopy(models)).step(*given)
    mixed = _population(models, mixed_precision=True).step(*given)
    assert not torch.equal(mixed[0], exact[0])
    torch.testing.assert_close(mixed[0], exact[0], rtol=0.02, atol=0.0)
    torch.testing.assert_close(mixed[2], exact[2], rtol=0.05, atol=0.0)


# Refused models


class BranchingCell(ElmanCell):
    """Branches on a value."""

    def as_torch(self) -> None:
        return None

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(inputs if inputs.sum() > 0 else -inputs, state)


class ScaledCell(ElmanCell):
    """Has a different number in every model, which is not a parameter."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.scale = torch.randn(()).item()

    def as_torch(self) -> None:
        return None

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(self.scale * inputs, state)


def test_a_model_that_vmap_cannot_follow_is_refused_with_the_reason() -> None:
    inputs, targets = _batches(1)[0]
    population = _population(_models(BranchingCell))
    with pytest.raises(Unsupported, match=r"vmap cannot follow the model: .*control flow"):
        population.step(inputs, targets, None, cross_entropy, accuracy)


def test_a_model_that_keeps_values_outside_its_parameters_is_refused() -> None:
    inputs, targets = _batches(1)[0]
    population = _population(_models(ScaledCell))
    with pytest.raises(Unsupported, match="computes something else"):
        population.step(inputs, targets, None, cross_entropy, accuracy)


def test_models_that_differ_in_more_than_values_are_refused() -> None:
    models = _models()
    models[1] = _models(GRUCell)[1]
    with pytest.raises(ValueError, match="alike"):
        _population(models)
    with pytest.raises(ValueError, match="no optimizer `lion`"):
        _population(_models(), "lion")
    with pytest.raises(ValueError, match="for every model"):
        _population(_models()[:2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_cuda_graph_without_a_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match="GPU"):
        _population(_models(), graphed=True)
