"""The convolutional LSTM."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from typing_extensions import override

from rnnsearch import Choice, IntRange, RecurrentCell, State, Value


class ConvLSTMCell(RecurrentCell):
    """LSTM on a grid: its affine maps are convolutions, the same at every position.

        I = sigmoid(W_i # [X_t; H_{t-1}] + b_i + p_i * C_{t-1})
        F = sigmoid(W_f # [X_t; H_{t-1}] + b_f + p_f * C_{t-1})
        G = tanh(W_g # [X_t; H_{t-1}] + b_g)
        C_t = F * C_{t-1} + I * G
        O = sigmoid(W_o # [X_t; H_{t-1}] + b_o + p_o * C_t)
        H_t = O * tanh(C_t)

    with `#` the convolution over the grid, zeros around it, `*` elementwise, and `H_0 = C_0 = 0`.
    `X` has `input_size / (rows * columns)` channels, `H` and `C` have `hidden_size`.

    The features of a step are the values of `X`, and the outputs are those of `H`, channel by
    channel, each channel row by row. By default, all features form one row of one channel, and the
    convolution runs along that row. `rows` splits them into rows; `rows` and `columns` set the
    grid, and the features beyond one grid are further channels.

    So in a stack, set `columns`, and every layer convolves over the same grid, with the channels
    of the layer below as its inputs. Without it, the next layer again reads all features of the
    layer below as a single channel: with one row, the channels laid end to end in a longer row.

    Only kernel weights that can overlap the grid are built: on one row the kernel is one row high,
    and on one position this is an LSTM.

    Source: Shi, Chen, Wang, Yeung, Wong and Woo, "Convolutional LSTM network: a machine learning
    approach for precipitation nowcasting", NIPS 2015, arXiv:1506.04214, eq. 3, reconstructed from
    texts that cite it. The equation has peepholes of the size of `C`, one weight for each channel
    and position (`peepholes="position"`); the numbers of parameters in the paper's Table 1 match
    one weight for each channel, which is the default. Departure: input and state kernels have the
    same size.

    Shapes:
        inputs: `(batch, input_size)`
        state: `H` and `C`, each `(batch, rows, columns, hidden_size)`
        output: `(batch, hidden_size * rows * columns)`, the new `H`

    Args:
        input_size: features per time step, at least 1; a multiple of `rows`, or of
            `rows * columns`.
        hidden_size: channels.
        rows: rows of the grid.
        columns: columns of the grid; 0 takes the width of one channel.
        kernel_size: height and width of the kernels.
        peepholes: `channel`, `position` or `none`.

    Raises:
        ValueError: the features do not fill the grid.
    """

    structure = {
        "rows": IntRange(1, 1024, default=1, searched=False),
        "columns": IntRange(0, 1024, default=0, searched=False),
        "kernel_size": Choice((1, 3, 5, 7), default=3),
        "peepholes": Choice(("channel", "position", "none"), default="channel", searched=False),
    }

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        rows: int = 1,
        columns: int = 0,
        kernel_size: int = 3,
        peepholes: str = "channel",
    ) -> None:
        super().__init__(input_size, hidden_size)
        if reason := self.refusal(input_size, rows, columns):
            raise ValueError(f"{type(self).__name__}: {reason}")
        self.channels, self.rows, self.columns = _grid(input_size, rows, columns)
        self.kernel = _kernel(kernel_size, self.rows, self.columns)
        # A convolution as one affine map of each position's neighbourhood: the engine compiles it.
        seen = math.prod(self.kernel) * (self.channels + hidden_size)
        self.gates = nn.Linear(seen, 4 * hidden_size)  # i, f, g, o
        self.has_peepholes = peepholes != "none"
        if self.has_peepholes:
            places = (self.rows, self.columns) if peepholes == "position" else (1, 1)
            sizes = (*places, hidden_size)
            bound = 1 / math.sqrt(hidden_size)  # as for the weights of `nn.LSTM`
            self.input_peephole = nn.Parameter(torch.empty(sizes).uniform_(-bound, bound))
            self.forget_peephole = nn.Parameter(torch.empty(sizes).uniform_(-bound, bound))
            self.output_peephole = nn.Parameter(torch.empty(sizes).uniform_(-bound, bound))

    @classmethod
    @override
    def parameter_count(
        cls,
        input_size: int,
        hidden_size: int,
        rows: Value = 1,
        columns: Value = 0,
        kernel_size: Value = 3,
        peepholes: Value = "channel",
        **structure: Value,
    ) -> int:
        """Four kernels with a bias for each channel, and the peepholes of three gates."""
        channels, *grid = _grid(input_size, rows, columns)
        seen = math.prod(_kernel(kernel_size, *grid)) * (channels + hidden_size)
        places = {"none": 0, "channel": 1, "position": math.prod(grid)}[str(peepholes)]
        return 4 * hidden_size * (seen + 1) + 3 * hidden_size * places

    @classmethod
    @override
    def state_size(
        cls,
        input_size: int,
        hidden_size: int,
        rows: Value = 1,
        columns: Value = 0,
        **structure: Value,
    ) -> int:
        return 2 * cls.output_size(input_size, hidden_size, rows, columns)

    @classmethod
    @override
    def output_size(
        cls,
        input_size: int,
        hidden_size: int,
        rows: Value = 1,
        columns: Value = 0,
        **structure: Value,
    ) -> int:
        return hidden_size * math.prod(_grid(input_size, rows, columns)[1:])

    @classmethod
    @override
    def refusal(
        cls, input_size: int, rows: Value = 1, columns: Value = 0, **structure: Value
    ) -> str | None:
        unit = int(rows) * (int(columns) or 1)
        if input_size % unit == 0:
            return None
        grid = f"a grid of {rows} x {columns}" if columns else f"{rows} rows"
        return f"{input_size} inputs do not fill {grid}; it takes multiples of {unit}"

    @override
    def initial_state(self, batch_size: int) -> State:
        zeros = self.zeros(batch_size, self.rows, self.columns, self.hidden_size)
        return zeros, zeros

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, memory = state
        grid = inputs.reshape(-1, self.channels, self.rows, self.columns).permute(0, 2, 3, 1)
        seen = self._neighbourhoods(torch.cat((grid, hidden), dim=-1))
        i, f, g, o = self.gates(seen).chunk(4, dim=-1)
        if self.has_peepholes:
            i = i + self.input_peephole * memory
            f = f + self.forget_peephole * memory
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        if self.has_peepholes:
            o = o + self.output_peephole * memory
        hidden = o.sigmoid() * memory.tanh()
        return hidden.permute(0, 3, 1, 2).flatten(1), (hidden, memory)

    def _neighbourhoods(self, grid: Tensor) -> Tensor:
        """Concatenate each position's channels with those of all positions within the kernel."""
        height, width = self.kernel
        above, left = height // 2, width // 2
        padded = pad(grid, (0, 0, left, left, above, above))
        shifted = [
            padded[:, row : row + self.rows, column : column + self.columns]
            for row in range(height)
            for column in range(width)
        ]
        return torch.cat(shifted, dim=-1)


def _grid(input_size: int, rows: Value, columns: Value) -> tuple[int, int, int]:
    """Channels, rows and columns of accepted inputs; at least one of each."""
    height, width = int(rows), int(columns)
    channels = max(1, input_size // (height * width)) if width else 1
    return channels, height, width or max(1, input_size // height)


def _kernel(kernel_size: Value, rows: int, columns: int) -> tuple[int, int]:
    """Height and width of the part of a kernel that can overlap a grid containing its centre."""
    return min(int(kernel_size), 2 * rows - 1), min(int(kernel_size), 2 * columns - 1)
