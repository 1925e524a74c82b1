"""The clockwork recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from rnnsearch import IntRange, RecurrentCell, State, Value


class ClockworkCell(RecurrentCell):
    """Recurrent cell in modules that each update only when their own clock ticks.

        h^i_t = tanh(W^i x_t + sum over j >= i of U^ij h^j_{t-1} + b^i)   if t mod T_i = 0
        h^i_t = h^i_{t-1}                                                else

    for modules `i` from 0, `h_{-1} = 0`, with the period `T_i = base^i`. Modules receive input from
    themselves and slower modules, so the recurrent matrix is block upper triangular.

    Source: Koutník, Greff, Gomez and Schmidhuber, "A clockwork RNN", ICML 2014, arXiv:1402.3511,
    where the periods are powers of 2. Reconstructed from descriptions of the paper, without its
    text. Interpretations:

    * Time starts at 0, so all modules see the first input.
    * In the source, all modules have the same number of units. Here any width is allowed: the
      remainder goes to the fastest modules, one unit each, and if there are fewer units than
      modules, the slowest modules are missing.

    Resting modules are also computed, then discarded: the cell saves weights, not time.

    Shapes:
        inputs: `(batch, input_size)`
        state: the time `(batch, 1)`, modulo the longest period, and `h (batch, hidden_size)`, the
            fastest module first
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units of all modules together.
        modules: number of modules.
        base: ratio of the periods of successive modules. With 1, all modules update at every step.
    """

    structure = {"modules": IntRange(1, 10, default=4)}
    hyperparameters = {"base": IntRange(1, 4, default=2, searched=False)}

    periods: Tensor

    def __init__(self, input_size: int, hidden_size: int, modules: int = 4, base: int = 2) -> None:
        super().__init__(input_size, hidden_size)
        self.module_sizes = _module_sizes(hidden_size, modules)
        self.longest_period = base ** (len(self.module_sizes) - 1)
        self.input_map = nn.Linear(input_size, hidden_size)
        # The blocks U^i of all modules, each `(size, units from this module on)`, end to end.
        self.recurrent_weights = nn.Parameter(
            torch.empty(sum(_block_counts(self.module_sizes))).uniform_(-1, 1) * hidden_size**-0.5
        )
        periods = [float(base**i) for i, size in enumerate(self.module_sizes) for _ in range(size)]
        self.register_buffer("periods", torch.tensor(periods), persistent=False)

    @classmethod
    @override
    def parameter_count(
        cls, input_size: int, hidden_size: int, modules: Value = 4, **structure: Value
    ) -> int:
        """Weights of inputs, a bias, and the blocks on and above the diagonal."""
        blocks = _block_counts(_module_sizes(hidden_size, int(modules)))
        return (input_size + 1) * hidden_size + sum(blocks)

    @classmethod
    @override
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size + 1

    @override
    def initial_state(self, batch_size: int) -> State:
        return self.zeros(batch_size, 1), self.zeros(batch_size, self.hidden_size)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        time, hidden = state
        candidate = torch.tanh(self.input_map(inputs) + self.recurrence(hidden))
        # Below 1 rather than equal to 0: the time is a float and may have a rounding error.
        ticks = torch.fmod(time, self.periods) < 1
        hidden = torch.where(ticks, candidate, hidden)
        time = time + 1
        time = torch.where(time >= self.longest_period, time - self.longest_period, time)
        return hidden, (time, hidden)

    def recurrence(self, hidden: Tensor) -> Tensor:
        """Input of modules from themselves and slower ones, `(batch, hidden_size)`."""
        heard, first = [], 0
        counts = _block_counts(self.module_sizes)
        # `split`, not slices: the gradient of slices is a scatter, which the engine rejects.
        for size, weights in zip(
            self.module_sizes, self.recurrent_weights.split(counts), strict=True
        ):
            heard.append(linear(hidden[:, first:], weights.view(size, -1)))
            first += size
        return torch.cat(heard, dim=-1)


def _module_sizes(hidden_size: int, modules: int) -> list[int]:
    """Units of each nonempty module, nearly equal, none larger than a faster one."""
    sizes = [(hidden_size + modules - 1 - i) // modules for i in range(modules)]
    return [size for size in sizes if size]


def _block_counts(module_sizes: list[int]) -> list[int]:
    """Recurrent weights into each module: from itself and from slower ones."""
    return [size * sum(module_sizes[i:]) for i, size in enumerate(module_sizes)]
