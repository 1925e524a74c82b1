"""Several members of one model as one program in plain torch: no compiler, any device.

The parameters of the members are stacked and the model is run once for all of them by
`torch.vmap`, so each operator is called once instead of once a member. That pays where calling
operators is what costs: small models, and above all a GPU, where the whole update can moreover be
replayed as one CUDA graph.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.flat_optimizers import FlatOptimizer

Measure: TypeAlias = Callable[[Tensor, Tensor], Tensor]
# Inputs, targets, lengths and keys of noise of a batch for each member.
Given: TypeAlias = tuple[Tensor, Tensor, Tensor | None, Tensor | None]

# Far above what rounding does to a model's outputs, far below what a wrong parameter does.
_TOLERANCE = 1e-2
_WARM_UPS = 3


class VmappedPopulation:
    """Members of one model that train at the same time, each on batches of its own.

    The models keep their values until `write_back` or `drop`.

    Args:
        models: one per member, alike except for the values of their parameters and buffers.
        optimizer: `adam`, `adamw`, `sgd` or `rmsprop`, with torch's rules and defaults.
        learning_rates: one a member.
        weight_decay: of all members.
        gradient_clips: largest norm of each member's gradient; 0 for none.
        graphed: replay whole updates as CUDA graphs, one for each shape of a batch. The loss must
            then be free of indexing by masks. Written for a GPU and not yet run on one: neither
            measured nor tested.
        mixed_precision: run the models, but not the losses, under bfloat16 autocast.

    Attributes:
        members: numbers of the members that are still here, in the order of every leading axis.

    Raises:
        ValueError: the models differ in more than values, or `graphed` without a GPU.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizer: str,
        learning_rates: Sequence[float],
        weight_decay: float,
        gradient_clips: Sequence[float],
        *,
        graphed: bool = False,
        mixed_precision: bool = False,
    ) -> None:
        if not len(models) == len(learning_rates) == len(gradient_clips) > 0:
            raise ValueError("a learning rate and a gradient clip are needed for every model")
        self.members = tuple(range(len(models)))
        self._models, self._mixed = list(models), mixed_precision
        shared = copy.deepcopy(models[0])
        for module in shared.modules():
            if callable(getattr(module, "as_torch", None)):
                # A `torch.nn` layer would keep the weights that it was built with.
                module.as_torch = _no_layer  # type: ignore[assignment]
        self._shared = shared
        parameters, self._buffers = _stacked(models)
        self._shapes = {name: value.shape[1:] for name, value in parameters.items()}
        self._flat = torch.cat([value.flatten(1) for value in parameters.values()], dim=1)
        self._limits = self._flat.new_tensor([clip or math.inf for clip in gradient_clips])
        self._optimizer = FlatOptimizer(optimizer, learning_rates, weight_decay, self._flat)
        if graphed and not self._flat.is_cuda:
            raise ValueError("CUDA graphs need models on a GPU")
        self._graphed, self._graphs = graphed, dict[Any, _GraphedUpdate]()
        self._looped: set[Measure] = set()
        self._verified = False
        self._take_leaves()

    def scale_rates(self, factor: float) -> None:
        """Multiply the given learning rates by this factor."""
        self._optimizer.scale_rates(factor)

    def step(
        self,
        inputs: Tensor,
        targets: Tensor,
        lengths: Tensor | None,
        loss: Measure,
        score: Measure,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Update every member once.

        Shapes:
            inputs: `(members, time, batch, input_size)`
            targets: `(members, batch, ...)`
            lengths: `(members, batch)`, or None where every sequence fills the time axis
            keys: `(members, batch, 2)`, or None where the model asks for no noise

        Args:
            inputs: a batch for each member.
            targets: its targets.
            lengths: its lengths.
            loss: `(outputs, targets)` of one member to a scalar.
            score: likewise.
            keys: what the noise of its cells follows from.

        Returns:
            Losses, scores and norms of the gradients before clipping, each `(members,)`.

        Raises:
            Unsupported: vmap cannot follow the model, or computes something else with it.
        """
        self._verify(inputs, lengths)
        self._shared.train()
        given = (inputs, targets, lengths, keys)
        if self._graphed:
            shapes = (None if value is None else (value.shape, value.dtype) for value in given)
            key = (loss, *shapes)
            if key not in self._graphs:
                self._graphs[key] = _GraphedUpdate(self, given, loss)
            losses, norms, outputs = self._graphs[key](given)
        else:
            losses, norms, outputs = self._update(given, loss)
        with torch.no_grad():
            return losses, self._measured(score, outputs, targets), norms

    @torch.no_grad()
    def evaluate(
        self,
        inputs: Tensor,
        targets: Tensor,
        lengths: Tensor | None,
        loss: Measure,
        score: Measure,
    ) -> tuple[Tensor, Tensor]:
        """Losses and scores `(members,)` of a batch; nothing is updated.

        Shapes and errors are those of `step`. Without the leading axis of all of them, every member
        sees the same batch.
        """
        self._verify(inputs, lengths)
        self._shared.eval()
        outputs = self._run(inputs, lengths)
        shared = inputs.dim() == 3
        return tuple(  # type: ignore[return-value]
            self._measured(measure, outputs, targets, shared=shared) for measure in (loss, score)
        )

    def drop(self, member: int) -> None:
        """Let a member go; its model has its parameters from then on. The others do not notice.

        Raises:
            ValueError: it is not here.
        """
        if member not in self.members:
            raise ValueError(f"member {member} is not here; here are {self.members}")
        self._write_to(member)
        rows = [row for row, other in enumerate(self.members) if other != member]
        self._keep(rows)

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy parameters and buffers into the models of the members that are here."""
        for member in self.members:
            self._write_to(member)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue, loadable with `torch.load(weights_only=True)`."""
        return {
            "members": list(self.members),
            "updates": self._optimizer.updates.clone(),
            "parameters": self._flat.clone(),
            "moments": [moment.clone() for moment in self._optimizer.moments],
            "buffers": {name: value.clone() for name, value in self._buffers.items()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; members that had left by then leave.

        Raises:
            ValueError: it has members that are not here.
        """
        if not set(state["members"]) <= set(self.members):
            raise ValueError(f"of members {state['members']}, only {self.members} are here")
        if tuple(state["members"]) != self.members:
            self._keep([self.members.index(member) for member in state["members"]])
        saved = [
            state["updates"],
            state["parameters"],
            *state["moments"],
            *(state["buffers"][name] for name in self._buffers),
        ]
        for value, old in zip(self._state(), saved, strict=True):
            value.copy_(old)

    # ---- one update

    def _update(self, given: Given, loss: Measure) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, norms and outputs of one update; no value leaves the device."""
        inputs, targets, lengths, keys = given
        outputs = self._run(inputs, lengths, keys)
        losses = self._measured(loss, outputs, targets)
        # Members are independent: the gradient of the sum is each one's own.
        gradients = torch.autograd.grad(
            losses.sum(), list(self._leaves.values()), materialize_grads=True
        )
        gradient = torch.cat([value.flatten(1) for value in gradients], dim=1)
        norms = gradient.norm(dim=1)
        # The rule of `torch.nn.utils.clip_grad_norm_`.
        gradient = gradient * (self._limits / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1)
        self._optimizer.step(self._flat, gradient)
        return losses.detach(), norms, outputs.detach()

    def _run(self, inputs: Tensor, lengths: Tensor | None, keys: Tensor | None = None) -> Tensor:
        """Outputs of all members, `(members, ...)`."""

        def run(held: dict[str, Tensor], *given: Tensor | None) -> Tensor:
            output: Tensor = torch.func.functional_call(self._shared, held, given)
            return output

        own = 0 if inputs.dim() == 4 else None
        given = (inputs, lengths) if keys is None else (inputs, lengths, keys)
        axes = (0, *(None if value is None else own for value in given))
        # A cache of converted weights would be that of another update.
        with torch.autocast(
            inputs.device.type, torch.bfloat16, enabled=self._mixed, cache_enabled=False
        ):
            try:
                outputs: Tensor = torch.vmap(run, in_dims=axes)(
                    {**self._leaves, **self._buffers}, *given
                )
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                first_line = str(error).strip().split("\n")[0]
                raise Unsupported(f"vmap cannot follow the model: {first_line}") from error
        return outputs.to(self._flat.dtype)

    def _measured(
        self, measure: Measure, outputs: Tensor, targets: Tensor, *, shared: bool = False
    ) -> Tensor:
        """A loss or score of each member; one by one if it picks elements by their values."""
        if measure not in self._looped:
            try:
                both: Tensor = torch.vmap(measure, in_dims=(0, None if shared else 0))(
                    outputs, targets
                )
            except RuntimeError:
                self._looped.add(measure)
            else:
                return both
        rows = range(len(outputs))
        return torch.stack([measure(outputs[i], targets if shared else targets[i]) for i in rows])

    # ---- members

    def _take_leaves(self) -> None:
        """Parameters as the model knows them: views of the flat ones, to be differentiated."""
        parts = self._flat.split([math.prod(shape) for shape in self._shapes.values()], dim=1)
        self._leaves = {
            name: part.view(len(part), *shape).detach().requires_grad_()
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def _state(self) -> list[Tensor]:
        """All that an update changes."""
        optimizer = self._optimizer
        return [optimizer.updates, self._flat, *optimizer.moments, *self._buffers.values()]

    def _keep(self, rows: Sequence[int]) -> None:
        self.members = tuple(self.members[row] for row in rows)
        self._flat, self._limits = self._flat[list(rows)], self._limits[list(rows)]
        self._buffers = {name: value[list(rows)] for name, value in self._buffers.items()}
        self._optimizer.keep(rows)
        self._graphs.clear()  # they hold the addresses of what was
        self._take_leaves()

    @torch.no_grad()
    def _write_to(self, member: int) -> None:
        row, model = self.members.index(member), self._models[member]
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, value in {**self._leaves, **self._buffers}.items():
            own[name].copy_(value[row])

    @torch.no_grad()
    def _verify(self, inputs: Tensor, lengths: Tensor | None) -> None:
        """Compare the first outputs with those of the models by themselves.

        A model that keeps something outside its parameters and buffers shows here.
        """
        if self._verified:
            return
        self._shared.eval()
        mixed, self._mixed = self._mixed, False
        try:
            together = self._run(inputs, lengths)
        finally:
            self._mixed = mixed
        for row, member in enumerate(self.members):
            model = copy.deepcopy(self._models[member]).eval()
            own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            for name, value in {**self._leaves, **self._buffers}.items():
                own[name].copy_(value[row])
            batch = (inputs, lengths) if inputs.dim() == 3 else (inputs[row], None)
            if inputs.dim() == 4 and lengths is not None:
                batch = (inputs[row], lengths[row])
            alone = model(*batch)
            apart = (together[row] - alone).norm()
            if alone.isfinite().all() and not apart <= _TOLERANCE * alone.norm():
                raise Unsupported("under vmap the model computes something else than by itself")
        self._verified = True


class _GraphedUpdate:
    """An update as a CUDA graph, with tensors of its own for what it is given.

    Not yet run on a GPU: neither measured nor tested.
    """

    def __init__(self, population: VmappedPopulation, given: Given, loss: Measure) -> None:
        self._given: Given = tuple(None if v is None else v.clone() for v in given)  # type: ignore[assignment]
        state = population._state()
        before = [value.clone() for value in state]
        # Libraries allocate and choose on first use, which a graph must not hold.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                population._update(self._given, loss)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self._graph):
                self._results = population._update(self._given, loss)
        except RuntimeError as error:
            first_line = str(error).strip().split("\n")[0]
            raise Unsupported(f"a CUDA graph cannot hold the update: {first_line}") from error
        finally:
            with torch.no_grad():
                for value, old in zip(state, before, strict=True):
                    value.copy_(old)

    def __call__(self, given: Given) -> tuple[Tensor, Tensor, Tensor]:
        for own, value in zip(self._given, given, strict=True):
            if own is not None and value is not None:
                own.copy_(value)
        self._graph.replay()
        losses, norms, outputs = self._results
        return losses.clone(), norms.clone(), outputs.clone()


def _no_layer() -> None:
    return None


def _stacked(models: Sequence[nn.Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trained parameters, and what else the models hold, each with the members first."""
    held = [{**dict(m.named_parameters()), **dict(m.named_buffers())} for m in models]
    first = {name: (value.shape, value.dtype) for name, value in held[0].items()}
    for model, other in zip(models, held, strict=True):
        kinds = {name: (value.shape, value.dtype) for name, value in other.items()}
        if type(model) is not type(models[0]) or kinds != first:
            raise ValueError("members must be alike except for the values of their parameters")
    stacked = {name: torch.stack([own[name].detach() for own in held]) for name in held[0]}
    trained = {name for name, value in held[0].items() if value.requires_grad}
    if not trained:
        raise ValueError("the models have nothing to train")
    return (
        {name: value for name, value in stacked.items() if name in trained},
        {name: value for name, value in stacked.items() if name not in trained},
    )
