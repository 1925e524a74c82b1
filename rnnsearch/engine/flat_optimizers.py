"""Optimizers on flat parameters: one row a member, each with a learning rate of its own.

The rules and defaults are those of `torch.optim`. All arithmetic stays on tensors, the counter of
updates among them, so that a CUDA graph can hold it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MOMENTS = {"adam": 2, "adamw": 2, "sgd": 0, "rmsprop": 1}
_BETAS = (0.9, 0.999)
_ALPHA = 0.99
_EPSILON = 1e-8


class FlatOptimizer:
    """An optimizer of `(members, parameters)`.

    Args:
        name: `adam`, `adamw`, `sgd` (without momentum) or `rmsprop`.
        learning_rates: one a member.
        weight_decay: of all members.
        flat: the parameters, for their shape, dtype and device.

    Attributes:
        rates: learning rates `(members, 1)`.
        updates: how many were made, a scalar.
        moments: running means of the gradient and of its square, as the rule needs them, each of
            the shape of the parameters.

    Raises:
        ValueError: there is no such optimizer.
    """

    def __init__(
        self, name: str, learning_rates: Sequence[float], weight_decay: float, flat: Tensor
    ) -> None:
        if name not in _MOMENTS:
            raise ValueError(f"no optimizer `{name}`; known: {', '.join(_MOMENTS)}")
        self.name, self.weight_decay = name, weight_decay
        self._configured = flat.new_tensor(list(learning_rates)).unsqueeze(1)
        self.rates = self._configured.clone()
        # Counts, and powers of betas, are exact to the last digit of a float32 only in float64.
        self.updates = torch.zeros((), dtype=torch.float64, device=flat.device)
        self.moments = [torch.zeros_like(flat) for _ in range(_MOMENTS[name])]

    @torch.no_grad()
    def step(self, flat: Tensor, gradient: Tensor) -> None:
        """Update parameters `(members, parameters)` in place."""
        self.updates += 1
        if self.name == "adamw":
            flat.mul_(1 - self.rates * self.weight_decay)
        elif self.weight_decay:
            gradient = gradient + self.weight_decay * flat
        if self.name == "sgd":
            flat.sub_(self.rates * gradient)
        elif self.name == "rmsprop":
            (square,) = self.moments
            square.mul_(_ALPHA).addcmul_(gradient, gradient, value=1 - _ALPHA)
            flat.sub_(self.rates * gradient / (square.sqrt() + _EPSILON))
        else:
            mean, square = self.moments
            mean.lerp_(gradient, 1 - _BETAS[0])
            square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            of_mean, of_square = (
                (1 - torch.pow(beta, self.updates)).to(flat.dtype) for beta in _BETAS
            )
            flat.sub_(self.rates / of_mean * mean / (square.sqrt() / of_square.sqrt() + _EPSILON))

    def scale_rates(self, factor: float) -> None:
        """Multiply the given learning rates by this factor."""
        self.rates.copy_(factor * self._configured)  # in place: graphs have its address

    def keep(self, rows: Sequence[int]) -> None:
        """Let go of all members but some."""
        self._configured = self._configured[list(rows)]
        self.rates = self.rates[list(rows)]
        self.moments = [moment[list(rows)] for moment in self.moments]
