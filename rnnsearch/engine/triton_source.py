"""Triton source: prints a captured step as two kernels that hold the loop over time.

One program runs a tile of samples of one member through the whole sequence, with the state in
registers: `[sample][feature]` blocks whose widths are rounded up to powers of two. Triton can
neither slice nor join blocks, so every value is held in *pieces*, cut wherever anything cuts it: a
slice is some of the pieces, a concatenation the list of its parts' pieces, and a product is taken
piece by piece. What the backward pass needs is stored at every time step; so are the operands of
the parameters' gradients, which are contracted afterwards, over all samples and times at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from torch import fx

from rnnsearch.engine.capture import Captured, Unsupported
from rnnsearch.engine.expressions import expression, is_pointwise, operands_of
from rnnsearch.engine.roles import Role, Roles, name_of, shape_of
from rnnsearch.engine.storage import Storage, parts_of
from rnnsearch.engine.views import View

Piece: TypeAlias = tuple[fx.Node, int]  # whose, and its first column
Source: TypeAlias = float | View[fx.Node]  # what an operator reads: a number, or one axis of values

# Samples, rows and columns from which on a product is worth `tl.dot`, which takes no less.
_LEAST_DOT = 16
# No piece is wider: the operands of a product must fit into shared memory, beside others.
_WIDEST = 64
# Elements of weights that are loaded before the loop over time rather than in it.
_MOST_RESIDENT = 1 << 14

_COPIES = ("view", "_unsafe_view", "reshape", "squeeze")
_PLACED = ("cat", "slice_scatter", "select_scatter", "constant_pad_nd")
_REDUCTIONS = ("sum", "mean", "var", "amax", "amin")
_OWN_EXPRESSIONS = {"exp2": "tl.exp2({0})", "log2": "tl.log2({0})"}

_HEADER = '''\
"""One step of a cell over time, forwards and backwards."""

import triton
import triton.language as tl
{imports}

zero = tl.constexpr(0.0)
one = tl.constexpr(1.0)
infinity = tl.constexpr(float("inf"))
not_a_number = tl.constexpr(float("nan"))


@triton.jit
def load_rows(
    pointer, at, inside, width: tl.constexpr, first: tl.constexpr, n: tl.constexpr, P: tl.constexpr
):
    column = tl.arange(0, P)
    where = pointer + at[:, None] * width + first + column[None, :]
    return tl.load(where, mask=inside[:, None] & (column < n)[None, :], other=0.0)


@triton.jit
def store_rows(
    pointer, at, inside, width: tl.constexpr, first: tl.constexpr, n: tl.constexpr,
    P: tl.constexpr, value,
):
    column = tl.arange(0, P)
    where = pointer + at[:, None] * width + first + column[None, :]
    tl.store(where, value, mask=inside[:, None] & (column < n)[None, :])


@triton.jit
def load_constant(
    pointer, first: tl.constexpr, step: tl.constexpr, n: tl.constexpr, P: tl.constexpr
):
    column = tl.arange(0, P)
    return tl.load(pointer + first + column * step, mask=column < n, other=0.0)[None, :]


@triton.jit
def load_weight(
    pointer, first: tl.constexpr, down: tl.constexpr, across: tl.constexpr,
    k: tl.constexpr, n: tl.constexpr, K: tl.constexpr, N: tl.constexpr,
):
    row, column = tl.arange(0, K)[:, None], tl.arange(0, N)[None, :]
    return tl.load(
        pointer + first + row * down + column * across, mask=(row < k) & (column < n), other=0.0
    )


@triton.jit
def clear(value, n: tl.constexpr, P: tl.constexpr, filling: tl.constexpr):
    return tl.where((tl.arange(0, P) < n)[None, :], value, filling)


@triton.jit
def small_product(left, weight):
    return tl.sum(left[:, :, None] * weight[None, :, :], 1)


@triton.jit
def large_product(left, weight):
    return tl.dot(left, weight, input_precision="ieee")


'''
# The words that `expressions.py` writes.
_WORDS = {
    "absolute(x)": "tl.abs(x)",
    "choose(c, x, y)": "tl.where(c != 0, x, y)",
    "cosine(x)": "tl.cos(x)",
    "error_function(x)": "tl.erf(x)",
    "exponential(x)": "tl.exp(x)",
    "flag(x)": "tl.where(x, 1.0, 0.0)",
    "larger(x, y)": "tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)",
    "logarithm(x)": "tl.log(x)",
    "logistic(x)": "1.0 / (1.0 + tl.exp(-x))",
    "round_down(x)": "tl.floor(x)",
    "sine(x)": "tl.sin(x)",
    "smaller(x, y)": "tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)",
    "square_root(x)": "tl.sqrt(x)",
}
_DEVICE_WORDS = {
    "arccosine(x)": "libdevice.acos(x)",
    "arcsine(x)": "libdevice.asin(x)",
    "arctangent(x)": "libdevice.atan(x)",
    "exponential_minus_one(x)": "libdevice.expm1(x)",
    "hyperbolic_cosine(x)": "libdevice.cosh(x)",
    "hyperbolic_sine(x)": "libdevice.sinh(x)",
    "hyperbolic_tangent(x)": "libdevice.tanh(x)",
    "logarithm_plus_one(x)": "libdevice.log1p(x)",
    # Both operands must be of one type, and a plain number is not.
    "power(x, y)": "libdevice.pow(x, y + tl.zeros_like(x))",
    "remainder_towards_zero(x, y)": "libdevice.fmod(x, y + tl.zeros_like(x))",
}
# The interpreter has no device library; these are for tests, and lose digits near zero.
_INTERPRETED_WORDS = {
    "exponential_minus_one(x)": "tl.exp(x) - 1.0",
    "hyperbolic_cosine(x)": "(tl.exp(x) + tl.exp(-x)) / 2",
    "hyperbolic_sine(x)": "(tl.exp(x) - tl.exp(-x)) / 2",
    "hyperbolic_tangent(x)": "1.0 - 2.0 / (1.0 + tl.exp(2 * x))",
    "logarithm_plus_one(x)": "tl.log(1.0 + x)",
}

_KERNEL = """\
@triton.jit
def {name}({arguments}, T, B):
    seed = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * {tile} + tl.arange(0, {tile})
    inside = row < B
{before}
    for step in range(T):
        t = {time}
        at = (seed * T + t) * B + row
        at_state = (seed * (T + 1) + t) * B + row
{body}
{after}
"""


def header(*, interpreted: bool) -> str:
    """The part of the source that is the same for every cell.

    Args:
        interpreted: for Triton's interpreter rather than for a device.
    """
    imports = "" if interpreted else "from triton.language.extra import libdevice"
    words = {**_WORDS, **(_INTERPRETED_WORDS if interpreted else _DEVICE_WORDS)}
    functions = [
        f"@triton.jit\ndef {head}:\n    return {body}\n\n\n" for head, body in words.items()
    ]
    return _HEADER.format(imports=imports) + "".join(functions)


def padded(n: int) -> int:
    """The power of two that holds `n` columns."""
    return 1 << max(0, n - 1).bit_length()


@dataclass(frozen=True)
class Kernel:
    """A kernel as source.

    Attributes:
        text: its source, without the header.
        arguments: names of the tensors that it takes, before the steps and the batch size.
    """

    text: str
    arguments: tuple[str, ...]


class TritonSource:
    """A captured step as Triton source.

    Args:
        captured: the step.
        tile: samples that one program runs, a power of two.

    Attributes:
        roles: what the step's nodes are.
        forward: the kernel forwards.
        backward: the kernel backwards.
        constants: buffers of parameters, and of what depends on them alone, by argument.
        kept: columns of what the kernel forwards stores at each step, by argument.
        stored: columns of what the kernel backwards stores at each step, by argument.
        contracted: nodes that sum over samples and times.

    Raises:
        Unsupported: an operator that the kernels lack, named.
    """

    def __init__(self, captured: Captured, tile: int) -> None:
        self.captured, self.tile, self.roles = captured, tile, Roles(captured)
        storage = Storage(captured, self.roles)
        self.contracted = [*storage.products, *storage.sums]
        roles = self.roles
        self._computed = [
            node
            for node in captured.graph.nodes
            if node.op == "call_function"
            and roles.role[node] is Role.LANES
            and not roles.is_view(node)
            and node not in roles.literal
        ]
        self.cuts = self._cut()
        self.constants: dict[str, fx.Node] = {}
        operands = [
            piece
            for node in self.contracted
            for operand in node.all_input_nodes
            for piece in self._pieces_behind(self.values_of(operand))
        ]
        # What is stored anyway need not be computed again.
        again = set(storage.repeated) - {base for base, _ in operands}
        again |= {node for node in self._computed if name_of(node) in _PLACED}
        self.kept: dict[str, int] = {}
        self.stored: dict[str, int] = {}
        self._kept_pieces: dict[Piece, None] = {}
        forward = [node for node in self._computed if node not in roles.backward]
        backward = [node for node in self._computed if node in roles.backward or node in again]
        for base, start in operands:
            if base in forward:
                self.keep(base, start)
        self.backward = _Phase(self, "backward", backward).write(
            [
                (base, start)
                for base, start in operands
                if base in roles.backward and base is not captured.output_gradient
            ]
        )
        self.forward = _Phase(self, "forward", forward).write(list(self._kept_pieces))

    # ---- where values lie

    def place(self, base: fx.Node) -> tuple[str, int, bool]:
        """Where what the backward pass reads lies: argument, its columns, and whether one step on.

        Args:
            base: a placeholder, or a result of either pass that is stored.
        """
        captured, width = self.captured, self.roles.view[base].size
        if base is captured.inputs:
            return "inputs", width, False
        if base is captured.output_gradient:
            return "of_outputs", width, False
        if base in captured.state:
            return f"state_{captured.state.index(base)}", width, False
        if base in self.roles.backward:
            return f"stored_{base.name}", width, False
        for i, node in enumerate(captured.next_state):
            view = self.roles.view[node]
            if view.base is base and view.size == width and view.is_dense:
                return f"state_{i}", width, True
        return f"kept_{base.name}", width, False

    def values_of(self, node: fx.Node) -> Source:
        """What a node of lanes, or of lanes turned around, stands for."""
        if node in self.roles.literal:
            return self.roles.literal[node]
        return self._along_features(self.roles.view[node], node)

    def stretches(self, source: Source, n: int) -> list[tuple[int, Source]]:
        """Numbers, constants and stored buffers that a value of `n` columns is made of.

        Returns:
            For each, how many columns it fills.
        """
        if not isinstance(source, View) or source.base not in self._computed:
            return [(n, source)]
        if name_of(source.base) not in _PLACED:
            return [(n, source)]
        found: list[tuple[int, Source]] = []
        for row, length, part in self.parts(source.base):
            low = max(row, source.offset)
            high = min(row + length, source.offset + source.size)
            if low < high:
                found += self.stretches(_window(part, low - row, high - low), high - low)
        return found

    def keep(self, base: fx.Node, start: int) -> None:
        argument, width, is_state = self.place(base)
        if not is_state:
            self.kept[argument] = width
            self._kept_pieces[base, start] = None

    def constant(self, base: fx.Node) -> str:
        """Argument of the buffer of a constant."""
        name = f"constant_{base.name}"
        self.constants[name] = base
        return name

    # ---- what operators read

    def source(self, operand: Any, node: fx.Node) -> Source:
        """What a pointwise operator, or a bias, reads of one operand."""
        if not isinstance(operand, fx.Node):
            return float(operand)
        if operand in self.roles.literal:
            return self.roles.literal[operand]
        features = self.roles.features(node)
        view = self.roles.operand(operand, features, len(shape_of(node)))
        return self._along_features(view, node)

    def is_constant(self, view: View[fx.Node]) -> bool:
        """Whether a view is of something that depends on parameters alone."""
        return self.roles.role[view.base] is Role.CONSTANT

    def parts(self, node: fx.Node) -> list[tuple[int, int, Source]]:
        """First column, columns and source of each part that a node is put together from."""
        width, name = _width(self.roles, node), name_of(node)
        if name == "cat":
            raw = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            if int(raw) % len(shape_of(node)) == 0:  # type: ignore[arg-type]
                raise Unsupported("`cat` along the samples of a batch")
            parts, row = [], 0
            for part in parts_of(node):
                n = math.prod(shape_of(part)[1:])
                parts.append((row, n, self.part(part)))
                row += n
            return [part for part in parts if part[1]]
        inner = node.args[1] if name != "constant_pad_nd" else node.args[0]
        assert isinstance(inner, fx.Node)
        around: Source
        skipped = 0
        if name == "constant_pad_nd":
            pads = [int(p) for p in node.args[1]]  # type: ignore[union-attr, arg-type]
            if any(pads[2:]):
                raise Unsupported("`constant_pad_nd` of the samples of a batch")
            around = float(node.args[2]) if len(node.args) > 2 else 0.0  # type: ignore[arg-type]
            start, stop = max(0, pads[0]), width - max(0, pads[1])
            skipped = max(0, -pads[0])  # to pad by less than nothing is to cut off
        else:
            rest: list[Any] = [*node.args[2:], None, None, None, None]
            dim, *given = rest
            if int(dim or 0) % len(shape_of(node)) == 0:
                raise Unsupported(f"`{name}` picks samples out of a batch")
            if name == "select_scatter":
                start = int(given[0]) % width
                stop = start + 1
            else:
                start, stop, _ = slice(given[0], given[1]).indices(width)
                if (given[2] or 1) != 1:
                    raise Unsupported("`slice_scatter` with a step")
            assert isinstance(node.args[0], fx.Node)
            around = self.part(node.args[0])
        placed = [
            (0, start, _window(around, 0, start)),
            (start, stop - start, _window(self.part(inner), skipped, stop - start)),
            (stop, width - stop, _window(around, stop, width - stop)),
        ]
        return [part for part in placed if part[1] > 0]

    def part(self, operand: fx.Node) -> Source:
        if operand in self.roles.literal:
            return self.roles.literal[operand]
        view = self.roles.view[operand]
        if self.roles.role[operand] is Role.CONSTANT:
            view = self.roles.operand(operand, shape_of(operand)[1:], len(shape_of(operand)))
        return self._along_features(view, operand)

    def _along_features(self, view: View[fx.Node], node: fx.Node) -> Source:
        """A view as one axis of features."""
        axes = [(n, s) for n, s in zip(view.shape, view.strides, strict=True) if n != 1]
        is_lanes = self.roles.role[view.base] is not Role.CONSTANT
        if view.base in self.roles.literal:
            return self.roles.literal[view.base]
        if len(axes) > 1 or (is_lanes and axes and axes[0][1] not in (0, 1)):
            raise Unsupported(
                f"the Triton kernel has no `{name_of(node)}` of features {view.shape} with strides"
                f" {view.strides}"
            )
        n, stride = axes[0] if axes else (1, 1)
        return View(view.base, (n,), (stride,), view.offset)

    # ---- pieces

    def pieces(self, base: fx.Node, low: int = 0, size: int | None = None) -> list[tuple[int, int]]:
        """First column and columns of the pieces of a value, or of a part of it."""
        cuts = sorted(self.cuts[base])
        high = cuts[-1] if size is None else low + size
        inner = [cut for cut in cuts if low <= cut <= high]
        return [(a, b - a) for a, b in pairwise(inner)]

    def pieces_of(self, source: Source) -> list[Piece]:
        """The pieces of lanes that a source is read from."""
        if not isinstance(source, View) or self.is_constant(source):
            return []
        size = source.size if source.strides[0] else 1
        return [(source.base, start) for start, _ in self.pieces(source.base, source.offset, size)]

    def _pieces_behind(self, source: Source) -> list[Piece]:
        """The pieces that are stored of an operand of a contraction."""
        parts = [part for _, part in self.stretches(source, _size(source))]
        for part in parts:
            if isinstance(part, View) and self.is_constant(part):
                self.constant(part.base)
        return [piece for part in parts for piece in self.pieces_of(part)]

    def _cut(self) -> dict[fx.Node, set[int]]:
        """Where values are cut, so that what is read together is cut alike."""
        captured, roles = self.captured, self.roles
        placeholders = [
            captured.inputs,
            captured.output_gradient,
            *captured.state,
            *captured.state_gradients,
        ]
        cuts = {n: {0, _width(roles, n)} for n in [*placeholders, *self._computed]}
        alike: list[tuple[fx.Node, int, View[fx.Node], int]] = []

        def read(source: Source, by: fx.Node | None = None, at: int = 0) -> None:
            if not isinstance(source, View) or self.is_constant(source):
                return
            n = source.size if source.strides[0] else 1
            cuts[source.base] |= {source.offset, source.offset + n}
            if by is not None and n == source.size:
                cuts[by] |= {at, at + n}
                alike.append((by, at, source, n))

        for node in self._computed:
            name = name_of(node)
            if name in _PLACED:
                for row, length, part in self.parts(node):
                    cuts[node] |= {row, row + length}
                    read(part, node, row)
            elif name in ("mm", "addmm"):
                *bias, left, _ = node.args
                read(self.values_of(left))
                for operand in bias:
                    read(self.source(operand, node), node)
            elif name in _REDUCTIONS:
                read(self.reduced(node))
            else:
                for source in self.operands(node):
                    if isinstance(source, View) and source.size == _width(roles, node):
                        read(source, node)
                    else:
                        read(source)
        ends = [(captured.state, captured.next_state)]
        ends.append((captured.state_gradients, captured.previous_gradients))
        for befores, afters in ends:
            for before, after in zip(befores, afters, strict=True):
                read(self.part(after), before)
        for end in (captured.output, captured.input_gradient):
            if end is not None:
                read(self.part(end))
        for node in self.contracted:
            for operand in node.all_input_nodes:
                read(self.values_of(operand))
        changed = True
        while changed:
            changed = False
            for node, at, view, n in alike:
                mine = {c - at for c in cuts[node] if at <= c <= at + n}
                theirs = {c - view.offset for c in cuts[view.base] if 0 <= c - view.offset <= n}
                if mine != theirs:
                    cuts[node] |= {c + at for c in theirs}
                    cuts[view.base] |= {c + view.offset for c in mine}
                    changed = True
        for places in cuts.values():  # what is alike now stays alike
            for low, high in pairwise(sorted(places)):
                places.update(range(low, high, _WIDEST))
        return cuts

    def operands(self, node: fx.Node) -> list[Source]:
        """What a pointwise operator reads."""
        if node in self.roles.literal:
            return []
        name = name_of(node)
        if name in _COPIES:
            return [self.values_of(node.args[0])]  # type: ignore[arg-type]
        if not is_pointwise(name):
            raise Unsupported(f"the Triton kernel has no `{name}`")
        return [self.source(operand, node) for operand in operands_of(node)]

    def reduced(self, node: fx.Node) -> Source:
        """What a reduction over the features reads."""
        operand = node.args[0]
        assert isinstance(operand, fx.Node)
        raw: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = [] if raw is None else [raw] if isinstance(raw, int) else list(raw)
        rank = len(shape_of(operand))
        if not axes or any(int(axis) % rank == 0 for axis in axes):
            raise Unsupported(f"`{name_of(node)}` over the samples of a batch")
        if _width(self.roles, node) != 1:
            raise Unsupported(f"the Triton kernel has no `{name_of(node)}` over some axes only")
        return self.values_of(operand)


class _Phase:
    """Writes the kernel of one pass."""

    def __init__(self, source: TritonSource, name: str, nodes: list[fx.Node]) -> None:
        self._source, self._name, self._nodes = source, name, nodes
        self._is_forward = name == "forward"
        captured = source.captured
        # The values that go from step to step, and what they become.
        if self._is_forward:
            self._carried = dict(zip(captured.state, captured.next_state, strict=True))
        else:
            self._carried = dict(
                zip(captured.state_gradients, captured.previous_gradients, strict=True)
            )
        self._arguments: dict[str, None] = {"inputs" if self._is_forward else "of_outputs": None}
        self._constants: dict[str, str] = {}
        self._resident = 0
        self._before: list[str] = []
        self._body: list[str] = []
        self._after: list[str] = []

    def write(self, stored: list[Piece]) -> Kernel:
        """The kernel.

        Args:
            stored: what it stores at every step, besides what it is for.
        """
        needed = set(stored)
        for end in self._ends():
            needed.update(self._source.pieces_of(end))
        for node in reversed(self._nodes):
            for start, n in self._source.pieces(node):
                if (node, start) in needed:
                    needed.update(self._read_by(node, start, n))
        self._load(needed)
        for node in self._nodes:
            for start, n in self._source.pieces(node):
                if (node, start) in needed:
                    name, value = _name(node, start), self._value(node, start, n)
                    if value != name:
                        self._body.append(f"{name} = {value}")
        for base, start in dict.fromkeys(stored):
            argument, width, _ = self._source.place(base)
            if not self._is_forward:
                self._source.stored[argument] = width
            self._store(argument, "at", width, start, self._length(base, start), base, start)
        self._write_ends()
        arguments = list(self._arguments)
        names = set(self._source.constants)
        shifts = [
            f"{name} += seed * {self._source.roles.view[self._source.constants[name]].size}"
            for name in arguments
            if name in names
        ]
        text = _KERNEL.format(
            name=self._name,
            arguments=", ".join(arguments),
            tile=self._source.tile,
            time="step" if self._is_forward else "T - 1 - step",
            before=_indented([*shifts, *self._before], 1),
            body=_indented(self._body, 2),
            after=_indented(self._after, 1),
        )
        return Kernel(text, tuple(arguments))

    # ---- what is read

    def _ends(self) -> list[Source]:
        captured = self._source.captured
        ends: list[fx.Node | None] = list(self._carried.values())
        ends.append(captured.output if self._is_forward else captured.input_gradient)
        return [self._source.part(end) for end in ends if end is not None]

    def _read_by(self, node: fx.Node, start: int, n: int) -> Iterable[Piece]:
        source, name = self._source, name_of(node)
        if name in _PLACED:
            return source.pieces_of(self._part_at(node, start, n))
        if name in ("mm", "addmm"):
            *bias, left, _ = node.args
            found = source.pieces_of(source.values_of(left))  # type: ignore[arg-type]
            for operand in bias:
                found += source.pieces_of(_window(source.source(operand, node), start, n))
            return found
        if name in _REDUCTIONS:
            return source.pieces_of(source.reduced(node))
        return [
            piece
            for operand in source.operands(node)
            for piece in source.pieces_of(_window(operand, start, n))
        ]

    def _load(self, needed: set[Piece]) -> None:
        """Load what comes from memory, and begin with what goes from step to step."""
        source, computed = self._source, set(self._nodes)
        for base in source.cuts:
            if base in computed:
                continue
            for start, n in source.pieces(base):
                value, width = _name(base, start), _width(source.roles, base)
                if base in self._carried:
                    i = list(self._carried).index(base)
                    if self._is_forward:
                        pointer, at = f"state_{i}", "seed * (T + 1) * B + row"
                    else:
                        pointer, at = f"of_last_{i}", "seed * B + row"
                    self._before.append(f"{value} = {self._rows(pointer, at, width, start, n)}")
                elif (base, start) in needed:
                    pointer, width, is_next = source.place(base)
                    if base.op != "placeholder":
                        source.keep(base, start)
                    at = "at_state" if pointer.startswith("state_") else "at"
                    at = f"{at} + B" if is_next else at
                    self._body.append(f"{value} = {self._rows(pointer, at, width, start, n)}")

    def _rows(self, pointer: str, at: str, width: int, start: int, n: int) -> str:
        self._arguments[pointer] = None
        return f"load_rows({pointer}, {at}, inside, {width}, {start}, {n}, {padded(n)})"

    def _store(
        self, pointer: str, at: str, width: int, first: int, n: int, base: fx.Node, start: int
    ) -> None:
        self._arguments[pointer] = None
        self._body.append(
            f"store_rows({pointer}, {at}, inside, {width}, {first}, {n}, {padded(n)}, "
            f"{_name(base, start)})"
        )

    def _length(self, base: fx.Node, start: int) -> int:
        return dict(self._source.pieces(base))[start]

    # ---- values

    def _value(self, node: fx.Node, start: int, n: int) -> str:
        source, name = self._source, name_of(node)
        if name in _PLACED:
            return self._whole(self._part_at(node, start, n), n)
        if name in ("mm", "addmm"):
            return self._product(node, start, n)
        if name in _REDUCTIONS:
            return self._reduction(node)
        texts = [self._text(_window(operand, start, n), n) for operand in source.operands(node)]
        if name in _COPIES:
            return texts[0]
        if name == "pow" and isinstance(node.args[0], int | float):
            if node.args[0] <= 0:
                raise Unsupported(f"`pow` of {node.args[0]}")
            return f"exponential({_number(math.log(node.args[0]))} * {texts[1]})"
        if name in _OWN_EXPRESSIONS:
            return _OWN_EXPRESSIONS[name].format(*texts)
        return expression(node, texts, _number)

    def _part_at(self, node: fx.Node, start: int, n: int) -> Source:
        for row, length, part in self._source.parts(node):
            if row <= start and start + n <= row + length:
                return _window(part, start - row, n)
        raise AssertionError("a piece lies across parts")

    def _text(self, operand: Source, n: int) -> str:
        """Python of a source that is one piece, one constant or one number."""
        if not isinstance(operand, View):
            return _number(operand)
        if not self._source.is_constant(operand):
            return _name(operand.base, operand.offset)
        pointer = self._source.constant(operand.base)
        size = 1 if operand.strides[0] == 0 else operand.size
        text = f"{pointer}, {operand.offset}, {operand.strides[0]}, {size}, {padded(size)}"
        return self._resident_constant(pointer, f"load_constant({text})", size)

    def _whole(self, operand: Source, n: int) -> str:
        """The same as a block of all samples."""
        text, shape = self._text(operand, n), f"({self._source.tile}, {padded(n)})"
        if not isinstance(operand, View):
            pointer = next(iter(self._arguments))
            return f"tl.full({shape}, {text}, {pointer}.dtype.element_ty)"
        return f"tl.broadcast_to({text}, {shape})"

    def _resident_constant(self, pointer: str, text: str, size: int) -> str:
        self._arguments[pointer] = None
        if text not in self._constants:
            name = f"c_{len(self._constants)}"
            self._constants[text] = name
            self._resident += size
            where = self._before if self._resident <= _MOST_RESIDENT else self._body
            where.append(f"{name} = {text}")
        return self._constants[text]

    def _product(self, node: fx.Node, start: int, n: int) -> str:
        source = self._source
        if any(float(node.kwargs.get(k, 1)) != 1 for k in ("alpha", "beta")):  # type: ignore[arg-type]
            raise Unsupported("`addmm` with a factor")
        *bias, left, right = node.args
        assert isinstance(left, fx.Node)
        assert isinstance(right, fx.Node)
        role, weight = source.roles.role, source.roles.view[right]
        if role[left] is not Role.LANES or role[right] is not Role.CONSTANT:
            raise Unsupported(f"`{name_of(node)}` of a constant and lanes in this order")
        total = [self._text(_window(source.source(b, node), start, n), n) for b in bias]
        given = source.values_of(left)
        if not isinstance(given, View) or not given.strides[0]:
            raise Unsupported(f"`{name_of(node)}` of repeated columns")
        pointer = source.constant(weight.base)
        for base, first in source.pieces_of(given):
            k = self._length(base, first)
            column = first - given.offset
            offset = weight.offset + column * weight.strides[0] + start * weight.strides[1]
            shape = (source.tile, padded(k), padded(n))
            text = (
                f"load_weight({pointer}, {offset}, {weight.strides[0]}, {weight.strides[1]}, "
                f"{k}, {n}, {shape[1]}, {shape[2]})"
            )
            name = self._resident_constant(pointer, text, shape[1] * shape[2])
            product = "large_product" if min(shape) >= _LEAST_DOT else "small_product"
            total.append(f"{product}({self._cleared(base, first, k, '0.0')}, {name})")
            # Term by term, so that few weights are in shared memory at a time.
            self._body.append(f"{_name(node, start)} = {' + '.join(total)}")
            total = [_name(node, start)]
        return total[0]

    def _cleared(self, base: fx.Node, start: int, n: int, filling: str) -> str:
        """A piece with only a number in the columns that pad its width."""
        name = _name(base, start)
        return name if n == padded(n) else f"clear({name}, {n}, {padded(n)}, {filling})"

    def _reduction(self, node: fx.Node) -> str:
        given, name = self._source.reduced(node), name_of(node)
        if not isinstance(given, View) or not given.strides[0]:
            raise Unsupported(f"`{name}` of repeated columns")
        if name != "var":
            text = self._over_features(name, given)
            return f"{text} / {given.size}" if name == "mean" else text
        mean = f"mean_of_{node.name}"
        self._body.append(f"{mean} = {self._over_features('sum', given)} / {given.size}")
        raw: Any = node.args[2] if len(node.args) > 2 else node.kwargs.get("correction", 1)
        squares = self._over_features("sum", given, "({0} - " + mean + ") * ({0} - " + mean + ")")
        return f"({squares}) / {given.size - int(raw)}"

    def _over_features(self, name: str, given: View[fx.Node], what: str = "{0}") -> str:
        """A reduction of some function of all columns."""
        function, filling, joint = {
            "amax": ("tl.max", 'float("-inf")', "larger({}, {})"),
            "amin": ("tl.min", 'float("inf")', "smaller({}, {})"),
        }.get(name, ("tl.sum", "0.0", "{} + {}"))
        text = ""
        for base, start in self._source.pieces_of(given):
            n, block = self._length(base, start), what.format(_name(base, start))
            if n != padded(n):
                block = f"clear({block}, {n}, {padded(n)}, {filling})"
            part = f"{function}({block}, 1, keep_dims=True)"
            text = joint.format(text, part) if text else part
        return f"({text})"

    # ---- ends

    def _write_ends(self) -> None:
        """Store the output, or the gradient of the inputs, and hand on what goes to the next step.

        The next state is renamed first: one part of a state may become another.
        """
        source, captured = self._source, self._source.captured
        handed: list[str] = []
        for i, (before, after) in enumerate(self._carried.items()):
            part, width = source.part(after), _width(source.roles, before)
            for start, n in source.pieces(before):
                value, new = _name(before, start), f"next_{i}_{start}"
                self._body.append(f"{new} = {self._whole(_window(part, start, n), n)}")
                self._body.append(f"{new} = {new}.to({value}.dtype)")
                handed.append(f"{value} = {new}")
                rest = f"inside, {width}, {start}, {n}, {padded(n)}"
                if self._is_forward:
                    self._arguments[f"state_{i}"] = None
                    self._body.append(f"store_rows(state_{i}, at_state + B, {rest}, {new})")
                else:
                    self._arguments[f"of_state_{i}"] = None
                    at = "seed * B + row"
                    self._after.append(f"store_rows(of_state_{i}, {at}, {rest}, {value})")
        end = captured.output if self._is_forward else captured.input_gradient
        if end is not None:
            pointer = "outputs" if self._is_forward else "of_inputs"
            self._arguments[pointer] = None
            node = captured.output_gradient if self._is_forward else captured.inputs
            width, row = _width(source.roles, node), 0
            for n, part in self._in_pieces(source.part(end), width):
                text = f"inside, {width}, {row}, {n}, {padded(n)}, {self._whole(part, n)}"
                self._body.append(f"store_rows({pointer}, at, {text})")
                row += n
        self._body += handed

    def _in_pieces(self, source: Source, width: int) -> list[tuple[int, Source]]:
        if not isinstance(source, View) or self._source.is_constant(source):
            return [(width, source)]
        if not source.strides[0]:
            return [(width, source)]
        sizes = self._source.pieces(source.base, source.offset, source.size)
        return [(n, _window(source, start - source.offset, n)) for start, n in sizes]


def _window(source: Source, start: int, n: int) -> Source:
    """Columns of a source; a single one that is repeated stays a single one."""
    if not isinstance(source, View):
        return source
    if source.size == 1 or not source.strides[0]:
        return View(source.base, (1,), (1,), source.offset)
    return source.sliced(0, start, n)


def _size(source: Source) -> int:
    return source.size if isinstance(source, View) else 1


def _width(roles: Roles, node: fx.Node) -> int:
    features = roles.features(node)
    if sum(n != 1 for n in features) > 1:
        raise Unsupported(f"the Triton kernel has no `{name_of(node)}` of features {features}")
    return math.prod(features)


def _name(base: fx.Node, start: int) -> str:
    return f"v_{base.name}_{start}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "not_a_number"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    return f"({float(value)!r})" if value < 0 else repr(float(value))


def _indented(lines: Iterable[str], depth: int) -> str:
    return "\n".join("    " * depth + line for line in lines)
