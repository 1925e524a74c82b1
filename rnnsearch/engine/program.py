"""Whole training steps in machine code: layers, head, loss, clipping and optimizer in one call.

A `Plan` says what a model consists of; a `Program` has the memory to run it; a `Member` is one run
of it: parameters, optimizer state, learning rate. Members share only the program's memory,
one after the other, so a seed trains bit for bit the same alone and among others, and one that
leaves does not touch the rest.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.cpp_compiler import load_native
from rnnsearch.engine.step import CompiledStep, StepSpec, longs
from rnnsearch.spec.trial import OPTIMIZERS

StageKind: TypeAlias = Literal["step", "reverse", "last", "first", "flatten"]
_STAGES: tuple[StageKind, ...] = ("step", "reverse", "last", "first", "flatten")
LOSSES = ("cross_entropy", "mean_squared_error", "binary_cross_entropy")
SCORES = ("accuracy", "mean_squared_error", "loss")
_ELEMENTS = {
    torch.float32: 0,
    torch.uint8: 1,
    torch.int8: 2,
    torch.int16: 3,
    torch.float64: 4,
}
LEFT_OUT = -100  # class targets that torch's cross-entropy leaves out


class Buffer(NamedTuple):
    """Rows that stages hand to each other: at every step of the sequences, or once."""

    rows: int
    once: bool = False


@dataclass(frozen=True)
class Stage:
    """What happens between two buffers.

    Attributes:
        kind: `step` runs a compiled step over time; `reverse` turns each sequence around within
            its length; `last` and `first` pick a time step; `flatten` lays all steps side by side.
        input: number of the buffer it reads.
        output: number of the buffer it writes.
        input_row: first row it reads.
        output_row: first row it writes.
        rows: how many rows it moves.
        step: the compiled step.
        start: the compiled initial state, or None for zeros.
        names: the step's parameters, as the model names them.
        start_names: the initial state's parameters, as the model names them.
        folded: constants of both that are not the model's, by name.
    """

    kind: StageKind
    input: int
    output: int
    input_row: int = 0
    output_row: int = 0
    rows: int = 0
    step: CompiledStep | None = None
    start: CompiledStep | None = None
    names: tuple[str, ...] = ()
    start_names: tuple[str, ...] = ()
    folded: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a model consists of: it pickles.

    Attributes:
        lanes: samples in a block.
        steps: steps of the longest sequence.
        buffers: the first takes the samples, the last gives the outputs.
        stages: in order.
        loss: one of `LOSSES`.
        score: one of `SCORES`.
        shapes: of the model's parameters and buffers, by name.
    """

    lanes: int
    steps: int
    buffers: tuple[Buffer, ...]
    stages: tuple[Stage, ...]
    loss: str
    score: str
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def steps_compiled(self) -> list[CompiledStep]:
        """Everything in machine code that it needs."""
        both = [step for stage in self.stages for step in (stage.step, stage.start)]
        return [step for step in both if step is not None]


class _BufferSpec(ctypes.Structure):
    _fields_ = [("rows", ctypes.c_long), ("steps", ctypes.c_long)]


class _StageSpec(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_long)
            for name in ("kind", "input", "output", "input_row", "output_row", "rows")
        ),
        ("step", ctypes.POINTER(StepSpec)),
        ("start", ctypes.POINTER(StepSpec)),
        ("parameters", ctypes.POINTER(ctypes.c_long)),
        ("start_parameters", ctypes.POINTER(ctypes.c_long)),
    ]


class _ProgramSpec(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_long) for name in ("lanes", "steps", "buffers", "stages")),
        ("buffer", ctypes.POINTER(_BufferSpec)),
        ("stage", ctypes.POINTER(_StageSpec)),
        ("loss", ctypes.c_long),
        ("score", ctypes.c_long),
    ]


