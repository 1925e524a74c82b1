"""A model as a program of the engine: which stages it consists of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine import cpp_compiler
from rnnsearch.engine.capture import Unsupported, capture, state_shapes
from rnnsearch.engine.program import LOSSES, SCORES, Buffer, Plan, Stage
from rnnsearch.engine.source import write_source
from rnnsearch.engine.step import CompiledStep, compile_step, lanes_for
from rnnsearch.plugin.cell import RecurrentCell
from rnnsearch.plugin.layers import Bidirectional, Unrolled
from rnnsearch.plugin.losses import Objective


def cell_source(cell: RecurrentCell) -> str:
    """The C++ that a cell becomes; the same for all its sizes.

    Raises:
        Unsupported: it cannot be compiled; says why.
    """
    shapes = state_shapes(cell.initial_state(1))
    captured = capture(cell, cell.input_size + cell.noise_size, shapes)
    return write_source(captured, type(cell).__name__)[0]


class _InitialState(nn.Module):
    """The initial state of a layer, all parts side by side, as a step without inputs of its own."""

    def __init__(self, layer: Unrolled) -> None:
        super().__init__()
        self.layer = layer

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        parts = self.layer.initial_state(1)
        return torch.cat([part.flatten(1) for part in parts], dim=1) + inputs


# Plans of this process by what they depend on: seeds of one configuration share one.
_PLANS: dict[str, Plan] = {}


@dataclass(frozen=True)
class Compiled:
    """What a process has compiled so far, to spare others the work; it pickles.

    Attributes:
        plans: plans by what they depend on.
        libraries: content of the built libraries, by file name.
    """

    plans: Mapping[str, Plan]
    libraries: Mapping[str, bytes]

    @staticmethod
    def of_this_process() -> Compiled:
        """Everything compiled so far whose libraries are still in the cache."""
        libraries = cpp_compiler.read_libraries(
            {step.library for plan in _PLANS.values() for step in plan.steps_compiled}
        )
        plans = {
            key: plan
            for key, plan in _PLANS.items()
            if all(step.library in libraries for step in plan.steps_compiled)
        }
        return Compiled(plans, libraries)

    def install(self) -> None:
        """Take it over; libraries for another processor or compiler are left out, and rebuilt."""
        _PLANS.update(self.plans)
        cpp_compiler.install_matching(self.libraries)


def plan_program(
    model: nn.Module,
    objective: Objective,
    steps: int,
    batch_size: int,
    *,
    lanes: int | None = None,
) -> Plan:
    """Compile everything that whole training steps of a model consist of.

    Models that were built from one specification share a plan.

    Args:
        model: the model.
        objective: for its loss and its score.
        steps: steps of the longest sequence.
        batch_size: samples per update.
        lanes: samples in a block, if not what suits the batch.

    Raises:
        Unsupported: something in it cannot be compiled; says what and why.
    """
    if not isinstance(model, RecurrentModel):
        raise Unsupported(f"{type(model).__name__} is not unrolled over time")
    loss, score = (getattr(part, "compiled_as", None) for part in (objective.loss, objective.score))
    if loss not in LOSSES:
        raise Unsupported("the loss is not one that the engine has")
    if score != loss and score not in SCORES:
        raise Unsupported("the score is not one that the engine has")
    lanes = lanes or lanes_for(batch_size)
    measures = (loss, "loss" if score == loss else score)
    if model.spec is None:
        return _Planner(model, steps, lanes).plan(*measures)
    cells = {type(m.cell) for m in model.modules() if isinstance(m, Unrolled)}
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    # A specification that went through JSON has its options in another order.
    spec = json.dumps(asdict(model.spec), sort_keys=True)
    key = f"{sorted(map(repr, cells))} {spec} {lanes} {measures} {trained}"
    fixed = model.readout == "all_steps"  # elsewhere a plan serves every length
    if key not in _PLANS:
        _PLANS[key] = _Planner(model, steps, lanes).plan(*measures)
    return _PLANS[key] if fixed else replace(_PLANS[key], steps=steps)


class _Planner:
    def __init__(self, model: RecurrentModel, steps: int, lanes: int) -> None:
        self._model, self._steps, self._lanes = model, steps, lanes
        held = [*model.named_parameters(), *model.named_buffers()]
        self._name = {id(value): name for name, value in held}
        self._buffers: list[Buffer] = []
        self._stages: list[Stage] = []

    def plan(self, loss: str, score: str) -> Plan:
        model = self._model
        features = self._add_layers()
        readout = model.readout
        here = len(self._buffers) - 1
        if readout in ("last_step", "masked_step"):
            half = features // 2 if model.bidirectional else features
            read = self._buffer(features, once=True)
            self._stages.append(Stage("last", here, read, rows=half))
            if model.bidirectional:
                self._stages.append(
                    Stage("first", here, read, input_row=half, output_row=half, rows=half)
                )
        elif readout == "all_steps":
            features *= self._steps
            read = self._buffer(features, once=True)
            self._stages.append(Stage("flatten", here, read))
        elif readout == "every_step":
            read = here
        else:
            raise Unsupported(f"the engine has no readout `{readout}`")
        head = self._compile(model.head, features, None, input_gradient=True)
        out = self._buffer(head.tables.output_size, once=self._buffers[read].once)
        names, folded = self._names(model.head, head)
        self._stages.append(Stage("step", read, out, step=head, names=names, folded=folded))
        held = [*model.named_parameters(), *model.named_buffers()]
        plan = Plan(
            self._lanes,
            self._steps,
            tuple(self._buffers),
            tuple(self._stages),
            loss,
            score,
            {name: tuple(value.shape) for name, value in held},
        )
        for step in plan.steps_compiled:
            cpp_compiler.finish(step.library)
        return plan

    def _add_layers(self) -> int:
        layers = list(self._model.body.layers)
        first = layers[0].forwards if isinstance(layers[0], Bidirectional) else layers[0]
        assert isinstance(first, Unrolled)
        features = first.cell.input_size
        here = self._buffer(features)
        for depth, layer in enumerate(layers):
            if isinstance(layer, Unrolled):
                step = self._cell(layer, features, depth)
                out = self._buffer(step.tables.output_size)
                self._run(layer, step, here, out)
                features = step.tables.output_size
            elif isinstance(layer, Bidirectional):
                step = self._cell(layer.forwards, features, depth)
                width = step.tables.output_size
                turned, answer = self._buffer(features), self._buffer(width)
                out = self._buffer(2 * width)
                self._run(layer.forwards, step, here, out)
                self._stages.append(Stage("reverse", here, turned, rows=features))
                backwards = self._cell(layer.backwards, features, depth)
                self._run(layer.backwards, backwards, turned, answer)
                self._stages.append(Stage("reverse", answer, out, output_row=width, rows=width))
                features = 2 * width
            else:
                raise Unsupported(f"the engine has no layer {type(layer).__name__}")
            here = out
        return features

    def _cell(self, layer: Unrolled, features: int, depth: int) -> CompiledStep:
        if layer.cell.noise_size:
            raise Unsupported("the cell asks for noise, which whole programs do not draw")
        shapes = state_shapes(layer.initial_state(1))
        return self._compile(layer.cell, features, shapes, input_gradient=depth > 0)

    def _run(self, layer: Unrolled, step: CompiledStep, source: int, target: int) -> None:
        start: CompiledStep | None = None
        start_names: tuple[str, ...] = ()
        start_folded: dict[str, Tensor] = {}
        with torch.no_grad():
            parts = layer.initial_state(1)
        learned = any(part.requires_grad for part in layer.initial_state(1))
        if learned or any(bool(part.any()) for part in parts):
            module = _InitialState(layer)
            start = self._compile(module, 1, None)
            start_names, start_folded = self._names(module, start)
        names, folded = self._names(layer.cell, step)
        self._stages.append(
            Stage(
                "step",
                source,
                target,
                step=step,
                start=start,
                names=names,
                start_names=start_names,
                folded={**folded, **start_folded},
            )
        )

    def _compile(
        self,
        module: nn.Module,
        features: int,
        shapes: tuple[tuple[int, ...], ...] | None,
        *,
        input_gradient: bool = False,
    ) -> CompiledStep:
        return compile_step(
            module, features, shapes, lanes=self._lanes, input_gradient=input_gradient, wait=False
        )

    def _buffer(self, rows: int, *, once: bool = False) -> int:
        self._buffers.append(Buffer(rows, once))
        return len(self._buffers) - 1

    def _names(
        self, module: nn.Module, step: CompiledStep
    ) -> tuple[tuple[str, ...], dict[str, Tensor]]:
        """What a step reads, as the model names it, and what is not the model's."""
        held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        prefix = f"{type(module).__name__}.{len(self._stages)}"
        own = {name: f"{prefix}.{name}" for name in step.folded}
        names = (own.get(name) or self._name[id(held[name])] for name in step.tables.names)
        return tuple(names), {own[name]: value for name, value in step.folded.items()}
