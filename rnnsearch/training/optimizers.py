"""Optimizers of torch, as a training configuration names them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from rnnsearch.engine.capture import HearComplex
from rnnsearch.plugin.layers import Unrolled, run_eagerly
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.spec.trial import TrainingConfig

# What torch calls the mean of the gradient and the mean of its square.
_MOMENTS = {
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
    "rmsprop": ("", "square_avg"),
    "sgd": ("", ""),
}


class ModelOptimizer:
    """The optimizer of a model, with torch's defaults beside what the configuration says.

    A small recurrent model has dozens of tensors of a few hundred numbers, and stepping each costs
    more than the arithmetic. On a CPU all parameters therefore become views of one vector, which
    alone is stepped. A GPU has its own way: cuDNN wants its layers' weights side by side. So has a
    model that computes with complex numbers: a pair of reals is read as one only at an even place.

    A parameter without a gradient counts as one whose gradient is zero.

    Args:
        model: the model; its parameters keep their names and values.
        config: which optimizer, and how fast.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        kinds = {(p.device.type, p.dtype) for p in self._parameters}
        on_cpu = len(kinds) == 1 and kinds.pop()[0] == "cpu"
        self._flat = on_cpu and not _reads_pairs(model, self._parameters)
        stepped = [_laid_flat(self._parameters)] if self._flat else self._parameters
        self._stepped = stepped or [nn.Parameter(torch.zeros(0))]  # of a model that is not trained
        # Runs of parameters, each with the leaf that stands for all of them, if there is one.
        self._runs: list[tuple[nn.Parameter | None, list[nn.Parameter]]]
        self._runs = [(None, self._parameters)]
        self._rate = config.learning_rate
        self._optimizer = _make(self._stepped, config)
        self._moments, self._updates = _MOMENTS[config.optimizer], 0

    def join(
        self, parameters: Collection[nn.Parameter]
    ) -> tuple[nn.Parameter, dict[Tensor, int]] | None:
        """One leaf over some parameters, for a layer that has all their gradients at once.

        A gradient of the leaf counts beside those of the parameters themselves.

        Returns:
            The leaf, and where in it each of them begins; None where they do not lie side by side.
        """
        wanted = {id(p) for p in parameters}
        for place, (taken, run) in enumerate(self._runs):
            at = [i for i, p in enumerate(run) if id(p) in wanted]
            if not self._flat or taken is not None or not at or len(at) != len(wanted):
                continue
            before, among, after = run[: at[0]], run[at[0] : at[-1] + 1], run[at[-1] + 1 :]
            if len(among) != len(wanted):
                return None
            starts = [int(p.storage_offset()) for p in among]
            end = starts[-1] + among[-1].numel()
            leaf = nn.Parameter(self._stepped[0].detach()[starts[0] : end])
            parts = [(None, before), (leaf, among), (None, after)]
            self._runs[place : place + 1] = [(one, ps) for one, ps in parts if ps]
            return leaf, {p: s - starts[0] for p, s in zip(among, starts, strict=True)}
        return None

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for leaf, parameters in self._runs:
            for parameter in (leaf, *parameters):
                if parameter is not None:
                    parameter.grad = None

    def clip(self, limit: float) -> Tensor:
        """Scale the gradients down to a norm; returns the norm that they had."""
        if not self._flat:
            return nn.utils.clip_grad_norm_(self._parameters, limit)
        gradient = torch.cat([_gradient(*run) for run in self._runs])
        norm: Tensor = torch.linalg.vector_norm(gradient)
        if limit < math.inf:  # as `clip_grad_norm_`, which takes as long as a small layer
            gradient.mul_(torch.clamp(limit / (norm + 1e-6), max=1.0))
        self._stepped[0].grad = gradient
        return norm

    def step(self) -> None:
        """Update the parameters with the gradients that were last clipped."""
        self._optimizer.step()
        self._updates += 1

    def scale_rate(self, factor: float) -> None:
        """Multiply the configured learning rate by this factor from now on."""
        for group in self._optimizer.param_groups:
            group["lr"] = factor * self._rate

    def state_dict(self) -> dict[str, Any]:
        """Number of updates and both moments, laid flat: the same with every engine."""
        first, second = (
            torch.cat([self._moment(name, p).reshape(-1) for p in self._stepped])
            for name in self._moments
        )
        return {"updates": self._updates, "first": first, "second": second}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, by whatever engine."""
        self._updates = state["updates"]
        sizes = [p.numel() for p in self._stepped]
        moments = zip(state["first"].split(sizes), state["second"].split(sizes), strict=True)
        held: dict[int, dict[str, Tensor]] = {}
        for place, (parameter, parts) in enumerate(zip(self._stepped, moments, strict=True)):
            named = zip(self._moments, parts, strict=True)
            held[place] = {name: part.view_as(parameter) for name, part in named if name}
            if held[place]:
                held[place]["step"] = torch.tensor(float(self._updates))
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": held, "param_groups": groups})

    def _moment(self, name: str, parameter: Tensor) -> Tensor:
        """Zeros if the optimizer has no such moment, or has not updated yet."""
        held: Tensor = self._optimizer.state.get(parameter, {}).get(name)
        return torch.zeros_like(parameter) if held is None else held


def _reads_pairs(model: nn.Module, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether a model may read pairs of reals as complex numbers where they would lie odd."""
    places = accumulate((p.numel() for p in parameters), initial=0)
    if not any(p.shape[-1:] == (2,) and at % 2 for p, at in zip(parameters, places, strict=False)):
        return False
    was_training, heard = model.training, HearComplex()
    model.eval()  # in which nothing is drawn and nothing remembered
    try:
        with torch.no_grad(), heard:
            for module in model.modules():
                if isinstance(module, Unrolled):
                    cell, features = module.cell, module.cell.input_size
                    inputs = parameters[0].new_zeros(1, 1, features)
                    run_eagerly(cell, module.with_noise(inputs), module.initial_state(1))
                elif isinstance(module, SequenceModel):
                    shape = module.shape
                    module(parameters[0].new_zeros(shape.length or 2, 1, shape.input_size))
        return heard.is_complex
    finally:
        model.train(was_training)


def _laid_flat(parameters: list[nn.Parameter]) -> nn.Parameter:
    """One vector that holds all parameters, which become views of it."""
    vector = torch.cat([p.detach().reshape(-1) for p in parameters])
    parts = vector.split([p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part.view(parameter.shape)
    return nn.Parameter(vector)


def _gradient(leaf: nn.Parameter | None, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Gradient of parameters side by side, from their leaf and from their own."""
    alone = leaf is not None and all(p.grad is None for p in parameters)
    if leaf is not None and leaf.grad is not None and alone:
        return leaf.grad
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([gradient.reshape(-1) for gradient in own])
    return flat if leaf is None or leaf.grad is None else flat + leaf.grad


def _make(parameters: list[Any], config: TrainingConfig) -> torch.optim.Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.RMSprop(parameters, lr=rate, weight_decay=decay)
