"""The learning rate follows its schedule with every engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rnnsearch import load_registry
from rnnsearch.plugin.losses import Classification
from rnnsearch.spec.schedule import CONSTANT, Schedule
from rnnsearch.spec.trial import TrialSpec
from rnnsearch.training.population import PopulationRun, share_a_program
from rnnsearch.training.run import TrainingRun

from ..training.test_engines import data, spec_of

# So small that an update with it changes no weight.
TO_NOTHING = Schedule("step", 1, 1e-30)


def test_a_step_schedule_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
    for epoch in range(10):
        rate = Schedule("step", 3, 0.1).rate([1.0] * epoch)
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_on_a_plateau_the_rate_falls_once_for_each_epoch_that_is_not_below_those_before() -> None:
    losses = [5.0, 4.0, 3.0, 3.5, 4.0, 2.0, 2.0, 2.0, 1.0]
    #                          ^ not: 5 and 4 are above  ^ once: not below 2 and 2
    rates = [Schedule("plateau", 2, 0.5).rate(losses[:n]) for n in range(len(losses) + 1)]
    assert rates == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_a_constant_rate_is_the_configured_one() -> None:
    assert CONSTANT.rate([1.0, 2.0, 3.0]) == 1.0


def _spec(engine: str, schedule: Schedule, seed: int = 0) -> TrialSpec:
    base = spec_of("lstm", engine)
    return replace(
        base, seed=seed, training=replace(base.training, optimizer="sgd", schedule=schedule)
    )


def _run(spec: TrialSpec) -> TrainingRun:
    architecture = load_registry().architecture("lstm")
    return TrainingRun(architecture, spec, Classification(), data(), data(23, 1))  # type: ignore[arg-type]


def _weights(run: TrainingRun) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in run.model.parameters()])


@pytest.mark.parametrize("engine", ["program", "layers", "torch", "eager"])
def test_every_engine_follows_the_schedule(engine: str) -> None:
    run = _run(_spec(engine, TO_NOTHING))
    before = _weights(run)
    run.run_epoch()
    first = _weights(run)
    run.run_epoch()
    assert not torch.equal(before, first)
    assert torch.equal(first, _weights(run))


def test_a_population_follows_the_schedule_and_one_that_waits_for_plateaus_is_none() -> None:
    specs = [_spec("vmapped", TO_NOTHING, seed) for seed in range(2)]
    assert share_a_program(specs)
    lstm, task = load_registry().architecture("lstm"), Classification()
    population = PopulationRun(lstm, specs, task, data(), data(23, 1))  # type: ignore[arg-type]
    weights: list[dict[str, Any]] = []
    for _ in range(2):
        population.run_epoch()
        weights.append(population.weights_of(1)["model"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    plateau = Schedule("plateau", 2, 0.5)
    assert not share_a_program([_spec("vmapped", plateau, seed) for seed in range(2)])


def test_a_run_that_goes_on_goes_on_at_the_rate_that_it_had() -> None:
    whole = _run(_spec("torch", Schedule("plateau", 1, 0.1)))
    for _ in range(6):
        whole.run_epoch()
    broken = _run(_spec("torch", Schedule("plateau", 1, 0.1)))
    for _ in range(3):
        broken.run_epoch()
    again = _run(_spec("torch", Schedule("plateau", 1, 0.1)))
    again.load_state_dict(broken.state_dict())
    for _ in range(3):
        again.run_epoch()
    assert torch.equal(_weights(whole), _weights(again))


def test_a_trial_keeps_its_schedule() -> None:
    spec = _spec("eager", Schedule("step", 30, 0.1))
    assert TrialSpec.from_json(spec.to_json()) == spec
    assert str(spec.training.schedule) == "x 0.1 every 30 epochs"
