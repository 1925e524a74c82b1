"""Cells for the Triton kernels, and a comparison with the eager loop.

Run as a script, it prints the errors of all cases as JSON: Triton reads `TRITON_INTERPRET` when
it is first imported, so its interpreter needs a separate process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnsearch import RecurrentCell, State
from rnnsearch.engine.capture import Captured, capture
from rnnsearch.engine.triton_kernel import TritonLayer
from rnnsearch.plugin.layers import run_eagerly
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_baselines.mike_rnn import MikeRNNCell
from rnnsearch_baselines.prelu_rnn import PReLURNNCell
from rnnsearch_gated.gru import GRUCell
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_nested.mcrm import MCRMCell
from rnnsearch_nested.nlstm import NestedLSTMCell
from rnnsearch_stigmergic.sm_rnn import SMRNNCell


class _Cell(RecurrentCell):
    parts = 1

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Any) -> int:
        return hidden_size

    def initial_state(self, batch_size: int) -> State:
        return tuple(self.zeros(batch_size, self.hidden_size) for _ in range(self.parts))


class SwappingCell(_Cell):
    """Its parts swap places, one is overwritten, and one is a number."""

    parts = 3

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.map = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        a, b, c = state
        new = self.map(torch.cat((inputs, a), dim=-1)).tanh()
        return new * c, (b, a + 0.1 * new, torch.ones_like(c))


class NormalisingCell(_Cell):
    """Layer normalisation, softmax over the features, and arithmetic on parameters alone."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inputs = nn.Linear(input_size, 2 * hidden_size)
        self.direction = nn.Parameter(torch.randn(2 * hidden_size, hidden_size))
        self.length = nn.Parameter(torch.rand(2 * hidden_size, 1))
        self.gain = nn.Parameter(torch.rand(2 * hidden_size))
        self.time = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (old,) = state
        weight = self.length * self.direction / self.direction.norm(dim=1, keepdim=True)
        sums = self.inputs(inputs) + functional.linear(old, weight)
        sums = sums - sums.mean(dim=-1, keepdim=True)
        sums = self.gain * sums * (sums.square().mean(dim=-1, keepdim=True) + 1e-5).rsqrt()
        gate, new = sums.split(self.hidden_size, dim=-1)
        keep = torch.exp(-functional.softplus(self.time))
        new = keep * old + (1 - keep) * gate.softmax(dim=-1) * new
        return new, (new,)


