"""Roles: what each node of a captured step is to the kernel, and where its elements lie.

A node either has a value per sample (it lives in *lanes*: rows of features, one column per
sample), or depends on parameters alone (*constant*: once per update), or sums over samples and
time (*total*), or is arithmetic on totals (*gradient*: once per update). Views are resolved here
and cost nothing later.
"""

from __future__ import annotations

import operator
from enum import Enum, auto
from typing import Any

import torch
from torch import fx

from rnnsearch.engine.capture import FILLS, Captured, Unsupported
from rnnsearch.engine.decompositions import SAMPLES
from rnnsearch.engine.views import View


class Role(Enum):
    """What a node is to the kernel."""

    LANES = auto()  # a value per sample
    TURNED = auto()  # lanes with the axis of the samples last: one side of a contraction
    CONSTANT = auto()  # depends on parameters alone
    TOTAL = auto()  # a sum over samples and time
    GRADIENT = auto()  # arithmetic on totals and constants


_SAME = ("alias", "detach", "clone", "lift_fresh_copy", "contiguous")
_RESHAPES = ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "expand")
_SPLITS = ("split_with_sizes", "split", "unbind")
_EMPTY = ("empty", "empty_like", "empty_permuted", "empty_strided")  # read for their shape alone
_FILLS = (*FILLS, *_EMPTY)


