"""The structurally constrained recurrent network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, FloatRange, IntRange, RecurrentCell, State, Value


class SCRNCell(RecurrentCell):
    """Elman cell of sigmoids with context units that average their input over a long time.

        s_t = (1 - alpha) * B x_t + alpha * s_{t-1}
        h_t = sigmoid(P s_t + A x_t + R h_{t-1}),   s_0 = h_0 = 0

    with `*` elementwise. A linear head on `[h_t; s_t]` is the source's `U h_t + V s_t`. With
    `alpha="learned"` every context unit has its own weight, `alpha = sigmoid(beta)`, which starts
    at `context_decay`; otherwise all keep `context_decay`.

    Source: Mikolov, Joulin, Chopra, Mathieu and Ranzato, "Learning longer memory in recurrent
    neural networks", arXiv:1412.7753, which has `alpha = 0.95`, no biases, and learned weights as
    a variant. Reconstructed from a survey of memory models, without the paper's text. Departures:
    the gradient is not truncated, and biases of the context and of the hidden units are an option.

    Shapes:
        inputs: `(batch, input_size)`
        state: `h (batch, hidden_size)` and `s (batch, context)`
        output: `(batch, hidden_size + context)`, the new `h` and `s` side by side

    Args:
        input_size: features per time step, at least 1.
        hidden_size: hidden units, the size of `h`.
        context_ratio: context units as a multiple of the hidden units, rounded half up.
        context_size: context units; 0 takes them from `context_ratio`.
        alpha: `fixed` or `learned`.
        bias: whether `B x_t` and the sum inside the sigmoid have a bias.
        context_decay: `alpha`, or its initial value.
    """

    structure = {
        "context_ratio": FloatRange(0.1, 1.0, default=0.25),
        "context_size": IntRange(0, 4096, default=0, searched=False),
        "alpha": Choice(("fixed", "learned"), default="fixed", searched=False),
        "bias": Choice((False, True), default=False, searched=False),
    }
    hyperparameters = {"context_decay": FloatRange(0.5, 0.999, default=0.95)}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        context_ratio: float = 0.25,
        context_size: int = 0,
        alpha: str = "fixed",
        bias: bool = False,
        context_decay: float = 0.95,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.context_size = _context_units(hidden_size, context_ratio, context_size)
        self.context_decay = context_decay
        self.context_map = nn.Linear(input_size, self.context_size, bias=bias)
        self.hidden_map = nn.Linear(
            self.context_size + input_size + hidden_size, hidden_size, bias=bias
        )
        logit = math.log(context_decay / (1 - context_decay))
        self.context_logit = (
            nn.Parameter(torch.full((self.context_size,), logit)) if alpha == "learned" else None
        )

    @classmethod
    @override
    def parameter_count(
        cls,
        input_size: int,
        hidden_size: int,
        context_ratio: Value = 0.25,
        context_size: Value = 0,
        alpha: Value = "fixed",
        bias: Value = False,
        **structure: Value,
    ) -> int:
        """The maps `B`, `P`, `A` and `R`, and the optional parameters."""
        context = _context_units(hidden_size, context_ratio, context_size)
        maps = input_size * context + (context + input_size + hidden_size) * hidden_size
        biases = context + hidden_size if bias else 0
        return maps + biases + (context if alpha == "learned" else 0)

    @classmethod
    @override
    def state_size(
        cls,
        input_size: int,
        hidden_size: int,
        context_ratio: Value = 0.25,
        context_size: Value = 0,
        **structure: Value,
    ) -> int:
        return hidden_size + _context_units(hidden_size, context_ratio, context_size)

    @classmethod
    @override
    def output_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return cls.state_size(input_size, hidden_size, **structure)

    @property
    def alpha(self) -> Tensor | float:
        """Share of the context that is kept at each step."""
        if self.context_logit is None:
            return self.context_decay
        return torch.sigmoid(self.context_logit)

    @override
    def initial_state(self, batch_size: int) -> State:
        return self.zeros(batch_size, self.hidden_size), self.zeros(batch_size, self.context_size)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, context = state
        alpha = self.alpha
        context = (1 - alpha) * self.context_map(inputs) + alpha * context
        hidden = torch.sigmoid(self.hidden_map(torch.cat((context, inputs, hidden), dim=-1)))
        return torch.cat((hidden, context), dim=-1), (hidden, context)


def _context_units(hidden_size: int, context_ratio: Value, context_size: Value) -> int:
    return int(context_size) or max(1, math.floor(float(context_ratio) * hidden_size + 0.5))
