"""What an operator of torch costs in floating-point operations, by one rule for every model.

| operator                                            | operations                                 |
|-----------------------------------------------------|--------------------------------------------|
| product of matrices, convolution, attention         | two a multiply-add, one a bias added       |
| elementwise: a sum, a product, a tanh, a comparison | one an element of the result               |
| sum, mean, largest and the like over an axis        | one an element that is read                |
| softmax 4, layer norm 8, variance 3, ...            | as `_PER_ELEMENT` below says, an element   |
| Fourier transform of n numbers                      | 5 n log2 n                                 |
| views, copies, indexing, whole numbers              | none                                       |

A transcendental function counts one, as a sum does: what it costs more differs from machine to
machine. Complex numbers count as the operations on reals that they stand for: a sum two, a product
six (two if one side is real), a multiply-add eight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from typing_extensions import override

# Of the products, those that add a bias to each element of the result.
_WITH_BIAS = ("addmm", "baddbmm", "addmv")
_CONVOLUTIONS = ("convolution", "_convolution")
_VECTOR_PRODUCTS = {"mv": 0, "addmv": 1, "dot": 0, "vdot": 0}  # which argument is multiplied
_FOURIER = ("_fft_r2c", "_fft_c2r", "_fft_c2c")
# Operators of several operations an element of the result, or of one where torch has no mark.
_PER_ELEMENT = {
    "lerp": 3,
    "addcmul": 2,
    "addcdiv": 2,
    "silu": 2,
    "glu": 2,
    "_prelu_kernel": 2,
    "_softmax": 4,
    "_log_softmax": 4,
    "_safe_softmax": 4,
    "native_layer_norm": 8,
    "native_group_norm": 8,
    "native_batch_norm": 8,
    "_fused_rms_norm": 5,
    "cumsum": 1,
    "cumprod": 1,
    "logcumsumexp": 3,
    "cummax": 1,
    "cummin": 1,
}
# Reductions of several operations an element that is read.
_PER_ELEMENT_READ = {"var": 3, "var_mean": 3, "std": 3, "std_mean": 3, "linalg_vector_norm": 2}
_PER_ELEMENT_READ |= {"norm": 2, "logsumexp": 4}
_MOVES = ("clone", "positive", "conj_physical")
# Operations on reals of one on complex numbers; others count ten.
_COMPLEX = {name: 2 for name in ("add", "sub", "rsub", "neg", "sum", "mean", "cumsum")}
_COMPLEX |= {name: 2 for name in ("where", "masked_fill", "eq", "ne")}
_COMPLEX |= {name: 6 for name in ("mul", "square", "prod", "cumprod", "sgn", "log")}
_COMPLEX |= {"div": 11, "reciprocal": 5, "abs": 4, "angle": 1, "exp": 5, "polar": 4}
_BY_A_REAL = {"mul": 2, "div": 2, "add": 1, "sub": 1}
_OTHER_COMPLEX = 10


class FlopCounter(TorchDispatchMode):
    """Counts the operations of what is computed within it, best on device `meta`.

    Attributes:
        total: counted so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0.0

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.total += _operations(func, args, kwargs or {}, result)
        return result


def _operations(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> float:
    given, given_back = list(_tensors((args, kwargs))), list(_tensors(result))
    if not given_back or not any(_has_gradients(t) for t in (*given, *given_back)):
        return 0
    name = func._schema.name.partition("::")[2]
    name = name.rstrip("_") if torch.Tag.inplace in func.tags else name
    first = given_back[0]
    is_complex = any(tensor.is_complex() for tensor in (*given, first))
    bias = name in _WITH_BIAS or (name in _CONVOLUTIONS and args[2] is not None)
    added = (2 if is_complex else 1) * first.numel() if bias else 0
    if func._overloadpacket in flop_registry:
        product = flop_registry[func._overloadpacket](*args, **kwargs, out_val=result)
        return float((4 if is_complex else 1) * product + added)
    if name in _VECTOR_PRODUCTS:
        return float((8 if is_complex else 2) * args[_VECTOR_PRODUCTS[name]].numel() + added)
    if name in _FOURIER:
        longest = max(given[0], first, key=Tensor.numel)
        length = math.prod(longest.shape[axis] for axis in args[1])
        whole = 5 * longest.numel() * math.log2(max(length, 1))
        return whole if name == "_fft_c2c" else whole / 2
    elements = first.numel()
    if torch.Tag.reduction in func.tags and elements < given[0].numel():
        each, elements = _PER_ELEMENT_READ.get(name, 1), given[0].numel()
    elif torch.Tag.pointwise in func.tags and name not in _MOVES:
        each = _PER_ELEMENT.get(name, 1)
    else:
        each = _PER_ELEMENT.get(name, 0)
    if is_complex and (each or name in _COMPLEX):
        by_real = name in _BY_A_REAL and not all(_is_complex(side) for side in args[:2])
        each = _BY_A_REAL[name] if by_real else _COMPLEX.get(name, _OTHER_COMPLEX)
    return float(each * elements)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _has_gradients(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _is_complex(side: Any) -> bool:
    return side.is_complex() if isinstance(side, Tensor) else isinstance(side, complex)
