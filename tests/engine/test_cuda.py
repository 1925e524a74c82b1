"""Optimized code on a GPU computes the same as the plain code."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
from torch import Tensor, nn

from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.vmapped import VmappedPopulation
from rnnsearch.plugin.builtin.linear import LinearHead
from rnnsearch.plugin.layers import Stacked, Unrolled
from rnnsearch.plugin.losses import accuracy, cross_entropy
from rnnsearch_nested.mcrm import MCRMCell
from tests.engine.triton_cases import CASES, errors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

MEMBERS, STEPS, BATCH, INPUTS, HIDDEN, CLASSES = 3, 5, 4, 3, 6, 4


def _models() -> list[nn.Module]:
    models: list[nn.Module] = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        body, head = Stacked([Unrolled(MCRMCell(INPUTS, HIDDEN))]), LinearHead(HIDDEN, CLASSES)
        models.append(RecurrentModel(body, head, "last_step").double().cuda())
    return models


def _batches(count: int, batch: int = BATCH) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    shape = (MEMBERS, STEPS, batch, INPUTS)
    return [
        (
            torch.randn(shape, generator=generator, dtype=torch.float64).cuda(),
            torch.randint(CLASSES, (MEMBERS, batch), generator=generator).cuda(),
        )
        for _ in range(count)
    ]


def _population(models: list[nn.Module], optimizer: str, *, graphed: bool) -> VmappedPopulation:
    return VmappedPopulation(
        models, optimizer, (0.01, 0.03, 0.002), 0.1, (0.0, 0.05, 10.0), graphed=graphed
    )


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_a_graphed_population_trains_as_one_that_is_not(optimizer: str) -> None:
    models, others = _models(), _models()
    graphed = _population(models, optimizer, graphed=True)
    plain = _population(others, optimizer, graphed=False)
    # Batches of two sizes, and a member that leaves: three graphs.
    for step, (inputs, targets) in enumerate([*_batches(4), *_batches(2, batch=2), *_batches(2)]):
        if step == 6:
            graphed.drop(1)
            plain.drop(1)
        here = list(plain.members)
        given = (inputs[here], targets[here], None, cross_entropy, accuracy)
        for one, other in zip(graphed.step(*given), plain.step(*given), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(graphed.state_dict(), plain.state_dict(), rtol=1e-9, atol=1e-12)


def test_a_graphed_population_goes_on_from_a_saved_state() -> None:
    first, second, *rest = _batches(4)
    population = _population(_models(), "adam", graphed=True)
    population.step(*first, None, cross_entropy, accuracy)
    state = copy.deepcopy(population.state_dict())
    wanted = [population.step(*batch, None, cross_entropy, accuracy)[0] for batch in rest]
    population.step(*second, None, cross_entropy, accuracy)
    population.load_state_dict(state)
    again = [population.step(*batch, None, cross_entropy, accuracy)[0] for batch in rest]
    torch.testing.assert_close(again, wanted, rtol=1e-9, atol=1e-12)


def test_a_loss_that_a_graph_cannot_hold_is_refused_with_the_reason() -> None:
    def picking(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[targets > 0].square().mean()

    population = _population(_models(), "sgd", graphed=True)
    inputs, targets = _batches(1)[0]
    with pytest.raises(Unsupported, match="CUDA graph"):
        population.step(inputs, targets, None, picking, accuracy)


def test_mixed_precision_on_a_gpu_loses_no_more_than_its_digits() -> None:
    models = [model.float() for model in _models()]
    inputs, targets = _batches(1)[0]
    given = (inputs.float(), targets, None, cross_entropy, accuracy)
    options = ("adam", (0.01,) * MEMBERS, 0.0, (0.0,) * MEMBERS)
    exact = VmappedPopulation(copy.deepcopy(models), *options).step(*given)
    mixed = VmappedPopulation(models, *options, graphed=True, mixed_precision=True).step(*given)
    torch.testing.assert_close(mixed[0], exact[0], rtol=0.02, atol=0.0)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("members", [0, 3])
def test_the_triton_layer_on_a_gpu_computes_what_the_eager_loop_computes(
    case: str, members: int
) -> None:
    # Rounding may move a value to either side of a kink in a cell's functions: hence the tolerance.
    found = errors(case, members, dtype=torch.float32, device="cuda")
    assert max(found.values()) < 1e-4, found