class SlicingCell(_Cell):
    """Slices, single columns, padding and a shift of the features."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.map = nn.Linear(hidden_size - 2, hidden_size)
        self.read = nn.Linear(input_size, hidden_size, bias=False)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (old,) = state
        shifted = torch.cat((old[:, 1:], old[:, :1]), dim=-1)
        new = self.map(shifted[:, 1:-1]) + self.read(inputs)
        new = torch.cat((new[:, :2] * new[:, 2:3], new[:, 2:]), dim=-1)
        new = functional.pad(new[:, :-1], (1, 0), value=0.5) * self.scale
        low, high = new.amin(dim=-1, keepdim=True), new.mean(dim=-1, keepdim=True)
        new = torch.where(new > high, new, functional.gelu(new - low.clamp(-1, 1)))
        return new[:, ::1].relu(), (new / (1 + new.abs()),)


class RepeatingCell(_Cell):
    """Joins a repeated column, its state, a parameter and a number to its mapped inputs."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.start = nn.Parameter(torch.randn(2))
        self.map = nn.Linear(2 + hidden_size + 2 + 1, hidden_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (old,) = state
        batch = len(inputs)
        parts = (inputs[:, 1:2].expand(-1, 2), old, self.start.expand(batch, -1))
        new = self.map(torch.cat((*parts, torch.full_like(old[:, :1], 2.0)), dim=-1)).tanh()
        return new, (new,)


class WideCell(_Cell):
    """Wider than the maximum width of a piece."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.map = nn.Linear(input_size + hidden_size, 2 * hidden_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (old,) = state
        gate, new = self.map(torch.cat((inputs, old), dim=-1)).chunk(2, dim=-1)
        new = gate.sigmoid() * new.tanh()
        return new, (new,)


class EveryWordCell(_Cell):
    """Every pointwise function that is only available on a device, and a few others."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (old,) = state
        x = old.tanh()
        y = x.asin() + x.acos() + x.atan() + x.sinh() + x.cosh() + x.expm1() + x.abs().log1p()
        y = y + torch.pow(x.abs() + 1, 1.3) + torch.fmod(x, 0.3) + x.erf() + x.floor()
        y = y + x.exp2() + (x.abs() + 1).log2() + torch.maximum(x, -x) + x.cos() + x.sin()
        new = y * self.scale + inputs.sum(dim=-1, keepdim=True)
        return new, (new,)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.scale = nn.Parameter(torch.ones(hidden_size))


Case = tuple[Callable[..., RecurrentCell], int, dict[str, Any], int]  # cell, width, options, tile
CASES: dict[str, Case] = {
    "sm_rnn": (SMRNNCell, 5, {}, 4),
    "mcrm": (MCRMCell, 5, {}, 4),
    "lstm": (LSTMCell, 5, {}, 4),
    "gru": (GRUCell, 5, {}, 4),
    "elman": (ElmanCell, 5, {}, 4),
    "mike_rnn": (MikeRNNCell, 5, {}, 4),
    "prelu_rnn": (PReLURNNCell, 5, {}, 4),
    "one slope for all units": (PReLURNNCell, 5, {"slopes": "shared"}, 4),
    "nlstm": (NestedLSTMCell, 5, {}, 4),
    "swapped and constant parts of the state": (SwappingCell, 5, {}, 4),
    "layer normalisation and softmax": (NormalisingCell, 5, {}, 4),
    "slices and padding": (SlicingCell, 6, {}, 4),
    "repeated columns and constants": (RepeatingCell, 5, {}, 4),
    "a single unit": (LSTMCell, 1, {}, 4),
    "products of matrix units": (LSTMCell, 17, {}, 16),
    "several pieces": (WideCell, 70, {}, 16),
}
INPUTS, STEPS, BATCH = 3, 3, 5


def captured(cell: RecurrentCell, *, input_gradient: bool = True) -> Captured:
    """A cell's step."""
    shapes = tuple(tuple(part.shape[1:]) for part in cell.initial_state(1))
    return capture(cell, cell.input_size, shapes, input_gradient=input_gradient)


def errors(
    case: str,
    members: int = 0,
    *,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> dict[str, float]:
    """Relative L2 errors of outputs and of all gradients against the eager loop.

    Args:
        case: name of the case.
        members: number of members run together; 0 for a layer without such an axis.
        dtype: type of all numbers.
        device: device of all numbers.
    """
    make, width, options, tile = CASES[case]
    cells = []
    for seed in range(members or 1):
        torch.manual_seed(seed)
        cells.append(make(INPUTS, width, **options))
    layer = TritonLayer(captured(cells[0]), tile=tile)
    cells = [cell.to(device, dtype) for cell in cells]

    def drawn(*shape: int) -> Tensor:
        return torch.randn(len(cells), *shape, dtype=dtype, device=device).requires_grad_()

    inputs = drawn(STEPS, BATCH, INPUTS)
    state = [drawn(BATCH, *part.shape[1:]) for part in cells[0].initial_state(1)]
    names = [name for name in layer.captured.names if name not in layer.captured.folded]
    own = [{**dict(cell.named_parameters()), **dict(cell.named_buffers())} for cell in cells]
    held = [torch.stack([values[name] for values in own]) for name in names]
    held = [value.detach().requires_grad_() for value in held]
    if members:
        outputs, last = layer(inputs, state, held)
    else:
        outputs, last = layer(inputs[0], [part[0] for part in state], [h[0] for h in held])
        outputs, last = outputs[None], tuple(part[None] for part in last)
    wanted = [
        run_eagerly(cell, inputs[i], tuple(part[i] for part in state))
        for i, cell in enumerate(cells)
    ]
    found = {"outputs": outputs, **{f"last {i}": part for i, part in enumerate(last)}}
    right = {
        "outputs": torch.stack([one for one, _ in wanted]),
        **{f"last {i}": torch.stack([s[i] for _, s in wanted]) for i in range(len(state))},
    }
    weights = {name: torch.randn_like(value) for name, value in right.items()}
    leaves = {"inputs": inputs, **{f"state {i}": part for i, part in enumerate(state)}}
    for values in (found, right):
        loss = sum((values[name] * weights[name]).sum() for name in weights)
        parameters = (
            dict(zip(names, held, strict=True))
            if values is found
            else {f"{name} {i}": own[i][name] for name in names for i in range(len(cells))}
        )
        gradients = torch.autograd.grad(
            loss,  # type: ignore[arg-type]
            [*leaves.values(), *parameters.values()],
            materialize_grads=True,
        )
        for name, gradient in zip([*leaves, *parameters], gradients, strict=True):
            values[f"of {name}"] = gradient
    for name in names:
        each = [right.pop(f"of {name} {i}") for i in range(len(cells))]
        right[f"of {name}"] = torch.stack(each)
    return {
        name: float((found[name] - value).norm().detach() / value.norm().detach().clamp(min=1e-9))
        for name, value in right.items()
    }


if __name__ == "__main__":
    measured = {case: errors(case) for case in CASES}
    measured["members"] = errors("gru", members=2)
    json.dump(measured, sys.stdout)
