"""A compiled layer computes the outputs and gradients of the eager loop for any accepted cell."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnsearch import RecurrentCell, State, load_registry
from rnnsearch.engine.capture import capture
from rnnsearch.engine.cpp_compiler import toolchain
from rnnsearch.engine.layer import CompiledLayer
from rnnsearch.plugin.layers import run_eagerly

from .agreement import (
    TOLERANCE,
    Shapes,
    assert_close,
    assert_layer_agrees,
    compiled,
    drawn,
    drawn_state,
    reference,
    relative_error,
    results,
    with_layer,
)
from .cells import CASES, FUNCTIONS, Elementwise, Recurrent, Tied

pytestmark = pytest.mark.usefixtures("compiler")

INPUTS, HIDDEN = 3, 5
# (steps, batch, input size, hidden size): idle lanes, then two blocks and two chunks of steps.
SIZES = [(1, 5, 7, 6), (40, 19, INPUTS, HIDDEN)]


def _registered() -> list[str]:
    """All except those of torchrecurrent, which have their own file."""
    registry = load_registry()
    return [
        name
        for name in registry.architectures
        if issubclass(registry.architecture(name), RecurrentCell)
        and not name.startswith("torchrecurrent_")
    ]


def _cell(name: str, m: int, p: int, **options: Any) -> tuple[RecurrentCell, Shapes]:
    torch.manual_seed(0)
    architecture = load_registry().architecture(name)
    assert issubclass(architecture, RecurrentCell)
    cell = architecture(m, p, **options)
    return cell, tuple(tuple(part.shape[1:]) for part in cell.initial_state(1))


@cache
def _sm_rnn() -> tuple[RecurrentCell, Shapes, CompiledLayer]:
    """A cell with two parts of state, for tests that do not depend on the cell."""
    cell, shapes = _cell("sm_rnn", INPUTS, HIDDEN)
    return cell, shapes, compiled(cell, INPUTS, shapes)


# Cells


@pytest.mark.usefixtures("quick_builds")
@pytest.mark.parametrize("name", _registered())
def test_every_registered_cell_agrees_with_the_eager_loop_in_double_precision(name: str) -> None:
    for steps, batch, m, p in SIZES:
        cell, shapes = _cell(name, m, p)
        assert_layer_agrees(compiled(cell, m, shapes), cell, steps, batch, shapes)


@pytest.mark.usefixtures("quick_builds")
@pytest.mark.parametrize("name", CASES)
def test_cells_of_other_operators_states_and_parameters_agree_with_the_eager_loop(
    name: str,
) -> None:
    torch.manual_seed(0)
    cell, shapes = CASES[name].make(INPUTS, HIDDEN), CASES[name].shapes(HIDDEN)
    layer = compiled(cell, INPUTS, shapes)
    for steps, batch in ((1, 5), (33, 19)):
        assert_layer_agrees(layer, cell, steps, batch, shapes)


@pytest.mark.usefixtures("quick_builds")
@pytest.mark.parametrize("half", [0, 1])
def test_elementwise_functions_and_their_gradients_agree_with_torch(half: int) -> None:
    names = list(FUNCTIONS)[half::2]
    torch.manual_seed(0)
    cell = Elementwise(2, 4, [FUNCTIONS[name] for name in names])
    layer = compiled(cell, 2, ((4,),))
    inputs, state = drawn(1, 21, 2), drawn_state(21, ((4,),))

    def parts(module: Any, run: Any, inputs: Tensor, state: State) -> dict[str, Tensor]:
        inputs = inputs.clone().requires_grad_()
        outputs, _ = run(module, inputs, state)
        found = {}
        for name, part in zip(names, outputs.split(4, dim=-1), strict=True):
            weights = drawn(*part.shape).to(part.dtype)
            (gradient,) = torch.autograd.grad((part * weights).sum(), inputs, retain_graph=True)
            found |= {name: part.detach(), f"gradient of {name}": gradient}
        return found

    doubled = copy.deepcopy(cell).double()
    expected = parts(doubled, run_eagerly, inputs.double(), tuple(s.double() for s in state))
    assert_close(parts(cell, with_layer(layer), inputs, state), expected)


@pytest.mark.usefixtures("quick_builds")
@pytest.mark.parametrize(("m", "p"), [(1, 3), (3, 1), (4, 4)])
def test_sizes_of_one_and_sizes_that_coincide_agree_with_the_eager_loop(m: int, p: int) -> None:
    cell, shapes = _cell("mike_rnn", m, p)
    assert_layer_agrees(compiled(cell, m, shapes), cell, 6, 3, shapes)


@pytest.mark.usefixtures("quick_builds")
def test_blocks_of_several_vectors_agree_with_the_eager_loop() -> None:
    from rnnsearch.engine.step import compile_step

    cell, shapes, _ = _sm_rnn()
    lanes = 2 * toolchain().width
    layer = CompiledLayer(compile_step(cell, INPUTS, shapes, lanes=lanes, input_gradient=True))
    assert_layer_agrees(layer, cell, 35, lanes + 1, shapes)


# Uses of a layer by autograd


def test_a_batch_of_one_agrees_with_the_eager_loop() -> None:
    cell, shapes, layer = _sm_rnn()
    assert_layer_agrees(layer, cell, 9, 1, shapes)


def test_double_backward_is_refused() -> None:
    cell, shapes, layer = _sm_rnn()
    inputs = drawn(4, 3, INPUTS).requires_grad_()
    outputs, _ = with_layer(layer)(cell, inputs, drawn_state(3, shapes))
    (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_second_backward_over_a_kept_graph_gives_the_same_gradients() -> None:
    cell, shapes, layer = _sm_rnn()
    inputs = drawn(4, 19, INPUTS).requires_grad_()
    outputs, _ = with_layer(layer)(cell, inputs, drawn_state(19, shapes))
    wanted = [inputs, *cell.parameters()]
    first = torch.autograd.grad(outputs.square().sum(), wanted, retain_graph=True)
    second = torch.autograd.grad(outputs.square().sum(), wanted)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_inputs_state_and_gradients_that_are_not_contiguous_are_read_right() -> None:
    cell, shapes, layer = _sm_rnn()
    samples_first = drawn(19, 6, 2 * INPUTS)
    inputs = samples_first.transpose(0, 1)[..., ::2]
    state = tuple(part[:1].expand(19, *part.shape[1:]) for part in drawn_state(1, shapes))
    assert not inputs.is_contiguous()

    def gradients(run: Any, module: Any, inputs: Tensor, state: State) -> dict[str, Tensor]:
        inputs = inputs.detach().requires_grad_()
        outputs, last = run(module, inputs, state)
        loss = outputs[-1].sum() + sum(part.sum() for part in last)  # their gradients are expanded
        found = torch.autograd.grad(loss, [inputs, *module.parameters()])
        return {str(i): gradient for i, gradient in enumerate(found)}

    doubled = copy.deepcopy(cell).double()
    wide = tuple(part.double() for part in state)
    assert_close(
        gradients(with_layer(layer), cell, inputs, state),
        gradients(run_eagerly, doubled, inputs.double(), wide),
    )


def test_overlapping_forward_passes_keep_their_own_memory() -> None:
    cell, shapes, layer = _sm_rnn()
    batches = [drawn(7, 19, INPUTS, seed=seed) for seed in range(3)]
    state = drawn_state(19, shapes)
    run = with_layer(layer)
    alone = [results(run, cell, inputs, state) for inputs in batches]
    for _ in range(2):  # the second time with memory from the pool
        asked = [inputs.clone().requires_grad_() for inputs in batches]
        outputs = [run(cell, inputs, state)[0] for inputs in asked]
        for expected, inputs, output in zip(alone, asked, outputs, strict=True):
            assert torch.equal(output, expected["outputs"])
            weights = drawn(*output.shape, seed=20)
            (gradient,) = torch.autograd.grad((output * weights).sum(), inputs)
            want = torch.autograd.grad(
                (run(cell, inputs, state)[0] * weights).sum(), inputs, retain_graph=False
            )[0]
            assert torch.equal(gradient, want)


def test_memory_of_a_finished_pass_serves_the_next() -> None:
    cell, shapes, _ = _sm_rnn()
    layer = compiled(cell, INPUTS, shapes)
    handles = []
    take = layer.take
    layer.take = lambda shape: handles.append(take(shape)) or handles[-1]  # type: ignore[method-assign]
    for _ in range(3):
        results(with_layer(layer), cell, drawn(4, 5, INPUTS), drawn_state(5, shapes))
    assert len({handle.value for handle in handles}) == 1


def test_threads_that_share_a_layer_get_their_own_results() -> None:
    cell, shapes, layer = _sm_rnn()
    state = drawn_state(19, shapes)
    batches = [drawn(7, 19, INPUTS, seed=seed) for seed in range(4)] * 5

    def work(inputs: Tensor) -> dict[str, Tensor]:
        return results(with_layer(layer), cell, inputs, state)

    expected = [work(inputs) for inputs in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, batches))
    for have, want in zip(found, expected, strict=True):
        assert all(torch.equal(have[name], want[name]) for name in want)


def test_a_sequence_in_two_pieces_equals_the_whole() -> None:
    cell, shapes, layer = _sm_rnn()
    inputs, state = drawn(40, 19, INPUTS), drawn_state(19, shapes)
    run = with_layer(layer)

    def in_pieces(module: Any, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        first, state = run(module, inputs[:23], state)
        second, state = run(module, inputs[23:], state)
        return torch.cat((first, second)), state

    whole, pieces = (results(r, cell, inputs, state) for r in (run, in_pieces))
    assert torch.equal(pieces["outputs"], whole["outputs"])
    assert_close(pieces, whole)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    cell, shapes, layer = _sm_rnn()
    inputs, state = drawn(6, 19, INPUTS), drawn_state(19, shapes)
    run = with_layer(layer)
    together = results(run, cell, inputs, state)
    inputs[:, 1] = torch.nan
    with_nan = results(run, cell, inputs, state)
    for sample in (0, 7, 18):
        part = (s[sample : sample + 1] for s in state)
        alone = run(cell, inputs[:, sample : sample + 1], tuple(part))[0]
        assert torch.equal(alone[:, 0], together["outputs"][:, sample])
        for name in ("outputs", "gradient of inputs"):
            assert torch.equal(with_nan[name][:, sample], together[name][:, sample])
    assert with_nan["outputs"][:, 1].isnan().any()


def test_without_gradients_the_outputs_are_the_same_to_the_bit() -> None:
    cell, shapes, layer = _sm_rnn()
    inputs, state = drawn(6, 19, INPUTS), drawn_state(19, shapes)
    with torch.no_grad():
        outputs, _ = with_layer(layer)(cell, inputs, state)
    assert torch.equal(outputs, with_layer(layer)(cell, inputs, state)[0])


def test_a_pickled_layer_computes_the_same_to_the_bit() -> None:
    cell, shapes, layer = _sm_rnn()
    again = pickle.loads(pickle.dumps(layer))
    inputs, state = drawn(6, 19, INPUTS), drawn_state(19, shapes)
    expected = results(with_layer(layer), cell, inputs, state)
    found = results(with_layer(again), cell, inputs, state)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


# Parameters


def test_a_frozen_parameter_gets_no_gradient_and_the_others_their_own() -> None:
    cell, shapes = _cell("lstm", INPUTS, HIDDEN)
    frozen = [name for name, _ in cell.named_parameters() if "weight_hh" in name]
    assert frozen
    for name in frozen:
        cell.get_parameter(name).requires_grad_(False)
    layer = compiled(cell, INPUTS, shapes)
    assert not set(frozen) & set(layer.step.tables.trained)
    assert_layer_agrees(layer, cell, 5, 19, shapes)
    outputs, _ = with_layer(layer)(cell, drawn(5, 2, INPUTS), drawn_state(2, shapes))
    outputs.sum().backward()
    assert {n for n, p in cell.named_parameters() if p.grad is None} == set(frozen)


def test_a_shared_parameter_gets_the_sum_of_its_gradients_once() -> None:
    captured = capture(Tied(INPUTS, HIDDEN), INPUTS, ((HIDDEN,),))
    names = {"read.weight", "read.bias", "first.weight", "first.bias", "second.bias"}
    assert set(captured.names) == set(captured.parameter_gradients) == names


def test_changed_parameters_are_read_at_the_next_pass() -> None:
    cell, shapes = _cell("elman", INPUTS, HIDDEN)
    layer = compiled(cell, INPUTS, shapes)
    inputs, state = drawn(5, 3, INPUTS), drawn_state(3, shapes)
    before, _ = with_layer(layer)(cell, inputs, state)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(0.5)
    after, _ = with_layer(layer)(cell, inputs, state)
    assert not torch.equal(before, after)
    expected = reference(cell, inputs, state)["outputs"]
    assert relative_error(after.detach(), expected) < TOLERANCE


def test_a_step_without_parameters_or_without_state_is_compiled() -> None:
    class Sum(torch.nn.Module):
        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            total = state[0] + inputs
            return total * 0.5, (total,)

    class Affine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.affine = torch.nn.Linear(INPUTS, 2)

        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            return self.affine(inputs).tanh(), ()

    assert_layer_agrees(compiled(Sum(), INPUTS, ((INPUTS,),)), Sum(), 5, 3, ((INPUTS,),))
    module = Affine()
    assert_layer_agrees(compiled(module, INPUTS, ()), module, 5, 3, ())


def test_a_step_that_ignores_its_inputs_has_zero_gradients_for_them() -> None:
    cell = Recurrent(INPUTS, HIDDEN, lambda c, z, h: 0.5 * h + 1.0)
    layer = compiled(cell, INPUTS, ((HIDDEN,),))
    assert_layer_agrees(layer, cell, 5, 3, ((HIDDEN,),))


@pytest.mark.parametrize(
    ("inputs", "state", "said"),
    [
        ((4, 3, INPUTS + 1), (3, HIDDEN), r"inputs are of shape \(4, 3, 4\), not \(time, batch, 3"),
        ((4, 3, INPUTS - 1), (3, HIDDEN), "inputs are of shape"),
        ((4, 3), (3, HIDDEN), "inputs are of shape"),
        ((0, 3, INPUTS), (3, HIDDEN), "inputs are of shape"),
        ((4, 0, INPUTS), (0, HIDDEN), "inputs are of shape"),
        ((4, 3, INPUTS), (2, HIDDEN), "the state has parts of shape .*, for 3 samples"),
        ((4, 3, INPUTS), (3, HIDDEN - 1), "the state has parts of shape"),
    ],
)
def test_what_a_layer_would_read_past_is_refused(
    inputs: tuple[int, ...], state: tuple[int, ...], said: str
) -> None:
    cell = load_registry().architecture("elman")(INPUTS, HIDDEN)
    layer = compiled(cell, INPUTS, ((HIDDEN,),))
    with pytest.raises(ValueError, match=said):
        with_layer(layer)(cell, drawn(*inputs), (drawn(*state),))
    with pytest.raises(ValueError, match="the state has parts of shape"):
        with_layer(layer)(cell, drawn(4, 3, INPUTS), ())
    with pytest.raises(ValueError, match="the step reads 4 parameters and buffers, not 1"):
        layer(drawn(4, 3, INPUTS), (drawn(3, HIDDEN),), [drawn(3)])
