"""Engines: the ways to train a model, from the loop that defines it to whole steps in machine code.

| engine    | shown as           | what it is                                                    |
|-----------|--------------------|---------------------------------------------------------------|
| `eager`   | `eager`            | one torch operator after the other; always right              |
| `torch`   | `torch.nn.LSTM`... | the `torch.nn` layer that equals the cell, where there is one |
| `layers`  | `compiled layers`  | each cell over time in machine code, the rest in torch        |
| `program` | `compiled program` | layers, head, loss, clipping and optimizer in machine code    |
| `vmapped` | `vmapped seeds`    | several trials of one shape as one program of torch           |
| `graphed` | `graphed seeds`    | the same on a GPU, whole updates replayed as CUDA graphs      |

An engine that cannot take a model says why, and the next one down runs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine.capture import Unsupported, capture, state_shapes
from rnnsearch.engine.layer import CompiledLayer, Place
from rnnsearch.engine.program import Data, Measured, Member, Program, chunks
from rnnsearch.engine.step import compile_step, lanes_for
from rnnsearch.plugin.cell import RecurrentCell, State
from rnnsearch.plugin.data_contract import Contract, targets_of
from rnnsearch.plugin.layers import Bidirectional, Unrolled, run_as_torch, run_eagerly
from rnnsearch.plugin.losses import Objective
from rnnsearch.plugin.noise import sample_keys
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.trial import TrainingConfig
from rnnsearch.training.batches import Batches, in_streams, weight
from rnnsearch.training.compiled_model import plan_program
from rnnsearch.training.optimizers import ModelOptimizer

EVALUATION_BATCH = 1000
# Parts of a long sequence that are read side by side to measure on it: each begins without a state.
EVALUATION_STREAMS = 10


class Updates(Protocol):
    """Trains a model and measures it.

    Attributes:
        name: what it is shown as.
    """

    name: str

    def train(
        self, data: Batches, order: Tensor, noise: tuple[int, int] = (0, 0)
    ) -> tuple[float, float, float]:
        """Update on consecutive batches of `order`.

        Args:
            data: a split.
            order: numbers of its samples.
            noise: the trial's seed and the epoch, which fix the noise that cells ask for.

        Returns:
            Sums over the samples of loss and metric, each weighed as `Batches.weights` says, and
            over the updates of the gradient's norm.

        Raises:
            DataError: the data are not what the model or the objective takes.
        """

    def scale_rate(self, factor: float) -> None:
        """Multiply the configured learning rate by this factor from now on."""

    def measure(self, data: Batches) -> tuple[float, float]:
        """Mean loss and mean metric over a split; raises as `train`."""

    def state_dict(self) -> dict[str, Any]:
        """State of the optimizer."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""


def prepare(
    engine: Engine, model: nn.Module, config: TrainingConfig, objective: Objective, data: Batches
) -> tuple[Updates, str]:
    """Set a model up on an engine, or on the fastest below it that takes the model.

    Args:
        engine: the engine.
        model: the model, on the device of the data.
        config: how it is trained.
        objective: for loss and metric.
        data: the split it is trained on.

    Returns:
        The engine, and why the faster ones were left out, or an empty string.

    Raises:
        DataError: the data are not what the model or the objective takes, whatever the engine.
    """
    data.meet(contract_of(model, objective))
    reasons: list[str] = []
    for candidate in engine.fallbacks:
        try:
            return _prepare(candidate, model, config, objective, data), "; ".join(reasons)
        except Unsupported as error:
            if candidate in (Engine.PROGRAM, Engine.LAYERS):
                reasons.append(f"{candidate}: {error}")
    raise AssertionError("the eager loop takes every model")


def contract_of(model: nn.Module, objective: Objective) -> Contract:
    """What data a model takes: any number of steps, where it goes through them one by one."""
    if isinstance(model, SequenceModel):
        return Contract.of(model.shape, objective)
    if isinstance(model, RecurrentModel) and model.spec is not None:
        contract = Contract.of(model.spec.shape, objective)
        return contract if model.readout == "all_steps" else replace(contract, length=None)
    targets = targets_of(objective)
    if not isinstance(model, RecurrentModel):
        return Contract("", targets)
    tokens = 0 if model.embedding is None else model.embedding.num_embeddings
    first = next(m for m in model.body.modules() if isinstance(m, Unrolled))
    features = 1 if tokens else first.cell.input_size
    return Contract(model.readout, targets, features, vocabulary=tokens)


