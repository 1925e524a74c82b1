"""Storage: which results of a step are kept for the backward pass, and where every result lives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx

from rnnsearch.engine.capture import Captured, Unsupported
from rnnsearch.engine.expressions import CHEAP, is_pointwise
from rnnsearch.engine.roles import Role, Roles, name_of, shape_of
from rnnsearch.engine.views import View

# How long a chain of cheap operators may be computed again rather than kept.
_LONGEST_REPEAT = 4


@dataclass(frozen=True)
class Buffer:
    """Rows of lanes.

    Attributes:
        kind: `inputs`, `state`, `next_state`, `output_gradient`, `state_gradient`,
            `previous_gradient`, `kept` (a slot per time step), `recent` (a slot per time step of
            the chunk that is contracted next) or `scratch` (within a step).
        number: which one of its kind.
        row: first row in it.
    """

    kind: str
    number: int = 0
    row: int = 0


@dataclass(frozen=True)
class Summand:
    """Rows that are summed over samples and time.

    Attributes:
        node: the total they belong to.
        view: the rows.
        place: the first one's place among the totals.
    """

    node: fx.Node
    view: View[fx.Node]
    place: int


class Storage:
    """Where the results of a captured step live, forwards and backwards.

    Attributes:
        forward: nodes to compute in a step forwards.
        backward: nodes to compute in a step backwards, among them what is computed again.
        repeated: what is computed again.
        products: totals that contract two operands over samples and time.
        sums: totals that sum rows over samples and time.
        summands: the rows that they sum.
        virtual: concatenations that exist only as their parts.
        rows: rows of each buffer, by kind.
        totals: axes of each total's buffer, and its place among the totals.
        summed_rows: rows of all `sums` together; they come first among the totals.
        total_size: elements of all totals.
    """

    def __init__(self, captured: Captured, roles: Roles) -> None:
        self._captured, self._roles = captured, roles
        nodes = [n for n in captured.graph.nodes if n.op == "call_function"]
        lanes = [n for n in nodes if roles.role[n] is Role.LANES and not roles.is_view(n)]
        totals = [n for n in nodes if roles.role[n] is Role.TOTAL]
        self.products = [n for n in totals if name_of(n) == "mm"]
        self.sums = [n for n in totals if name_of(n) == "sum"]
        lanes = [n for n in lanes if n not in roles.literal or self._is_filled(n)]
        backward = [n for n in lanes if n in roles.backward]
        self.forward = [n for n in lanes if n not in roles.backward]
        self.rows: dict[str, list[int]] = {"kept": [], "recent": [], "scratch": []}
        self.virtual: set[fx.Node] = set()
        self._inside: dict[fx.Node, tuple[fx.Node, int]] = {}
        self._join_parts([*self.forward, *backward])
        self._kept, again = self._choose_kept(backward)
        self.backward = [n for n in self.forward if n in again] + backward
        self.repeated = again
        self._drop_unread()
        self._contracted = self.sources(self.products)
        self._homes: dict[str, dict[fx.Node, Buffer]] = {"forward": {}, "backward": {}}
        self._place_placeholders()
        self._place_results("forward", self.forward, set())
        self._place_results("backward", self.backward, again)
        self._lay_out_totals()

    def home(self, base: fx.Node, phase: str) -> Buffer:
        """Where a buffer lives in a phase."""
        if base in self._homes[phase]:
            return self._homes[phase][base]
        return self._homes["forward"][base]

    def is_stored(self, node: fx.Node, phase: str) -> bool:
        """Whether somebody outside the step or a later phase reads a result."""
        return self.home(node, phase).kind != "scratch" or node in self._inside

    def parts(self, operand: fx.Node) -> list[View[fx.Node]]:
        """The views that an operand is made of: several for a concatenation that is virtual."""
        view = self._roles.view[operand]
        if view.base in self.virtual:
            return [self._roles.view[part] for part in parts_of(view.base)]
        return [view]

    def sources(self, readers: Iterable[fx.Node]) -> set[fx.Node]:
        """Buffers of lanes that nodes read."""
        found: set[fx.Node] = set()
        for reader in readers:
            for source in reader.all_input_nodes:
                if self._roles.role[source] in (Role.LANES, Role.TURNED):
                    found |= {part.base for part in self.parts(source)}
        return found

    # ---- concatenations

    def _is_filled(self, node: fx.Node) -> bool:
        """Whether rows full of one number are read by something else than a pointwise loop."""
        return any(user.op == "output" or not is_pointwise(name_of(user)) for user in node.users)

    def _readers(self, base: fx.Node) -> set[fx.Node]:
        """Nodes that read a buffer, directly or through views."""
        readers: set[fx.Node] = set()
        for user in base.users:
            if user.op == "output":
                readers.add(user)
            elif self._roles.role[user] is Role.TURNED or (
                self._roles.role[user] is Role.LANES and self._roles.is_view(user)
            ):
                readers |= self._readers(user)
            else:
                readers.add(user)
        return readers

    def _join_parts(self, computed: list[fx.Node]) -> None:
        """Let parts of a concatenation be computed in place, or leave it as its parts."""
        for cat in computed:
            if name_of(cat) != "cat" or len(self._roles.features(cat)) != 1:
                continue
            row, inside = 0, []
            for part in parts_of(cat):
                view = self._roles.view[part]
                if self._may_move(view, cat, computed):
                    inside.append((view.base, row))
                row += view.shape[0]
            if len(inside) < len(parts_of(cat)) and self._may_be_virtual(cat):
                self.virtual.add(cat)
            else:
                self._inside.update({base: (cat, row) for base, row in inside})

    def _may_move(self, view: View[fx.Node], cat: fx.Node, computed: list[fx.Node]) -> bool:
        base, roles = view.base, self._roles
        whole = view.offset == 0 and view.is_dense and view.shape == roles.view[base].shape
        same_phase = (base in roles.backward) == (cat in roles.backward)
        ends = {*self._captured.next_state, *self._captured.previous_gradients}
        return (
            whole
            and same_phase
            and base in computed
            and name_of(base) != "cat"
            and base not in self._inside
            and not any(end is not None and roles.view[end].base is base for end in ends)
        )

    def _may_be_virtual(self, cat: fx.Node) -> bool:
        for reader in self._readers(cat):
            if reader.op == "output":
                return False
            takes_parts = self._roles.role[reader] is Role.TOTAL or name_of(reader) in (
                "mm",
                "addmm",
            )
            sources = [s for s in reader.all_input_nodes if s in self._roles.view]
            views = [v for v in (self._roles.view[s] for s in sources) if v.base is cat]
            whole = all(v.offset == 0 and v.shape == self._roles.view[cat].shape for v in views)
            if not (takes_parts and whole):
                return False
            if name_of(reader) == "addmm" and self._roles.view[reader.args[0]].base is cat:  # type: ignore[index]
                return False
        return True

    # ---- what is kept

    def _choose_kept(self, backward: list[fx.Node]) -> tuple[set[fx.Node], set[fx.Node]]:
        """Which results of the forward pass are kept, and which are computed again."""
        computed = set(self.forward)
        kept = self.sources(self.products) & computed
        wanted = self.sources([*backward, *self.sums]) & computed
        ends = [n for n in self._ends_of_backward() if n is not None]
        wanted |= {self._roles.view[n].base for n in ends} & computed
        kept |= {n for n in wanted if name_of(n) not in CHEAP}
        again: set[fx.Node] = set()

        def at_hand(node: fx.Node, allowance: int) -> bool:
            if node.op == "placeholder" or node in kept or node in again:
                return True
            if node in self._roles.literal and node not in computed:
                return True
            if name_of(node) not in CHEAP or not allowance:
                return False
            return all(at_hand(source, allowance - 1) for source in self.sources([node]))

        def repeat(node: fx.Node) -> None:
            if node.op != "placeholder" and node not in kept and node in computed:
                again.add(node)
                for source in self.sources([node]):
                    repeat(source)

        for node in self.forward:
            if node in wanted and node not in kept:
                if at_hand(node, _LONGEST_REPEAT) and node not in self._inside:
                    repeat(node)
                else:
                    kept.add(node)
        # Something kept inside a concatenation keeps the concatenation, and the other way round.
        roots = {self._inside[n][0] for n in kept if n in self._inside} | kept
        kept |= roots | {n for n, (root, _) in self._inside.items() if root in roots}
        return kept, again - kept

    def _drop_unread(self) -> None:
        """Leave out of the forward step what only the backward step computes."""
        ends = [self._captured.output, *self._captured.next_state]
        read = {self._roles.view[end].base for end in ends} | self._kept
        for node in reversed(self.forward):
            if node in read:
                read |= self.sources([node])
                read |= {n for n, (root, _) in self._inside.items() if root is node}
        self.forward = [n for n in self.forward if n in read or n in self.virtual]

    def _ends_of_backward(self) -> list[fx.Node | None]:
        return [self._captured.input_gradient, *self._captured.previous_gradients]

    # ---- where everything lives

    def _new(self, kind: str, rows: int) -> Buffer:
        self.rows[kind].append(rows)
        return Buffer(kind, len(self.rows[kind]) - 1)

    def _place_placeholders(self) -> None:
        captured, homes = self._captured, self._homes["forward"]
        homes[captured.inputs] = Buffer("inputs")
        homes[captured.output_gradient] = Buffer("output_gradient")
        for i, node in enumerate(captured.state):
            homes[node] = Buffer("state", i)
        for i, node in enumerate(captured.state_gradients):
            homes[node] = Buffer("state_gradient", i)
            if node in self._contracted:  # must still be there when the chunk is contracted
                homes[node] = self._new("recent", self._roles.view[node].size)

    def _place_results(self, phase: str, nodes: list[fx.Node], again: set[fx.Node]) -> None:
        homes, roles = self._homes[phase], self._roles
        ends = (
            self._captured.next_state if phase == "forward" else self._captured.previous_gradients
        )
        kind_of_end = "next_state" if phase == "forward" else "previous_gradient"
        members: dict[fx.Node, set[fx.Node]] = {}
        for node in nodes:
            root = self._inside[node][0] if node in self._inside and node not in again else node
            members.setdefault(root, {root}).add(node)
        for root, group in members.items():
            if root in self.virtual:
                continue
            if phase == "forward":
                lasting = "kept" if group & self._kept else "scratch"
            else:
                lasting = "recent" if group & self._contracted else "scratch"
            end = next(
                (
                    i
                    for i, node in enumerate(ends)
                    if node is not None
                    and roles.view[node].base is root
                    and roles.view[node].is_dense
                    and roles.view[node].size == roles.view[root].size
                ),
                None,
            )
            if end is not None and lasting != "recent" and root not in again:
                homes[root] = Buffer(kind_of_end, end)
            else:
                homes[root] = self._new(lasting, roles.view[root].size)
            for node in group - {root}:
                home = homes[root]
                homes[node] = Buffer(home.kind, home.number, self._inside[node][1])

    # ---- totals

    def _lay_out_totals(self) -> None:
        self.totals: dict[fx.Node, tuple[tuple[int, ...], int]] = {}
        offset = 0
        for node in [*self.sums, *self.products]:
            shape = shape_of(node)
            if node in self.sums:
                source = node.args[0]
                assert isinstance(source, fx.Node)
                shape = self._roles.features(source)
            self.totals[node] = (shape, offset)
            offset += View.of(node, shape).size
        self.total_size = offset
        self.summands: list[Summand] = []
        self.summed_rows = 0
        for node in self.sums:
            for part in self.parts(node.args[0]):
                self.summands.append(Summand(node, part, self.summed_rows))
                self.summed_rows += part.size


def parts_of(cat: fx.Node) -> list[fx.Node]:
    parts = cat.args[0]
    assert isinstance(parts, list | tuple)
    if not all(isinstance(part, fx.Node) for part in parts):
        raise Unsupported("`cat` of something that is not a tensor")
    return [part for part in parts if isinstance(part, fx.Node)]
