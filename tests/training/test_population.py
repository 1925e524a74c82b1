"""Trials trained as one population in torch give the same results as alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rnnsearch import load_registry
from rnnsearch.errors import DivergedError
from rnnsearch.plugin.losses import Classification
from rnnsearch.spec.trial import EpochMetrics, TrialSpec
from rnnsearch.training.population import PopulationRun, share_a_program
from rnnsearch.training.run import TrainingRun

from .test_engines import data, spec_of


def specs(engine: str = "vmapped", architecture: str = "mcrm") -> list[TrialSpec]:
    """Three seeds with different learning rates."""
    rates = (0.01, 0.02, 0.005)
    base = spec_of(architecture, engine)
    return [
        replace(base, seed=seed, training=replace(base.training, learning_rate=rate))
        for seed, rate in enumerate(rates)
    ]


def together(group: list[TrialSpec]) -> PopulationRun:
    """A population on noise."""
    architecture = load_registry().architecture(group[0].model.architecture)
    return PopulationRun(architecture, group, Classification(), data(), data(23, 1))  # type: ignore[arg-type]


def test_a_member_measures_what_it_would_alone() -> None:
    population = together(specs())
    architecture = load_registry().architecture("mcrm")
    alone = [
        TrainingRun(architecture, spec, Classification(), data(), data(23, 1))  # type: ignore[arg-type]
        for spec in specs("eager")
    ]
    for _ in range(2):
        found = population.run_epoch()
        for member, run in enumerate(alone):
            expected, measured = run.run_epoch(), found[member]
            assert isinstance(measured, EpochMetrics)
            for name in ("train_loss", "validation_loss", "gradient_norm", "train_metric"):
                assert getattr(measured, name) == pytest.approx(getattr(expected, name), rel=1e-4)
    assert population.evaluate(data(23, 1))[1][0] == pytest.approx(
        alone[1].evaluate(data(23, 1))[0], rel=1e-4
    )
    for name, value in population.weights_of(2)["model"].items():
        torch.testing.assert_close(value, alone[2].model.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_a_member_that_diverges_leaves_and_the_others_go_on() -> None:
    group = specs(architecture="prelu_rnn")
    broken = replace(group[1].training, learning_rate=1e30, gradient_clip=0.0)
    with_one_broken = together([group[0], replace(group[1], training=broken), group[2]])
    found = [with_one_broken.run_epoch() for _ in range(3)]
    left = next(epoch for epoch, news in enumerate(found) if isinstance(news.get(1), DivergedError))
    assert "a loss is not finite in epoch" in str(found[left][1])
    assert set(found[-1]) == {0, 2}
    healthy = together(group)
    expected = [healthy.run_epoch() for _ in range(3)][-1][2]
    measured = found[-1][2]
    assert isinstance(expected, EpochMetrics)
    assert isinstance(measured, EpochMetrics)
    assert measured.train_loss == pytest.approx(expected.train_loss, rel=1e-4)


def test_only_trials_that_differ_in_seeds_and_scalars_share_a_program() -> None:
    group = specs()
    assert share_a_program(group)
    assert not share_a_program(specs("program"))
    wider = replace(group[0], model=replace(group[0].model, hidden_size=7))
    assert not share_a_program([*group, wider])
