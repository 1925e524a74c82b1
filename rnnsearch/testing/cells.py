"""The conformance suite of step cells: every promise of `RecurrentCell`, as a test."""

from __future__ import annotations

import inspect
import io
import pickle
import warnings
from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine.capture import Unsupported
from rnnsearch.plugin.cell import RecurrentCell, State
from rnnsearch.plugin.layers import (
    Bidirectional,
    Stacked,
    Unrolled,
    can_be_trained,
    in_reals,
    run_as_torch,
    run_eagerly,
)
from rnnsearch.plugin.losses import Classification
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.wrapper import CellWrapper
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import SequenceShape
from rnnsearch.spec.trial import TrainingConfig
from rnnsearch.testing.probes import (
    KnownFailures,
    Sizes,
    Variant,
    dead_overrides,
    elsewhere,
    first_difference,
    frozen_scalars,
    noise,
    over_sizes,
    seeded,
    structures,
    trained_scalars,
    variants,
    what_changes,
)
from rnnsearch.training.engine_check import Mismatch, NotFinite, verify

# Sizes at which options count as small enough to try, and at which every parameter must matter.
_STANDARD = Sizes(inputs=3, hidden=5, batch=3, steps=4)
_CONFIG = TrainingConfig(epochs=1, batch_size=32, learning_rate=0.1)
# Sizes at which finite differences are affordable.
_SMALL = Sizes(inputs=2, hidden=3, batch=2, steps=3)


def _hidden(cell_class: type[RecurrentCell], sizes: Sizes, options: Mapping[str, Value]) -> int:
    """The width at some sizes: a multiple of what the cell declares."""
    structure = {name: value for name, value in options.items() if name in cell_class.structure}
    return sizes.hidden * cell_class.width_multiple(**structure)


def _count(cell_class: type[RecurrentCell]) -> Callable[..., int]:
    def count(**structure: Value) -> int:
        hidden = _hidden(cell_class, _STANDARD, structure)
        return cell_class.parameter_count(_STANDARD.inputs, hidden, **structure)

    return count


def _structures(cell_class: type[RecurrentCell]) -> list[Mapping[str, Value]]:
    return list(structures(cell_class, _count(cell_class)))


def _variants(cell_class: type[RecurrentCell], sizes: Sizes = _STANDARD) -> list[Variant]:
    """The settings of all options that take this many inputs."""
    return [
        variant
        for variant in variants(cell_class, _count(cell_class))
        if cell_class.refusal(sizes.inputs, **variant.structure) is None
    ]


def _build(
    cell_class: type[RecurrentCell],
    options: Mapping[str, Value],
    sizes: Sizes = _STANDARD,
    seed: int = 0,
) -> RecurrentCell:
    hidden = _hidden(cell_class, sizes, options)
    cell: RecurrentCell = seeded(seed, lambda: cell_class(sizes.inputs, hidden, **options))
    return cell


def _features(cell: RecurrentCell) -> int:
    """Width of what a step is given: its inputs, and the numbers drawn for it."""
    return cell.input_size + cell.noise_size


