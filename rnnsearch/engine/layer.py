"""The drop-in form: a compiled step over time as an ordinary autograd function.

Any head, loss, wrapper or optimizer works around it as around the eager loop.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.cpp_compiler import load_native
from rnnsearch.engine.step import CompiledStep

_LARGEST_POOL = 8
_FLOAT = 4  # bytes


# Where a parameter or a buffer lies: in which tensor, and from which of its numbers on.
Place: TypeAlias = tuple[int, int]


def _pointers(tensors: Sequence[Tensor]) -> Any:
    return _array([t.data_ptr() for t in tensors])


def _array(addresses: Sequence[int | None]) -> Any:
    return (ctypes.c_void_p * max(1, len(addresses)))(*addresses)


def _placed(tensors: Sequence[Tensor | None], places: Sequence[Place]) -> Any:
    """Addresses of what the step reads, or of the sums of its gradients."""
    starts = [None if t is None else t.data_ptr() for t in tensors]
    found = ((starts[i], _FLOAT * first) for i, first in places)
    return _array([None if start is None else start + moved for start, moved in found])


class CompiledLayer:
    """A compiled cell run over time on tensors.

    Args:
        step: the cell's compiled step.
    """

    def __init__(self, step: CompiledStep) -> None:
        self.step = step
        self.trained = [name in step.tables.trained for name in step.tables.names]
        self._native = load_native("layer")
        self._native.rnn_layer_new.restype = ctypes.c_void_p
        self._idle: list[tuple[tuple[int, int], Any]] = []
        self._lock = threading.Lock()

    def __call__(
        self,
        inputs: Tensor,
        state: Sequence[Tensor],
        held: Sequence[Tensor],
        places: Sequence[Place] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run over a sequence.

        Args:
            inputs: `(time, batch, input_size)`.
            state: parts `(batch, ...)` of the state before the first step.
            held: the cell's parameters and buffers.
            places: where in `held` each of `step.tables.names` lies; each in a tensor of its own
                where that is left out. Constants that the step computes from nothing have none.

        Returns:
            Outputs `(time, batch, output_size)`, and the state after the last step.

        Raises:
            Unsupported: one of them is not in float32.
            ValueError: one of them has another size than the compiled step reads.
        """
        self._check_fits(inputs, state, held, places)
        own = [(i, 0) for i in range(len(held))] if places is None else list(places)
        folded = self.step.folded.values()
        own += [(i, 0) for i in range(len(held), len(held) + len(folded))]
        outputs, *last = _Run.apply(self, own, len(state), inputs, *state, *held, *folded)  # type: ignore[no-untyped-call]
        return outputs, tuple(last)

    def _check_fits(
        self,
        inputs: Tensor,
        state: Sequence[Tensor],
        held: Sequence[Tensor],
        places: Sequence[Place] | None,
    ) -> None:
        """Machine code reads as far as its sizes say, whatever it is given."""
        tables = self.step.tables
        if inputs.dim() != 3 or not inputs.numel() or inputs.shape[2] != tables.input_size:
            expected = f"(time, batch, {tables.input_size})"
            raise ValueError(f"inputs are of shape {tuple(inputs.shape)}, not {expected}")
        batch = inputs.shape[1]
        sizes = [part.numel() if part.shape[:1] == (batch,) else -1 for part in state]
        if sizes != [batch * rows for rows in tables.state_sizes]:
            shapes = [tuple(part.shape) for part in state]
            raise ValueError(f"the state has parts of shape {shapes}, for {batch} samples")
        read = len(tables.names) - len(self.step.folded)
        if len(held if places is None else places) != read:
            raise ValueError(f"the step reads {read} parameters and buffers, not {len(held)}")
        for tensor in (inputs, *state, *held):
            if tensor.device.type != "cpu":
                raise ValueError(f"compiled layers run on the CPU, not on {tensor.device}")

    def take(self, shape: tuple[int, int]) -> Any:
        """Memory for sequences of `(steps, batch)`, from the pool if there is some."""
        with self._lock:
            for i, (have, handle) in enumerate(self._idle):
                if have == shape:
                    del self._idle[i]
                    return handle
        steps, batch = (ctypes.c_long(n) for n in shape)
        handle = self._native.rnn_layer_new(ctypes.byref(self.step.spec), steps, batch)
        if not handle:
            raise MemoryError(f"no memory for {shape[0]} steps of {shape[1]} samples")
        return ctypes.c_void_p(handle)

    def give_back(self, shape: tuple[int, int], handle: Any) -> None:
        """Put memory into the pool; the oldest leaves it when it is full."""
        with self._lock:
            self._idle.append((shape, handle))
            oldest = self._idle.pop(0)[1] if len(self._idle) > _LARGEST_POOL else None
        if oldest is not None:
            self._native.rnn_layer_free(oldest)

    def __del__(self) -> None:
        for _, handle in getattr(self, "_idle", ()):
            self._native.rnn_layer_free(handle)

    @override
    def __getstate__(self) -> dict[str, Any]:
        return {"step": self.step}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["step"])  # type: ignore[misc]


