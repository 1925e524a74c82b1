"""Capture: one step of a cell, and the backward pass of that step, as one graph of operators.

The step is run once on random numbers while torch writes down every operator it calls; nothing of
the cell's source is read. The vector-Jacobian product is taken by `torch.func.vjp` in the same run,
so the graph holds forward and backward together:

    (parameters, inputs, state, gradients of output and state)
        -> (output, next state, gradients of parameters, inputs and state)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map
from typing_extensions import override

from rnnsearch.engine.decompositions import SAMPLES, PlainEinsum, decompositions


class HearComplex(TorchFunctionMode):
    """Hears whether anything computed within it is complex."""

    is_complex = False

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.is_complex |= isinstance(result, Tensor) and result.is_complex()
        return result


class Unsupported(Exception):
    """A step that cannot be compiled; the message says what stands in the way."""


_IN_REALS = "machine code takes real numbers; written with pairs of reals it can be compiled"


@dataclass(frozen=True)
class Captured:
    """The graph of a step and of its backward pass, and what its ends mean.

    Attributes:
        graph: operators in order.
        names: the parameters and buffers that the step reads, as the module names them, and then
            the constants that it computes from nothing.
        folded: those constants, by name.
        parameters: their placeholders, in the order of `names`.
        inputs: placeholder of the inputs `(samples, input_size)`.
        state: placeholders of the state.
        output_gradient: placeholder of the output's gradient.
        state_gradients: placeholders of the next state's gradients.
        output: node of the output.
        next_state: nodes of the next state.
        parameter_gradients: node of each trained parameter's gradient, by name.
        input_gradient: node of the inputs' gradient, or None if it is not wanted.
        previous_gradients: nodes of the state's gradients.
    """

    graph: fx.Graph
    names: tuple[str, ...]
    folded: Mapping[str, Tensor]
    parameters: tuple[fx.Node, ...]
    inputs: fx.Node
    state: tuple[fx.Node, ...]
    output_gradient: fx.Node
    state_gradients: tuple[fx.Node, ...]
    output: fx.Node
    next_state: tuple[fx.Node, ...]
    parameter_gradients: Mapping[str, fx.Node]
    input_gradient: fx.Node | None
    previous_gradients: tuple[fx.Node, ...]


class Step(nn.Module):
    """A module of one step, `(inputs, state) -> (output, next state)`, with the state spread out.

    Args:
        module: a cell, or a head, which has no state.
        has_state: whether the module takes and returns a state.
    """

    def __init__(self, module: nn.Module, *, has_state: bool) -> None:
        super().__init__()
        self.module, self.has_state = module, has_state

    @override
    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        if not self.has_state:
            return (self.module(inputs),)
        output, next_state = self.module(inputs, state)
        parts: tuple[Tensor, ...] = (output, *next_state)
        return parts


def state_shapes(state: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    """Shape of each part of a state without its sample axis.

    Raises:
        Unsupported: machine code has no numbers of its kind; says what to do.
    """
    for number, part in enumerate(state, 1):
        if part.is_complex():
            raise Unsupported(f"part {number} of the state is complex: {_IN_REALS}")
        if not part.is_floating_point():
            kind = str(part.dtype).removeprefix("torch.")
            raise Unsupported(
                f"part {number} of the state is {kind}: machine code takes float32, which holds "
                f"whole numbers to 16,777,216"
            )
    return tuple(tuple(part.shape[1:]) for part in state)


def capture(
    module: nn.Module,
    input_size: int,
    state_shapes: tuple[tuple[int, ...], ...] | None,
    *,
    input_gradient: bool = False,
) -> Captured:
    """Write down one step of a module and its backward pass.

    Args:
        module: a cell, or a head.
        input_size: features of the inputs.
        state_shapes: shape of each part of the state without its sample axis; None for a head.
        input_gradient: whether the gradient of the inputs is wanted.

    Raises:
        Unsupported: the step depends on the value of a tensor, or torch cannot follow it.
    """
    step = Step(module, has_state=state_shapes is not None)
    held: dict[str, Tensor] = dict(step.named_parameters())
    trained = [name for name, value in held.items() if value.requires_grad]
    held.update({name: value for name, value in step.named_buffers()})
    for name, value in held.items():
        if value.dtype != torch.float32:
            raise Unsupported(f"`{name.removeprefix('module.')}` is {value.dtype}, not float32")
    values = {name: value.detach() for name, value in held.items()}
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(SAMPLES, *shape, generator=generator)

    inputs = drawn(input_size)
    state = [drawn(*shape) for shape in state_shapes or ()]
    with torch.no_grad():
        shapes = [tuple(value.shape[1:]) for value in step(inputs, *state)]
    gradients = [drawn(*shape) for shape in shapes]

    def joint(held: dict[str, Tensor], x: Tensor, s: list[Tensor], g: list[Tensor]) -> Any:
        def run(trained_values: list[Tensor], x: Tensor, s: list[Tensor]) -> tuple[Tensor, ...]:
            given = {**held, **dict(zip(trained, trained_values, strict=True))}
            outputs: tuple[Tensor, ...] = torch.func.functional_call(step, given, (x, *s))
            return outputs

        primals = ([held[name] for name in trained], x, s)
        outputs, pull_back = torch.func.vjp(run, *primals)[:2]
        return list(outputs), pull_back(tuple(g))

    # Fake tensors have shapes and no numbers: quicker by a third.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    given = tree_map(fake.from_tensor, (values, inputs, state, gradients))
    seen = HearComplex()
    try:
        with fake, PlainEinsum(), seen:
            traced = make_fx(
                torch.func.functionalize(joint, remove="mutations"),
                decomposition_table=decompositions(),
            )(*given)
    except DataDependentOutputException as error:
        raise Unsupported("the step depends on the value of a tensor") from error
    except Exception as error:
        if seen.is_complex:
            raise Unsupported(f"the step computes with complex numbers: {_IN_REALS}") from error
        first_line = str(error).strip().split("\n")[0]
        raise Unsupported(f"torch cannot follow the step: {first_line}") from error
    if seen.is_complex:
        raise Unsupported(f"the step computes with complex numbers: {_IN_REALS}")
    graph = traced.graph
    _merge_equal_nodes(graph)
    ends: list[Any] = []
    _flatten(next(n for n in graph.nodes if n.op == "output").args[0], ends)
    places = [node for node in graph.nodes if node.op == "placeholder"]
    names, parts = tuple(values), len(state)
    after = len(names) + 1 + parts
    outputs, of_parameters = ends[: 1 + parts], ends[1 + parts : 1 + parts + len(trained)]
    of_inputs, *of_state = ends[1 + parts + len(trained) :]
    # Only what is wanted keeps its operators.
    output_node = next(node for node in graph.nodes if node.op == "output")
    of_inputs = of_inputs if input_gradient else None
    output_node.args = ((*outputs, *of_parameters, of_inputs, *of_state),)
    graph.eliminate_dead_code()
    folded = _fold(traced, graph)
    return Captured(
        graph=graph,
        names=(*(name.removeprefix("module.") for name in names), *(n.name for n in folded)),
        folded={node.name: value for node, value in folded.items()},
        parameters=(*places[: len(names)], *folded),
        inputs=places[len(names)],
        state=tuple(places[len(names) + 1 : after]),
        output_gradient=places[after],
        state_gradients=tuple(places[after + 1 :]),
        output=outputs[0],
        next_state=tuple(outputs[1:]),
        parameter_gradients={
            name.removeprefix("module."): node
            for name, node in zip(trained, of_parameters, strict=True)
        },
        input_gradient=of_inputs,
        previous_gradients=tuple(of_state),
    )


# Nodes that are one number throughout.
FILLS = ("full", "full_like", "zeros_like", "ones_like", "scalar_tensor", "zeros", "ones")


def _fold(traced: fx.GraphModule, graph: fx.Graph) -> dict[fx.Node, Tensor]:
    """Compute now what depends on nothing (a mask of a triangle): it becomes a placeholder."""
    free: dict[fx.Node, Any] = {}
    folded: dict[fx.Node, Tensor] = {}
    for node in list(graph.nodes):
        constant = node.op == "get_attr" or (
            node.op == "call_function" and all(n in free for n in node.all_input_nodes)
        )
        if not constant or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            continue
        if node.op == "get_attr":
            free[node] = getattr(traced, str(node.target))
        else:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: free[n])
            free[node] = node.target(*args, **kwargs)
    for node, value in free.items():
        uses = [user for user in node.users if user not in free]
        name = getattr(node.target, "__name__", "").split(".")[0]
        if not uses or name in FILLS or not isinstance(value, Tensor):
            continue
        with graph.inserting_before(node):
            place = graph.placeholder(f"folded_{len(folded)}")
        place.meta["val"] = value.detach().float().contiguous()
        node.replace_all_uses_with(place, delete_user_cb=lambda user: user not in free)
        folded[place] = place.meta["val"]
    graph.eliminate_dead_code()
    return folded


def _flatten(tree: Any, into: list[Any]) -> None:
    if isinstance(tree, list | tuple):
        for branch in tree:
            _flatten(branch, into)
    else:
        into.append(tree)


def _merge_equal_nodes(graph: fx.Graph) -> None:
    """Let nodes that compute the same be one node."""
    seen: dict[tuple[Any, str, str], fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        key = (node.target, str(node.args), str(node.kwargs))
        if key in seen:
            node.replace_all_uses_with(seen[key])
            graph.erase_node(node)
        else:
            seen[key] = node