def _inputs(
    cell: RecurrentCell, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Inputs of a step or of many: normal numbers, and uniform ones as its noise."""
    drawn = noise(*shape, _features(cell), seed=seed)
    features, uniform = drawn.split([cell.input_size, cell.noise_size], dim=-1)
    return torch.cat((features, torch.special.ndtr(uniform)), dim=-1).to(dtype)


def _run(cell: RecurrentCell, inputs: Tensor) -> tuple[Tensor, State]:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))


def _reached(cell: RecurrentCell, batch_size: int) -> State:
    """A state that the cell can be in, moved off the kinks where resting states like to lie."""
    dtype = next(cell.parameters()).dtype
    inputs = _inputs(cell, 2, batch_size, seed=1, dtype=dtype)
    with torch.no_grad():
        _, state = _run(cell, inputs)
    generator = torch.Generator().manual_seed(2)
    return tuple(
        part + 0.05 + 0.1 * torch.rand(part.shape, generator=generator, dtype=part.dtype)
        if can_be_trained(part)
        else part
        for part in state
    )


def run_pickled(sent: bytes) -> tuple[Tensor, State]:
    """What a cell that came as bytes computes, for another process."""
    cell, inputs = pickle.loads(sent)
    return _detached(_run(cell, inputs))


def _detached(result: tuple[Tensor, State]) -> tuple[Tensor, State]:
    outputs, state = result
    return outputs.detach(), tuple(part.detach() for part in state)


def _same(actual: object, expected: object, what: object) -> None:
    torch.testing.assert_close(
        actual, expected, check_stride=False, msg=lambda details: f"{what}: {details}"
    )


def _taken(method: Callable[..., object], options: Mapping[str, Value]) -> dict[str, Value]:
    """Of some options, those that a method's signature takes."""
    parameters = inspect.signature(method).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return dict(options)
    return {name: value for name, value in options.items() if name in parameters}


def use(cell_class: type[RecurrentCell]) -> None:
    """Call all that the library calls of a cell."""
    m = _STANDARD.inputs
    for variant in _variants(cell_class):
        p = _hidden(cell_class, _STANDARD, variant.structure)
        cell = _build(cell_class, variant.options)
        cell_class.parameter_count(m, p, **variant.structure)
        cell_class.redundant_biases(m, p, **variant.structure)
        cell_class.frozen_count(m, p, **variant.structure)
        cell_class.state_size(m, p, **_taken(cell_class.state_size, variant.options))
        cell_class.output_size(m, p, **variant.structure)
        cell.as_torch()
        for mode in (True, False):
            _, state = _run(cell.train(mode), _inputs(cell, 2, 2, dtype=torch.float32))
            cell.memory_state(state)


class CellConformance(KnownFailures):
    """Every check that a cell has to pass.

    Subclass it under a name that starts with `Test` and return the class from `cell_class`. Each
    check runs over the defaults and every declared option in turn, at sizes that hypothesis
    generates (the same ones every time). All numbers are float64 unless the check says otherwise.
    A cell with a surrogate gradient may replace `test_gradients_equal_finite_differences` by its
    own check; what else it cannot keep it declares in `known_failures`.
    """

    subject = "cell_class"

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
            problem = parameter.problem_with(parameter.default)
            assert problem is None, f"default of `{name}`: {problem}"
            assert name in arguments, f"the constructor does not take `{name}`"
            assert arguments[name].default == parameter.default, (
                f"`{name}` is {arguments[name].default!r} by default in the constructor, and "
                f"{parameter.default!r} where it is declared"
            )
        for setting in _structures(cell_class):
            multiple = cell_class.width_multiple(**setting)
            whole = isinstance(multiple, int) and multiple >= 1
            assert whole, f"`width_multiple` gives {multiple!r}: give a whole number ({setting})"
        assert cell_class.head in load_registry().names("head")
        assert cell_class.readout in (None, "all_steps")

    def test_no_method_looks_like_one_of_the_contract_and_is_never_called(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        subject = self.written_by_the_author(cell_class)
        contract = CellWrapper if issubclass(subject, CellWrapper) else RecurrentCell
        try:
            misnamed = dead_overrides(subject, contract, partial(use, cell_class))
        except Exception:
            pytest.skip("the cell does not run, which other checks say")
        assert not misnamed, "; ".join(
            f"`{name}` overrides nothing and no step calls it. If `{meant}` is meant, call it so; "
            f"if not, begin its name with an underscore"
            for name, meant in misnamed.items()
        )

    def written_by_the_author(self, cell_class: type[RecurrentCell]) -> type[RecurrentCell]:
        """The class whose source is the plugin's."""
        return cell_class

    @over_sizes
    def test_parameter_count_equals_the_parameters_built(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        m = sizes.inputs
        for variant in _variants(cell_class, sizes):
            p = _hidden(cell_class, sizes, variant.structure)
            built = _build(cell_class, variant.options, sizes)
            counted = cell_class.parameter_count(m, p, **variant.structure)
            found = trained_scalars(built)
            assert counted == found, f"{counted} were declared, {found} were built ({variant})"
            assert isinstance(counted, int), f"`parameter_count` gives {counted!r}: give an int"
            frozen = cell_class.frozen_count(m, p, **variant.structure)
            kept = frozen_scalars(built)
            assert frozen == kept, (
                f"`frozen_count` declares {frozen} scalars, and {kept} are kept and not trained: "
                f"buffers, or parameters without gradient ({variant})"
            )
        if cell_class.refusal(m) is None:
            built = _build(cell_class, {}, sizes)
            p = _hidden(cell_class, sizes, {})
            assert cell_class.parameter_count(m, p) == trained_scalars(built), (
                "`parameter_count` without options is not the count of the defaults"
            )

    def test_parameter_count_grows_strictly_with_hidden_size(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        for structure in _structures(cell_class):
            multiple = cell_class.width_multiple(**structure)
            widths = [multiple * units for units in (*range(1, 33), 100, 101, 999, 1000)]
            for m in (1, 28):
                if cell_class.refusal(m, **structure) is not None:
                    continue
                counts = [cell_class.parameter_count(m, w, **structure) for w in widths]
                redundant = [cell_class.redundant_biases(m, w, **structure) for w in widths]
                one_bias = [c - r for c, r in zip(counts, redundant, strict=True)]
                for counted, numbers in (("`parameter_count`", counts), ("one bias", one_bias)):
                    assert numbers == sorted(set(numbers)), (
                        f"{counted} does not grow with every unit: {numbers[:6]} ... at the widths "
                        f"{widths[:6]} ... ({structure})"
                    )

    @over_sizes
    def test_redundant_biases_lie_between_none_and_all(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        m = sizes.inputs
        for variant in _variants(cell_class, sizes):
            p = _hidden(cell_class, sizes, variant.structure)
            redundant = cell_class.redundant_biases(m, p, **variant.structure)
            counted = cell_class.parameter_count(m, p, **variant.structure)
            assert 0 <= redundant < counted, f"{redundant} of {counted} parameters ({variant})"

    @over_sizes
    def test_state_size_equals_the_scalars_of_state_per_sample(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes)
            state = cell.initial_state(sizes.batch)
            kind = type(state).__name__
            assert isinstance(state, tuple), f"`initial_state` gives a {kind}: give a tuple"
            assert all(len(part) == sizes.batch for part in state), "the batch is the first axis"
            per_sample = sum(in_reals(part[0]).numel() for part in state)
            options = _taken(cell_class.state_size, variant.options)
            hidden = _hidden(cell_class, sizes, variant.structure)
            declared = cell_class.state_size(sizes.inputs, hidden, **options)
            assert declared == per_sample, (
                f"`state_size` declares {declared} scalars a sample, and `initial_state` makes "
                f"{per_sample}, a complex number being two ({variant})"
            )
            memory = cell.memory_state(state)
            assert memory.dim() == 2, f"{variant}: the memory to be shown is (batch, units)"
            assert len(memory) == sizes.batch, f"{variant}: the memory has the batch first"
            assert not memory.is_complex(), f"{variant}: the memory to be shown is real"

    @over_sizes
    def test_parameters_buffers_and_outputs_are_real(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        """A state may be complex; optimizers, counts and heads take reals."""
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes)
            held = {**dict(cell.named_parameters()), **dict(cell.named_buffers())}
            found = [name for name, value in held.items() if value.is_complex()]
            assert not found, (
                f"{', '.join(found)} in complex numbers: keep pairs of reals `(..., 2)`, and "
                f"compute with `torch.complex(w[..., 0], w[..., 1])` ({variant})"
            )
            inputs = _inputs(cell, sizes.batch, dtype=torch.float32)
            output, _ = cell(inputs, cell.initial_state(sizes.batch))
            assert not output.is_complex(), (
                f"the output is complex: give its real part, its absolute value, or both parts "
                f"side by side ({variant})"
            )

    @over_sizes
    def test_output_size_equals_the_width_of_the_output(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes)
            inputs = torch.zeros(sizes.batch, _features(cell))
            output, _ = cell(inputs, cell.initial_state(sizes.batch))
            hidden = _hidden(cell_class, sizes, variant.structure)
            width = cell_class.output_size(sizes.inputs, hidden, **variant.structure)
            assert output.shape == (sizes.batch, width), (
                f"`output_size` declares {width}, and a batch of {sizes.batch} gives the shape "
                f"{tuple(output.shape)} ({variant})"
            )

    @over_sizes
    def test_a_step_keeps_the_shapes_of_the_state(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes)
            state = cell.initial_state(sizes.batch)
            _, after = cell(torch.zeros(sizes.batch, _features(cell)), state)
            kind = type(after).__name__
            assert isinstance(after, tuple), f"{variant}: the state after a step is a {kind}"
            for what in ("shape", "dtype"):
                one, two = ([getattr(p, what) for p in parts] for parts in (state, after))
                assert one == two, f"{variant}: {what}s of the state are {one}, after a step {two}"

    # A step is a pure function

    @over_sizes
    def test_carrying_the_state_across_a_split_changes_nothing(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).double()
            inputs, start = (
                _inputs(cell, sizes.steps, sizes.batch),
                cell.initial_state(sizes.batch),
            )
            whole = run_eagerly(cell, inputs, start)
            first, middle = run_eagerly(cell, inputs[:1], start)
            second, end = run_eagerly(cell, inputs[1:], middle)
            _same((torch.cat((first, second)), end), whole, variant)

    @over_sizes
    def test_a_step_gives_the_same_result_whenever_it_is_taken(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).double()
            inputs, state = _inputs(cell, sizes.batch), _reached(cell, sizes.batch)
            early = cell(inputs, state)
            _run(cell, _inputs(cell, sizes.steps, sizes.batch, seed=3))
            late = cell(inputs, state)
            assert first_difference(early, late) is None, f"{variant}: the step depends on time"

    @over_sizes
    def test_a_run_leaves_nothing_on_the_module(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).double()
            inputs = _inputs(cell, sizes.steps, sizes.batch)
            changed = what_changes(cell, partial(_run, cell, inputs))
            assert changed is None, f"{variant}: a step changed {changed}"

    @over_sizes
    def test_a_step_leaves_its_inputs_and_state_as_they_were(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).double()
            given = (_inputs(cell, sizes.batch), *_reached(cell, sizes.batch))
            copies = tuple(tensor.clone() for tensor in given)
            with torch.no_grad():
                cell(given[0], given[1:])
            assert first_difference(copies, given) is None, f"{variant}: a step wrote in place"

    @over_sizes
    def test_nothing_is_drawn_at_random_inside_the_step(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).double().train()
            inputs, state = _inputs(cell, sizes.batch), _reached(cell, sizes.batch)
            before = torch.get_rng_state()
            once, twice = cell(inputs, state), cell(inputs, state)
            assert torch.equal(before, torch.get_rng_state()), f"{variant}: the step draws numbers"
            assert first_difference(once, twice) is None, f"{variant}: the step draws numbers"

    @over_sizes
    def test_later_inputs_leave_earlier_outputs_bit_identical(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).double()
            run = run_eagerly if cell.as_torch() is None else run_as_torch
            start = cell.initial_state(sizes.batch)
            inputs = _inputs(cell, sizes.steps, sizes.batch)
            changed = torch.cat((inputs[:2], _inputs(cell, sizes.steps - 2, sizes.batch, seed=4)))
            before, after = (run(cell, given, start)[0][:2] for given in (inputs, changed))
            assert torch.equal(before, after), f"{variant}: the first steps see later inputs"

    @over_sizes
    def test_a_sample_gives_the_same_result_alone_as_in_a_batch(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).double()
            inputs = _inputs(cell, sizes.steps, sizes.batch)
            outputs, state = _run(cell, inputs)
            for row in range(sizes.batch):
                only = slice(row, row + 1)
                alone = _run(cell, inputs[:, only])
                in_batch = (outputs[:, only], tuple(part[only] for part in state))
                _same(alone, in_batch, f"{variant}, sample {row}")

    @over_sizes
    def test_padding_changes_nothing_in_either_direction(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):

            def make(variant: Variant = variant) -> Unrolled:
                return Unrolled(_build(cell_class, variant.options, sizes))

            layer = Bidirectional(make).double()
            lengths = torch.arange(sizes.batch) % sizes.steps + 1
            inputs = noise(sizes.steps, sizes.batch, sizes.inputs)
            outputs = layer.eval()(inputs, lengths)
            for row, length in enumerate(lengths.tolist()):
                alone = layer(inputs[:length, row : row + 1], None)
                padded = outputs[:length, row : row + 1]
                _same(padded, alone, f"{variant}, {length} of {sizes.steps} steps")

    @over_sizes
    def test_as_torch_computes_what_the_steps_compute(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        declared = False
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).double()
            layer = cell.as_torch()
            if layer is None:
                continue
            declared = True
            same = {*map(id, layer.parameters())} == {*map(id, cell.parameters())}
            assert same, f"{variant}: `as_torch` gives a layer with other parameters"
            inputs = _inputs(cell, sizes.steps, sizes.batch).requires_grad_()
            state = tuple(part.requires_grad_() for part in _reached(cell, sizes.batch))
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

    def test_compiled_layers_compute_what_the_steps_compute(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        """Outputs and gradients, at an odd batch and two lengths, against float64."""
        cell = _build(cell_class, {})
        features = cell_class.output_size(cell.input_size, cell.hidden_size)
        head = seeded(1, lambda: nn.Linear(features, 2))
        model = RecurrentModel(Stacked([Unrolled(cell)]), head, "last_step")
        shape = SequenceShape(_STANDARD.inputs, 2, _STANDARD.steps, "last_step")
        try:
            verify(Engine.LAYERS, model, shape, _CONFIG, Classification())
        except (Mismatch, NotFinite):
            raise
        except Unsupported as refused:
            pytest.skip(f"the engine leaves this cell to the eager loop: {refused}")

    # Gradients

    def test_gradient_reaches_every_parameter(self, cell_class: type[RecurrentCell]) -> None:
        sizes = _STANDARD
        for variant in _variants(cell_class):
            unreached: set[str] | None = None
            # Several draws: with rectifiers a unit may be off for one of them.
            for seed in range(5):
                cell = _build(cell_class, variant.options, sizes, seed=seed).double()
                inputs = _inputs(cell, sizes.steps, sizes.batch, seed=seed)
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
        for variant in _variants(cell_class, _SMALL):
            cell = _build(cell_class, variant.options, _SMALL).double()
            state = _reached(cell, _SMALL.batch)
            inputs = _inputs(cell, _SMALL.steps, _SMALL.batch)
            leaves = [inputs, *state, *cell.parameters()]
            leaves = [leaf.requires_grad_(can_be_trained(leaf)) for leaf in leaves]

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

    @over_sizes
    def test_the_same_seed_gives_the_same_weights(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            one, two = (_build(cell_class, variant.options, sizes, seed=7) for _ in range(2))
            difference = first_difference(dict(one.state_dict()), dict(two.state_dict()))
            assert difference is None, f"{variant}: not drawn from torch's generator: {difference}"
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(8)
                cell_class(one.input_size, one.hidden_size, **variant.options)
                assert torch.initial_seed() == 8, f"{variant}: the constructor seeds torch"

    @over_sizes
    def test_a_loaded_state_dict_brings_the_whole_cell(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            source, target = (
                _build(cell_class, variant.options, sizes, seed=s).double() for s in (0, 1)
            )
            target.load_state_dict(source.state_dict(), strict=True)
            inputs = _inputs(source, sizes.steps, sizes.batch)
            _same(_run(target, inputs), _run(source, inputs), variant)

    def test_a_cell_sent_to_another_process_computes_the_same(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        """As a Ray worker gets it: pickled, and imported there."""
        for variant in _variants(cell_class):
            cell = _build(cell_class, variant.options).double()
            inputs = _inputs(cell, _STANDARD.steps, _STANDARD.batch)
            there = elsewhere(run_pickled, pickle.dumps((cell, inputs)))
            _same(there, _detached(_run(cell, inputs)), variant)

    def test_an_exported_and_reloaded_step_computes_the_same(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        """Through `torch.export`, which is how a step leaves for a program without this package."""
        cell = _build(cell_class, {}).double().eval()
        inputs = _inputs(cell, _STANDARD.batch)
        state = _reached(cell, _STANDARD.batch)
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making
            torch.export.save(torch.export.export(cell, (inputs, state), strict=False), file)
            file.seek(0)
            reloaded = torch.export.load(file).module()
            _same(reloaded(inputs, state), cell(inputs, state), "defaults")

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @over_sizes
    def test_state_and_output_follow_the_dtype_of_the_parameters(
        self, cell_class: type[RecurrentCell], dtype: torch.dtype, sizes: Sizes
    ) -> None:
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).to(dtype)
            state = cell.initial_state(sizes.batch)
            output, after = cell(torch.zeros(sizes.batch, _features(cell), dtype=dtype), state)
            floats = [part for part in (*state, *after, output) if can_be_trained(part)]
            dtypes = {part.dtype.to_real() for part in floats}
            assert dtypes == {dtype}, f"{variant}: expected {dtype}, found {dtypes}"

    @over_sizes
    def test_builds_and_steps_without_storage(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        """On device `meta`, where FLOPs are counted and a branch on a value cannot be taken."""
        for variant in _variants(cell_class, sizes):
            with torch.device("meta"):
                hidden = _hidden(cell_class, sizes, variant.structure)
                cell = cell_class(sizes.inputs, hidden, **variant.options)
                inputs = torch.empty(sizes.batch, _features(cell))
            output, state = cell(inputs, cell.initial_state(sizes.batch))
            devices = {part.device.type for part in (output, *state)}
            assert devices == {"meta"}, f"{variant}: a tensor made in the step ignores the device"

    @over_sizes
    def test_runs_on_cuda_as_on_the_cpu(
        self, cell_class: type[RecurrentCell], sizes: Sizes
    ) -> None:
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        for variant in _variants(cell_class, sizes):
            cell = _build(cell_class, variant.options, sizes).double()
            inputs = _inputs(cell, sizes.steps, sizes.batch)
            on_cpu = _run(cell, inputs)
            cell = cell.cuda()
            outputs, state = _run(cell, inputs.cuda())
            _same((outputs.cpu(), tuple(part.cpu() for part in state)), on_cpu, variant)