class _Data(ctypes.Structure):
    _fields_ = [
        ("inputs", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("element", "steps", "features")),
        ("classes", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("width", ctypes.c_long),
        ("lengths", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
    ]


class _Optimizer(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_long),
        *((name, ctypes.c_double) for name in ("rate", "decay", "clip")),
        ("updates", ctypes.c_long),
        ("first", ctypes.c_void_p),
        ("second", ctypes.c_void_p),
    ]


class _Member(ctypes.Structure):
    _fields_ = [
        ("flat", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("count", ctypes.c_long),
        ("parameters", ctypes.POINTER(ctypes.c_void_p)),
        ("gradients", ctypes.POINTER(ctypes.c_void_p)),
        ("optimizer", _Optimizer),
    ]


class Measured(ctypes.Structure):
    """Sums over the samples, as they weigh, of loss and score; over updates of gradients' norms."""

    _fields_ = [("loss", ctypes.c_double), ("score", ctypes.c_double), ("norm", ctypes.c_double)]
    loss: float
    score: float
    norm: float


class Data:
    """A split of a data set, resident in memory; nothing is copied per batch.

    Machine code reads where these say, so nothing of them is taken on trust.

    Args:
        inputs: `(samples, time, features)`.
        targets: classes `(samples, ...)` as integers, or floats.
        lengths: `(samples,)` integers, or None.
        outputs: outputs of the model per sample and step; bounds the classes.
        loss: the compiled loss, one of `LOSSES`.
        weights: `(samples,)` what each sample weighs in a mean over batches; None for all alike.

    Raises:
        Unsupported: of another kind than the compiled loss takes.
        ValueError: these do not go together.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        lengths: Tensor | None,
        outputs: int,
        loss: str = "cross_entropy",
        weights: Tensor | None = None,
    ) -> None:
        if inputs.dtype not in _ELEMENTS:
            raise Unsupported(f"inputs are {inputs.dtype}")
        if inputs.dim() != 3 or not inputs.numel():
            raise ValueError(f"inputs are of shape {tuple(inputs.shape)}, not of three axes")
        samples, steps, features = inputs.shape
        for name, tensor in (("targets", targets), ("lengths", lengths), ("weights", weights)):
            if tensor is not None and (not tensor.dim() or len(tensor) != samples):
                raise ValueError(f"{name} are of shape {tuple(tensor.shape)} for {samples} samples")
        if any(t is not None and t.device.type != "cpu" for t in (inputs, targets, lengths)):
            raise Unsupported("the data are on a GPU")
        self.inputs, self.lengths = inputs.detach().contiguous(), lengths
        if lengths is not None:
            if lengths.dim() != 1 or lengths.is_floating_point():
                raise ValueError(f"lengths are {lengths.dtype} of shape {tuple(lengths.shape)}")
            self.lengths = lengths.long().contiguous()
            if int(lengths.min()) < 1:
                raise Unsupported("a sequence has no steps")
            if int(lengths.max()) > steps:
                raise Unsupported(f"a sequence of {int(lengths.max())} steps is cut at {steps}")
        classes = values = None
        each = 1 if loss == "cross_entropy" else outputs
        width = targets[0].numel()
        if targets.is_floating_point() == (loss == "cross_entropy"):
            raise Unsupported(f"targets are {targets.dtype}, which `{loss}` does not take")
        if width not in (each, each * steps):
            raise Unsupported(f"a sample has {width} targets, not {each} or as many per step")
        if targets.is_floating_point():
            self.targets = targets.float().contiguous()
            values = self.targets.data_ptr()
        else:
            self.targets = targets.long().contiguous()
            counted = self.targets[self.targets != LEFT_OUT]
            if len(counted) and not 0 <= int(counted.min()) <= int(counted.max()) < outputs:
                raise Unsupported(f"class targets are not all from 0 to {outputs - 1}")
            classes = self.targets.data_ptr()
        self.weights = None if weights is None else weights.double().contiguous()
        self.outputs, self.loss, self.width, self.each = outputs, loss, width, each
        self.native = _Data(
            self.inputs.data_ptr(),
            _ELEMENTS[inputs.dtype],
            steps,
            features,
            classes,
            values,
            width,
            None if self.lengths is None else self.lengths.data_ptr(),
            None if self.weights is None else self.weights.data_ptr(),
        )


class Member:
    """One run of a program: a model's parameters, laid flat, and its optimizer.

    The model's own parameters become views of the flat ones, so the model is always up to date.

    Args:
        model: the model.
        plan: what it consists of.
        optimizer: `adam`, `adamw`, `sgd` or `rmsprop`.
        learning_rate: step size.
        weight_decay: the optimizer's weight decay.
        gradient_clip: largest norm of the gradient; 0 for none.

    Raises:
        ValueError: the model is not the one that was planned, or is in another precision.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        optimizer: str,
        learning_rate: float,
        weight_decay: float = 0.0,
        gradient_clip: float = 0.0,
    ) -> None:
        held: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for stage in plan.stages:
            held.update(stage.folded)
        for name, shape in plan.shapes.items():
            if name not in held or tuple(held[name].shape) != shape:
                raise ValueError(f"the model has no `{name}` of shape {shape}, as planned")
        for stage in plan.stages:
            for name in (*stage.names, *stage.start_names):
                if held[name].dtype != torch.float32 or held[name].device.type != "cpu":
                    raise ValueError(f"`{name}` is {held[name].dtype} on {held[name].device}")
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        count = sum(held[name].numel() for name in trained)
        self.flat, self.gradient = torch.zeros(count), torch.zeros(count)
        self.first, self.second = torch.zeros(count), torch.zeros(count)
        self.names = tuple(held)
        gradients: dict[str, int] = {}
        offset = 0
        for name in trained:
            parameter = held[name]
            span = slice(offset, offset + parameter.numel())
            self.flat[span] = parameter.detach().reshape(-1)
            parameter.data = self.flat[span].view(parameter.shape)
            gradients[name] = self.gradient[span].data_ptr()
            offset = span.stop
        for name, value in held.items():
            if name not in gradients:
                value.data = value.data.contiguous()
        # Aliases, so that what machine code reads stays where it is whatever becomes of the model.
        self._held = [value.data for value in held.values()]
        self.native = _Member(
            self.flat.data_ptr(),
            self.gradient.data_ptr(),
            count,
            (ctypes.c_void_p * len(held))(*(value.data_ptr() for value in held.values())),
            (ctypes.c_void_p * len(held))(*(gradients.get(name) for name in held)),
            _Optimizer(
                OPTIMIZERS.index(optimizer),
                learning_rate,
                weight_decay,
                gradient_clip,
                0,
                self.first.data_ptr(),
                self.second.data_ptr(),
            ),
        )

    def check(self, names: Sequence[str]) -> None:
        """Whether a program that reads parameters of these names can read these.

        Raises:
            ValueError: it cannot; says why.
        """
        if self.names != tuple(names):
            raise ValueError("the program was made for a model with other parameters")

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state; the parameters are the model's own."""
        return {
            "updates": int(self.native.optimizer.updates),
            "first": self.first.clone(),
            "second": self.second.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.native.optimizer.updates = state["updates"]
        self.first.copy_(state["first"])
        self.second.copy_(state["second"])


class Program:
    """Memory and machine code to run a plan.

    Args:
        plan: what the model consists of.
        names: all parameters and buffers of the model, as `Member.names`.
    """

    def __init__(self, plan: Plan, names: Sequence[str]) -> None:
        self.plan, self._names = plan, tuple(names)
        self._native = load_native("training")
        self._native.rnn_program_new.restype = ctypes.c_void_p
        place = {name: i for i, name in enumerate(names)}
        stages = (_StageSpec * len(plan.stages))()
        for spec, stage in zip(stages, plan.stages, strict=True):
            spec.kind = _STAGES.index(stage.kind)
            spec.input, spec.output = stage.input, stage.output
            spec.input_row, spec.output_row, spec.rows = (
                stage.input_row,
                stage.output_row,
                stage.rows,
            )
            if stage.step is not None:
                spec.step = ctypes.pointer(stage.step.spec)
                spec.parameters = longs([place[name] for name in stage.names])
            if stage.start is not None:
                spec.start = ctypes.pointer(stage.start.spec)
                spec.start_parameters = longs([place[name] for name in stage.start_names])
        buffers = (_BufferSpec * len(plan.buffers))(
            *(_BufferSpec(buffer.rows, int(buffer.once)) for buffer in plan.buffers)
        )
        self._spec = _ProgramSpec(
            plan.lanes,
            plan.steps,
            len(buffers),
            len(stages),
            buffers,
            stages,
            LOSSES.index(plan.loss),
            SCORES.index(plan.score),
        )
        handle = self._native.rnn_program_new(ctypes.byref(self._spec))
        if not handle:
            raise MemoryError("no memory for the program")
        self._handle = ctypes.c_void_p(handle)

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._native.rnn_program_free(self._handle)

    def run(
        self,
        member: Member,
        data: Data,
        order: Tensor,
        batch_size: int,
        *,
        train: bool,
        sums: Measured | None = None,
    ) -> Measured:
        """Train on consecutive batches of samples, or measure without training.

        Args:
            member: whose parameters.
            data: the split.
            order: `(samples,)` indices as int64, in the order in which they are used.
            batch_size: samples per update; the last batch may be smaller.
            train: whether to update the parameters.
            sums: what to add to, batch by batch, so that sums do not depend on where an epoch was
                cut into calls; zeros if None.

        Raises:
            ValueError: the program cannot read one of them; says which and why.
        """
        measured = Measured() if sums is None else sums
        order = self._checked(member, data, order)
        if batch_size < 1:
            raise ValueError(f"a batch has at least one sample, not {batch_size}")
        self._native.rnn_program_run(
            self._handle,
            ctypes.byref(data.native),
            ctypes.c_void_p(order.data_ptr()),
            ctypes.c_long(len(order)),
            ctypes.c_long(batch_size),
            ctypes.byref(member.native),
            ctypes.c_long(int(train)),
            ctypes.byref(measured),
        )
        return measured

    def gradient(self, member: Member, data: Data, order: Tensor) -> tuple[Tensor, float]:
        """Gradient of the mean loss over one batch, flat, and that loss; raises as `run`.

        Nothing is updated.
        """
        measured = Measured()
        order = self._checked(member, data, order)
        self._native.rnn_program_gradient(
            self._handle,
            ctypes.byref(data.native),
            ctypes.c_void_p(order.data_ptr()),
            ctypes.c_long(len(order)),
            ctypes.byref(member.native),
            ctypes.byref(measured),
        )
        weights = data.weights
        total = max(1, len(order)) if weights is None else float(weights[order].sum())
        return member.gradient.clone(), measured.loss / total

    def _checked(self, member: Member, data: Data, order: Tensor) -> Tensor:
        """The order as machine code reads it, once all that it will read has been looked at."""
        member.check(self._names)
        self._check_fits(data)
        if order.dtype != torch.int64 or order.dim() != 1:
            raise ValueError(f"the order is {order.dtype} of shape {tuple(order.shape)}")
        samples = len(data.inputs)
        if len(order) and not 0 <= int(order.min()) <= int(order.max()) < samples:
            raise ValueError(f"the order has samples that are not among {samples}")
        return order.contiguous()

    def _check_fits(self, data: Data) -> None:
        first, last = self.plan.buffers[0], self.plan.buffers[-1]
        features = data.inputs.shape[2]
        if features != first.rows:
            raise ValueError(
                f"the program reads {first.rows} features, and the data have {features}"
            )
        if (data.outputs, data.loss) != (last.rows, self.plan.loss):
            found = f"{data.outputs} outputs and `{data.loss}`"
            raise ValueError(
                f"the program has {last.rows} outputs and `{self.plan.loss}`, not {found}"
            )
        width = data.each if last.once else data.each * data.inputs.shape[1]
        if data.width != width:
            raise ValueError(f"the program reads {width} targets of a sample, not {data.width}")
        flattened = any(stage.kind == "flatten" for stage in self.plan.stages)
        if flattened and (data.inputs.shape[1] != self.plan.steps or data.lengths is not None):
            raise ValueError(f"the program reads sequences of {self.plan.steps} steps, all alike")
        # Its buffers hold this many steps: longer sequences would write past their end.
        if data.inputs.shape[1] > self.plan.steps:
            held, have = self.plan.steps, data.inputs.shape[1]
            raise ValueError(f"the program holds {held} steps, and the data have {have}")

    def bytes_per_step(self) -> int:
        """Memory of one time step of a block, in bytes."""
        rows = sum(buffer.rows for buffer in self.plan.buffers if not buffer.once) * 2
        for stage in self.plan.stages:
            if stage.step is not None:
                rows += sum(stage.step.tables.kept_rows) + sum(stage.step.tables.state_sizes)
        return 4 * rows * self.plan.lanes


def chunks(order: Tensor, batch_size: int, seconds_per_update: float) -> list[Tensor]:
    """Cut an epoch into calls of about a quarter of a second, so that an interrupt is heard."""
    updates = max(1, math.floor(0.25 / max(seconds_per_update, 1e-6)))
    return list(order.split(updates * batch_size))
