"""Compares a compiled layer with the eager loop in double precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rnnsearch import State
from rnnsearch.engine.cpp_compiler import toolchain
from rnnsearch.engine.layer import CompiledLayer
from rnnsearch.engine.step import compile_step
from rnnsearch.plugin.layers import run_eagerly

TOLERANCE = 1e-5  # relative, in the L2 norm

Shapes = tuple[tuple[int, ...], ...]
Run = Callable[[nn.Module, Tensor, State], tuple[Tensor, State]]


def compiled(module: nn.Module, input_size: int, shapes: Shapes) -> CompiledLayer:
    """Compile a module of one step to a layer whose blocks are one vector wide."""
    lanes = toolchain().width
    return CompiledLayer(compile_step(module, input_size, shapes, lanes=lanes, input_gradient=True))


def with_layer(layer: CompiledLayer) -> Run:
    """Run a module through the layer compiled from it."""

    def run(module: nn.Module, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        tables = layer.step.tables
        held = [named[name] for name in tables.names if name not in layer.step.folded]
        return layer(inputs, state, held)

    return run


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn_state(batch: int, shapes: Shapes) -> State:
    return tuple(drawn(batch, *shape, seed=10 + i) for i, shape in enumerate(shapes))


def results(
    run: Run, module: nn.Module, inputs: Tensor, state: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Outputs, last state, and the gradient of everything with respect to random weights."""
    inputs = inputs.detach().clone().requires_grad_()
    state = tuple(part.detach().clone().requires_grad_() for part in state)
    outputs, last = run(module, inputs, state)
    ends = [outputs, *last]
    loss = sum(
        (end * drawn(*end.shape, seed=20 + i).to(end.dtype)).sum() for i, end in enumerate(ends)
    )
    assert isinstance(loss, Tensor)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    wanted = [inputs, *state, *trained.values()]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    names = ["inputs", *(f"state {i}" for i in range(len(state))), *trained]
    return {
        "outputs": outputs.detach(),
        **{f"last state {i}": part.detach() for i, part in enumerate(last)},
        **{f"gradient of {n}": g for n, g in zip(names, gradients, strict=True)},
    }


def reference(module: nn.Module, inputs: Tensor, state: Sequence[Tensor]) -> dict[str, Tensor]:
    """The same, from the eager loop in double precision."""
    doubled = copy.deepcopy(module).double()
    return results(run_eagerly, doubled, inputs.double(), [part.double() for part in state])


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Distance in the L2 norm; infinite if there are NaNs or shapes differ."""
    if actual.shape != expected.shape:
        return float("inf")
    distance = float((actual.double() - expected.double()).norm())
    error = distance / (float(expected.double().norm()) or 1.0)
    return error if error == error else float("inf")


def assert_close(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    errors = {name: relative_error(actual[name], expected[name]) for name in expected}
    assert {n: e for n, e in errors.items() if not e < TOLERANCE} == {}


def assert_layer_agrees(
    layer: CompiledLayer, module: nn.Module, steps: int, batch: int, shapes: Shapes
) -> None:
    """Compare outputs, last state and all gradients on random sequences from a random state."""
    inputs = drawn(steps, batch, layer.step.tables.input_size)
    state = drawn_state(batch, shapes)
    assert_close(
        results(with_layer(layer), module, inputs, state), reference(module, inputs, state)
    )
