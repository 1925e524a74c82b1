"""The echo state network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import (
    Batch,
    Capabilities,
    FloatRange,
    IntRange,
    Parameters,
    SequenceModel,
    SequenceShape,
    Value,
)


class EchoStateNetwork(SequenceModel):
    """A fixed random recurrent net whose linear readout is solved by ridge regression.

        x_t = (1 - leak) x_{t-1} + leak tanh(W_in [1; u_t] + W x_{t-1}),   x_0 = 0
        y_t = W_out [u_t; x_t] + b
        [W_out, b] = Y Z^T (Z Z^T + ridge I)^{-1},   Z the columns [u_t; x_t; 1], Y the targets

    `W` is sparse, with normal entries, and scaled to a spectral radius; `W_in` is uniform in
    [-input_scale, input_scale]. Neither is trained: they are counted as frozen, and a budget of
    trainable parameters covers only the readout. A study shows both numbers.

    Source: Jaeger, "The 'echo state' approach to analysing and training recurrent neural networks",
    GMD report 148, 2001; leaky units: Jaeger, Lukosevicius, Popovici, Siewert, "Optimization and
    applications of echo state networks with leaky-integrator neurons", Neural Networks 20, 2007,
    eq. 1 (reconstructed). Departures: no feedback from the output and no noise in the state. For
    classes the targets are ones and zeros, so the outputs are not logits of probabilities: the
    accuracy can be compared with that of other nets, the cross-entropy cannot. If a task reads one
    step, only the last valid steps of samples are fitted.

    Shapes:
        inputs: `(time, batch, input_size)`
        lengths: `(batch,)`, or None if every sequence fills the time axis
        output: `(batch, output_size)`, or `(time, batch, output_size)` for `every_step`

    Args:
        shape: the task's sequences.
        hidden_size: units of the reservoir.
        spectral_radius: largest absolute eigenvalue of `W`.
        leak: share of the state that is replaced at a step.
        input_scale: largest weight of an input.
        ridge: ridge regularization weight.
        density: share of nonzero entries of `W`.
        washout: first steps of each sequence that are not fitted, for a task that reads every step.
    """

    hyperparameters: ClassVar[Parameters] = {
        "spectral_radius": FloatRange(0.1, 1.5, default=0.9),
        "leak": FloatRange(0.05, 1.0, default=1.0),
        "input_scale": FloatRange(0.01, 10.0, default=1.0, log=True),
        "ridge": FloatRange(1e-9, 100.0, default=1e-4, log=True),
        "density": FloatRange(0.01, 1.0, default=0.1, searched=False),
        "washout": IntRange(0, 10_000, default=0, searched=False),
    }
    capabilities: ClassVar[Capabilities] = Capabilities(trained_by=("closed_form", "gradient"))

    def __init__(
        self,
        shape: SequenceShape,
        hidden_size: int,
        spectral_radius: float = 0.9,
        leak: float = 1.0,
        input_scale: float = 1.0,
        ridge: float = 1e-4,
        density: float = 0.1,
        washout: int = 0,
    ) -> None:
        super().__init__(shape, hidden_size)
        self.leak, self.ridge, self.washout = leak, ridge, washout
        self.readout = nn.Linear(shape.input_size + hidden_size, shape.output_size)
        from_inputs = torch.empty(hidden_size, shape.input_size + 1).uniform_(-1, 1)
        recurrent = torch.randn(hidden_size, hidden_size)
        recurrent = recurrent * (torch.rand(hidden_size, hidden_size) < density)
        # Eigenvalues of a non-normal matrix lose half their digits: use float64.
        radius = torch.linalg.eigvals(recurrent.double()).abs().max().to(recurrent.dtype)
        # A small sparse matrix may have no cycle, and therefore only zero eigenvalues.
        scale = torch.where(radius > 1e-6, spectral_radius / radius.clamp(min=1e-6), radius)
        self.from_inputs: Tensor
        self.recurrent: Tensor
        self.register_buffer("from_inputs", input_scale * from_inputs)
        self.register_buffer("recurrent", scale * recurrent)

    @classmethod
    @override
    def parameter_count(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        """The parameters of the readout."""
        return shape.output_size * (hidden_size + shape.input_size + 1)

    @classmethod
    @override
    def frozen_count(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        """The parameters of the reservoir, including zeros, because they are stored."""
        return hidden_size * (hidden_size + shape.input_size + 1)

    def states(self, inputs: Tensor, start: Tensor | None = None) -> Tensor:
        """States of the reservoir `(time, batch, hidden_size)`, by default from zero."""
        weights, bias = self.from_inputs[:, :-1], self.from_inputs[:, -1]
        driven = inputs @ weights.T + bias
        state = inputs.new_zeros(inputs.shape[1], self.hidden_size) if start is None else start
        states = []
        for drive in driven:
            new = torch.tanh(drive + state @ self.recurrent.T)
            state = (1 - self.leak) * state + self.leak * new
            states.append(state)
        return torch.stack(states)

    def _features(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        features = torch.cat((inputs, self.states(inputs)), dim=-1)
        if self.shape.readout == "every_step":
            return features
        if lengths is None:
            return features[-1]
        return features[lengths - 1, torch.arange(len(lengths), device=inputs.device)]

    @override
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        output: Tensor = self.readout(self._features(inputs, lengths))
        return output

    @torch.no_grad()
    @override
    def fit(self, batches: Iterable[Batch]) -> None:
        """Solve for the readout; the reservoir stays unchanged."""
        size, outputs = self.readout.in_features + 1, self.shape.output_size
        device = self.recurrent.device
        squares = torch.zeros(size, size, dtype=torch.float64, device=device)
        products = torch.zeros(outputs, size, dtype=torch.float64, device=device)
        for inputs, targets, lengths in batches:
            features = self._features(inputs.to(self.recurrent.dtype), lengths)
            wanted = targets
            if self.shape.readout == "every_step":
                wanted = targets.transpose(0, 1)[: len(features)]  # time first, like the features
                features, wanted = features[self.washout :], wanted[self.washout :]
                wanted = wanted.flatten(0, 1)
            z = features.reshape(-1, features.shape[-1]).double()
            z = torch.cat((z, torch.ones_like(z[:, :1])), dim=-1)
            y, known = _columns(wanted, outputs)
            squares += z[known].T @ z[known]
            products += y[known].T @ z[known]
        squares += self.ridge * torch.eye(size, dtype=torch.float64, device=device)
        solved = torch.linalg.solve(squares, products.T).T
        self.readout.weight.copy_(solved[:, :-1])
        self.readout.bias.copy_(solved[:, -1])


def _columns(targets: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    """Targets as `(samples, outputs)` numbers, and which of them are present.

    Padding is marked as in the losses of rnnsearch: a class below zero, or NaN.
    """
    if targets.is_floating_point():
        columns = targets.reshape(-1, outputs).double()
        return columns, ~columns.isnan().any(dim=-1)
    classes = targets.reshape(-1)
    known = classes >= 0
    return nn.functional.one_hot(classes.clamp(min=0), outputs).double(), known
