"""The FSMN against sums in numpy, feed-forward nets, and the steps it may see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import Budget, ModelSpec, SequenceModel, SequenceShape, build_model, solve
from rnnsearch.testing import SequenceModelConformance
from rnnsearch_feedforward.fsmn import FSMN, BidirectionalFSMN, MemoryBlock

EVERY_STEP = SequenceShape(input_size=3, output_size=2, length=None, readout="every_step")
MASKED = SequenceShape(input_size=3, output_size=2, length=None, readout="masked_step")


class TestFSMN(SequenceModelConformance):
    @pytest.fixture
    def model_class(self) -> type[SequenceModel]:
        return FSMN


class TestBidirectionalFSMN(SequenceModelConformance):
    @pytest.fixture
    def model_class(self) -> type[SequenceModel]:
        return BidirectionalFSMN


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).double()


def _seen(model: FSMN, step: int) -> list[int]:
    """Steps, of 60, that one output depends on, with all rectifiers on."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().add_(0.1)
    inputs = _noise(60, 1, 3).abs().requires_grad_()
    model(inputs)[step].sum().backward()
    return inputs.grad.abs().sum((1, 2)).nonzero().flatten().tolist()


@pytest.mark.parametrize(("memory", "weights"), [("vectorised", 5), ("scalar", 1)])
def test_parameter_count_is_the_closed_form(memory: str, weights: int) -> None:
    m, p, k, back, ahead = 3, 5, 2, 7, 4
    for blocks in (1, 2, 3):
        layers = (m + 1) * p + blocks * (2 * p**2 + p) + (p + 1) * k
        options = {"memory_blocks": blocks, "look_back": back, "memory": memory}
        assert FSMN.parameter_count(EVERY_STEP, p, **options) == (
            layers + blocks * (back + 1) * weights
        )
        found = BidirectionalFSMN.parameter_count(EVERY_STEP, p, look_ahead=ahead, **options)
        assert found == layers + blocks * (back + 1 + ahead) * weights


@pytest.mark.parametrize("weights", [4, 1], ids=["vectorised", "scalar"])
@pytest.mark.parametrize(("back", "ahead"), [(1, 0), (6, 0), (2, 3), (30, 30)])
def test_a_memory_block_is_a_weighted_sum_of_the_steps_around(
    weights: int, back: int, ahead: int
) -> None:
    torch.manual_seed(0)
    block = MemoryBlock(weights, back, ahead).double()
    a = np.broadcast_to(block.weight.detach().numpy(), (4, back + 1 + ahead))
    for steps in (1, 2, 9):
        hidden = _noise(steps, 2, 4)
        found = block(hidden).detach().numpy()
        for t in range(steps):
            expected = sum(
                a[:, back + offset] * hidden[t + offset].numpy()
                for offset in range(-back, ahead + 1)
                if 0 <= t + offset < steps
            )
            np.testing.assert_allclose(found[t], expected, rtol=0, atol=1e-12)


def test_a_scalar_memory_is_a_vectorised_one_with_equal_weights() -> None:
    torch.manual_seed(0)
    scalar = FSMN(EVERY_STEP, 5, memory="scalar", look_back=3).double()
    vectorised = FSMN(EVERY_STEP, 5, memory="vectorised", look_back=3).double()
    state = scalar.state_dict()
    state["memories.0.weight"] = state["memories.0.weight"].expand(5, -1)
    vectorised.load_state_dict(state)
    inputs = _noise(9, 2, 3)
    torch.testing.assert_close(vectorised(inputs), scalar(inputs))


def test_with_a_memory_of_the_present_alone_the_net_is_feed_forward_with_both_maps_added() -> None:
    torch.manual_seed(0)
    model = FSMN(EVERY_STEP, 5, memory_blocks=2, look_back=3).double()
    with torch.no_grad():
        for memory in model.memories:
            memory.weight.zero_()
            memory.weight[:, -1] = 1
    inputs = _noise(9, 2, 3)
    values = model.first_map(inputs).relu()
    for layer in model.maps:
        w, v = layer.weight.split(5, dim=1)
        values = (values @ (w + v).T + layer.bias).relu()
    torch.testing.assert_close(model(inputs), model.output_map(values))


@pytest.mark.parametrize("blocks", [1, 3])
def test_an_output_sees_the_present_and_the_memory_of_every_block(blocks: int) -> None:
    model = FSMN(EVERY_STEP, 2, memory_blocks=blocks, look_back=4).double()
    assert _seen(model, 30) == list(range(30 - 4 * blocks, 31))
    assert FSMN.capabilities.causal


def test_a_bidirectional_net_sees_as_far_ahead_as_it_is_told_and_says_so() -> None:
    model = BidirectionalFSMN(EVERY_STEP, 2, memory_blocks=2, look_back=4, look_ahead=3).double()
    assert _seen(model, 30) == list(range(22, 37))
    assert not BidirectionalFSMN.capabilities.causal


@pytest.mark.parametrize("model_class", [FSMN, BidirectionalFSMN])
def test_the_output_of_a_short_sequence_is_that_without_its_padding(
    model_class: type[FSMN],
) -> None:
    torch.manual_seed(0)
    model = model_class(MASKED, 4, memory_blocks=2, look_back=3).double()
    with torch.no_grad():
        model.first_map.bias.fill_(1.0)  # layers map padding to nonzero values, too
    inputs, lengths = _noise(9, 3, 3), torch.tensor([4, 9, 1])
    together = model(inputs, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(inputs[:length, row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


@pytest.mark.parametrize("model_class", [FSMN, BidirectionalFSMN])
@pytest.mark.parametrize("budget", [1000, 3200, 50_000])
def test_the_solver_meets_budgets(model_class: type[FSMN], budget: int) -> None:
    shape = SequenceShape(input_size=28, output_size=10, length=28, readout="last_step")
    spec = ModelSpec(architecture="fsmn", shape=shape, hidden_size=1, head="")
    solution = solve(model_class, spec, Budget(budget, tolerance=0.02))
    built = sum(p.numel() for p in build_model(model_class, solution.spec).parameters())
    assert built == solution.parameters
    assert abs(built / budget - 1) <= 0.02
