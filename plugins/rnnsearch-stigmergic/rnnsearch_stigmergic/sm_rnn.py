"""SM-RNN: a recurrent network whose memory is a vector of stigmergic marks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, FloatRange, IntRange, RecurrentCell, State, Value

FINISHING_LEVEL = 0.0
SATURATION_LEVEL = 10.0


class SMRNNCell(RecurrentCell):
    """Recurrent cell whose marks one network reinforces and another weakens.

    With `M` marks and two-layer networks of `H` hidden units for deposit `D` and removal `R`:

        a_t = A_D M_{t-1} + b_D                                      (a linear layer)
        D_t = relu(V_D prelu(U_D [x_t; a_t] + u_D) + v_D)
        c_t = A_R M_{t-1} + b_R                                      (another linear layer)
        R_t = relu(V_R prelu(U_R [x_t; c_t] + u_R) + v_R)
        M_t = clamp(M_{t-1} + D_t - R_t),   M_0 = 0

    The clamp keeps marks between a finishing level of 0 and a saturation level of 10. The paper's
    classification network is the head `prelu`.

    Source: Galatolo, Cimino, Vaglini, "Using stigmergy as a computational memory in the design of
    recurrent neural networks", ICPRAM 2019, arXiv:1903.01341, section 2; sizes in section 3
    (spatial MNIST: 15 marks, `mlp_size` 20; temporal: 30 marks, `mlp_size` 20).

    Interpretations, where the paper leaves a choice:
        * The text has "the linear layer" before deposit and removal; its parameter totals need two
          separate ones, as here.
        * `clamp="soft"` is the clamp of the published code, `10 sigmoid(0.4 s - 2)`. It acts on
          every mark at every step and pulls towards 5, so marks drift even without a stimulus.
          `clamp="hard"` is the text: marks move freely between the two levels and stop there.
        * `slopes="per_unit"` is the paper's count, one slope per neuron; `slopes="shared"` is the
          published code, one slope per activation.
        * With its head the paper's spatial net counts 3200 (per unit) or 3144 (shared), whereas the
          paper has 3190: that total omits the ten slopes of the output. The temporal net counts
          5420 or 5354; the paper has 5420.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, the marks `(batch, hidden_size)`
        output: `(batch, hidden_size)`, the new marks

    Args:
        input_size: features per time step, at least 1.
        hidden_size: marks, `M`.
        mlp_ratio: `H` as a multiple of `M`, rounded half up.
        mlp_size: `H` directly; 0 takes it from `mlp_ratio`.
        slopes: `per_unit` or `shared` PReLU slopes.
        clamp: `soft` or `hard`.
    """

    structure = {
        "mlp_ratio": FloatRange(0.5, 2.0, default=4 / 3),
        "mlp_size": IntRange(0, 4096, default=0, searched=False),
        "slopes": Choice(("per_unit", "shared"), default="per_unit", searched=False),
    }
    hyperparameters = {"clamp": Choice(("soft", "hard"), default="soft", searched=False)}
    head = "prelu"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        mlp_ratio: float = 4 / 3,
        mlp_size: int = 0,
        slopes: str = "per_unit",
        clamp: str = "soft",
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.clamp = clamp
        width = _mlp_width(hidden_size, mlp_ratio, mlp_size)
        self.deposit_feedback = nn.Linear(hidden_size, hidden_size)
        self.removal_feedback = nn.Linear(hidden_size, hidden_size)
        self.deposit = _two_layers(input_size + hidden_size, width, hidden_size, slopes)
        self.removal = _two_layers(input_size + hidden_size, width, hidden_size, slopes)

    @classmethod
    @override
    def parameter_count(
        cls,
        input_size: int,
        hidden_size: int,
        mlp_ratio: Value = 4 / 3,
        mlp_size: Value = 0,
        slopes: Value = "per_unit",
        **structure: Value,
    ) -> int:
        """Two feedback layers, each with a two-layer network and its slopes."""
        width = _mlp_width(hidden_size, mlp_ratio, mlp_size)
        feedback = (hidden_size + 1) * hidden_size
        network = (input_size + hidden_size + 1) * width + (width + 1) * hidden_size
        return 2 * (feedback + network + (width if slopes == "per_unit" else 1))

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (marks,) = state
        deposit, removal = self.stimulate(inputs, marks)
        marks = self.clamped(marks + deposit - removal)
        return marks, (marks,)

    def stimulate(self, inputs: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
        """Nonnegative deposit and removal caused by a stimulus, each `(batch, hidden_size)`."""
        deposit = self.deposit(torch.cat((inputs, self.deposit_feedback(marks)), dim=-1))
        removal = self.removal(torch.cat((inputs, self.removal_feedback(marks)), dim=-1))
        return deposit, removal

    def clamped(self, marks: Tensor) -> Tensor:
        """Marks kept between the finishing and the saturation level."""
        if self.clamp == "hard":
            return marks.clamp(FINISHING_LEVEL, SATURATION_LEVEL)
        span = SATURATION_LEVEL - FINISHING_LEVEL
        return FINISHING_LEVEL + span * torch.sigmoid(4 * (marks - FINISHING_LEVEL) / span - 2)


def _two_layers(inputs: int, width: int, outputs: int, slopes: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.PReLU(width if slopes == "per_unit" else 1),
        nn.Linear(width, outputs),
        nn.ReLU(),
    )


def _mlp_width(hidden_size: int, mlp_ratio: Value, mlp_size: Value) -> int:
    return int(mlp_size) or max(1, math.floor(float(mlp_ratio) * hidden_size + 0.5))