def _prepare(
    engine: Engine, model: nn.Module, config: TrainingConfig, objective: Objective, data: Batches
) -> Updates:
    layers = [m for m in model.modules() if isinstance(m, Unrolled)]
    if engine is Engine.PROGRAM:
        return ProgramUpdates(model, config, objective, data)
    if engine is Engine.LAYERS:
        compile_layers(model, config.batch_size, data.device)
        return AutogradUpdates("compiled layers", model, config, objective)
    equal = [layer.cell.as_torch() for layer in layers]
    if engine is Engine.TORCH:
        if not equal or any(layer is None for layer in equal):
            raise Unsupported("no layer of `torch.nn` equals the cell")
        for layer in layers:
            layer.run = run_as_torch
        return AutogradUpdates(f"torch.nn.{type(equal[0]).__name__}", model, config, objective)
    for layer in layers:
        layer.run = None
    return AutogradUpdates("eager" if layers else "feed-forward", model, config, objective)


class _Carrying:
    """Runs a model over batches of windows, each from where the one before let off.

    Args:
        model: the model.
        stride: steps from the start of a window to that of the next.
    """

    def __init__(self, model: RecurrentModel, stride: int) -> None:
        self._model, self._stride = model, stride
        self._states: Sequence[State] = ()

    def __call__(
        self, inputs: Tensor, lengths: Tensor | None = None, keys: Tensor | None = None
    ) -> Tensor:
        rows = inputs.shape[1]
        # The last batch may have fewer rows, and those are the first (see `in_streams`).
        states: Sequence[State] = [tuple(part[:rows] for part in s) for s in self._states]
        states = states or self._model.initial_states(rows)
        outputs, self._states = self._model.continued(inputs, states, self._stride, keys)
        return outputs


def carried_stride(model: nn.Module) -> int:
    """Stride of the windows between which a model's state is carried, or 0."""
    spec = model.spec if isinstance(model, RecurrentModel) else None
    return spec.shape.stride if spec else 0


def _runner(model: nn.Module) -> Callable[..., Tensor]:
    """The model, or what carries its state: from no state, at the start of a pass over a split."""
    stride = carried_stride(model)
    return _Carrying(model, stride) if stride and isinstance(model, RecurrentModel) else model


def noise_keys(
    model: nn.Module, noise: tuple[int, int], samples: Tensor
) -> tuple[Tensor] | tuple[()]:
    """What a model is given beside its inputs while it is trained: keys, if it asks for noise.

    Args:
        model: the model.
        noise: the trial's seed and the epoch.
        samples: numbers of the samples in their split.
    """
    asks = isinstance(model, RecurrentModel) and model.asks_for_noise
    return (sample_keys(*noise, samples),) if asks else ()


