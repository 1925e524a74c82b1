"""Once: writes the C++ of what happens once per update, outside the time loop.

Arithmetic on parameters alone (a softplus of a time constant, a normalised weight) is done before
the first step; arithmetic on totals turns them into gradients of parameters after the last.
"""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from rnnsearch.engine.capture import Captured, Unsupported
from rnnsearch.engine.expressions import expression, is_pointwise, operands_of
from rnnsearch.engine.roles import Role, Roles, name_of, shape_of
from rnnsearch.engine.storage import Storage, parts_of
from rnnsearch.engine.tables import Tables
from rnnsearch.engine.views import View, collapse

_REDUCTIONS = {
    "sum": ("0.f", "{0} + {1}"),
    "mean": ("0.f", "{0} + {1}"),
    "amax": ("-infinity", "larger({0}, {1})"),
    "amin": ("infinity", "smaller({0}, {1})"),
    "prod": ("1.f", "{0} * {1}"),
}


class OnceWriter:
    """Writes the lines before the first and after the last step of an update.

    Attributes:
        size: floats of memory that the results need.
    """

    def __init__(self, captured: Captured, roles: Roles, storage: Storage, tables: Tables) -> None:
        self._captured, self._roles, self._storage = captured, roles, storage
        self._tables, self.size = tables, 0
        self._offset: dict[fx.Node, int] = {}
        self._number = {node: i for i, node in enumerate(captured.parameters)}
        computed = [
            n
            for n in captured.graph.nodes
            if n.op == "call_function"
            and roles.role[n] in (Role.CONSTANT, Role.GRADIENT, Role.TOTAL)
            and (roles.role[n] is Role.TOTAL or not roles.is_view(n))
            and n not in roles.literal
        ]
        self._constants = [n for n in computed if roles.role[n] is Role.CONSTANT]
        self._gradients = [n for n in computed if n not in self._constants]
        for node in computed:
            if roles.role[node] is not Role.TOTAL or self._summed_axes(node):
                self._offset[node] = self.size
                self.size += math.prod(shape_of(node))

    def pointer(self, base: fx.Node) -> str:
        """C++ pointer to the buffer of a parameter, a constant, a total or a gradient."""
        if base in self._number:
            return f"f.parameters[{self._number[base]}]"
        if base in self._offset:
            return f"(f.derived + {self._tables.size(self._offset[base])})"
        if base in self._storage.totals:
            return f"(f.totals + {self._tables.size(self._storage.totals[base][1])})"
        raise Unsupported(f"`{name_of(base)}` of a constant is not computed")

    def write_constants(self) -> list[str]:
        """The lines before the first step."""
        return [line for node in self._constants for line in self._write(node)]

    def write_gradients(self) -> list[str]:
        """The lines after the last step, which add to the gradients of the parameters."""
        lines = [line for node in self._gradients for line in self._write(node)]
        for name, node in self._captured.parameter_gradients.items():
            if node in self._roles.literal or self._roles.role[node] is Role.CONSTANT:
                if self._roles.literal.get(node, 0.0) != 0:
                    raise Unsupported(f"the gradient of `{name}` does not depend on the data")
                continue
            index = self._captured.names.index(name)
            lines.append(f"// {name}")
            target = f"f.gradients[{index}]"
            lines += self._loop(shape_of(node), f"{target}[{{0}}] += {{1}};", [(node, None)])
        return lines

    # ---- one node

    def _write(self, node: fx.Node) -> list[str]:
        name, shape = name_of(node), shape_of(node)
        if self._roles.role[node] is Role.TOTAL:
            if node not in self._offset:
                return []
            features, _ = self._storage.totals[node]
            place = self._tables.size(self._storage.totals[node][1])
            whole = View.of(node, features)
            return self._reduce(node, whole, f"f.totals + {place}", self._summed_axes(node), "sum")
        lines = [f"// {node.name}"]
        target = f"{self.pointer(node)}[{{0}}] = "
        if is_pointwise(name) and name != "expand":
            operands = [(operand, None) for operand in operands_of(node)]
            places = [f"{{{i + 1}}}" for i in range(len(operands))]
            text = expression(node, places, self._tables.number)
            return lines + self._loop(shape, f"{target}{text};", operands)
        if name in ("view", "_unsafe_view", "reshape", "expand", "squeeze"):
            source = node.args[0]
            assert isinstance(source, fx.Node)
            return lines + self._loop(
                self._roles.view[source].shape, f"{target}{{1}};", [(source, None)]
            )
        if name in _REDUCTIONS:
            source = node.args[0]
            assert isinstance(source, fx.Node)
            raw: Any = node.args[1] if len(node.args) > 1 else None
            rank = len(shape_of(source))
            given = range(rank) if raw is None else [raw] if isinstance(raw, int) else raw
            axes = {int(a) % rank for a in (given or range(rank))}
            view = self._roles.view[source]
            return lines + self._reduce(node, view, self._base(source), axes, name)
        if name in ("mm", "bmm", "addmm"):
            return lines + self._product(node)
        if name == "cat":
            return lines + self._concatenate(node)
        raise Unsupported(f"the engine has no `{name}` of parameters")

    def _base(self, node: fx.Node) -> str:
        return self.pointer(self._roles.view[node].base)

    def _summed_axes(self, node: fx.Node) -> set[int]:
        """Axes of features over which a total over the samples is summed as well."""
        if node not in self._storage.sums:
            return set()
        source = node.args[0]
        assert isinstance(source, fx.Node)
        rank, features = len(shape_of(source)), self._storage.totals[node][0]
        ahead = rank - len(features)
        raw: Any = node.args[1] if len(node.args) > 1 else ()
        given = [raw] if isinstance(raw, int) else raw or range(rank)  # none named is all of them
        axes = {int(a) % rank - ahead for a in given}
        return {a for a in axes if a >= 0 and features[a] != 1}

    def _loop(
        self, shape: tuple[int, ...], body: str, operands: list[tuple[Any, None]]
    ) -> list[str]:
        """Loops over a shape; `{0}` in the body is the dense index, `{1}` the first operand."""
        views: list[View[fx.Node] | None] = []
        for operand, _ in operands:
            if isinstance(operand, fx.Node) and operand not in self._roles.literal:
                views.append(self._roles.view[operand].broadcast(shape))
            else:
                views.append(None)
        dense = View.of(None, shape).strides
        axes, strides = collapse(shape, [dense, *(v.strides for v in views if v)])
        rest = iter(strides[1:])
        texts = []
        for (operand, _), view in zip(operands, views, strict=True):
            if view is None:
                value = self._roles.literal.get(operand, operand)
                texts.append(self._tables.number(float(value)))
            else:
                index = self._tables.index(next(rest), view.offset)
                texts.append(f"{self.pointer(view.base)}[{index}]")
        heads = self._tables.loops(axes)
        lines = [f"{'  ' * i}{head}" for i, head in enumerate(heads)]
        return [*lines, "  " * len(heads) + body.format(self._tables.index(strides[0]), *texts)]

    def _reduce(
        self, node: fx.Node, view: View[fx.Node], pointer: str, axes: set[int], name: str
    ) -> list[str]:
        outer = [a for a in range(len(view.shape)) if a not in axes]
        own = View.of(node, [view.shape[a] for a in outer])
        order = [*outer, *sorted(axes)]
        turned = view.permuted(order)
        own_strides = [*own.strides, *(0 for _ in axes)]
        start, step = _REDUCTIONS[name]
        count, target = 1, self.pointer(node)
        for a in axes:
            count *= view.shape[a]
        shape, (mine, theirs) = collapse(own.shape, [own.strides, turned.strides[: len(outer)]])
        heads = self._tables.loops(shape)
        lines = [f"{'  ' * i}{head}" for i, head in enumerate(heads)]
        inner, (steps,) = collapse(
            turned.shape[len(outer) :] or (1,), [turned.strides[len(outer) :] or (0,)]
        )
        del own_strides
        lines.append("{ float whole = " + start + ";")
        lines += self._tables.loops(inner, len(shape))
        index = self._tables.index([*theirs, *steps], view.offset)
        lines.append(f"  whole = {step.format('whole', f'({pointer})[{index}]')};")
        result = f"whole / float({self._tables.size(count)})" if name == "mean" else "whole"
        lines.append(f"{target}[{self._tables.index(mine)}] = {result}; }}")
        return lines

    def _product(self, node: fx.Node) -> list[str]:
        operands = list(node.args)
        bias = operands.pop(0) if name_of(node) == "addmm" else None
        left, right = operands
        assert isinstance(left, fx.Node)
        assert isinstance(right, fx.Node)
        a, b = self._roles.view[left], self._roles.view[right]
        if name_of(node) != "bmm":
            a, b = a.broadcast((1, *a.shape)), b.broadcast((1, *b.shape))
        shape = (a.shape[0], a.shape[1], b.shape[2])
        size, index = self._tables.size, self._tables.index
        start = "0.f"
        if bias is not None:
            assert isinstance(bias, fx.Node)
            view = self._roles.view[bias].broadcast(shape)
            start = f"{self.pointer(view.base)}[{index(view.strides, view.offset)}]"
        return [
            *(f"for (long i{i} = 0; i{i} < {size(n)}; i{i}++)" for i, n in enumerate(shape)),
            "{ float sum = " + start + ";",
            f"for (long i3 = 0; i3 < {size(a.shape[2])}; i3++)",
            f"  sum += {self.pointer(a.base)}"
            f"[{index((a.strides[0], a.strides[1], 0, a.strides[2]), a.offset)}] * "
            f"{self.pointer(b.base)}"
            f"[{index((b.strides[0], 0, b.strides[2], b.strides[1]), b.offset)}];",
            f"{self.pointer(node)}[{index(View.of(None, shape).strides)}] = sum; }}",
        ]

    def _concatenate(self, node: fx.Node) -> list[str]:
        whole = View.of(node, shape_of(node))
        raw = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        axis, row, lines = int(raw) % len(whole.shape), 0, []  # type: ignore[arg-type]
        for part in parts_of(node):
            length = shape_of(part)[axis]
            target = whole.sliced(axis, row, length)
            row += length
            view = self._roles.view[part]
            axes, (own, theirs) = collapse(view.shape, [target.strides, view.strides])
            value = (
                self._tables.number(self._roles.literal[part])
                if part in self._roles.literal
                else f"{self.pointer(view.base)}[{self._tables.index(theirs, view.offset)}]"
            )
            heads = self._tables.loops(axes)
            lines += [f"{'  ' * i}{head}" for i, head in enumerate(heads)]
            lines.append(
                f"{self.pointer(node)}[{self._tables.index(own, target.offset)}] = {value};"
            )
        return lines