class _Memory:
    """Memory of one forward pass, back in the pool when nobody can ask for its backward pass."""

    def __init__(self, layer: CompiledLayer, shape: tuple[int, int]) -> None:
        self.layer, self.shape = layer, shape
        self.handle = layer.take(shape)

    def __del__(self) -> None:
        if getattr(self, "handle", None) is not None:
            self.layer.give_back(self.shape, self.handle)


class _Run(torch.autograd.Function):
    @staticmethod
    @override
    def forward(
        ctx: Any,
        layer: CompiledLayer,
        places: Sequence[Place],
        parts: int,
        inputs: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        if any(t.dtype != torch.float32 for t in (inputs, *rest)):
            raise Unsupported("compiled layers take float32 alone")
        state = [part.contiguous() for part in rest[:parts]]
        held = [value.contiguous() for value in rest[parts:]]
        given = inputs.contiguous()
        steps, batch, _ = given.shape
        memory = _Memory(layer, (steps, batch))
        outputs = given.new_empty(steps, batch, layer.step.tables.output_size)
        last = [torch.empty_like(part) for part in state]
        layer._native.rnn_layer_forward(
            memory.handle,
            _placed(held, places),
            ctypes.c_void_p(given.data_ptr()),
            _pointers(state),
            ctypes.c_void_p(outputs.data_ptr()),
            _pointers(last),
        )
        ctx.memory, ctx.places, ctx.state, ctx.shape = memory, places, state, given.shape
        # Saved as autograd wants it, so that a weight changed in place is noticed.
        ctx.save_for_backward(*rest[parts:])
        ctx.set_materialize_grads(True)
        return (outputs, *last)

    @staticmethod
    @once_differentiable
    @override
    def backward(ctx: Any, of_outputs: Tensor, *of_last: Tensor) -> tuple[Tensor | None, ...]:
        memory, layer, places = ctx.memory, ctx.memory.layer, ctx.places
        held = [value.contiguous() for value in ctx.saved_tensors]
        trained = {i for (i, _), wanted in zip(places, layer.trained, strict=True) if wanted}
        of_held = [torch.zeros_like(v) if i in trained else None for i, v in enumerate(held)]
        of_inputs = of_outputs.new_empty(ctx.shape) if ctx.needs_input_grad[3] else None
        of_state = [torch.empty_like(part) for part in ctx.state]
        given = [of_outputs.contiguous(), *(gradient.contiguous() for gradient in of_last)]
        layer._native.rnn_layer_backward(
            memory.handle,
            _placed(held, places),
            ctypes.c_void_p(given[0].data_ptr()),
            _pointers(given[1:]),
            _placed(of_held, places),
            ctypes.c_void_p(of_inputs.data_ptr() if of_inputs is not None else None),
            _pointers(of_state),
        )
        return (None, None, None, of_inputs, *of_state, *of_held)