class AutogradUpdates:
    """Torch's autograd and optimizers, whatever runs the layers."""

    def __init__(
        self, name: str, model: nn.Module, config: TrainingConfig, objective: Objective
    ) -> None:
        self.name, self._model, self._config, self._objective = name, model, config, objective
        self._contract = contract_of(model, objective)
        self._optimizer = ModelOptimizer(model, config)
        join_layers(model, self._optimizer)

    def train(
        self, data: Batches, order: Tensor, noise: tuple[int, int] = (0, 0)
    ) -> tuple[float, float, float]:
        """Update on consecutive batches; see `Updates`."""
        data.meet(self._contract)
        of_loss, of_score = map(data.weights, (self._objective.loss, self._objective.score))
        self._model.train()
        limit = self._config.gradient_clip or float("inf")
        totals = torch.zeros(3, dtype=torch.float64)
        run = _runner(self._model)
        for index in order.split(self._config.batch_size):
            where = index.to(data.device)
            inputs, targets, lengths = data.take(where)
            self._optimizer.zero_grad()
            outputs = run(inputs, lengths, *noise_keys(self._model, noise, where))
            loss = self._objective.loss(outputs, targets)
            loss.backward()
            norm = self._optimizer.clip(limit)
            self._optimizer.step()
            with torch.no_grad():
                values = torch.stack((loss, self._objective.score(outputs, targets), norm))
            weighs = [weight(of_loss, index), weight(of_score, index), 1.0]
            totals += values.double().cpu() * torch.tensor(weighs, dtype=torch.float64)
        loss_sum, score_sum, norm_sum = totals.tolist()
        return loss_sum, score_sum, norm_sum

    def scale_rate(self, factor: float) -> None:
        """Multiply the configured learning rate by this factor from now on."""
        self._optimizer.scale_rate(factor)

    @torch.no_grad()
    def measure(self, data: Batches) -> tuple[float, float]:
        """Mean loss and mean metric over a split."""
        data.meet(self._contract)
        self._model.eval()
        run, carries = _runner(self._model), carried_stride(self._model) > 0
        size = EVALUATION_STREAMS if carries else EVALUATION_BATCH
        order = in_streams(len(data), size) if carries else torch.arange(len(data))
        of_loss, of_score = map(data.weights, (self._objective.loss, self._objective.score))
        sums, totals = [0.0, 0.0], [0.0, 0.0]
        for index in order.split(size):
            inputs, targets, lengths = data.take(index.to(data.device))
            outputs = run(inputs, lengths)
            for i, (measure, weights) in enumerate(
                ((self._objective.loss, of_loss), (self._objective.score, of_score))
            ):
                weighs = weight(data.counts if carries else weights, index)
                sums[i] += float(measure(outputs, targets)) * weighs
                totals[i] += weighs
        return sums[0] / totals[0], sums[1] / totals[1]

    def state_dict(self) -> dict[str, Any]:
        """State of the optimizer."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._optimizer.load_state_dict(state)


class ProgramUpdates:
    """Whole steps in machine code; nothing of torch runs between two of them.

    Raises:
        Unsupported: the model, the loss or the data cannot be compiled; says what and why.
    """

    name = "compiled program"

    def __init__(
        self, model: nn.Module, config: TrainingConfig, objective: Objective, data: Batches
    ) -> None:
        if data.device.type != "cpu":
            raise Unsupported("the data are on a GPU")
        if isinstance(model, RecurrentModel) and model.embedding is not None:
            raise Unsupported("the task's inputs are tokens, which whole programs do not look up")
        if carried_stride(model):
            raise Unsupported(
                "the state is carried from window to window, which whole programs do not do"
            )
        plan = plan_program(model, objective, data.steps, config.batch_size)
        self._outputs, self._loss = plan.buffers[-1].rows, plan.loss
        self._contract, self._objective = contract_of(model, objective), objective
        data.meet(self._contract)
        data.compiled(self._outputs, self._loss)
        self._member = Member(
            model,
            plan,
            config.optimizer,
            config.learning_rate,
            config.weight_decay,
            config.gradient_clip,
        )
        self._plan, self._rate = plan, config.learning_rate
        self._program = Program(plan, self._member.names)
        self._batch_size = config.batch_size
        self._seconds_per_update = 0.01

    def _of(self, data: Batches) -> Data:
        """A split as the program reads it; before it is run, for this may make another program."""
        data.meet(self._contract)
        if data.steps > self._plan.steps:  # a split with longer sequences than the first
            self._plan = replace(self._plan, steps=data.steps)
            self._program = Program(self._plan, self._member.names)
        return data.compiled(self._outputs, self._loss)

    def train(
        self, data: Batches, order: Tensor, noise: tuple[int, int] = (0, 0)
    ) -> tuple[float, float, float]:
        """Update on consecutive batches; see `Updates`. Programs take no model with noise."""
        sums = Measured()
        read = self._of(data)
        for some in chunks(order, self._batch_size, self._seconds_per_update):
            began = time.perf_counter()
            size = self._batch_size
            self._program.run(self._member, read, some, size, train=True, sums=sums)
            updates = -(-len(some) // self._batch_size)
            self._seconds_per_update = (time.perf_counter() - began) / updates
        return sums.loss, sums.score, sums.norm

    def scale_rate(self, factor: float) -> None:
        """Multiply the configured learning rate by this factor from now on."""
        self._member.native.optimizer.rate = factor * self._rate

    def measure(self, data: Batches) -> tuple[float, float]:
        """Mean loss and mean metric over a split."""
        loss = score = 0.0
        read = self._of(data)
        for some in torch.arange(len(data)).split(EVALUATION_BATCH):
            measured = self._program.run(self._member, read, some, EVALUATION_BATCH, train=False)
            loss, score = loss + measured.loss, score + measured.score
        total = data.total(self._objective.loss)
        return loss / total, score / total

    def gradient(self, data: Batches) -> Tensor:
        """Gradient of the mean loss over a whole split, flat; nothing is updated."""
        read = self._of(data)
        return self._program.gradient(self._member, read, torch.arange(len(data)))[0]

    def state_dict(self) -> dict[str, Any]:
        """State of the optimizer."""
        return self._member.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._member.load_state_dict(dict(state))


def compile_layers(model: nn.Module, batch_size: int, device: torch.device) -> None:
    """Let every cell of a model run over time in machine code, under torch's autograd.

    On a GPU the machine code comes from Triton; that path has been run in Triton's interpreter and
    not been measured.

    Raises:
        Unsupported: a cell cannot be compiled, or its kernel does not give what the cell does.
    """
    layers = [m for m in model.modules() if isinstance(m, Unrolled)]
    if not layers:
        raise Unsupported(f"{type(model).__name__} is not unrolled over time")
    first = {id(layer) for layer in layers}
    if isinstance(model, RecurrentModel):
        bottom = model.body.layers[0]
        pair = (bottom.forwards, bottom.backwards) if isinstance(bottom, Bidirectional) else ()
        first = {id(layer) for layer in (bottom, *pair)} if model.embedding is None else set()
    for layer in layers:
        if device.type == "cpu":
            layer.run = _compiled(layer, batch_size, input_gradient=id(layer) not in first)
        else:
            layer.run = _checked(_on_gpu(layer), layer, device)


def join_layers(model: nn.Module, optimizer: ModelOptimizer) -> None:
    """Let compiled layers read their parameters from where an optimizer laid them side by side."""
    for layer in model.modules():
        if isinstance(layer, Unrolled) and isinstance(layer.run, CompiledRun):
            layer.run.read_from(optimizer)


def _compiled(layer: Unrolled, batch_size: int, *, input_gradient: bool) -> CompiledRun:
    step = compile_step(
        layer.cell,
        layer.cell.input_size + layer.cell.noise_size,
        state_shapes(layer.initial_state(1)),
        lanes=lanes_for(batch_size),
        input_gradient=input_gradient,
    )
    names = [name for name in step.tables.names if name not in step.folded]
    return CompiledRun(CompiledLayer(step), names, layer.cell)


def _on_gpu(layer: Unrolled) -> CompiledRun:
    from rnnsearch.engine.triton_kernel import TritonLayer  # triton is an optional dependency

    cell = copy.deepcopy(layer.cell).cpu()
    features = cell.input_size + cell.noise_size
    captured = capture(cell, features, state_shapes(layer.initial_state(1)), input_gradient=True)
    names = [name for name in captured.names if name not in captured.folded]
    return CompiledRun(TritonLayer(captured), names, layer.cell)


def _checked(run: CompiledRun, layer: Unrolled, device: torch.device) -> CompiledRun:
    """Compare a kernel with the eager loop where it will run; the study's start had no GPU."""
    cell = layer.cell
    inputs = layer.with_noise(torch.randn(5, 19, cell.input_size, device=device))
    with torch.no_grad():
        found = run(cell, inputs, layer.initial_state(19))[0].double()
        exact = copy.deepcopy(cell).double()
        state = tuple(part.double() for part in layer.initial_state(19))
        expected = run_eagerly(exact, inputs.double(), state)[0]
    error = float((found - expected).norm() / expected.norm())
    if not error < 1e-4:
        raise Unsupported(f"its kernel differs from the eager loop by {error:.1e} on this GPU")
    return run


