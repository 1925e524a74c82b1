"""The conformance suite of step cells: every promise of `RecurrentCell`, as a test."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from rnnsearch.cell import RecurrentCell, State
from rnnsearch.heads import HEADS
from rnnsearch.layers import Unrolled, run_as_torch, run_eagerly
from rnnsearch.parameters import Value
from rnnsearch.testing.probes import (
    Variant,
    first_difference,
    frozen_scalars,
    noise,
    seeded,
    structures,
    trained_scalars,
    variants,
    what_changes,
)

_INPUTS, _HIDDEN, _BATCH, _STEPS = 3, 5, 3, 4


def _structures(cell_class: type[RecurrentCell]) -> list[Mapping[str, Value]]:
    return list(structures(cell_class, partial(cell_class.parameter_count, _INPUTS, _HIDDEN)))


def _variants(cell_class: type[RecurrentCell]) -> list[Variant]:
    return variants(cell_class, partial(cell_class.parameter_count, _INPUTS, _HIDDEN))


def _build(
    cell_class: type[RecurrentCell],
    options: Mapping[str, Value],
    sizes: tuple[int, int] = (_INPUTS, _HIDDEN),
    seed: int = 0,
) -> RecurrentCell:
    cell: RecurrentCell = seeded(seed, lambda: cell_class(sizes[0], sizes[1], **options))
    return cell


def _run(cell: RecurrentCell, inputs: Tensor) -> tuple[Tensor, State]:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))


def _reached(cell: RecurrentCell, batch_size: int = _BATCH) -> State:
    """A state that the cell can be in, moved off the kinks where resting states like to lie."""
    dtype = next(cell.parameters()).dtype
    inputs = noise(2, batch_size, cell.input_size, seed=1, dtype=dtype)
    with torch.no_grad():
        _, state = _run(cell, inputs)
    generator = torch.Generator().manual_seed(2)
    return tuple(
        part + 0.05 + 0.1 * torch.rand(part.shape, generator=generator, dtype=part.dtype)
        if part.is_floating_point()
        else part
        for part in state
    )


def _same(actual: object, expected: object, what: object) -> None:
    torch.testing.assert_close(
        actual, expected, check_stride=False, msg=lambda details: f"{what}: {details}"
    )


class CellConformance:
    """Every check that a cell has to pass.

    Subclass it under a name that starts with `Test` and return the class from `cell_class`. Each
    check runs over the defaults and every declared option in turn. All numbers are float64 unless
    the check says otherwise. A cell with a surrogate gradient may replace
    `test_gradients_equal_finite_differences` by its own check; nothing else should need replacing.

    Attributes:
        sizes: pairs `(m, p)` of `input_size` and `hidden_size` at which counts are compared.
    """

    sizes: ClassVar[tuple[tuple[int, int], ...]] = ((1, 1), (1, 4), (3, 5), (6, 2))

    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        """The class under test."""
        raise NotImplementedError

    # Declarations and counts

    def test_declared_options_have_valid_defaults_that_are_the_constructors(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        structure, hyperparameters = cell_class.structure, cell_class.hyperparameters
        assert not set(structure) & set(hyperparameters), "declared twice"
        arguments = inspect.signature(cell_class).parameters
        for name, parameter in {**structure, **hyperparameters}.items():
            assert parameter.problem_with(parameter.default) is None, name
            assert name in arguments, f"the constructor does not take `{name}`"
            assert arguments[name].default == parameter.default, f"default of `{name}`"
        assert cell_class.head in HEADS
        assert cell_class.readout in (None, "all_steps")

    def test_parameter_count_equals_the_parameters_built(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for m, p in self.sizes:
            for variant in _variants(cell_class):
                built = _build(cell_class, variant.options, (m, p))
                counted = cell_class.parameter_count(m, p, **variant.structure)
                assert counted == trained_scalars(built), (m, p, str(variant))
                assert isinstance(counted, int), (m, p, str(variant))
                frozen = cell_class.frozen_count(m, p, **variant.structure)
                assert frozen == frozen_scalars(built), (m, p, str(variant))
            built = _build(cell_class, {}, (m, p))
            assert cell_class.parameter_count(m, p) == trained_scalars(built), (m, p, "defaults")

    def test_parameter_count_grows_strictly_with_hidden_size(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        widths = [*range(1, 33), 100, 101, 999, 1000]
        for structure in _structures(cell_class):
            for input_size in (1, 28):
                counts = [cell_class.parameter_count(input_size, w, **structure) for w in widths]
                redundant = [
                    cell_class.redundant_biases(input_size, w, **structure) for w in widths
                ]
                one_bias = [c - r for c, r in zip(counts, redundant, strict=True)]
                assert counts == sorted(set(counts)), structure
                assert one_bias == sorted(set(one_bias)), structure

    def test_redundant_biases_lie_between_none_and_all(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for m, p in self.sizes:
            for structure in _structures(cell_class):
                redundant = cell_class.redundant_biases(m, p, **structure)
                assert 0 <= redundant < cell_class.parameter_count(m, p, **structure)

    def test_state_size_equals_the_scalars_of_state_per_sample(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for m, p in self.sizes:
            for variant in _variants(cell_class):
                cell = _build(cell_class, variant.options, (m, p))
                state = cell.initial_state(_BATCH)
                assert isinstance(state, tuple), str(variant)
                assert all(len(part) == _BATCH for part in state), "the batch is the first axis"
                per_sample = sum(part[0].numel() for part in state)
                declared = cell_class.state_size(m, p, **variant.structure)
                assert declared == per_sample, (m, p, str(variant))

    def test_output_size_equals_the_width_of_the_output(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for m, p in self.sizes:
            for variant in _variants(cell_class):
                cell = _build(cell_class, variant.options, (m, p))
                output, _ = cell(torch.zeros(_BATCH, m), cell.initial_state(_BATCH))
                width = cell_class.output_size(p, **variant.structure)
                assert output.shape == (_BATCH, width), (m, p, str(variant))

    def test_a_step_keeps_the_shapes_of_the_state(self, cell_class: type[RecurrentCell]) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options)
            state = cell.initial_state(_BATCH)
            _, after = cell(torch.zeros(_BATCH, _INPUTS), state)
            assert isinstance(after, tuple), str(variant)
            assert [p.shape for p in after] == [p.shape for p in state], str(variant)
            assert [p.dtype for p in after] == [p.dtype for p in state], str(variant)

    # A step is a pure function

    def test_carrying_the_state_across_a_split_changes_nothing(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double()
            inputs, start = noise(_STEPS, _BATCH, _INPUTS), cell.initial_state(_BATCH)
            whole = run_eagerly(cell, inputs, start)
            first, middle = run_eagerly(cell, inputs[:1], start)
            second, end = run_eagerly(cell, inputs[1:], middle)
            _same((torch.cat((first, second)), end), whole, variant)

    def test_a_step_gives_the_same_result_whenever_it_is_taken(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double()
            inputs, state = noise(_BATCH, _INPUTS), _reached(cell)
            early = cell(inputs, state)
            _run(cell, noise(_STEPS, _BATCH, _INPUTS, seed=3))
            late = cell(inputs, state)
            assert first_difference(early, late) is None, f"{variant}: the step depends on time"

    def test_a_run_leaves_nothing_on_the_module(self, cell_class: type[RecurrentCell]) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double()
            inputs = noise(_STEPS, _BATCH, _INPUTS)
            changed = what_changes(cell, partial(_run, cell, inputs))
            assert changed is None, f"{variant}: a step changed {changed}"

    def test_a_step_leaves_its_inputs_and_state_as_they_were(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double()
            given = (noise(_BATCH, _INPUTS), *_reached(cell))
            copies = tuple(tensor.clone() for tensor in given)
            with torch.no_grad():
                cell(given[0], given[1:])
            assert first_difference(copies, given) is None, f"{variant}: a step wrote in place"

    def test_nothing_is_drawn_at_random_inside_the_step(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double().train()
            inputs, state = noise(_BATCH, _INPUTS), _reached(cell)
            before = torch.get_rng_state()
            once, twice = cell(inputs, state), cell(inputs, state)
            assert torch.equal(before, torch.get_rng_state()), f"{variant}: the step draws numbers"
            assert first_difference(once, twice) is None, f"{variant}: the step draws numbers"

    def test_later_inputs_leave_earlier_outputs_bit_identical(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for variant in _variants(cell_class):
            layer = Unrolled(_build(cell_class, variant.options).double())
            if layer.cell.as_torch() is not None:
                layer.run = run_as_torch
            inputs = noise(_STEPS, _BATCH, _INPUTS)
            changed = torch.cat((inputs[:2], noise(_STEPS - 2, _BATCH, _INPUTS, seed=4)))
            assert torch.equal(layer(inputs)[:2], layer(changed)[:2]), str(variant)

    def test_a_sample_gives_the_same_result_alone_as_in_a_batch(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double()
            inputs = noise(_STEPS, _BATCH, _INPUTS)
            outputs, state = _run(cell, inputs)
            for row in range(_BATCH):
                only = slice(row, row + 1)
                alone = _run(cell, inputs[:, only])
                in_batch = (outputs[:, only], tuple(part[only] for part in state))
                _same(alone, in_batch, f"{variant}, sample {row}")

    def test_as_torch_computes_what_the_steps_compute(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        declared = False
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double()
            layer = cell.as_torch()
            if layer is None:
                continue
            declared = True
            assert {*map(id, layer.parameters())} == {*map(id, cell.parameters())}, str(variant)
            inputs = noise(_STEPS, _BATCH, _INPUTS).requires_grad_()
            state = tuple(part.requires_grad_() for part in _reached(cell))
            leaves = (inputs, *state, *cell.parameters())
            results = []
            for outputs, last in (
                run_eagerly(cell, inputs, state),
                run_as_torch(cell, inputs, state),
            ):
                loss = (outputs * noise(*outputs.shape, seed=5)).sum()
                loss = loss + sum((part * noise(*part.shape, seed=6)).sum() for part in last)
                gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
                results.append((outputs, last, gradients))
            _same(results[1], results[0], variant)
        if not declared:
            pytest.skip("the cell names no torch layer that equals it")

    # Gradients

    def test_gradient_reaches_every_parameter(self, cell_class: type[RecurrentCell]) -> None:
        for variant in _variants(cell_class):
            unreached: set[str] | None = None
            # Several draws: with rectifiers a unit may be off for one of them.
            for seed in range(5):
                cell = _build(cell_class, variant.options, seed=seed).double()
                inputs = noise(_STEPS, _BATCH, _INPUTS, seed=seed)
                outputs, _ = _run(cell, inputs)
                (outputs * noise(*outputs.shape, seed=5)).sum().backward()
                missed = {
                    name
                    for name, p in cell.named_parameters()
                    if p.requires_grad and (p.grad is None or not p.grad.any())
                }
                unreached = missed if unreached is None else unreached & missed
                if not unreached:
                    break
            assert not unreached, f"{variant}: no gradient reaches {sorted(unreached or ())}"

    def test_gradients_equal_finite_differences(self, cell_class: type[RecurrentCell]) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options, (2, 3)).double()
            state = _reached(cell, 2)
            leaves = [noise(3, 2, 2), *state, *cell.parameters()]
            leaves = [leaf.requires_grad_(leaf.is_floating_point()) for leaf in leaves]

            # `gradcheck` moves the leaves in place, so the cell's own parameters move with them.
            def run(
                inputs: Tensor,
                *others: Tensor,
                cell: RecurrentCell = cell,
                parts: int = len(state),
            ) -> tuple[Tensor, ...]:
                outputs, last = run_eagerly(cell, inputs, others[:parts])
                return (outputs, *(part for part in last if part.requires_grad))

            assert torch.autograd.gradcheck(run, leaves, fast_mode=True), str(variant)

    # Seeds, devices, copies

    def test_the_same_seed_gives_the_same_weights(self, cell_class: type[RecurrentCell]) -> None:
        for variant in _variants(cell_class):
            one, two = (_build(cell_class, variant.options, seed=7) for _ in range(2))
            difference = first_difference(dict(one.state_dict()), dict(two.state_dict()))
            assert difference is None, f"{variant}: not drawn from torch's generator: {difference}"
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(8)
                cell_class(_INPUTS, _HIDDEN, **variant.options)
                assert torch.initial_seed() == 8, f"{variant}: the constructor seeds torch"

    def test_a_loaded_state_dict_brings_the_whole_cell(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for variant in _variants(cell_class):
            source, target = (_build(cell_class, variant.options, seed=s).double() for s in (0, 1))
            target.load_state_dict(source.state_dict(), strict=True)
            self._agree(source, target, variant)

    def test_a_pickled_cell_computes_the_same(self, cell_class: type[RecurrentCell]) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double()
            self._agree(cell, pickle.loads(pickle.dumps(cell)), variant)

    def _agree(self, one: RecurrentCell, two: RecurrentCell, variant: Variant) -> None:
        inputs = noise(_STEPS, _BATCH, _INPUTS)
        _same(_run(two, inputs), _run(one, inputs), variant)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_state_and_output_follow_the_dtype_of_the_parameters(
        self, cell_class: type[RecurrentCell], dtype: torch.dtype
    ) -> None:
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).to(dtype)
            state = cell.initial_state(_BATCH)
            output, after = cell(torch.zeros(_BATCH, _INPUTS, dtype=dtype), state)
            floats = [part for part in (*state, *after, output) if part.is_floating_point()]
            assert {part.dtype for part in floats} == {dtype}, str(variant)

    def test_builds_and_steps_without_storage(self, cell_class: type[RecurrentCell]) -> None:
        """On device `meta`, where FLOPs are counted and a branch on a value cannot be taken."""
        for variant in _variants(cell_class):
            with torch.device("meta"):
                cell = cell_class(_INPUTS, _HIDDEN, **variant.options)
                inputs = torch.empty(_BATCH, _INPUTS)
            output, state = cell(inputs, cell.initial_state(_BATCH))
            devices = {part.device.type for part in (output, *state)}
            assert devices == {"meta"}, f"{variant}: a tensor made in the step ignores the device"

    def test_runs_on_cuda_as_on_the_cpu(self, cell_class: type[RecurrentCell]) -> None:
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double()
            inputs = noise(_STEPS, _BATCH, _INPUTS)
            on_cpu = _run(cell, inputs)
            cell = cell.cuda()
            outputs, state = _run(cell, inputs.cuda())
            _same((outputs.cpu(), tuple(part.cpu() for part in state)), on_cpu, variant)
