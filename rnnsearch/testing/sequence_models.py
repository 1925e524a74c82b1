"""The conformance suite of models of whole sequences: the promises of `SequenceModel` as tests."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.spec.parameters import IntRange, Value, defaults
from rnnsearch.spec.shape import SequenceShape
from rnnsearch.testing.probes import (
    KnownFailures,
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

_HIDDEN, _BATCH, _STEPS = 5, 3, 4


def _width(
    model_class: type[SequenceModel], options: Mapping[str, Value], units: int = _HIDDEN
) -> int:
    """A width of this many units: a multiple of what the model declares."""
    structure = {name: value for name, value in options.items() if name in model_class.structure}
    return units * model_class.width_multiple(**structure)


def _count(model_class: type[SequenceModel], shape: SequenceShape) -> Callable[..., int]:
    def count(**structure: Value) -> int:
        return model_class.parameter_count(shape, _width(model_class, structure), **structure)

    return count


def _structures(
    model_class: type[SequenceModel], shape: SequenceShape
) -> list[Mapping[str, Value]]:
    return list(structures(model_class, _count(model_class, shape)))


def _variants(model_class: type[SequenceModel], shape: SequenceShape) -> list[Variant]:
    return variants(model_class, _count(model_class, shape))


def _build(
    model_class: type[SequenceModel],
    shape: SequenceShape,
    options: Mapping[str, Value],
    units: int = _HIDDEN,
    seed: int = 0,
) -> SequenceModel:
    width = _width(model_class, options, units)
    model: SequenceModel = seeded(seed, lambda: model_class(shape, width, **options))
    return model


def _inputs(shape: SequenceShape, seed: int = 0, batch_size: int = _BATCH) -> Tensor:
    return noise(shape.length or _STEPS, batch_size, shape.input_size, seed=seed)


def _lengths(shape: SequenceShape) -> Tensor | None:
    return None if shape.length is not None else torch.tensor([_STEPS, 1, 2])


class SequenceModelConformance(KnownFailures):
    """Every check that a model of whole sequences has to pass.

    Subclass it under a name that starts with `Test` and return the class from `model_class`. Each
    check runs at every shape in `shapes` that the model does not refuse, over the defaults and
    every declared option in turn, in float64.

    Attributes:
        shapes: shapes of sequences to offer.
    """

    shapes: ClassVar[tuple[SequenceShape, ...]] = (
        SequenceShape(input_size=3, output_size=2, length=_STEPS, readout="last_step"),
        SequenceShape(input_size=1, output_size=4, length=7, readout="last_step"),
        SequenceShape(input_size=2, output_size=3, length=_STEPS, readout="every_step"),
        SequenceShape(input_size=3, output_size=2, length=None, readout="masked_step"),
    )

    subject = "model_class"

    @pytest.fixture
    def model_class(self) -> type[SequenceModel]:
        """The class under test."""
        raise NotImplementedError

    def _cases(self, model_class: type[SequenceModel]) -> list[tuple[SequenceShape, Variant]]:
        accepted = [shape for shape in self.shapes if model_class.refusal(shape) is None]
        return [(shape, v) for shape in accepted for v in _variants(model_class, shape)]

    # Declarations and counts

    def test_takes_at_least_one_shape_and_refuses_the_others_in_words(
        self, model_class: type[SequenceModel]
    ) -> None:
        reasons = [model_class.refusal(shape) for shape in self.shapes]
        assert None in reasons, f"it refuses every shape that is tried: {reasons[0]}"
        assert all(reason is None or reason.strip() for reason in reasons), "a reason is empty"

    def test_declared_options_have_valid_defaults_that_are_the_constructors(
        self, model_class: type[SequenceModel]
    ) -> None:
        structure, hyperparameters = model_class.structure, model_class.hyperparameters
        assert not set(structure) & set(hyperparameters), "declared twice"
        arguments = inspect.signature(model_class).parameters
        for name, parameter in {**structure, **hyperparameters}.items():
            problem = parameter.problem_with(parameter.default)
            assert problem is None, f"default of `{name}`: {problem}"
            assert name in arguments, f"the constructor does not take `{name}`"
            assert arguments[name].default == parameter.default, (
                f"`{name}` is {arguments[name].default!r} by default in the constructor, and "
                f"{parameter.default!r} where it is declared"
            )

    def test_a_model_that_is_trained_in_closed_form_has_a_fit(
        self, model_class: type[SequenceModel]
    ) -> None:
        if "closed_form" in model_class.capabilities.trained_by:
            assert model_class.fit is not SequenceModel.fit

    def test_parameter_count_equals_the_parameters_built(
        self, model_class: type[SequenceModel]
    ) -> None:
        for shape, variant in self._cases(model_class):
            for units in (1, _HIDDEN):
                width = _width(model_class, variant.structure, units)
                built = _build(model_class, shape, variant.options, units)
                counted = model_class.parameter_count(shape, width, **variant.structure)
                found, at = trained_scalars(built), f"width {width}, {shape}, {variant}"
                assert counted == found, f"{counted} were declared, {found} were built ({at})"
                assert isinstance(counted, int), f"`parameter_count` gives {counted!r} ({at})"
                frozen = model_class.frozen_count(shape, width, **variant.structure)
                kept = frozen_scalars(built)
                assert frozen == kept, f"`frozen_count` is {frozen}, {kept} are kept ({at})"
                redundant = model_class.redundant_biases(shape, width, **variant.structure)
                assert 0 <= redundant < counted, f"{redundant} of {counted} parameters ({at})"

    def test_parameter_count_grows_strictly_with_hidden_size(
        self, model_class: type[SequenceModel]
    ) -> None:
        for shape in {shape for shape, _ in self._cases(model_class)}:
            for structure in _structures(model_class, shape):
                multiple = model_class.width_multiple(**structure)
                widths = [multiple * units for units in (*range(1, 33), 100, 101, 999, 1000)]
                counts = [model_class.parameter_count(shape, w, **structure) for w in widths]
                redundant = [model_class.redundant_biases(shape, w, **structure) for w in widths]
                one_bias = [c - r for c, r in zip(counts, redundant, strict=True)]
                for counted, numbers in (("`parameter_count`", counts), ("one bias", one_bias)):
                    assert numbers == sorted(set(numbers)), (
                        f"{counted} does not grow with every unit: {numbers[:6]} ... at the widths "
                        f"{widths[:6]} ... ({shape}, {structure})"
                    )

    def test_parameter_count_grows_strictly_with_the_fine_size(
        self, model_class: type[SequenceModel]
    ) -> None:
        fine = model_class.fine_size
        if fine is None:
            pytest.skip("the model names no fine size")
        declared = model_class.structure[fine]
        assert isinstance(declared, IntRange)
        structure = defaults(model_class.structure)
        for shape in {shape for shape, _ in self._cases(model_class)}:
            counts = [
                _count(model_class, shape)(**{**structure, fine: size})
                for size in range(max(1, declared.low), min(declared.high, 64) + 1)
            ]
            assert counts == sorted(set(counts)), shape

    # What it computes

    def test_output_has_the_shape_that_the_readout_asks_for(
        self, model_class: type[SequenceModel]
    ) -> None:
        for shape, variant in self._cases(model_class):
            inputs = _inputs(shape)
            output = _build(model_class, shape, variant.options).double()(inputs, _lengths(shape))
            expected: tuple[int, ...] = (_BATCH, shape.output_size)
            if shape.readout == "every_step":
                expected = (len(inputs), *expected)
            found = tuple(output.shape)
            assert found == expected, f"expected {expected}, found {found} ({shape}, {variant})"

    def test_a_sample_gives_the_same_result_alone_as_in_a_batch(
        self, model_class: type[SequenceModel]
    ) -> None:
        for shape, variant in self._cases(model_class):
            model = _build(model_class, shape, variant.options).double().eval()
            inputs, lengths = _inputs(shape), _lengths(shape)
            together = model(inputs, lengths)
            for row in range(_BATCH):
                only = slice(row, row + 1)
                alone = model(inputs[:, only], None if lengths is None else lengths[only])
                in_batch = together[..., only, :]
                torch.testing.assert_close(alone, in_batch, check_stride=False)

    def test_padding_does_not_change_the_output(self, model_class: type[SequenceModel]) -> None:
        cases = [case for case in self._cases(model_class) if case[0].length is None]
        if not cases:
            pytest.skip("the model takes sequences of one length only")
        for shape, variant in cases:
            model = _build(model_class, shape, variant.options).double().eval()
            lengths = _lengths(shape)
            assert lengths is not None
            inputs = _inputs(shape)
            padding = torch.arange(_STEPS).unsqueeze(1) >= lengths
            other = torch.where(padding.unsqueeze(-1), _inputs(shape, seed=1), inputs)
            torch.testing.assert_close(model(other, lengths), model(inputs, lengths))

    def test_later_inputs_leave_earlier_outputs_alone_where_it_is_causal(
        self, model_class: type[SequenceModel]
    ) -> None:
        cases = [case for case in self._cases(model_class) if case[0].readout == "every_step"]
        if not cases or not model_class.capabilities.causal:
            pytest.skip("the model is not causal, or gives one output for a whole sequence")
        for shape, variant in cases:
            model = _build(model_class, shape, variant.options).double().eval()
            inputs, other = _inputs(shape), _inputs(shape, seed=1)
            changed = torch.cat((inputs[:2], other[2:]))
            earlier, later = model(inputs)[:2], model(changed)[:2]
            same = torch.allclose(later, earlier, rtol=1e-7, atol=1e-7)
            assert same, f"the first steps see later inputs, and the model is causal ({variant})"

    def test_a_run_leaves_nothing_on_the_module(self, model_class: type[SequenceModel]) -> None:
        for shape, variant in self._cases(model_class):
            model = _build(model_class, shape, variant.options).double()
            changed = what_changes(model, partial(model, _inputs(shape), _lengths(shape)))
            assert changed is None, f"{shape}, {variant}: a run changed {changed}"

    def test_two_runs_in_evaluation_mode_are_bit_identical(
        self, model_class: type[SequenceModel]
    ) -> None:
        for shape, variant in self._cases(model_class):
            model = _build(model_class, shape, variant.options).double().eval()
            one, two = (model(_inputs(shape), _lengths(shape)) for _ in range(2))
            assert torch.equal(one, two), f"two runs differ ({shape}, {variant})"

    # Gradients, seeds, devices, copies

    def test_gradient_reaches_every_parameter(self, model_class: type[SequenceModel]) -> None:
        for shape, variant in self._cases(model_class):
            unreached: set[str] | None = None
            # Several draws: with rectifiers a unit may be off for one of them.
            for seed in range(5):
                model = _build(model_class, shape, variant.options, seed=seed).double()
                output = model(_inputs(shape, seed), _lengths(shape))
                (output * noise(*output.shape, seed=5)).sum().backward()
                missed = {
                    name
                    for name, p in model.named_parameters()
                    if p.requires_grad and (p.grad is None or not p.grad.any())
                }
                unreached = missed if unreached is None else unreached & missed
                if not unreached:
                    break
            assert not unreached, f"{variant}: no gradient reaches {sorted(unreached or ())}"

    def test_gradients_equal_finite_differences(self, model_class: type[SequenceModel]) -> None:
        for shape, variant in self._cases(model_class):
            model = _build(model_class, shape, variant.options, 2).double().eval()
            leaves = [_inputs(shape, batch_size=_BATCH).requires_grad_(), *model.parameters()]

            # `gradcheck` moves the leaves in place, so the model's parameters move with them.
            def run(
                inputs: Tensor,
                *_: Tensor,
                model: SequenceModel = model,
                lengths: Tensor | None = _lengths(shape),  # noqa: B008
            ) -> Tensor:
                output: Tensor = model(inputs, lengths)
                return output

            assert torch.autograd.gradcheck(run, leaves, fast_mode=True), (shape, str(variant))

    def test_the_same_seed_gives_the_same_weights(self, model_class: type[SequenceModel]) -> None:
        for shape, variant in self._cases(model_class):
            one, two = (_build(model_class, shape, variant.options, seed=7) for _ in range(2))
            difference = first_difference(dict(one.state_dict()), dict(two.state_dict()))
            assert difference is None, f"{variant}: not drawn from torch's generator: {difference}"
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(8)
                model_class(shape, one.hidden_size, **variant.options)
                assert torch.initial_seed() == 8, f"{variant}: the constructor seeds torch"

    @pytest.mark.parametrize("way", ["state_dict", "pickle"])
    def test_a_copy_computes_the_same(self, model_class: type[SequenceModel], way: str) -> None:
        for shape, variant in self._cases(model_class):
            source = _build(model_class, shape, variant.options).double().eval()
            if way == "pickle":
                target = pickle.loads(pickle.dumps(source))
            else:
                target = _build(model_class, shape, variant.options, seed=1).double().eval()
                target.load_state_dict(source.state_dict(), strict=True)
            outputs = [model(_inputs(shape), _lengths(shape)) for model in (source, target)]
            assert torch.equal(*outputs), f"the copy computes something else ({shape}, {variant})"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_output_follows_the_dtype_of_the_parameters(
        self, model_class: type[SequenceModel], dtype: torch.dtype
    ) -> None:
        for shape, variant in self._cases(model_class):
            model = _build(model_class, shape, variant.options).to(dtype)
            output = model(_inputs(shape).to(dtype), _lengths(shape))
            found = output.dtype
            assert found == dtype, f"expected {dtype}, found {found} ({shape}, {variant})"

    def test_builds_and_runs_without_storage(self, model_class: type[SequenceModel]) -> None:
        """On device `meta`, where FLOPs are counted; lengths are not known there."""
        for shape, variant in self._cases(model_class):
            fixed = replace(shape, length=shape.length or _STEPS)
            with torch.device("meta"):
                width = _width(model_class, variant.structure)
                model = model_class(shape, width, **variant.options)
                inputs = torch.empty(fixed.length or 0, _BATCH, shape.input_size)
            found = model(inputs, None).device.type
            assert found == "meta", f"a tensor ignores the device ({shape}, {variant})"