def name_of(node: fx.Node) -> str:
    """Name of a node's operator, such as `addmm`."""
    if node.target is operator.getitem:
        return "getitem"
    if node.op != "call_function":
        return node.op
    return str(node.target.__name__).split(".")[0]  # type: ignore[union-attr]


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape of the tensor that a node stands for."""
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        raise Unsupported(f"`{name_of(node)}` gives several tensors")
    return tuple(value.shape)


class Roles:
    """Roles and views of every node of a captured step.

    Attributes:
        role: of each node.
        view: of each node with one tensor, in the buffer that holds it. Views of lanes leave the
            axis of the samples out; their strides count rows.
        literal: value of nodes that are one number throughout.
        backward: nodes that depend on a gradient.
    """

    def __init__(self, captured: Captured) -> None:
        self.role: dict[fx.Node, Role] = {}
        self.view: dict[fx.Node, View[fx.Node]] = {}
        self.literal: dict[fx.Node, float] = {}
        self.backward: set[fx.Node] = set()
        gradients = {captured.output_gradient, *captured.state_gradients}
        for node in captured.graph.nodes:
            if node.op == "output":
                continue
            if node.op == "placeholder":
                constant = node in captured.parameters
                self.role[node] = Role.CONSTANT if constant else Role.LANES
                if node in gradients:
                    self.backward.add(node)
                self.view[node] = View.of(node, self.features(node))
                continue
            if any(source in self.backward for source in node.all_input_nodes):
                self.backward.add(node)
            self.role[node] = self._role(node)
            if name_of(node) not in _SPLITS:
                self._place(node)

    def features(self, node: fx.Node) -> tuple[int, ...]:
        """Axes of a node without that of the samples, if it has one."""
        shape = shape_of(node)
        if self.role[node] is not Role.LANES:
            return shape
        return shape[1:] if shape[0] == SAMPLES else (shape[0] // SAMPLES, *shape[1:])

    def is_view(self, node: fx.Node) -> bool:
        """Whether a node needs no code of its own."""
        return name_of(node) in _SPLITS or self.view[node].base is not node

    def operand(self, node: fx.Node, features: tuple[int, ...], rank: int) -> View[fx.Node]:
        """View of an operand, repeated to the features of the operator that reads it.

        Args:
            node: the operand.
            features: axes of the result without that of the samples.
            rank: axes of the result, with it.
        """
        view = self.view[node]
        if self.role[node] is Role.CONSTANT and len(view.shape) == rank > len(features):
            if view.shape[0] not in (1, SAMPLES) or (view.shape[0] > 1 and view.strides[0]):
                raise Unsupported(f"`{node.name}` differs from sample to sample")
            view = view.selected(0, 0)
        return view.broadcast(features)

    def _role(self, node: fx.Node) -> Role:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags:
            raise Unsupported(f"`{name_of(node)}` draws at random inside the step")
        name, sources = name_of(node), {self.role[source] for source in node.all_input_nodes}
        if name in _FILLS:
            has_samples = bool(shape_of(node)) and shape_of(node)[0] % SAMPLES == 0
            return Role.LANES if has_samples else Role.CONSTANT
        if name in _SPLITS:
            return sources.pop()
        shape = shape_of(node)
        has_samples = any(n and n % SAMPLES == 0 for n in shape)
        if sources & {Role.TOTAL, Role.GRADIENT}:
            if has_samples:
                raise Unsupported(f"`{name}` lets samples of a batch see each other")
            return Role.GRADIENT
        if sources <= {Role.CONSTANT}:
            return Role.CONSTANT
        if Role.TURNED in sources:
            return self._role_of_turned(node)
        if has_samples:
            if shape[0] % SAMPLES == 0:
                return Role.LANES
            if name in ("permute", "t", "transpose") and shape[-1] % SAMPLES == 0:
                return Role.TURNED
        elif name == "sum" and node in self.backward:
            return Role.TOTAL
        raise Unsupported(f"`{name}` to shape {shape} mixes or moves the samples of a batch")

    def _role_of_turned(self, node: fx.Node) -> Role:
        left, *rest = node.args
        matches = name_of(node) == "mm" and isinstance(left, fx.Node)
        if not (matches and self.role[left] is Role.TURNED and self.role[rest[0]] is Role.LANES):  # type: ignore[index]
            raise Unsupported(f"`{name_of(node)}` mixes or moves the samples of a batch")
        if node not in self.backward:
            raise Unsupported("a product over the samples lets samples of a batch see each other")
        return Role.TOTAL

    def _place(self, node: fx.Node) -> None:
        role = self.role[node]
        if name_of(node) in _FILLS:
            self.literal[node] = _filled_with(node)
        if role is Role.TURNED:
            self.view[node] = self.view[node.args[0]]  # type: ignore[index]
            return
        view = self._as_view(node)
        source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if view is not None and source in self.literal:
            self.literal[node] = self.literal[source]
        self.view[node] = View.of(node, self.features(node)) if view is None else view

    def _as_view(self, node: fx.Node) -> View[fx.Node] | None:
        """The view that a node is of another's buffer, or None if it computes something."""
        name = name_of(node)
        if name == "getitem":
            return self._part(node)
        if not node.args or not isinstance(node.args[0], fx.Node):
            return None
        source = node.args[0]
        if name in _SPLITS or source not in self.view:
            return None
        view = self.view[source]
        if name in _SAME:
            return view
        # How far the axes of the tensor are from those of the view.
        ahead = len(shape_of(source)) - len(view.shape)
        if name in ("permute", "t", "transpose"):
            axes = self._permutation(node, len(shape_of(source)))
            if ahead and axes[0] != 0:
                raise Unsupported(f"`{name}` moves the axis of the samples")
            return view.permuted([a - ahead for a in axes[ahead:]])
        if name == "expand":
            own = self.features(node)
            return view.broadcast(own) if len(own) >= len(view.shape) else None
        if name in _RESHAPES:
            return view.reshaped(self.features(node))
        if name == "slice":
            axis = self._axis(node, source, ahead)
            n = view.shape[axis]
            start, stop, step = _slice(node, n)
            return view.sliced(axis, start, max(0, -(-(stop - start) // step)), step)
        if name == "select":
            axis = self._axis(node, source, ahead)
            index = int(node.args[2])  # type: ignore[arg-type]
            return view.selected(axis, index % view.shape[axis])
        return None

    def _part(self, node: fx.Node) -> View[fx.Node]:
        whole, index = node.args
        assert isinstance(whole, fx.Node)
        assert isinstance(index, int)
        source = whole.args[0]
        assert isinstance(source, fx.Node)
        if name_of(whole) not in _SPLITS:
            raise Unsupported(f"`{name_of(whole)}` gives several tensors")
        view = self.view[source]
        ahead = len(shape_of(source)) - len(view.shape)
        default = 0
        raw = whole.args[2 if name_of(whole) != "unbind" else 1 :] or (default,)
        axis = int(raw[0]) % len(shape_of(source)) - ahead  # type: ignore[arg-type]
        if axis < 0:
            raise Unsupported(f"`{name_of(whole)}` takes the samples of a batch apart")
        if name_of(whole) == "unbind":
            return view.selected(axis, index)
        sizes: Any = whole.args[1]
        if isinstance(sizes, int):
            start, length = index * sizes, min(sizes, view.shape[axis] - index * sizes)
        else:
            start, length = sum(sizes[:index]), sizes[index]
        return view.sliced(axis, start, length)

    def _axis(self, node: fx.Node, source: fx.Node, ahead: int) -> int:
        raw = node.args[1] if len(node.args) > 1 else 0
        axis = int(raw) % len(shape_of(source)) - ahead  # type: ignore[arg-type]
        folded = self.role[source] is Role.LANES and not ahead
        if axis < 0 or (folded and axis == 0):
            raise Unsupported(f"`{name_of(node)}` picks samples out of a batch")
        return axis

    @staticmethod
    def _permutation(node: fx.Node, rank: int) -> list[int]:
        if name_of(node) == "permute":
            return [int(a) % rank for a in node.args[1]]  # type: ignore[union-attr, arg-type]
        axes = list(range(rank))
        first, second = (0, 1) if name_of(node) == "t" else (int(a) % rank for a in node.args[1:3])  # type: ignore[arg-type]
        axes[first], axes[second] = axes[second], axes[first]
        return axes


def _filled_with(node: fx.Node) -> float:
    name = name_of(node)
    if name in ("zeros", "zeros_like", *_EMPTY):
        return 0.0
    if name in ("ones", "ones_like"):
        return 1.0
    return float(node.args[0 if name == "scalar_tensor" else 1])  # type: ignore[arg-type]


def _slice(node: fx.Node, n: int) -> tuple[int, int, int]:
    given: list[Any] = [*node.args[2:], None, None, None]
    step = 1 if given[2] is None else int(given[2])
    start, stop, _ = slice(given[0], given[1]).indices(n)
    return start, max(start, stop), step
