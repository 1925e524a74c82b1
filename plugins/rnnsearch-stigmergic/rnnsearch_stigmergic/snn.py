"""S-NN: perceptrons whose thresholds and weights are stigmergic marks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rnnsearch import Choice, RecurrentCell, State, Value


class SimpleLayer(nn.Module):
    """Sigmoid units whose thresholds rise with their own output and decay over time.

        y_t       = sigmoid(x_t W + b - theta_t)
        theta_t+1 = kappa(kappa(theta_t + mu * y_t) - tau),   theta_1 = kappa(theta_0)

    Shapes:
        inputs: `(batch, input_size)`
        threshold: `(batch, size)`
        output: `(batch, size)`

    Args:
        input_size: inputs.
        size: units.
        clamp: `softplus` or `identity`, the function kappa.
    """

    def __init__(self, input_size: int, size: int, clamp: str) -> None:
        super().__init__()
        self.clamp = clamp
        self.linear = nn.Linear(input_size, size)
        self.initial_threshold = _parameter(size, fan_in=input_size)
        self.threshold_deposit = _parameter(size, fan_in=input_size)
        self.threshold_tick = _parameter(size, fan_in=input_size)

    def initial_state(self, batch_size: int) -> Tensor:
        """Thresholds before the first step."""
        return _clamped(self.initial_threshold, self.clamp).expand(batch_size, -1)

    @override
    def forward(self, inputs: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
        output = torch.sigmoid(self.linear(inputs) - threshold)
        threshold = _clamped(threshold + self.threshold_deposit * output, self.clamp)
        return output, _clamped(threshold - self.threshold_tick, self.clamp)


class FullLayer(nn.Module):
    """Sigmoid units whose weights are marks too: they rise with the inputs and decay over time.

        y_t       = sigmoid(x_t W_t + b - theta_t)
        W_t+1     = kappa(W_t + x_t^T 1 * M - T),             W_1 = kappa(W_0)
        theta_t+1 = kappa(kappa(theta_t + mu * y_t) - tau),   theta_1 = kappa(theta_0)

    Every sample has its own weights.

    Shapes:
        inputs: `(batch, input_size)`
        weight: `(batch, input_size, size)`
        threshold: `(batch, size)`
        output: `(batch, size)`

    Args:
        input_size: inputs.
        size: units.
        clamp: `softplus` or `identity`, the function kappa.
    """

    def __init__(self, input_size: int, size: int, clamp: str) -> None:
        super().__init__()
        self.clamp = clamp
        self.initial_weight = _parameter(input_size, size, fan_in=input_size)
        self.weight_deposit = _parameter(input_size, size, fan_in=input_size)
        self.weight_tick = _parameter(input_size, size, fan_in=input_size)
        self.bias = _parameter(size, fan_in=input_size)
        self.initial_threshold = _parameter(size, fan_in=input_size)
        self.threshold_deposit = _parameter(size, fan_in=input_size)
        self.threshold_tick = _parameter(size, fan_in=input_size)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Weights and thresholds before the first step."""
        weight = _clamped(self.initial_weight, self.clamp).expand(batch_size, -1, -1)
        return weight, _clamped(self.initial_threshold, self.clamp).expand(batch_size, -1)

    @override
    def forward(
        self, inputs: Tensor, weight: Tensor, threshold: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        weighted = torch.bmm(inputs.unsqueeze(1), weight).squeeze(1)
        output = torch.sigmoid(weighted + self.bias - threshold)
        deposit = inputs.unsqueeze(2) * self.weight_deposit
        weight = _clamped(weight + deposit - self.weight_tick, self.clamp)
        threshold = _clamped(threshold + self.threshold_deposit * output, self.clamp)
        return output, weight, _clamped(threshold - self.threshold_tick, self.clamp)


class SNNCell(RecurrentCell):
    """Stigmergic network: a layer with moving thresholds, then one with moving weights as well.

        z_t = sigmoid(x_t W1 + b1 - theta1_t)        (`SimpleLayer`)
        y_t = sigmoid(z_t W2_t + b2 - theta2_t)      (`FullLayer`)

    where `theta1`, `W2` and `theta2` are marks: at each step a stimulus moves them, then each loses
    its tick, and `kappa` keeps them positive. Deposits, ticks and initial marks are learned. The
    marks are the only memory. The head sees the outputs of all steps side by side (the paper's
    temporal adapter).

    Source: Galatolo, Cimino, Vaglini, "Using stigmergy to incorporate the time into artificial
    neural networks", MIKE 2018, LNCS 11308, arXiv:1811.10574, "Architectural design", with the
    marks' update as in the published code. On spatial MNIST with 10 units, and a linear map from 28
    steps to 10 classes, it has 3470 parameters, as published.

    Departures from the published code:
        * Weights belong to a sample. In the published code, one weight mark serves a whole batch
          and follows its first sample, so results depend on the composition of batches. With
          batches of one sample, both agree.
        * Weights lose their tick once per step, like thresholds; in the published code, twice.
        * Parameters start uniform in `[-1, 1] / sqrt(inputs)`, as in `nn.Linear`.
        * The head outputs logits; in the published code, the sigmoid of logits (`output: sigmoid`
          of the head `linear`).

    `clamp="softplus"` is the published `kappa`. It has no fixed point: a mark with no deposit and
    no tick grows like the logarithm of time. `clamp="identity"` leaves marks free, as required by
    the paper's exclusive-or in time with one neuron.

    Shapes:
        inputs: `(batch, input_size)`
        state: `theta1 (batch, hidden_size)`, `W2 (batch, hidden_size, hidden_size)`,
            `theta2 (batch, hidden_size)`
        output: `(batch, hidden_size)`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units of each of the two layers.
        clamp: `softplus` or `identity`.
    """

    hyperparameters = {
        "clamp": Choice(("softplus", "identity"), default="softplus", searched=False)
    }
    readout = "all_steps"

    def __init__(self, input_size: int, hidden_size: int, clamp: str = "softplus") -> None:
        super().__init__(input_size, hidden_size)
        self.simple = SimpleLayer(input_size, hidden_size, clamp)
        self.full = FullLayer(hidden_size, hidden_size, clamp)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Weights, and bias, initial threshold, deposit and tick of each unit."""
        simple = input_size * hidden_size + 4 * hidden_size
        full = 3 * hidden_size * hidden_size + 4 * hidden_size
        return simple + full

    @classmethod
    @override
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size * hidden_size + 2 * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.simple.initial_state(batch_size), *self.full.initial_state(batch_size))

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        simple_threshold, weight, full_threshold = state
        hidden, simple_threshold = self.simple(inputs, simple_threshold)
        output, weight, full_threshold = self.full(hidden, weight, full_threshold)
        return output, (simple_threshold, weight, full_threshold)


def _clamped(marks: Tensor, clamp: str) -> Tensor:
    return functional.softplus(marks) if clamp == "softplus" else marks


def _parameter(*sizes: int, fan_in: int) -> nn.Parameter:
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(*sizes).uniform_(-bound, bound))
