"""The floor of engines that call a library for each product: those calls and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.interleaving import Block

_aten = torch.ops.aten
_PRODUCTS = (_aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm)
_Layout = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides


class _Products(TorchDispatchMode):
    """Notes the operands of every matrix product."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[_Layout, _Layout]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func.overloadpacket in _PRODUCTS:
            first, second = (_layout(operand) for operand in args[-2:])
            self.seen.append((first, second))
        return func(*args, **(kwargs or {}))


def products_block(model: nn.Module, inputs: Tensor, targets: Tensor) -> Block:
    """The products of a training step of a model, forward and backward, called one by one."""
    with _Products() as products:
        nn.functional.cross_entropy(model(inputs), targets).backward()
    model.zero_grad()
    operands = {
        layout: torch.empty_strided(*layout).normal_() for pair in products.seen for layout in pair
    }
    results = {
        pair: torch.matmul(operands[pair[0]], operands[pair[1]]) for pair in set(products.seen)
    }
    calls = [(operands[a], operands[b], results[a, b]) for a, b in products.seen]

    @torch.no_grad()
    def block(steps: int) -> None:
        for _ in range(steps):
            for first, second, result in calls:
                torch.matmul(first, second, out=result)

    return block


def _layout(operand: Tensor) -> _Layout:
    return tuple(operand.shape), operand.stride()
