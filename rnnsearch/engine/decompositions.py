"""Decompositions: operators in terms of fewer ones, so that a captured step has few kinds of them.

Those of torch are used where it has any. A choice of features by a fixed index (a permutation, a
shift, a mirror image) and running sums become products with a constant matrix, which is computed
once: their size stays out of the C++, and a gradient is one more product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.overrides import TorchFunctionMode
from typing_extensions import override

# Samples in the captured batch: a prime that no feature axis has, so that the axis of the samples
# is known by its size.
SAMPLES = 1013

_aten = torch.ops.aten
# Operators to be taken apart further than torch does by itself, so that few kinds remain.
_TAKEN_APART = [
    _aten._log_softmax,
    _aten._prelu_kernel,
    _aten._prelu_kernel_backward,
    _aten._softmax,
    _aten._softmax_backward_data,
    _aten._log_softmax_backward_data,
    _aten._thnn_fused_gru_cell,
    _aten._thnn_fused_gru_cell_backward,
    _aten._thnn_fused_lstm_cell,
    _aten._thnn_fused_lstm_cell_backward,
    _aten.addcdiv,
    _aten.addcmul,
    _aten.baddbmm,
    _aten.celu,
    _aten.elu,
    _aten.elu_backward,
    _aten.gelu,
    _aten.gelu_backward,
    _aten.glu,
    _aten.glu_backward,
    _aten.hardsigmoid,
    _aten.hardsigmoid_backward,
    _aten.hardswish,
    _aten.hardswish_backward,
    _aten.hardtanh,
    _aten.hardtanh_backward,
    _aten.leaky_relu,
    _aten.leaky_relu_backward,
    _aten.lerp,
    _aten.linalg_vector_norm,
    _aten.linear_backward,
    _aten.log_sigmoid_backward,
    _aten.log_sigmoid_forward,
    _aten.mish,
    _aten.mish_backward,
    _aten.native_layer_norm,
    _aten.native_layer_norm_backward,
    _aten.norm,
    _aten.rsub,
    _aten.select_backward,
    _aten.sigmoid_backward,
    _aten.silu,
    _aten.silu_backward,
    _aten.slice_backward,
    _aten.softplus,
    _aten.softplus_backward,
    _aten.stack,
    _aten.tanh_backward,
    _aten.threshold,
    _aten.threshold_backward,
]


def _variance_and_mean(
    x: Tensor,
    dim: list[int] | int | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Tensor, Tensor]:
    """Variance and mean by sums and products; torch's own goes to operators of its compiler."""
    axes = list(range(x.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    count = math.prod(x.shape[axis] for axis in axes)
    centred = x - x.mean(axes, keepdim=True)
    divisor = count - (1.0 if correction is None else correction)
    squares = (centred * centred).sum(axes, keepdim=keepdim)
    return squares / divisor, x.mean(axes, keepdim=keepdim)


def _trilinear(
    first: Tensor,
    second: Tensor,
    third: Tensor,
    expand1: list[int],
    expand2: list[int],
    expand3: list[int],
    sumdim: list[int],
    unroll_dim: int = 1,
) -> Tensor:
    """Product of three tensors along their common axes, as in a bilinear map."""
    for axis in sorted(expand1):
        first = first.unsqueeze(axis)
    for axis in sorted(expand2):
        second = second.unsqueeze(axis)
    for axis in sorted(expand3):
        third = third.unsqueeze(axis)
    product = first * second * third
    return product.sum(sumdim) if sumdim else product


def _by_matrix(x: Tensor, dim: int, matrix: Tensor) -> Any:
    """A constant matrix applied along an axis of features; one of samples stays as it is."""
    if x.shape[dim] == SAMPLES:
        return NotImplemented
    return (x.movedim(dim, -1) @ matrix).movedim(-1, dim)


def _chosen(index: Tensor, size: int) -> Tensor:
    """The matrix that takes the places of an index: a column for each, with a one in it."""
    return (torch.where(index < 0, index + size, index)[None] == _places(size)).float()


def _places(size: int) -> Tensor:
    return torch.arange(size)[:, None]


def _index_select(x: Tensor, dim: int, index: Tensor) -> Any:
    if index.shape[0] == SAMPLES:  # a place for each sample: no constant
        return NotImplemented
    return _by_matrix(x, dim, _chosen(index, x.shape[dim]))


def _index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Any:
    if index.shape[0] == SAMPLES:
        return NotImplemented
    return x + alpha * _by_matrix(source, dim, _chosen(index, x.shape[dim]).t())


def _axis(indices: Sequence[Tensor | None]) -> tuple[int, Tensor] | None:
    """The one axis that is indexed, by a list of places; None for any other index."""
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1 or given[0][1].dim() != 1 or given[0][1].dtype == torch.bool:
        return None
    return given[0]


def _index(x: Tensor, indices: Sequence[Tensor | None]) -> Any:
    found = _axis(indices)
    return NotImplemented if found is None else _index_select(x, *found)


def _index_put(
    x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Any:
    found = _axis(indices)
    return _index_add(x, *found, values) if found and accumulate else NotImplemented


def _flip(x: Tensor, dims: Sequence[int]) -> Any:
    if any(x.shape[dim] == SAMPLES for dim in dims):
        return NotImplemented
    for dim in dims:
        size = x.shape[dim]
        x = _by_matrix(x, dim, _chosen(torch.arange(size - 1, -1, -1), size))
    return x


def _cumsum(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Any:
    places = _places(x.shape[dim])
    return _by_matrix(x, dim, (places <= places.t()).float())


def _slice_backward(
    gradient: Tensor, sizes: Sequence[int], dim: int, start: int, end: int, step: int
) -> Any:
    """Of a parameter: zeros on both sides. Of a value per sample torch's own writes less."""
    if SAMPLES in sizes or step != 1:
        return _TORCHS[_aten.slice_backward.default](gradient, sizes, dim, start, end, step)
    before = list(sizes)
    before[dim] = start + (sizes[dim] if start < 0 else 0)
    after = list(sizes)
    after[dim] = sizes[dim] - before[dim] - gradient.shape[dim]
    return torch.cat((gradient.new_zeros(before), gradient, gradient.new_zeros(after)), dim)


def _select_backward(gradient: Tensor, sizes: Sequence[int], dim: int, index: int) -> Any:
    if SAMPLES in sizes:
        return _TORCHS[_aten.select_backward.default](gradient, sizes, dim, index)
    start = index % sizes[dim]
    return _slice_backward(gradient.unsqueeze(dim), sizes, dim, start, start + 1, 1)


_TORCHS = get_decompositions(_TAKEN_APART)
_OWN: Mapping[Any, Callable[..., Any]] = {
    _aten._trilinear.default: _trilinear,
    _aten.cumsum.default: _cumsum,
    _aten.flip.default: _flip,
    _aten.index.Tensor: _index,
    _aten.index_add.default: _index_add,
    _aten.index_put.default: _index_put,
    _aten.index_select.default: _index_select,
    _aten.select_backward.default: _select_backward,
    _aten.slice_backward.default: _slice_backward,
    _aten.t.default: lambda x: x.permute(1, 0) if x.dim() == 2 else x,  # torch's takes three steps
    _aten.var_mean.correction: _variance_and_mean,
    _aten.var.correction: lambda *given, **named: _variance_and_mean(*given, **named)[0],
    _aten.std.correction: lambda *given, **named: _variance_and_mean(*given, **named)[0].sqrt(),
}


@cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """All of them, by operator."""
    return {**core_aten_decompositions(), **_TORCHS, **_OWN}


class PlainEinsum(TorchFunctionMode):
    """Writes `torch.einsum` of samples and parameters as the product that it is.

    Torch's own puts the samples behind an axis of one, where they are no longer told from features.
    """

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.einsum and len(args) == 3:
            result = _product(*args)
            if result is not None:
                return result
        return func(*args, **(kwargs or {}))


def _product(equation: str, first: Tensor, second: Tensor) -> Tensor | None:
    """An einsum such as `bi,ij->bj` as one product; None if it is not one."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    left, _, right = inputs.partition(",")
    if not arrow or not output or any(len(set(t)) < len(t) for t in (left, right, output)):
        return None
    if "." in equation or not set(output) <= set(left) | set(right):
        return None
    if output[0] in right:
        left, right, first, second = right, left, second, first
    summed = [letter for letter in left if letter in right]
    kept = [letter for letter in left if letter not in right]
    other = [letter for letter in right if letter not in left]
    if kept[:1] != [output[0]] or not summed or {*kept, *other} != set(output):
        return None
    size = math.prod(first.shape[left.index(letter)] for letter in summed)
    samples = first.permute([left.index(letter) for letter in (*kept, *summed)])
    weight = second.permute([right.index(letter) for letter in (*summed, *other)])
    product = samples.flatten(len(kept)).matmul(weight.reshape(size, -1))
    ends = [second.shape[right.index(letter)] for letter in other]
    found = [*kept, *other]
    return product.reshape(*product.shape[:-1], *ends).permute(
        [found.index(letter) for letter in output]
    )
