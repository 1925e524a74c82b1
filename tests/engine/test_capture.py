"""A step is captured completely, or refused with the name of the obstacle."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnsearch import RecurrentCell, load_registry
from rnnsearch.engine.capture import Unsupported, capture
from rnnsearch.engine.source import StepTables, write_source

from .cells import LowerTriangular, Recurrent, Tied

INPUTS, HIDDEN = 3, 6


def _written(
    module: nn.Module, m: int, shapes: tuple[tuple[int, ...], ...] | None, *, gradient: bool = True
) -> tuple[str, StepTables]:
    return write_source(capture(module, m, shapes, input_gradient=gradient), "a test")


@cache
def _written_cell(name: str, m: int, p: int, **options: object) -> tuple[str, StepTables]:
    architecture = load_registry().architecture(name)
    assert issubclass(architecture, RecurrentCell)
    cell = architecture(m, p, **options)  # type: ignore[arg-type]
    return _written(cell, m, tuple(tuple(part.shape[1:]) for part in cell.initial_state(1)))


def _registered() -> list[str]:
    """All except those of torchrecurrent, which have their own file."""
    registry = load_registry()
    return [
        name
        for name in registry.architectures
        if issubclass(registry.architecture(name), RecurrentCell)
        and not name.startswith("torchrecurrent_")
    ]


def _refusal(function: Callable[[Recurrent, Tensor, Tensor], Tensor], **modules: nn.Module) -> str:
    cell = Recurrent(INPUTS, HIDDEN, function, **modules)
    with pytest.raises(Unsupported) as raised:
        _written(cell, INPUTS, ((HIDDEN,),))
    return str(raised.value)


# Refused steps


def test_a_branch_on_the_value_of_a_tensor_is_refused() -> None:
    def branch(cell: Recurrent, z: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(z) if bool(z.sum() > 0) else z

    assert "depends on the value of a tensor" in _refusal(branch)


def test_a_number_taken_out_of_a_tensor_is_refused() -> None:
    told = _refusal(lambda c, z, h: z * float(z[0, 0]))
    assert "depends on the value of a tensor" in told


def test_batch_normalisation_is_refused_by_the_name_of_its_counter() -> None:
    told = _refusal(lambda c, z, h: c.norm(z), norm=nn.BatchNorm1d(HIDDEN))
    assert "`norm.num_batches_tracked` is torch.int64" in told


def test_batch_normalisation_without_counters_is_refused() -> None:
    norm = nn.BatchNorm1d(HIDDEN, track_running_stats=False)
    assert _refusal(lambda c, z, h: c.norm(z), norm=norm)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda c, z, h: functional.dropout(z, 0.5), "bernoulli"),
        (lambda c, z, h: z + torch.randn_like(z), "randn_like"),
        (lambda c, z, h: z + torch.randn(HIDDEN), "randn"),
        (lambda c, z, h: z * torch.rand(1), "rand"),
    ],
)
def test_randomness_inside_the_step_is_refused_by_name(
    function: Callable[[Recurrent, Tensor, Tensor], Tensor], name: str
) -> None:
    assert _refusal(function) == f"`{name}` draws at random inside the step"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda c, z, h: z.gather(1, (h > 0).long()), "gather"),
        (
            lambda c, z, h: (
                z + functional.embedding((h[:, 0] > 0).long(), c.affine.weight)[:, :HIDDEN]
            ),
            "index",
        ),
        (lambda c, z, h: z.sort(-1).values, "sort"),
        (lambda c, z, h: z.topk(HIDDEN).values, "topk"),
        (lambda c, z, h: z.cumprod(-1), "cumprod"),
        (lambda c, z, h: torch.fft.fft(z).real, "complex numbers"),
        (lambda c, z, h: torch.round(z), "round"),
        (lambda c, z, h: z * (3 * z).long(), "torch.int64"),
        (lambda c, z, h: torch.tanh(z.half()).float(), "torch.float16"),
        (
            lambda c, z, h: functional.linear(z, torch.linalg.inv(c.affine.weight[:, :HIDDEN])),
            "inv",
        ),
    ],
)
def test_an_operator_that_the_engine_lacks_is_refused_by_name(
    function: Callable[[Recurrent, Tensor, Tensor], Tensor], name: str
) -> None:
    assert name in _refusal(function)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda c, z, h: z - z.mean(0, keepdim=True), "mean"),
        (lambda c, z, h: z - z.sum(0), "sum"),
        (lambda c, z, h: torch.softmax(z, 0), "max"),
        (lambda c, z, h: torch.tanh(z @ z.t()) @ h, "mm"),
        (lambda c, z, h: z * z[:1], "slice"),
        (lambda c, z, h: z * z[0], "select"),
        (lambda c, z, h: z.flip(0), "flip"),
        (lambda c, z, h: torch.cat((z[1:], z[:1])), "slice"),
    ],
)
def test_samples_that_see_each_other_are_refused_by_the_operator_that_lets_them(
    function: Callable[[Recurrent, Tensor, Tensor], Tensor], name: str
) -> None:
    assert name in _refusal(function)


def test_an_integer_buffer_is_refused_by_name() -> None:
    cell = Recurrent(INPUTS, HIDDEN, lambda c, z, h: torch.tanh(z))
    cell.register_buffer("steps", torch.zeros(1, dtype=torch.int64))
    with pytest.raises(Unsupported, match=r"`steps` is torch\.int64, not float32"):
        capture(cell, INPUTS, ((HIDDEN,),))


def test_a_module_in_double_precision_is_refused() -> None:
    cell = Recurrent(INPUTS, HIDDEN, lambda c, z, h: torch.tanh(z)).double()
    with pytest.raises(Unsupported, match=r"`affine\.weight` is torch\.float64, not float32"):
        capture(cell, INPUTS, ((HIDDEN,),))


def test_a_gradient_that_torch_functions_cannot_follow_is_refused() -> None:
    class Step(torch.autograd.Function):
        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
            return (x > 0).float()

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> Tensor:
            return g

    assert "torch cannot follow the step" in _refusal(lambda c, z, h: Step.apply(z))


# Accepted steps


@pytest.mark.parametrize("name", _registered())
def test_every_registered_cell_is_captured_with_any_other_structure(name: str) -> None:
    from rnnsearch.testing.probes import structures

    architecture = load_registry().architecture(name)
    assert issubclass(architecture, RecurrentCell)

    def count(**structure: object) -> int:
        return architecture.parameter_count(INPUTS, HIDDEN, **structure)  # type: ignore[arg-type]

    for structure in list(structures(architecture, count))[1:]:
        if architecture.refusal(INPUTS, **structure) is not None:
            continue
        _, tables = _written_cell(name, INPUTS, HIDDEN, **structure)
        assert tables.trained
        assert set(tables.trained) <= set(tables.names)


@pytest.mark.parametrize("name", sorted({*load_registry().names("head")} - {"identity"}))
def test_every_head_is_captured(name: str) -> None:
    _, tables = _written(load_registry().head(name)(HIDDEN, 4, 5), HIDDEN, None)
    assert (tables.input_size, tables.output_size, tables.state_sizes) == (HIDDEN, 4, ())


def test_what_torch_computes_from_nothing_is_computed_once_and_given_as_a_constant() -> None:
    captured = capture(LowerTriangular(INPUTS, HIDDEN), INPUTS, ((HIDDEN,),))
    (mask,) = captured.folded.values()
    assert torch.equal(mask, torch.tril(torch.ones(HIDDEN, HIDDEN)))
    assert set(captured.folded) <= set(captured.names)
    assert not set(captured.folded) & set(captured.parameter_gradients)


def test_a_frozen_parameter_is_read_and_has_no_gradient() -> None:
    cell = Recurrent(INPUTS, HIDDEN, lambda c, z, h: torch.tanh(z))
    cell.affine.bias.requires_grad_(False)
    captured = capture(cell, INPUTS, ((HIDDEN,),))
    assert set(captured.names) == {"affine.weight", "affine.bias"}
    assert set(captured.parameter_gradients) == {"affine.weight"}


def test_a_gradient_of_the_inputs_that_nobody_wants_is_not_computed() -> None:
    cell = Recurrent(INPUTS, HIDDEN, lambda c, z, h: torch.tanh(z))
    assert capture(cell, INPUTS, ((HIDDEN,),)).input_gradient is None
    without, with_it = (
        len(_written(cell, INPUTS, ((HIDDEN,),), gradient=gradient)[0])
        for gradient in (False, True)
    )
    assert without < with_it


def test_capturing_leaves_the_module_and_the_random_numbers_alone() -> None:
    cell = Recurrent(INPUTS, HIDDEN, lambda c, z, h: torch.tanh(z))
    before = {name: p.clone() for name, p in cell.named_parameters()}
    torch.manual_seed(3)
    capture(cell, INPUTS, ((HIDDEN,),))
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))
    for name, parameter in cell.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


# Sizes


# A convolution is written as one product per position, a delay line as one copy per part, and
# modules of nearly equal size are written one by one.
@pytest.mark.parametrize("name", sorted({*_registered()} - {"clockwork", "conv_lstm", "narx"}))
def test_the_source_of_a_cell_does_not_depend_on_its_sizes(name: str) -> None:
    assert _written_cell(name, 7, 6)[0] == _written_cell(name, 2, 11)[0]


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_source_of_a_cell_is_the_same_where_its_sizes_coincide(name: str) -> None:
    assert _written_cell(name, 7, 6)[0] == _written_cell(name, 4, 4)[0]


def test_axes_of_one_bring_one_other_source_each() -> None:
    one_input, one_unit = (
        {_written_cell("elman", m, p)[0] for m, p in sizes}
        for sizes in (((1, 5), (1, 9)), ((5, 1), (9, 1)))
    )
    assert len(one_input) == len(one_unit) == 1


def test_no_size_stands_in_the_source() -> None:
    source, tables = _written_cell("sm_rnn", 41, 53)
    assert 41 in tables.sizes
    assert 53 in tables.sizes
    for number in ("41", "53"):
        assert f" {number};" not in source
        assert f"[{number}]" not in source or len(tables.sizes) > int(number)


def test_the_same_step_is_written_the_same_twice() -> None:
    first, second = (_written(Tied(INPUTS, HIDDEN), INPUTS, ((HIDDEN,),)) for _ in range(2))
    assert first == second
