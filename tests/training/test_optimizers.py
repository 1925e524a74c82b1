"""A model's optimizer gives the same results as torch's optimizer on each tensor."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell, State, Value
from rnnsearch.plugin.layers import Unrolled
from rnnsearch.spec.trial import TrainingConfig
from rnnsearch.training.optimizers import ModelOptimizer

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


class _Net(nn.Module):
    """Two maps, one with a bias, and between them a tensor that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.unread = nn.Parameter(torch.ones(2, 2))
        self.second = nn.Linear(5, 1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.second(torch.tanh(self.first(inputs)))
        return output


def _config(optimizer: str = "adam", weight_decay: float = 0.0) -> TrainingConfig:
    return TrainingConfig(1, 4, 0.05, optimizer=optimizer, weight_decay=weight_decay)


def _batches() -> list[Tensor]:
    return [torch.randn(4, 3, generator=torch.Generator().manual_seed(i)) for i in range(5)]


def _assert_same(one: nn.Module, two: nn.Module, **tolerances: float) -> None:
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value, **tolerances)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("limit", [0.05, math.inf])
def test_one_vector_is_stepped_as_its_tensors_would_be(
    optimizer: str, weight_decay: float, limit: float
) -> None:
    torch.manual_seed(0)
    ours = _Net()
    theirs = copy.deepcopy(ours)
    # Torch skips a tensor without a gradient, but decay would change ours.
    ours.unread.requires_grad_(False)
    flat = ModelOptimizer(ours, _config(optimizer, weight_decay))
    apart = OPTIMIZERS[optimizer](theirs.parameters(), lr=0.05, weight_decay=weight_decay)
    for inputs in _batches():
        flat.zero_grad()
        ours(inputs).square().mean().backward()
        norm = flat.clip(limit)
        flat.step()
        apart.zero_grad()
        theirs(inputs).square().mean().backward()
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), limit)
        apart.step()
        torch.testing.assert_close(norm, expected)
    _assert_same(theirs, ours, rtol=1e-5, atol=1e-6)
    assert not torch.equal(ours.first.weight, _Net().first.weight)


def test_what_nothing_reads_stays_where_it_was() -> None:
    net = _Net()
    optimizer = ModelOptimizer(net, _config())
    net(_batches()[0]).sum().backward()
    optimizer.clip(1.0)
    optimizer.step()
    assert torch.equal(net.unread, torch.ones(2, 2))


def test_a_rate_that_is_scaled_is_the_one_stepped_with() -> None:
    net = _Net()
    before = net.second.weight.detach().clone()
    optimizer = ModelOptimizer(net, _config("sgd"))
    optimizer.scale_rate(0.5)
    net(_batches()[0]).sum().backward()
    gradient = net.second.weight.grad
    assert gradient is not None
    optimizer.clip(math.inf)
    optimizer.step()
    torch.testing.assert_close(net.second.weight.detach(), before - 0.025 * gradient)


def test_a_gradient_of_the_leaf_counts_beside_those_of_the_parameters() -> None:
    """The loss reads the first map's bias twice: through the map, and through the shared leaf."""
    torch.manual_seed(0)
    net = _Net()
    plain = copy.deepcopy(net)
    optimizer = ModelOptimizer(net, _config("sgd"))
    joined = optimizer.join([net.first.bias, net.first.weight])
    assert joined is not None
    leaf, starts = joined
    at = starts[net.first.bias]
    assert torch.equal(leaf[at : at + 5], net.first.bias)
    inputs = _batches()[0]
    (net(inputs).sum() + (leaf[at : at + 5] ** 3).sum()).backward()
    optimizer.clip(math.inf)
    optimizer.step()

    apart = torch.optim.SGD(plain.parameters(), lr=0.05)
    (plain(inputs).sum() + (plain.first.bias**3).sum()).backward()
    apart.step()
    _assert_same(plain, net)
    assert torch.equal(leaf[at : at + 5], net.first.bias)
    optimizer.zero_grad()
    assert leaf.grad is None


def test_parameters_that_do_not_lie_side_by_side_are_not_joined() -> None:
    net = _Net()
    optimizer = ModelOptimizer(net, _config())
    assert optimizer.join([net.first.weight, net.second.weight]) is None
    assert optimizer.join([]) is None
    assert optimizer.join([nn.Parameter(torch.ones(1))]) is None


def test_parameters_are_joined_once() -> None:
    """Two layers share a cell; the gradients of the second come from autograd."""
    net = _Net()
    optimizer = ModelOptimizer(net, _config())
    assert optimizer.join([net.first.weight, net.first.bias]) is not None
    assert optimizer.join([net.first.weight, net.first.bias]) is None
    assert optimizer.join([net.first.bias, net.unread]) is None
    assert optimizer.join([net.second.weight]) is not None


def test_moments_do_not_depend_on_what_was_joined() -> None:
    """So a run started with a compiler can be resumed without one."""
    torch.manual_seed(0)
    net = _Net()
    other = copy.deepcopy(net)
    joined, apart = ModelOptimizer(net, _config()), ModelOptimizer(other, _config())
    joined.join([net.second.weight])
    joined.join([net.first.weight, net.first.bias])
    for model, optimizer in ((net, joined), (other, apart)):
        model(_batches()[0]).sum().backward()
        optimizer.clip(math.inf)
        optimizer.step()
    one, two = joined.state_dict(), apart.state_dict()
    assert torch.equal(one["first"], two["first"])
    assert one["first"].abs().sum() > 0


class _Pairs(RecurrentCell):
    """Complex weights as pairs of reals, after an odd number of other scalars."""

    def __init__(self, input_size: int, hidden_size: int, *, as_complex: bool = True) -> None:
        super().__init__(input_size, hidden_size)
        self.first = nn.Parameter(torch.ones(3))
        self.pairs = nn.Parameter(torch.randn(input_size, hidden_size, 2))
        self.as_complex = as_complex

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 3 + 2 * input_size * hidden_size

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        weights = torch.view_as_complex(self.pairs).abs() if self.as_complex else self.pairs[..., 0]
        hidden = torch.tanh(inputs @ weights + state[0] + self.first.sum())
        return hidden, (hidden,)


@pytest.mark.parametrize("as_complex", [True, False])
def test_only_pairs_that_are_read_as_complex_numbers_are_kept_off_the_vector(
    as_complex: bool,
) -> None:
    torch.manual_seed(0)
    cell = _Pairs(2, 5, as_complex=as_complex)
    optimizer = ModelOptimizer(Unrolled(cell), TrainingConfig(1, 4, 0.1))
    layer = Unrolled(cell)
    before = cell.pairs.detach().clone()
    layer(torch.randn(6, 4, 2)).sum().backward()
    optimizer.clip(1.0)
    optimizer.step()
    assert not torch.equal(cell.pairs, before)
    shared = cell.pairs.untyped_storage().data_ptr() == cell.first.untyped_storage().data_ptr()
    assert shared is not as_complex