class CompiledRun:
    """Runs one layer's cell in machine code.

    Args:
        layer: the compiled layer.
        names: what its step reads of the cell.
        cell: the cell that it was compiled from.
    """

    def __init__(
        self, layer: Callable[..., tuple[Tensor, State]], names: list[str], cell: RecurrentCell
    ) -> None:
        self._layer, self._names, self._training = layer, names, cell.training
        self._cell = cell
        self._held = _holders(cell, names)
        # Set by `read_from`: one leaf over all parameters, and where in it or beside it each lies.
        self._leaf: nn.Parameter | None = None
        self._places: list[Place] | None = None

    def __call__(self, cell: RecurrentCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        if cell.training != self._training:
            return run_eagerly(cell, inputs, state)  # it was captured in the other mode
        if cell is not self._cell:
            self.__init__(self._layer, self._names, cell)  # type: ignore[misc]
        held = [getattr(at, name) for at, name in self._held]
        if self._leaf is None:
            return self._layer(inputs, state, held)
        return self._layer(inputs, state, [self._leaf, *held], self._places)

    def read_from(self, optimizer: ModelOptimizer) -> None:
        """Read the cell's parameters from where an optimizer laid them side by side.

        Autograd then has one gradient of the layer to keep, not one for each small tensor.
        """
        values = [getattr(at, name) for at, name in self._held]
        joined = optimizer.join([v for v in values if isinstance(v, nn.Parameter)])
        if joined is None:
            return
        self._leaf, starts = joined
        places, beside = list[Place](), list[tuple[nn.Module, str]]()
        for value, holder in zip(values, self._held, strict=True):
            if value in starts:
                places.append((0, starts[value]))
            else:
                beside.append(holder)
                places.append((len(beside), 0))
        self._places, self._held = places, beside

    @override
    def __getstate__(self) -> dict[str, Any]:
        # A copy's parameters lie elsewhere.
        held = _holders(self._cell, self._names)
        return {**self.__dict__, "_held": held, "_leaf": None, "_places": None}


def _holders(cell: RecurrentCell, names: Sequence[str]) -> list[tuple[nn.Module, str]]:
    """Where a cell keeps what its step reads: looked up once, read at every call."""
    paths = (name.rpartition(".") for name in names)
    return [(cell.get_submodule(module), name) for module, _, name in paths]
