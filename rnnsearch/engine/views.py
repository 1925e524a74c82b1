"""Strided views: how a tensor of the graph lies in the memory of another, without a copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

Base = TypeVar("Base")


def dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor without gaps, last axis fastest."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


@dataclass(frozen=True)
class View(Generic[Base]):
    """Elements of a buffer: `base[offset + sum(index * strides)]`.

    Attributes:
        base: whose buffer it is.
        shape: its own axes.
        strides: step in the buffer along each axis; 0 where it is repeated.
        offset: its first element.
    """

    base: Base
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @staticmethod
    def of(base: Base, shape: Sequence[int]) -> View[Base]:
        """A whole buffer without gaps."""
        return View(base, tuple(shape), dense_strides(shape))

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_dense(self) -> bool:
        """Whether the elements lie one after the other, in order."""
        wanted = dense_strides(self.shape)
        return all(
            n == 1 or have == want
            for n, have, want in zip(self.shape, self.strides, wanted, strict=True)
        )

    def permuted(self, axes: Sequence[int]) -> View[Base]:
        """Axes in another order."""
        return replace(
            self,
            shape=tuple(self.shape[a] for a in axes),
            strides=tuple(self.strides[a] for a in axes),
        )

    def sliced(self, axis: int, start: int, length: int, step: int = 1) -> View[Base]:
        """A range along one axis."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = length, strides[axis] * step
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)

    def selected(self, axis: int, index: int) -> View[Base]:
        """One index along an axis, which goes away."""
        ranged = self.sliced(axis, index, 1)
        return replace(
            ranged,
            shape=ranged.shape[:axis] + ranged.shape[axis + 1 :],
            strides=ranged.strides[:axis] + ranged.strides[axis + 1 :],
        )

    def broadcast(self, shape: Sequence[int]) -> View[Base]:
        """Repeated to a larger shape by the usual rules."""
        missing = len(shape) - len(self.shape)
        own, strides = (1,) * missing + self.shape, (0,) * missing + self.strides
        repeated = tuple(
            0 if have == 1 and want != 1 else stride
            for have, want, stride in zip(own, shape, strides, strict=True)
        )
        return replace(self, shape=tuple(shape), strides=repeated)

    def reshaped(self, shape: Sequence[int]) -> View[Base] | None:
        """The same elements in order under other axes, or None if that needs a copy."""
        if self.is_dense:
            return replace(self, shape=tuple(shape), strides=dense_strides(shape))
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        if [n for n, _ in old] == [n for n in shape if n != 1]:
            strides = iter([s for _, s in old])
            return replace(
                self,
                shape=tuple(shape),
                strides=tuple(next(strides) if n != 1 else 0 for n in shape),
            )
        # Axes merge where the outer one steps over exactly one run of the inner one.
        merged: list[tuple[int, int]] = []
        for n, s in old:
            if merged and merged[-1][1] == n * s:
                merged[-1] = (merged[-1][0] * n, s)
            else:
                merged.append((n, s))
        strides_out: list[int] = []
        pending = list(shape)[::-1]
        for n, s in reversed(merged):
            while n > 1:
                if not pending:
                    return None
                axis = pending.pop(0)
                if n % axis:
                    return None
                strides_out.append(s)
                n, s = n // axis, s * axis
        if any(axis != 1 for axis in pending):
            return None
        strides_out += [0] * len(pending)
        return replace(self, shape=tuple(shape), strides=tuple(reversed(strides_out)))


def collapse(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """Merge axes that several operands walk through alike, so that fewer loops remain.

    Args:
        shape: the axes of a loop nest.
        strides: for each operand, its stride along each axis.

    Returns:
        The merged axes and the strides along them; at least one axis.
    """
    axes: list[int] = []
    kept: list[list[int]] = [[] for _ in strides]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        now = [operand[axis] for operand in strides]
        if axes and all(k[-1] == n * s for k, s in zip(kept, now, strict=True)):
            axes[-1] *= n
            for k, s in zip(kept, now, strict=True):
                k[-1] = s
        else:
            axes.append(n)
            for k, s in zip(kept, now, strict=True):
                k.append(s)
    if not axes:
        return [1], [[0] for _ in strides]
    return axes, kept
