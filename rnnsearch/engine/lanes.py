"""Lanes: writes the C++ of one time step forwards, and of one backwards.

Samples are the lanes of vectors and features are rows: a block of samples is stored
`[feature][lane]`, so that a slice of features is an offset, a gate needs no shuffle, and an odd
width wastes nothing. All pointwise operators between two products become one loop. Gradients of
weights are not summed up step by step: their operands are stored, and contracted over many steps
and all samples at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import fx

from rnnsearch.engine.capture import Captured, Unsupported
from rnnsearch.engine.expressions import expression, is_pointwise, operands_of
from rnnsearch.engine.roles import Role, Roles, name_of, shape_of
from rnnsearch.engine.storage import Storage, Summand, parts_of
from rnnsearch.engine.tables import Tables
from rnnsearch.engine.views import View, collapse

# What a step computes, in an order to be found: results, and rows to be summed up.
Item: TypeAlias = fx.Node | Summand

_REDUCTIONS = {
    "sum": ("zero", "{0} + {1}"),
    "mean": ("zero", "{0} + {1}"),
    "amax": ("constant(-infinity)", "larger({0}, {1})"),
    "amin": ("constant(infinity)", "smaller({0}, {1})"),
    "prod": ("one", "{0} * {1}"),
}
_POINTERS = {
    "inputs": "f.inputs + t * f.inputs_stride",
    "state": "f.state[{0}] + t * f.state_stride[{0}]",
    "next_state": "f.state[{0}] + (t + 1) * f.state_stride[{0}]",
    "output_gradient": "f.output_gradient + t * f.output_gradient_stride",
    "state_gradient": "f.state_gradient[{0}]",
    "previous_gradient": "f.previous_gradient[{0}]",
    "kept": "f.kept[{0}] + t * f.kept_stride[{0}]",
    "recent": "f.recent[{0}] + (t - t0) * f.recent_stride[{0}]",
    "scratch": "f.scratch[{0}]",
}
_CONTRACTED = {  # the same at the first step of a chunk, and the stride from step to step
    "inputs": ("f.inputs + t0 * f.inputs_stride", "f.inputs_stride"),
    "state": ("f.state[{0}] + t0 * f.state_stride[{0}]", "f.state_stride[{0}]"),
    "next_state": ("f.state[{0}] + (t0 + 1) * f.state_stride[{0}]", "f.state_stride[{0}]"),
    "output_gradient": (
        "f.output_gradient + t0 * f.output_gradient_stride",
        "f.output_gradient_stride",
    ),
    "kept": ("f.kept[{0}] + t0 * f.kept_stride[{0}]", "f.kept_stride[{0}]"),
    "recent": ("f.recent[{0}]", "f.recent_stride[{0}]"),
}


class PhaseWriter:
    """Writes the lines of one step, forwards or backwards.

    Args:
        captured: the step.
        roles: what its nodes are.
        storage: where they live.
        tables: collects sizes and constants.
        constant: C++ pointer to the buffer of a constant.
        phase: `forward` or `backward`.
    """

    def __init__(
        self,
        captured: Captured,
        roles: Roles,
        storage: Storage,
        tables: Tables,
        constant: Callable[[fx.Node], str],
        phase: str,
    ) -> None:
        self._captured, self._roles, self._storage = captured, roles, storage
        self._tables, self._constant, self._phase = tables, constant, phase
        self._nodes = storage.forward if phase == "forward" else storage.backward
        self._repeated: set[Item] = set(storage.repeated) if phase == "backward" else set()
        self._declared: dict[str, str] = {}
        self._code: list[str] = []

    def write(self) -> list[str]:
        """The lines of the step's body."""
        if self._phase == "backward":
            self._store_gradients()
        self._schedule()
        self._write_ends()
        declared = [f"float* const {name} = {text};" for name, text in self._declared.items()]
        return declared + self._code

    # ---- addresses

    def _pointer(self, base: fx.Node) -> str:
        """Name of the pointer to a buffer's rows, declared at the top of the step."""
        home = self._storage.home(base, self._phase)
        name = f"r_{base.name}"
        if name not in self._declared:
            text = _POINTERS[home.kind].format(home.number)
            if home.row:
                text += f" + {self._tables.size(home.row)} * L"
            self._declared[name] = text
        return name

    def _rows(self, view: View[fx.Node]) -> str:
        """C++ pointer to a view's first row."""
        offset = f" + {self._tables.size(view.offset)} * L" if view.offset else ""
        return f"{self._pointer(view.base)}{offset}"

    def _load(self, operand: Any, view: View[fx.Node] | None, strides: list[int]) -> str:
        """C++ of a vector read from an operand inside loops over `i0`, `i1`, ..."""
        if view is None:
            return self._tables.number(float(operand))
        index = self._tables.index(strides, view.offset)
        if self._roles.role[view.base] is Role.CONSTANT:
            return f"constant({self._constant(view.base)}[{index}])"
        where = _lane(index)
        return f"load({self._pointer(view.base)} + {where})"

    # ---- order

    def _schedule(self) -> None:
        """Write products and reductions as soon as they can be, and what is between in groups."""
        waiting: list[Item] = [n for n in self._nodes if n not in self._storage.virtual]
        mine = set(waiting)
        if self._phase == "backward":
            waiting += self._storage.summands
        done: set[Item] = set()
        needs = {item: self._sources(item) & mine for item in waiting}
        for item in waiting:
            for source in list(needs[item]):
                needs[item] |= {n for n in self._inside(source) if n in mine}
        while waiting:
            ready = [n for n in waiting if needs[n] <= done]
            heavy = [n for n in ready if not self._is_pointwise(n)]
            group: set[Item]
            if heavy:
                assert isinstance(heavy[0], fx.Node)
                self._write_heavy(heavy[0])
                group = {heavy[0]}
            else:
                # What is computed again comes with the first that reads it.
                first = next((n for n in ready if n not in self._repeated), ready[0])
                group = self._gather(first, waiting, needs, done)
                self._write_group([n for n in waiting if n in group])
            done |= group
            waiting = [n for n in waiting if n not in group]

    def _sources(self, item: Item) -> set[Item]:
        if isinstance(item, Summand):
            return {item.view.base}
        return set(self._storage.sources([item]))

    def _inside(self, cat: Item) -> set[fx.Node]:
        """Parts that are computed in place inside a concatenation."""
        if isinstance(cat, Summand) or name_of(cat) != "cat":
            return set()
        return {self._roles.view[part].base for part in parts_of(cat)}

    def _is_pointwise(self, node: Item) -> bool:
        if isinstance(node, Summand) or node in self._roles.literal:
            return True
        return is_pointwise(name_of(node)) or self._is_copy(node)

    def _is_copy(self, node: fx.Node) -> bool:
        """Whether a change of shape that strides cannot express has to be copied."""
        return name_of(node) in ("view", "_unsafe_view", "reshape", "expand", "squeeze")

    def _loop_shape(self, node: Item) -> tuple[int, ...]:
        if isinstance(node, Summand):
            return node.view.shape
        if self._is_copy(node):
            source = node.args[0]
            assert isinstance(source, fx.Node)
            return self._roles.view[source].shape
        return self._roles.features(node)

    def _gather(
        self,
        first: Item,
        waiting: list[Item],
        needs: dict[Item, set[Item]],
        done: set[Item],
    ) -> set[Item]:
        """All waiting pointwise nodes that fit into one loop with the first."""
        shape, group = self._loop_shape(first), {first}
        found = True
        while found:
            found = False
            for node in waiting:
                if node in group or not self._is_pointwise(node):
                    continue
                if self._loop_shape(node) != shape or not needs[node] <= done | group:
                    continue
                if all(self._in_step(view, shape) for view in self._views_in(node, group)):
                    group.add(node)
                    found = True
        read = {n for item in group for n in self._sources(item)}
        idle = {n for n in group if n in self._repeated and n not in read and n is not first}
        while idle:
            group -= idle
            read = {n for item in group for n in self._sources(item)}
            idle = {n for n in group if n in self._repeated and n not in read and n is not first}
        return group

    def _views_in(self, node: Item, group: set[Item]) -> list[View[fx.Node]]:
        if isinstance(node, Summand):
            return [node.view] if node.view.base in group else []
        views = [self._roles.view[n] for n in node.all_input_nodes if n in self._roles.view]
        return [view for view in views if view.base in group]

    def _in_step(self, view: View[fx.Node], shape: tuple[int, ...]) -> bool:
        """Whether element i of the view is computed in the same round of the loop as element i."""
        base_shape = self._loop_shape(view.base)
        return view.offset == 0 and view.is_dense and view.shape == shape == base_shape

    # ---- pointwise loops

    def _write_group(self, group: list[Item]) -> None:
        shape = self._loop_shape(group[0])
        reads = {item: self._operands(item, shape) for item in group}
        views = [v for operands in reads.values() for _, v in operands if v is not None]
        whole = View.of(group[0], shape)
        axes, strides = collapse(shape, [whole.strides, *(v.strides for v in views)])
        own, of_view = strides[0], dict(zip(map(id, views), strides[1:], strict=True))
        body = []
        for item, operands in reads.items():
            texts = []
            for operand, view in operands:
                if view is not None and view.base in group:
                    texts.append(f"v_{view.base.name}")
                else:
                    texts.append(self._load(operand, view, of_view.get(id(view), [])))
            if isinstance(item, Summand):
                index = self._tables.index(own, item.place)
                body.append(f"add_to(f.sums + {_lane(index)}, {texts[0]});")
                continue
            if item in self._roles.literal:
                text = self._tables.number(self._roles.literal[item])
            elif self._is_copy(item):
                text = texts[0]
            else:
                text = expression(item, texts, self._tables.number)
            body.append(f"const V v_{item.name} = {text};")
            if self._is_read_elsewhere(item, group):
                body.append(f"store({self._pointer(item)} + {self._at(own)}, v_{item.name});")
        names = dict.fromkeys(name_of(i.node if isinstance(i, Summand) else i) for i in group)
        self._code.append(f"// {', '.join(names)}")
        heads = [*self._tables.loops(axes), "for (long v = 0; v < L; v += W)"]
        self._code += [f"{'  ' * i}{head}" for i, head in enumerate(heads)]
        self._code[-1] += " {"
        self._code += ["  " * len(heads) + line for line in body]
        self._code.append("  " * (len(heads) - 1) + "}")

    def _at(self, strides: list[int]) -> str:
        index = self._tables.index(strides)
        return _lane(index)

    def _operands(
        self, item: Item, shape: tuple[int, ...]
    ) -> list[tuple[Any, View[fx.Node] | None]]:
        """What a pointwise item reads: nodes with their views, and numbers."""
        if isinstance(item, Summand):
            return [(item.view.base, item.view)]
        if item in self._roles.literal:
            return []
        found: list[tuple[Any, View[fx.Node] | None]] = []
        for operand in [item.args[0]] if self._is_copy(item) else operands_of(item):
            if not isinstance(operand, fx.Node):
                found.append((operand, None))
            elif operand in self._roles.literal:
                found.append((self._roles.literal[operand], None))
            else:
                rank = len(shape_of(item))
                found.append((operand, self._roles.operand(operand, shape, rank)))
        return found

    def _is_read_elsewhere(self, node: fx.Node, group: list[Item]) -> bool:
        if self._storage.is_stored(node, self._phase):
            return True
        ends: list[fx.Node | None]
        if self._phase == "forward":
            ends = [self._captured.output, *self._captured.next_state]
        else:
            ends = [self._captured.input_gradient, *self._captured.previous_gradients]
        if any(end is not None and self._roles.view[end].base is node for end in ends):
            return True
        others: list[Item] = [*self._nodes, *self._storage.summands]
        return any(node in self._sources(other) for other in others if other not in group)

    def _copy(
        self, target: str, stride_of: tuple[int, ...], view: View[fx.Node], verb: str
    ) -> None:
        """Write a loop that stores or adds a view's rows, in order, at a pointer."""
        axes, (own, strides) = collapse(view.shape, [stride_of, view.strides])
        heads = [*self._tables.loops(axes), "for (long v = 0; v < L; v += W)"]
        self._code += [f"{'  ' * i}{head}" for i, head in enumerate(heads)]
        where = self._at(own)
        if view.base in self._roles.literal and view.base not in self._nodes:
            value = self._tables.number(self._roles.literal[view.base])
        else:
            value = self._load(view.base, view, strides)
        self._code.append(f"{'  ' * len(heads)}{verb}({target} + {where}, {value});")

    # ---- products and reductions

    def _write_heavy(self, node: fx.Node) -> None:
        name = name_of(node)
        self._code.append(f"// {node.name}")
        if name in ("mm", "addmm"):
            self._write_product(node)
        elif name == "bmm":
            self._write_batched_product(node)
        elif name == "cat":
            self._write_concatenation(node)
        elif name in _REDUCTIONS:
            self._write_reduction(node)
        elif name in ("slice_scatter", "select_scatter"):
            self._write_scatter(node)
        elif name == "constant_pad_nd":
            self._write_padding(node)
        else:
            raise Unsupported(f"the engine has no `{name}`")

    def _write_product(self, node: fx.Node) -> None:
        operands = list(node.args)
        bias = operands.pop(0) if name_of(node) == "addmm" else None
        if any(float(node.kwargs.get(k, 1)) != 1 for k in ("alpha", "beta")):  # type: ignore[arg-type]
            raise Unsupported("`addmm` with a factor")
        left, right = operands
        assert isinstance(left, fx.Node)
        assert isinstance(right, fx.Node)
        if self._roles.role[left] is not Role.LANES or self._roles.role[right] is not Role.CONSTANT:
            raise Unsupported(f"`{name_of(node)}` of a constant and lanes in this order")
        size, weight = self._tables.size, self._roles.view[right]
        features = self._roles.features(node)
        folds = features[0] if len(features) == 2 else 1
        low, high = self._range_read(node)
        heads: list[str] = []
        if folds > 1:
            heads = self._tables.loops([folds])
            self._code += [heads[0] + " {"]
        parts, column = [], 0
        pointer = self._constant(weight.base)
        for part in self._storage.parts(left):
            rows = part.shape[-1]
            outer = f" + i0 * {size(part.strides[0])} * L" if folds > 1 else ""
            first = weight.offset + column * weight.strides[0]
            parts.append(
                f"{{{self._rows(part)}{outer}, {self._stride(part.strides[-1], rows)}, "
                f"{size(rows)}, {pointer} + {size(first)}}}"
            )
            column += rows
        outer = f" + i0 * {size(features[-1])} * L" if folds > 1 else ""
        text, where, of_lanes = "nullptr", "0", "nullptr"
        if bias is not None:
            assert isinstance(bias, fx.Node)
            view = self._roles.operand(bias, features, 2)
            if self._roles.role[view.base] is Role.CONSTANT:
                text = f"{self._constant(view.base)} + {size(view.offset)}"
                where = size(view.strides[-1])
            else:
                of_lanes = self._rows(view) + outer
        self._code.append(
            f"product<{len(parts)}>({self._pointer(node)}{outer}, {size(low)}, {size(high)}, "
            f"{{{', '.join(parts)}}}, {size(weight.strides[0])}, {size(weight.strides[1])}, "
            f"{text}, {where}, {of_lanes});"
        )
        if heads:
            self._code.append("}")

    def _stride(self, stride: int, rows: int) -> str:
        return "1" if stride == 1 or rows == 1 else self._tables.size(stride)

    def _range_read(self, node: fx.Node) -> tuple[int, int]:
        """Columns of a product that anybody reads."""
        features = self._roles.features(node)
        whole = (0, features[-1])
        if len(features) != 1:
            return whole
        users = list(node.users)
        if not users or not all(name_of(user) == "slice" for user in users):
            return whole
        views = [self._roles.view[user] for user in users]
        return min(v.offset for v in views), max(
            v.offset + (v.shape[0] - 1) * v.strides[0] + 1 for v in views
        )

    def _write_batched_product(self, node: fx.Node) -> None:
        left, right = node.args
        assert isinstance(left, fx.Node)
        assert isinstance(right, fx.Node)
        (rows, columns), size = self._roles.features(node), self._tables.size
        inner = shape_of(left)[2]
        a = self._roles.operand(left, (rows, inner), 3)
        b = self._roles.operand(right, (inner, columns), 3)
        axes = [rows, columns, inner]
        a_strides = [a.strides[0], 0, a.strides[1]]
        b_strides = [0, b.strides[1], b.strides[0]]
        self._code += [
            f"for (long i0 = 0; i0 < {size(axes[0])}; i0++)",
            f"  for (long i1 = 0; i1 < {size(axes[1])}; i1++) {{",
            "    V sum[NV] = {};",
            f"    for (long i2 = 0; i2 < {size(axes[2])}; i2++)",
            "      for (long v = 0; v < L; v += W)",
            f"        sum[v / W] += {self._load(left, a, a_strides)} * "
            f"{self._load(right, b, b_strides)};",
            f"    for (long v = 0; v < L; v += W) store({self._pointer(node)} + "
            f"(i0 * {size(columns)} + i1) * L + v, sum[v / W]);",
            "  }",
        ]

    def _write_concatenation(self, node: fx.Node) -> None:
        features = self._roles.features(node)
        raw = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        axis = int(raw) % len(shape_of(node)) - (len(shape_of(node)) - len(features))  # type: ignore[arg-type]
        if axis < 0:
            raise Unsupported("`cat` along the samples of a batch")
        whole, row = View.of(node, features), 0
        home = self._storage.home(node, self._phase)
        for part in parts_of(node):
            length = shape_of(part)[axis + len(shape_of(part)) - len(features)]
            target = whole.sliced(axis, row, length)
            row += length
            view = self._roles.operand(part, target.shape, len(shape_of(node)))
            there = self._storage.home(view.base, self._phase) if self._is_lanes(view) else None
            if (
                there
                and (there.kind, there.number) == (home.kind, home.number)
                and (there.row == home.row + target.offset and view.is_dense)
            ):
                continue  # computed in place
            self._copy(self._rows(target), target.strides, view, "store")

    def _is_lanes(self, view: View[fx.Node]) -> bool:
        return self._roles.role[view.base] is Role.LANES and not (
            view.base in self._roles.literal and view.base not in self._nodes
        )

    def _write_reduction(self, node: fx.Node) -> None:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        view, rank, size = self._roles.view[source], len(shape_of(source)), self._tables.size
        raw: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        if raw is None:
            raise Unsupported(f"`{name_of(node)}` over everything lets samples see each other")
        axes = {
            int(a) % rank - (rank - len(view.shape))
            for a in ([raw] if isinstance(raw, int) else raw)
        }
        if min(axes) < 0 or (rank == len(view.shape) and 0 in axes):
            raise Unsupported(f"`{name_of(node)}` over the samples of a batch")
        outer = [a for a in range(len(view.shape)) if a not in axes]
        inner = sorted(axes)
        own = View.of(node, [view.shape[a] for a in outer])
        outer_axes, (own_strides, outer_strides) = collapse(
            own.shape, [own.strides, [view.strides[a] for a in outer]]
        )
        inner_axes, (inner_strides,) = collapse(
            [view.shape[a] for a in inner], [[view.strides[a] for a in inner]]
        )
        first = len(outer_axes)
        start, step = _REDUCTIONS[name_of(node)]
        heads = self._tables.loops(outer_axes)
        self._code += [f"{'  ' * i}{head}" for i, head in enumerate(heads)]
        self._code.append("{")
        self._code.append("  V whole[NV]; for (long v = 0; v < NV; v++) whole[v] = " + start + ";")
        inner_heads = [*self._tables.loops(inner_axes, first), "for (long v = 0; v < L; v += W)"]
        self._code += [f"  {'  ' * i}{head}" for i, head in enumerate(inner_heads)]
        value = self._load(source, view, [*outer_strides, *inner_strides])
        self._code.append(f"    whole[v / W] = {step.format('whole[v / W]', value)};")
        count = 1
        for a in inner:
            count *= view.shape[a]
        result = "whole[v / W]"
        if name_of(node) == "mean":
            result = f"{result} / constant(float({size(count)}))"
        self._code.append(
            f"  for (long v = 0; v < L; v += W) "
            f"store({self._pointer(node)} + {self._at(own_strides)}, {result});"
        )
        self._code.append("}")

    def _write_scatter(self, node: fx.Node) -> None:
        base, source = node.args[0], node.args[1]
        assert isinstance(base, fx.Node)
        assert isinstance(source, fx.Node)
        features, rank = self._roles.features(node), len(shape_of(node))
        axis = int(node.args[2] if len(node.args) > 2 else 0) % rank - (rank - len(features))  # type: ignore[arg-type]
        if axis < 0:
            raise Unsupported(f"`{name_of(node)}` picks samples out of a batch")
        whole = View.of(node, features)
        self._copy(
            self._rows(whole), whole.strides, self._roles.operand(base, features, rank), "store"
        )
        if name_of(node) == "select_scatter":
            target = whole.selected(axis, int(node.args[3]) % features[axis])  # type: ignore[arg-type]
        else:
            given: list[Any] = [*node.args[3:], None, None, None]
            start, stop, _ = slice(given[0], given[1]).indices(features[axis])
            step = given[2] or 1
            target = whole.sliced(axis, start, max(0, -(-(stop - start) // step)), step)
        view = self._roles.operand(source, target.shape, len(target.shape) + rank - len(features))
        self._copy(self._rows(target), target.strides, view, "store")

    def _write_padding(self, node: fx.Node) -> None:
        source, pads = node.args[0], [int(p) for p in node.args[1]]  # type: ignore[union-attr, arg-type]
        assert isinstance(source, fx.Node)
        value = float(node.args[2]) if len(node.args) > 2 else 0.0  # type: ignore[arg-type]
        features, view = self._roles.features(node), self._roles.view[source]
        whole = View.of(node, features)
        target = whole
        for i in range(len(pads) // 2):
            axis, (before, after) = len(features) - 1 - i, pads[2 * i : 2 * i + 2]
            if axis < 0 and (before or after):
                raise Unsupported("padding of the samples of a batch")
            if before or after:  # less than nothing cuts off
                kept = view.shape[axis] + min(before, 0) + min(after, 0)
                view = view.sliced(axis, max(-before, 0), kept)
                target = target.sliced(axis, max(before, 0), kept)
        axes = collapse(features, [whole.strides])[0]
        heads = [*self._tables.loops(axes), "for (long v = 0; v < L; v += W)"]
        self._code += [f"{'  ' * i}{head}" for i, head in enumerate(heads)]
        where = self._at([1] if axes != [1] else [0])
        self._code.append(
            f"  store({self._pointer(node)} + {where}, {self._tables.number(value)});"
        )
        self._copy(self._rows(target), target.strides, view, "store")

    # ---- beginning and end of a step

    def _store_gradients(self) -> None:
        """Gradients of the next state are gone after the step: keep those that are contracted."""
        for i, node in enumerate(self._captured.state_gradients):
            if self._storage.home(node, "backward").kind == "recent":
                rows = self._tables.size(self._roles.view[node].size)
                self._code.append(
                    f"copy_rows({self._pointer(node)}, f.state_gradient[{i}], {rows});"
                )

    def _write_ends(self) -> None:
        """Put results where the next step, the output or the inputs' gradient is expected."""
        captured = self._captured
        if self._phase == "forward":
            self._code.append("// output and next state")
            self._end(captured.output, "f.output + t * f.output_stride", "store")
            for i, node in enumerate(captured.next_state):
                target = f"f.state[{i}] + (t + 1) * f.state_stride[{i}]"
                self._end(node, target, "store", ("next_state", i))
            return
        self._code.append("// gradients of inputs and state")
        if captured.input_gradient is not None:
            target = "f.input_gradient + t * f.input_gradient_stride"
            self._end(captured.input_gradient, target, "add_to")
        for i, node in enumerate(captured.previous_gradients):
            self._end(node, f"f.previous_gradient[{i}]", "store", ("previous_gradient", i))

    def _end(
        self, node: fx.Node, target: str, verb: str, home: tuple[str, int] | None = None
    ) -> None:
        view = self._roles.view[node]
        if self._roles.role[view.base] is Role.LANES and self._is_lanes(view):
            there = self._storage.home(view.base, self._phase)
            if (there.kind, there.number) == home and there.row == 0:
                return
        features = self._roles.features(node)
        if self._roles.role[node] is Role.CONSTANT:
            features = shape_of(node)[1:]
            view = self._roles.operand(node, features, len(shape_of(node)))
        dense = View.of(node, features)
        self._copy(f"({target})", dense.strides, view, verb)


def _lane(index: str) -> str:
    """C++ of a vector's place in a row."""
    if index == "0":
        return "v"
    return f"{f'({index})' if '+' in index else index} * L + v"


def write_contractions(roles: Roles, storage: Storage, tables: Tables) -> list[str]:
    """The lines that add a chunk of steps to the totals of weights."""
    lines: list[str] = []

    def over_time(view: View[fx.Node], fold: int) -> str:
        home = storage.home(view.base, "backward")
        pointer, stride = (text.format(home.number) for text in _CONTRACTED[home.kind])
        first = home.row + view.offset + (fold * view.strides[0] if len(view.shape) == 2 else 0)
        shift = f" + {tables.size(first)} * L" if first else ""
        step = (
            "1" if view.strides[-1] == 1 or view.shape[-1] == 1 else tables.size(view.strides[-1])
        )
        return f"{{{pointer}{shift}, {stride}, {tables.size(view.shape[-1])}, {step}}}"

    for node in storage.products:
        turned, right = node.args
        assert isinstance(turned, fx.Node)
        assert isinstance(right, fx.Node)
        (_, columns), offset = storage.totals[node]
        lines.append(f"// {node.name}")
        row = 0
        for left_part in storage.parts(turned):
            column = 0
            for right_part in storage.parts(right):
                folds = left_part.shape[0] if len(left_part.shape) == 2 else 1
                for fold in range(folds):
                    place = tables.size(offset + row * columns + column)
                    lines.append(
                        f"contract(f.totals + {place}, {tables.size(columns)}, "
                        f"{over_time(left_part, fold)}, {over_time(right_part, fold)}, steps);"
                    )
                column += right_part.shape[-1]
            row += left_part.shape[-1]
    return lines
