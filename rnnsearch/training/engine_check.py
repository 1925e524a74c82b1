"""Verification: an engine against the eager loop in double precision, before it may train.

The strict check is on short sequences, where rounding has no time to grow: gradients on two lengths
and an odd batch, then parameters after two updates, which finds what a cell hides from its
arguments (a counter). The bound allows for the model's own sensitivity: it is the worst that the
float64 gradient moves when the parameters are changed by half a unit in the last place of float32.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine.capture import Unsupported
from rnnsearch.plugin.losses import Objective, fitting_random_targets
from rnnsearch.plugin.task import Examples
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.shape import SequenceShape
from rnnsearch.spec.trial import TrainingConfig
from rnnsearch.training.batches import Batches
from rnnsearch.training.engines import ProgramUpdates, compile_layers, noise_keys, prepare

TOLERANCE = 1e-5  # relative error in the L2 norm
_LENGTHS = (5, 16)
_SAMPLES = 19  # a multiple of no block of lanes
_PERTURBATIONS = 5
_SLACK = 3.0


class Mismatch(Unsupported):
    """An engine that does not compute what the eager loop does."""


class NotFinite(Unsupported):
    """A model that leaves the finite numbers in torch itself, so that nothing can be compared."""


def verify(
    engine: Engine,
    model: nn.Module,
    shape: SequenceShape,
    config: TrainingConfig,
    objective: Objective,
) -> float:
    """Compare an engine with the eager loop.

    Args:
        engine: `program` or `layers`.
        model: the model; it is not changed.
        shape: its sequences.
        config: how it is trained.
        objective: for loss and metric.

    Returns:
        The largest relative error of a gradient that was seen.

    Raises:
        Mismatch: the engine computes something else.
        NotFinite: the eager loop itself gives no finite numbers.
        Unsupported: the engine does not take the model.
    """
    objective = fitting_random_targets(objective)
    fixed = isinstance(model, RecurrentModel) and model.readout == "all_steps"
    lengths = (shape.length,) if fixed else _LENGTHS
    worst = 0.0
    for steps in lengths:
        assert steps is not None
        data = random_data(shape, steps, _SAMPLES, objective)
        exact = _eager_gradient(model, data, objective, torch.float64)
        found = _gradient(engine, model, data, config, objective)
        error = relative_error(exact, found)
        worst = max(worst, error)
        if error <= TOLERANCE:
            continue
        in_float32 = _eager_gradient(model, data, objective, torch.float32)
        for dtype, gradient in (("float64", exact), ("float32", in_float32)):
            if not _are_finite(gradient):
                raise _not_finite(f"gradients over {steps} steps in {dtype} are")
        allowed = _SLACK * max(
            relative_error(exact, in_float32),
            *(
                relative_error(exact, _eager_gradient(_perturbed(model, i), data, objective))
                for i in range(_PERTURBATIONS)
            ),
        )
        if not error <= allowed:
            raise Mismatch(
                f"gradients over {steps} steps differ from the eager loop's by {error:.1e}, more "
                f"than rounding explains ({max(TOLERANCE, allowed):.1e})"
            )
    data = random_data(shape, lengths[-1] or 1, 2 * _SAMPLES, objective)
    _compare_updates(engine, model, data, config, objective)
    return worst


def random_data(shape: SequenceShape, steps: int, samples: int, objective: Objective) -> Batches:
    """Random sequences with targets that fit the loss."""
    generator = np.random.default_rng(0)
    inputs: np.ndarray
    if shape.vocabulary:
        inputs = generator.integers(0, shape.vocabulary, (samples, steps, shape.input_size))
    else:
        inputs = generator.standard_normal((samples, steps, shape.input_size), dtype=np.float32)
    every = shape.readout == "every_step"
    where = (samples, steps) if every else (samples,)
    targets: np.ndarray
    if getattr(objective.loss, "compiled_as", "") == "cross_entropy":
        targets = generator.integers(0, shape.output_size, where)
    else:
        targets = generator.random((*where, shape.output_size), dtype=np.float32)
    lengths = None
    if shape.length is None:
        lengths = generator.integers(1, steps + 1, samples)
        lengths[0] = steps
    return Batches(Examples(inputs, targets, lengths), torch.device("cpu"))


def relative_error(exact: list[Tensor], found: list[Tensor]) -> float:
    """Distance of tensors from others in the L2 norm, relative to the size of the first."""
    distance = sum(
        float((a - b.double()).square().sum()) for a, b in zip(exact, found, strict=True)
    )
    size = sum(float(a.square().sum()) for a in exact)
    if not distance < float("inf"):
        return float("inf")
    return math.sqrt(distance / size if size else distance)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _autograd(
    model: nn.Module, data: Batches, objective: Objective, dtype: torch.dtype
) -> list[Tensor]:
    samples = torch.arange(len(data))
    inputs, targets, lengths = data.take(samples)
    # Noise that all sides see alike, in whatever dtype.
    outputs = model(inputs.to(dtype), lengths, *noise_keys(model, (0, 0), samples))
    found = torch.autograd.grad(
        objective.loss(outputs, targets), _trained(model), allow_unused=True
    )
    zeros = (torch.zeros_like(p) for p in _trained(model))
    return [z if g is None else g for g, z in zip(found, zeros, strict=True)]


def _eager_gradient(
    model: nn.Module, data: Batches, objective: Objective, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    gradients = _autograd(copy.deepcopy(model).to(dtype), data, objective, dtype)
    return [gradient.double() for gradient in gradients]


def _are_finite(tensors: list[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _not_finite(what: str) -> NotFinite:
    return NotFinite(
        f"the model itself is not finite: with random inputs, {what} not finite in plain torch, "
        f"step by step, so no engine can be compared with it. Bound what the cell feeds back, or "
        f"what it takes the exponential of"
    )


def _perturbed(model: nn.Module, seed: int) -> nn.Module:
    """A copy in double precision, moved by half a unit in the last place of float32."""
    moved = copy.deepcopy(model).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in moved.parameters():
            signs = torch.randint(0, 2, p.shape, generator=generator, dtype=p.dtype) * 2 - 1
            p.mul_(1 + signs * 2.0**-24)
    return moved


def _gradient(
    engine: Engine, model: nn.Module, data: Batches, config: TrainingConfig, objective: Objective
) -> list[Tensor]:
    own = copy.deepcopy(model)
    if engine is Engine.PROGRAM:
        flat = ProgramUpdates(own, config, objective, data).gradient(data)
        parts = flat.split([p.numel() for p in _trained(own)])
        return [part.view(p.shape) for part, p in zip(parts, _trained(own), strict=True)]
    compile_layers(own, config.batch_size, data.device)
    return _autograd(own, data, objective, torch.float32)


def _compare_updates(
    engine: Engine, model: nn.Module, data: Batches, config: TrainingConfig, objective: Objective
) -> None:
    """Two updates and an evaluation.

    By plain gradient descent: Adam would turn the sign of a zero into a step.
    """
    plain = replace(config, optimizer="sgd", learning_rate=0.1)
    order = torch.arange(len(data))
    half = len(data) // 2
    after, measured = [], []
    for which in (engine, Engine.EAGER):
        own = copy.deepcopy(model)
        updates, _ = prepare(which, own, plain, objective, data)
        for some in (order[:half], order[half:]):
            updates.train(data, some)
        after.append([p.detach().double() for p in _trained(own)])
        measured.append(updates.measure(data)[0])
    if not _are_finite(after[1]) or not math.isfinite(measured[1]):
        raise _not_finite("parameters or losses after two updates are")
    before = [p.detach().double() for p in _trained(model)]
    found, exact = ([a - b for a, b in zip(ps, before, strict=True)] for ps in after)
    error = relative_error(exact, found)
    if not error <= 1e-3:
        raise Mismatch(f"two updates differ from the eager loop's by {error:.1e}")
    if not abs(measured[0] - measured[1]) <= 1e-3 * max(1.0, abs(measured[1])):
        raise Mismatch(f"evaluation gives {measured[0]:.4g}, the eager loop {measured[1]:.4g}")
