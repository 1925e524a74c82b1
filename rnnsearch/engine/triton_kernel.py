"""The captured step as a persistent Triton kernel: a layer over time for GPUs.

Triton is an optional dependency, imported when a layer is first run. Through Triton's interpreter
(`TRITON_INTERPRET=1` before Triton is first imported) the same source runs on a CPU, slowly. Not
yet run on a GPU: neither measured nor tested there.
"""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, fx
from torch.autograd.function import once_differentiable
from typing_extensions import override

from rnnsearch.engine.capture import Captured, Unsupported
from rnnsearch.engine.roles import Role, name_of, shape_of
from rnnsearch.engine.triton_source import TritonSource, header
from rnnsearch.engine.views import View

_TYPES = ("_to_copy", "to", "convert_element_type")


class TritonLayer:
    """A captured cell run over time on tensors, as an autograd function.

    Sums over samples are taken by the library on stored operands, not by atomic additions, so the
    same inputs give the same bits.

    Args:
        captured: the cell's step.
        tile: samples that one program runs through the sequence, a power of two.

    Attributes:
        captured: the cell's step.
        source: what was written for it.

    Raises:
        Unsupported: the step has an operator that the kernels lack, named.
    """

    def __init__(self, captured: Captured, *, tile: int = 16) -> None:
        self.captured = captured
        self.source = TritonSource(captured, tile)

    def __call__(
        self, inputs: Tensor, state: Sequence[Tensor], held: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run over a sequence, or over one for each of several members.

        Shapes:
            inputs: `(time, batch, input_size)`, or `(members, time, batch, input_size)`
            state: parts `(batch, n)`, or `(members, batch, n)`
            held: as the cell has them, or with the members first

        Args:
            inputs: sequences, float32 or float64.
            state: the state before the first step.
            held: the cell's parameters and buffers, in the order of `captured.names`; constants
                that the step computes from nothing may be left out.

        Returns:
            Outputs `([members,] time, batch, output_size)`, and the state after the last step.

        Raises:
            Unsupported: there is neither a GPU nor the interpreter, or the gradient of the inputs
                is wanted and was not captured.
        """
        if inputs.dim() == 3:
            outputs, last = self(
                inputs.unsqueeze(0), [p.unsqueeze(0) for p in state], [h.unsqueeze(0) for h in held]
            )
            return outputs.squeeze(0), tuple(part.squeeze(0) for part in last)
        if inputs.requires_grad and self.captured.input_gradient is None:
            raise Unsupported("the gradient of the inputs was not captured")
        outputs, *last = _Run.apply(  # type: ignore[no-untyped-call]
            self, len(state), inputs, *state, *held
        )
        return outputs, tuple(last)

    @cached_property
    def text(self) -> str:
        """The whole source, for what is there to run it."""
        kernels = (self.source.forward.text, self.source.backward.text)
        return header(interpreted=_is_interpreted()) + "\n\n".join(kernels)

    @cached_property
    def _module(self) -> dict[str, Any]:
        # Triton reads the source of a function back; it need not lie in a file.
        name = f"<triton {hashlib.sha256(self.text.encode()).hexdigest()[:16]}>"
        linecache.cache[name] = (len(self.text), None, self.text.splitlines(keepends=True), name)
        names: dict[str, Any] = {"__name__": name}
        exec(compile(self.text, name, "exec"), names)
        return names

    def launch(
        self, phase: str, tensors: Mapping[str, Tensor], shape: tuple[int, int, int]
    ) -> None:
        """Run a kernel on tensors by name, for `(members, steps, batch)`."""
        members, steps, batch = shape
        first = next(iter(tensors.values()))
        if not first.is_cuda and not _is_interpreted():
            raise Unsupported("Triton's kernels need a GPU, or its interpreter")
        kernel = self.source.forward if phase == "forward" else self.source.backward
        function = self._module[phase]
        grid = (-(-batch // self.source.tile), members)
        arguments = [tensors[name] for name in kernel.arguments]
        try:
            with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
                # One stage: to load the next step's weights ahead would take shared memory twice.
                function[grid](*arguments, steps, batch, num_stages=1)
        except import_module("triton.runtime.errors").OutOfResources as error:
            raise Unsupported(f"the step is too large for Triton: {error}") from error

    # ---- arithmetic on parameters alone, and on sums over samples and times

    def constants(self, held: Sequence[Tensor]) -> dict[str, Tensor]:
        """Buffers of the kernels' constants, with the members first."""
        wanted = self.source.constants

        def derive(held: list[Tensor]) -> dict[str, Tensor]:
            values = self._constants(held)
            return {name: values[node] for name, node in wanted.items()}

        return {name: v.contiguous() for name, v in torch.vmap(derive)(list(held)).items()}

    def gradients(
        self, held: Sequence[Tensor], operands: Mapping[fx.Node, Tensor]
    ) -> dict[str, Tensor]:
        """Gradients of the parameters, with the members first, by name.

        Args:
            held: parameters and buffers.
            operands: what the contractions read, `(members, times * samples, ...)`.
        """
        roles, wanted = self.source.roles, self.captured.parameter_gradients
        late = [
            node
            for node in self.captured.graph.nodes
            if node.op == "call_function" and roles.role[node] in (Role.TOTAL, Role.GRADIENT)
        ]

        def finish(held: list[Tensor], operands: dict[fx.Node, Tensor]) -> dict[str, Tensor]:
            values = {**self._constants(held), **operands}
            for node in late:
                values[node] = self._evaluate(node, values, held[0])
            return {
                name: self._evaluate(node, values, held[0])
                if node in roles.literal
                else values[node]
                for name, node in wanted.items()
            }

        both = torch.vmap(
            lambda held, values: finish(held, dict(zip(operands, values, strict=True)))
        )(list(held), list(operands.values()))
        return dict(both)

    def _constants(self, held: Sequence[Tensor]) -> dict[fx.Node, Tensor]:
        roles, values = self.source.roles, dict(zip(self.captured.parameters, held, strict=True))
        for node in self.captured.graph.nodes:
            if node.op == "call_function" and roles.role[node] is Role.CONSTANT:
                values[node] = self._evaluate(node, values, held[0])
        return values

    def _evaluate(self, node: fx.Node, values: Mapping[fx.Node, Any], like: Tensor) -> Any:
        """Run one operator of the graph, in the dtype and on the device of the parameters."""
        if node in self.source.roles.literal:
            return like.new_full(shape_of(node), self.source.roles.literal[node])
        given: Any = fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
        args, kwargs = given
        if name_of(node) in ("view", "_unsafe_view"):
            return args[0].reshape(args[1])
        if name_of(node) in _TYPES:
            return args[0].to(like.dtype)
        return node.target(*args, **kwargs)  # type: ignore[operator]


class _Run(torch.autograd.Function):
    @staticmethod
    @override
    def forward(
        ctx: Any, layer: TritonLayer, parts: int, inputs: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        given, source, captured = inputs.detach().contiguous(), layer.source, layer.captured
        members, steps, batch, _ = given.shape
        held = [value.detach().to(given.dtype) for value in rest[parts:]]
        for name in captured.names[len(held) :]:
            value = captured.folded[name].to(given.device, given.dtype)
            held.append(value.expand(members, *value.shape))
        roles = source.roles
        tensors = {"inputs": given, **layer.constants(held)}
        for i, part in enumerate(rest[:parts]):
            memory = given.new_empty(members, steps + 1, batch, part.shape[-1])
            memory[:, 0] = part.detach()
            tensors[f"state_{i}"] = memory
        width = roles.view[captured.output_gradient].size
        tensors["outputs"] = given.new_empty(members, steps, batch, width)
        for name, width in source.kept.items():
            tensors[name] = given.new_empty(members, steps, batch, width)
        layer.launch("forward", tensors, (members, steps, batch))
        ctx.layer, ctx.parts, ctx.held = layer, parts, held
        outputs = tensors.pop("outputs")
        ctx.tensors = tensors
        ctx.save_for_backward(inputs, *rest)  # so that a change in between is noticed
        ctx.set_materialize_grads(True)
        return (outputs, *(tensors[f"state_{i}"][:, -1].clone() for i in range(parts)))

    @staticmethod
    @once_differentiable
    @override
    def backward(ctx: Any, of_outputs: Tensor, *of_last: Tensor) -> tuple[Tensor | None, ...]:
        layer, parts, held = ctx.layer, ctx.parts, ctx.held
        source, captured = layer.source, layer.captured
        rest = ctx.saved_tensors[1:]
        tensors: dict[str, Tensor] = {"of_outputs": of_outputs.contiguous(), **ctx.tensors}
        members, steps, batch, _ = tensors["inputs"].shape
        for i, gradient in enumerate(of_last):
            tensors[f"of_last_{i}"] = gradient.contiguous()
            tensors[f"of_state_{i}"] = torch.empty_like(tensors[f"of_last_{i}"])
        if captured.input_gradient is not None:
            tensors["of_inputs"] = torch.empty_like(tensors["inputs"])
        for name, width in source.stored.items():
            tensors[name] = of_outputs.new_empty(members, steps, batch, width)
        layer.launch("backward", tensors, (members, steps, batch))
        gradients = layer.gradients(held, _operands(layer, tensors))
        of_held = [
            gradients[name].reshape(value.shape) if name in gradients else None
            for name, value in zip(captured.names, rest[parts:], strict=False)
        ]
        of_inputs = tensors["of_inputs"] if ctx.needs_input_grad[2] else None
        return (None, None, of_inputs, *(tensors[f"of_state_{i}"] for i in range(parts)), *of_held)


def _operands(layer: TritonLayer, tensors: Mapping[str, Tensor]) -> dict[fx.Node, Tensor]:
    """What the contractions read: all times and samples of a member as one axis of samples."""
    source, found = layer.source, dict[fx.Node, Tensor]()
    like = tensors["of_outputs"]
    members, steps, batch, _ = like.shape
    for reader in source.contracted:
        for node in reader.all_input_nodes:
            is_turned = source.roles.role[node] is Role.TURNED
            shape = shape_of(node)[:-1] if is_turned else shape_of(node)[1:]
            columns: list[Tensor] = []
            value = source.values_of(node)
            size = value.size if isinstance(value, View) else 1
            for n, part in source.stretches(value, size):
                if not isinstance(part, View):
                    memory, chosen = like.new_full((members, 1, 1, 1), part), slice(None)
                else:
                    step = part.strides[0]
                    end = part.offset + (part.size * step if step else 1)
                    chosen = slice(part.offset, end, step or 1)
                    if source.is_constant(part):
                        memory = tensors[source.constant(part.base)].flatten(1)[:, None, None]
                    else:
                        name, _, is_next = source.place(part.base)
                        memory = tensors[name][:, int(is_next) :][:, :steps]
                columns.append(memory[..., chosen].expand(members, steps, batch, n))
            whole = torch.cat(columns, dim=-1) if len(columns) > 1 else columns[0]
            whole = whole.expand(members, steps, batch, *(shape or (1,)))
            whole = whole.reshape(members, steps * batch, *shape)
            found[node] = whole.mT if is_turned else whole
    return found


def _is_interpreted() -> bool:
    try:
        triton = import_module("triton")
    except ImportError as error:
        raise Unsupported("Triton is not installed") from error
    return bool(triton.knobs.runtime.interpret)
