"""Which engine trains a model: the fastest that is verified and worth its build."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import torch

from rnnsearch.budget.model import build_model
from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.vmapped import VmappedPopulation
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.losses import Objective, StandIn, fitting_random_targets
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.trial import TrialSpec
from rnnsearch.training.batches import Batches
from rnnsearch.training.closed_form import ClosedFormUpdates, is_closed_form
from rnnsearch.training.engine_check import Mismatch, random_data, verify
from rnnsearch.training.engines import prepare

# Time steps of training (updates times length) below which compiling is not worth the wait: an
# eager one takes about a quarter of a millisecond. Counted, not timed, so that the same study gets
# the same engine every time.
_WORTH_COMPILING = 20_000
_LENGTH_WHERE_IT_VARIES = 40  # steps timed for a task of variable length
# How much faster a compiled engine has to be than the plain one: nearer is a matter of chance.
_WORTH_CHANGING = 1.1


@dataclass(frozen=True)
class EngineChoice:
    """The engine of one row of a study, and why.

    Attributes:
        engine: the engine.
        name: what it is shown as.
        reason: why not a faster one, or an empty string.
        step_ms: measured wall time of one update of the typical model on random data.
        speedup: how many times faster than the plain engine, or None if that was not measured.
        error: largest relative error of a gradient against the eager loop in float64, or None.
        failed: whether a faster engine computed something else than the eager loop.
    """

    engine: Engine
    name: str
    step_ms: float
    reason: str = ""
    speedup: float | None = None
    error: float | None = None
    failed: bool = False


def choose_engine(
    architecture: Architecture,
    spec: TrialSpec,
    objective: Objective,
    *,
    requested: str = "auto",
    updates: float = math.inf,
    on_gpu: bool = False,
) -> EngineChoice:
    """Choose the engine of a row.

    Args:
        architecture: class of the architecture.
        spec: its typical trial.
        objective: for its loss and its score.
        requested: an engine by name, or `auto`.
        updates: updates that all its trials will take together.
        on_gpu: whether the trials run on a GPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(architecture, spec.model)
        return _choose(model, spec, objective, requested, updates, on_gpu)


def _choose(
    model: torch.nn.Module,
    spec: TrialSpec,
    objective: Objective,
    requested: str,
    updates: float,
    on_gpu: bool,
) -> EngineChoice:
    shape, config = spec.model.shape, spec.training
    steps = shape.length or _LENGTH_WHERE_IT_VARIES
    data = random_data(shape, steps, 2 * config.batch_size, objective)
    timed = fitting_random_targets(objective)
    if is_closed_form(model):
        _, fit_ms = _time(Engine.TORCH, model, spec, timed, data)
        return EngineChoice(Engine.TORCH, ClosedFormUpdates.name, fit_ms)
    asked = None if requested == "auto" else Engine(requested)
    plain = Engine.EAGER if asked is Engine.EAGER else Engine.TORCH
    name, plain_ms = _time(plain, model, spec, timed, data)
    if asked in (Engine.TORCH, Engine.EAGER) or name == "feed-forward":
        return EngineChoice(plain, name, plain_ms)
    if asked and asked.takes_several and shape.stride:
        reason = f"{asked}: the state is carried from window to window, one trial at a time"
        return EngineChoice(plain, name, plain_ms, reason)
    if asked and asked.takes_several:
        return EngineChoice(asked, asked.shown_for_several, plain_ms)
    if on_gpu and asked is Engine.LAYERS:
        return EngineChoice(
            Engine.LAYERS, "compiled layers", plain_ms, "checked on the GPU, by each trial"
        )
    if on_gpu:
        return EngineChoice(plain, name, plain_ms, "the trials run on a GPU")
    if asked is None and updates * steps < _WORTH_COMPILING:
        reason = f"{updates * steps:,.0f} time steps in all: not worth compiling"
        return EngineChoice(plain, name, plain_ms, reason)
    reasons, failed = [], False
    for engine in (Engine.PROGRAM, Engine.LAYERS) if asked is not Engine.LAYERS else (asked,):
        try:
            error = verify(engine, model, shape, config, objective)
        except Unsupported as refused:
            failed = failed or isinstance(refused, Mismatch)
            reasons.append(f"{engine}: {refused}")
            continue
        shown, step_ms = _time(engine, model, spec, timed, data)
        speedup = plain_ms / step_ms
        if asked is None and speedup < _WORTH_CHANGING:
            reasons.append(f"{engine}: not faster ({speedup:.1f} times)")
            continue
        return EngineChoice(engine, shown, step_ms, "; ".join(reasons), speedup, error, failed)
    reason = "; ".join(reasons)
    may_share = asked is None and name == "eager" and not failed and not shape.stride
    if may_share and _vmap_follows(model, data):
        return EngineChoice(Engine.VMAPPED, Engine.VMAPPED.shown_for_several, plain_ms, reason)
    return EngineChoice(plain, name, plain_ms, reason, failed=failed)


def _vmap_follows(model: torch.nn.Module, data: Batches) -> bool:
    """Whether seeds of a model can run together in torch."""
    population = VmappedPopulation([model, copy.deepcopy(model)], "sgd", [0.1, 0.1], 0.0, [0, 0])
    inputs, targets, lengths = data.take(torch.arange(2))
    stand_in = StandIn()
    try:
        population.evaluate(inputs, targets, lengths, stand_in.loss, stand_in.score)
    except Unsupported:
        return False
    return True


def _time(
    engine: Engine,
    model: torch.nn.Module,
    spec: TrialSpec,
    objective: Objective,
    data: Batches,
    repeats: int = 3,
) -> tuple[str, float]:
    """Name an engine and time one update on one thread, in milliseconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        updates, _ = prepare(engine, copy.deepcopy(model), spec.training, objective, data)
        order = torch.arange(spec.training.batch_size)
        best = math.inf
        for _ in range(1 + repeats):
            started = time.perf_counter()
            updates.train(data, order)
            best = min(best, time.perf_counter() - started)
        return updates.name, 1000 * best
    finally:
        torch.set_num_threads(threads)
