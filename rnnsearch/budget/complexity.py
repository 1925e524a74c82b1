"""What a model costs, measured on one sample; and what to change where it cannot run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch

from rnnsearch.budget.flops import FlopCounter
from rnnsearch.budget.model import RecurrentModel, build_model, count_parameters, head_features
from rnnsearch.errors import CapabilityError
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.cell import RecurrentCell
from rnnsearch.plugin.layers import Unrolled, in_reals, run_eagerly
from rnnsearch.spec.model import Complexity, ModelSpec


def measure_complexity(architecture: Architecture, spec: ModelSpec) -> Complexity:
    """Count parameters by formula, state and FLOPs on a model without storage (device `meta`).

    Raises:
        CapabilityError: its outputs or parameters are complex.
    """
    trainable, redundant, frozen = count_parameters(architecture, spec)
    steps = spec.shape.length or math.inf
    with torch.device("meta"):
        model = build_model(architecture, spec).eval()
    if isinstance(model, RecurrentModel):
        layers = [m for m in model.modules() if isinstance(m, Unrolled)]
        # One step of each layer, eagerly: `torch.nn` layers are opaque to the counter.
        flops = sum(_flops_of_a_sample(partial(_step, spec, layer)) for layer in layers)
        assert issubclass(architecture, RecurrentCell)
        features = head_features(architecture, spec)
        head = _flops_of_a_sample(
            lambda samples: model.head(torch.empty(samples, features, device="meta"))
        )
        flops += head if spec.shape.readout == "every_step" else head / steps
        state_size = sum(
            in_reals(part).numel() for layer in layers for part in layer.initial_state(1)
        )
    else:
        shape, length = spec.shape, spec.shape.length or 1
        sequences = _flops_of_a_sample(
            lambda samples: model(
                torch.empty(length, samples, shape.input_size, device="meta"), None
            )
        )
        flops, state_size = sequences / steps, 0
    return Complexity(trainable, trainable - redundant, frozen, state_size, flops)


def try_one_sample(architecture: Architecture, spec: ModelSpec) -> None:
    """Take a step of each layer with a single sample, as the last batch of an epoch may be.

    Without storage, while training; whatever the code of a cell raises passes.
    """
    with torch.device("meta"), torch.no_grad():
        for layer in build_model(architecture, spec).modules():
            if isinstance(layer, Unrolled):
                _step(spec, layer, 1)


@contextmanager
def advising(architecture: Architecture, spec: ModelSpec) -> Iterator[None]:
    """Note on an exception what to do about a model that cannot be built or run, if that shows."""
    try:
        yield
    except Exception as error:
        if advice := _advice(architecture, spec):
            error.add_note(advice)
        raise


def _advice(architecture: Architecture, spec: ModelSpec) -> str:
    def works(width: int, batch_size: int = 0) -> bool:
        at_width = replace(spec, hidden_size=width, last_hidden_size=0)
        try:
            with torch.device("meta"), torch.no_grad():
                model = build_model(architecture, at_width)
                for layer in [m for m in model.modules() if isinstance(m, Unrolled)]:
                    features = layer.cell.input_size + layer.cell.noise_size
                    if batch_size:
                        state = layer.initial_state(batch_size)
                        layer.cell(torch.empty(batch_size, features), state)
        except Exception:
            return False
        return True

    width = spec.hidden_size
    if not works(width):
        for multiple in (2, 3, 4, 5, 6, 8, 10, 12, 16, 32, 64):
            below = width // multiple * multiple
            near = [w for w in (below, below + multiple, below + 2 * multiple) if w][:2]
            if width % multiple and all(map(works, near)):
                return (
                    f"It can be built at hidden_size {near[0]} and {near[1]}: a class whose widths "
                    "come in multiples says so in `width_multiple`"
                )
    elif works(width, 2) and not works(width, 1):
        return (
            "Its step takes two samples and refuses one: the samples of a batch must not see each "
            "other, as they do in batch normalization"
        )
    return ""


def _flops_of_a_sample(run: Callable[[int], object]) -> float:
    """What one more sample costs: what is done once for all of them is not in it."""
    totals = []
    for samples in (2, 3):
        with torch.no_grad(), FlopCounter() as counter:
            run(samples)
        totals.append(counter.total)
    few, more = totals
    return float(more - few)


def _step(spec: ModelSpec, layer: Unrolled, samples: int) -> None:
    inputs = torch.empty(1, samples, layer.cell.input_size, device="meta")
    output, _ = run_eagerly(layer.cell, layer.with_noise(inputs), layer.cell.initial_state(samples))
    if output.is_complex():
        msg = (
            f"the output of architecture `{spec.architecture}` is complex, and what reads it takes "
            f"reals. Give its real part, its absolute value, or both parts side by side"
        )
        raise CapabilityError(msg)
