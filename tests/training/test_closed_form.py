"""A model that solves for its weights is trained once, by its own `fit`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import Examples, ModelSpec, SequenceModel, SequenceShape, load_registry
from rnnsearch.plugin.losses import Classification
from rnnsearch.spec.trial import TrainingConfig, TrialSpec
from rnnsearch.training.batches import Batches
from rnnsearch.training.engine_choice import choose_engine
from rnnsearch.training.run import TrainingRun

SHAPE = SequenceShape(input_size=3, output_size=2, length=6, readout="last_step")


def _split(samples: int, seed: int) -> Batches:
    inputs = np.random.default_rng(seed).standard_normal((samples, 6, 3), dtype=np.float32)
    targets = (inputs[:, -1].sum(axis=-1) > 0).astype(np.int64)
    return Batches(Examples(inputs, targets), torch.device("cpu"))


def _spec(epochs: int) -> TrialSpec:
    model = ModelSpec("esn", SHAPE, 20, head="")
    return TrialSpec("search", model, TrainingConfig(epochs, 8, 1e-3), 0, "", {}, 0, 0.0)


def _run(spec: TrialSpec) -> TrainingRun:
    esn = load_registry().architecture("esn")
    return TrainingRun(esn, spec, Classification(), _split(200, 0), _split(80, 1))  # type: ignore[arg-type]


def test_the_first_epoch_solves_and_the_next_change_nothing() -> None:
    run = _run(_spec(2))
    assert run.engine == "closed form"
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    first = run.run_epoch()
    solved = {k: v.clone() for k, v in run.model.state_dict().items()}
    second = run.run_epoch()
    assert not torch.equal(before["readout.weight"], solved["readout.weight"])
    assert all(torch.equal(v, solved[k]) for k, v in run.model.state_dict().items())
    assert first.validation_metric == second.validation_metric
    assert first.validation_metric > 0.9
    assert first.gradient_norm == 0


def test_a_run_that_goes_on_does_not_solve_again() -> None:
    one = _run(_spec(2))
    one.run_epoch()
    two = _run(_spec(2))
    two.load_state_dict(one.state_dict())
    two.model.fit = None  # type: ignore[assignment]
    assert two.run_epoch().validation_metric == one.run_epoch().validation_metric


def test_no_engine_is_compiled_for_it() -> None:
    choice = choose_engine(load_registry().architecture("esn"), _spec(1), Classification())
    assert (choice.engine, choice.name) == ("torch", "closed form")


def test_a_model_without_a_fit_says_so() -> None:
    class Unfit(SequenceModel):
        @classmethod
        def parameter_count(cls, shape: SequenceShape, hidden_size: int, **given: Any) -> int:
            return 1

        def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
            return inputs

    with pytest.raises(NotImplementedError):
        Unfit(SHAPE, 1).fit([])
