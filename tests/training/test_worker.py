"""A worker trains its trials, reports the outcome of each, and never sees other data."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnsearch.plugin.task import Examples
from rnnsearch.spec.trial import Phase, TrialSpec
from rnnsearch.training import worker as worker_module
from rnnsearch.training.compiled_model import Compiled
from rnnsearch.training.worker import News, Worker

from .test_engines import spec_of

EPOCHS = 4


def examples(samples: int, seed: int = 0) -> Examples:
    """Noise with the shape of the digits."""
    noise = np.random.default_rng(seed)
    inputs = noise.standard_normal((samples, 8, 8)).astype(np.float32)
    return Examples(inputs, noise.integers(0, 10, samples))


def spec(engine: str = "eager", phase: Phase = "search", seed: int = 0) -> TrialSpec:
    """A short trial of an Elman net."""
    base = spec_of("elman", engine)
    config = replace(base.training, epochs=EPOCHS)
    model = replace(
        base.model, shape=replace(base.model.shape, input_size=8, output_size=10, length=8)
    )
    return replace(
        base, model=model, training=config, phase=phase, seed=seed, task="digits", task_options={}
    )


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker in this process, with the splits of a search."""
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)
    monkeypatch.setattr(worker_module, "_BETWEEN_NEWS_S", 1e9)
    found = Worker(Compiled({}, {}), 1, on_gpu=False)
    found.hold(["train", "validation"], examples(20), examples(10, 1))
    return found


def train_all(worker: Worker) -> list[News]:
    """All reports of a worker until nothing is left."""
    return [news for told in iter(worker.train, []) for news in told]


def test_every_epoch_is_told_once_and_the_first_of_them_at_once(worker: Worker) -> None:
    worker.take([("a", spec())])
    first, *others = train_all(worker)
    assert [epoch.epoch for epoch in first.epochs] == [1]
    assert not first.is_last
    told = [epoch.epoch for news in others for epoch in news.epochs]
    assert told == [2, 3, 4]
    (last,) = others
    assert last.outcome is not None
    assert (last.outcome.engine, last.outcome.test_metric, last.weights) == ("eager", None, b"")


def test_trials_are_trained_one_after_the_other_and_are_those_that_they_would_be_alone(
    worker: Worker,
) -> None:
    worker.take([("a", spec()), ("b", spec(seed=1))])
    together = train_all(worker)
    assert [news.key for news in together if news.is_last] == ["a", "b"]
    worker.take([("b", spec(seed=1))])
    alone = train_all(worker)
    losses = [
        [epoch.train_loss for news in told for epoch in news.epochs if news.key == "b"]
        for told in (together, alone)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == EPOCHS


def test_it_speaks_at_every_pause_and_drops_a_trial_that_is_not_gone_on_with(
    worker: Worker,
) -> None:
    worker.take([("a", spec())], pauses=(2, 3))
    said = [[epoch.epoch for epoch in worker.train()[0].epochs] for _ in range(3)]
    assert said == [[1], [2], [3]]
    worker.take([("b", spec(seed=1))])
    assert {news.key for news in train_all(worker)} == {"b"}


def test_a_trial_that_fails_leaves_its_reason_and_does_not_touch_those_behind_it(
    worker: Worker,
) -> None:
    worker.take([("broken", replace(spec(), task="nothing")), ("fine", spec())])
    broken_news, *others = train_all(worker)
    assert broken_news.error.startswith("PluginError: ")
    assert "Traceback" in broken_news.traceback
    assert others[-1].key == "fine"
    assert others[-1].outcome is not None


def test_a_confirmation_is_scored_on_the_test_split_and_hands_its_weights_back(
    worker: Worker,
) -> None:
    names = ["train", "validation", "test"]
    worker.hold(names, examples(20), examples(10, 1), examples(10, 2))
    worker.take([("a", spec(phase="confirmation"))])
    *_, last = train_all(worker)
    assert last.outcome is not None
    assert last.outcome.test_loss is not None
    state = torch.load(io.BytesIO(last.weights), weights_only=True)
    assert state["epoch"] == EPOCHS


def test_a_confirmation_without_the_test_split_fails(worker: Worker) -> None:
    worker.take([("a", spec(phase="confirmation"))])
    *_, last = train_all(worker)
    assert last.error == "KeyError: 'test'"


def test_fresh_seeds_of_a_population_end_together_each_with_its_own_weights(
    worker: Worker,
) -> None:
    names = ["train", "validation", "test"]
    worker.hold(names, examples(20), examples(10, 1), examples(10, 2))
    seeds = [(str(seed), spec("vmapped", "confirmation", seed)) for seed in range(2)]
    worker.take(seeds)
    ended = {news.key: news for news in train_all(worker) if news.outcome}
    engines = [news.outcome.engine for news in ended.values() if news.outcome]
    assert engines == ["vmapped seeds"] * 2
    assert ended["0"].weights != ended["1"].weights
