"""Steps that cover what the registered cells do not: other operators, states and parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnsearch import State

Shapes = tuple[tuple[int, ...], ...]
Function = Callable[[Tensor], Tensor]


class Case(NamedTuple):
    """A step for given sizes, with the shapes of its state."""

    make: Callable[[int, int], nn.Module]
    shapes: Callable[[int], Shapes]


class Recurrent(nn.Module):
    """`h = f(A [x; h] + b, h)` with any `f` and the modules it uses."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        function: Callable[[Recurrent, Tensor, Tensor], Tensor],
        **modules: nn.Module,
    ) -> None:
        super().__init__()
        self.affine = nn.Linear(input_size + hidden_size, hidden_size)
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        before = self.affine(torch.cat((inputs, hidden), dim=-1))
        hidden = self.function(self, before, hidden)
        return hidden, (hidden,)


class Elementwise(nn.Module):
    """Several functions, each on its own units, side by side in the output."""

    def __init__(self, input_size: int, hidden_size: int, functions: list[Function]) -> None:
        super().__init__()
        self.functions = functions
        self.affine = nn.Linear(input_size + hidden_size, hidden_size * len(functions))
        self.back = nn.Linear(hidden_size * len(functions), hidden_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        before = self.affine(torch.cat((inputs, *state), dim=-1)).chunk(len(self.functions), -1)
        output = torch.cat([f(z) for f, z in zip(self.functions, before, strict=True)], dim=-1)
        return output, (torch.tanh(self.back(output)),)


class SlotMemory(nn.Module):
    """Reads and writes slots of a 3-D state by softmax attention."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.query, self.value = (nn.Linear(input_size, hidden_size) for _ in range(2))
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)  # the softmax ignores a bias
        self.out = nn.Linear(hidden_size, hidden_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (slots,) = state
        match = (self.key(slots) @ self.query(inputs).unsqueeze(-1)).squeeze(-1)
        weights = torch.softmax(match / slots.shape[-1] ** 0.5, dim=-1)
        read = torch.bmm(weights.unsqueeze(1), slots).squeeze(1)
        written = weights.unsqueeze(-1) * torch.tanh(self.value(inputs)).unsqueeze(1)
        return self.out(read), (torch.tanh(slots + written),)


class FastWeights(nn.Module):
    """A matrix state written by outer products."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.key, self.value = (nn.Linear(input_size, hidden_size) for _ in range(2))
        self.slow = nn.Linear(hidden_size, hidden_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, fast = state
        key, value = torch.tanh(self.key(inputs)), torch.tanh(self.value(inputs))
        fast = 0.5 * fast + 0.2 * key.unsqueeze(2) * value.unsqueeze(1)
        hidden = torch.tanh(self.slow(hidden) + (hidden.unsqueeze(1) @ fast).squeeze(1))
        return hidden, (hidden, fast)


class Stock(nn.Module):
    """A step of torch's own cells."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        new = self.cell(inputs, state if isinstance(self.cell, nn.LSTMCell) else state[0])
        new = new if isinstance(new, tuple) else (new,)
        return new[0], new


class Tied(nn.Module):
    """One weight under two names, and a third time transposed."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.read = nn.Linear(input_size, hidden_size)
        self.first, self.second = (nn.Linear(hidden_size, hidden_size) for _ in range(2))
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = self.second(torch.relu(self.first(state[0])))
        hidden = functional.linear(torch.tanh(hidden), self.first.weight.t())
        hidden = torch.tanh(self.read(inputs) + hidden)
        return hidden, (hidden,)


class Frozen(nn.Module):
    """An untrained weight and a buffer."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.read, self.reservoir = (nn.Linear(n, hidden_size) for n in (input_size, hidden_size))
        self.reservoir.weight.requires_grad_(False)
        self.scale: Tensor
        self.register_buffer("scale", torch.linspace(0.5, 1.0, hidden_size))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = self.scale * torch.tanh(self.read(inputs) + self.reservoir(state[0]))
        return hidden, (hidden,)


class Leaky(nn.Module):
    """Arithmetic on parameters alone, including one without axes."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.affine = nn.Linear(input_size + hidden_size, hidden_size)
        self.rate = nn.Parameter(torch.tensor(0.3))
        self.time = nn.Parameter(torch.linspace(-1.0, 1.0, hidden_size))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        kept = torch.exp(-functional.softplus(self.time)) * torch.sigmoid(self.rate)
        new = torch.tanh(self.affine(torch.cat((inputs, hidden), dim=-1)))
        hidden = kept * hidden + (1 - kept) * new
        return hidden, (hidden,)


class Shifting(nn.Module):
    """States that are passed on: one part becomes another, an output is an old state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.affine = nn.Linear(input_size, hidden_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        older, newer, untouched = state
        return older, (newer, torch.tanh(self.affine(inputs) + older), untouched)


class NormedWeights(nn.Module):
    """Weight normalisation with torch's parametrization."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        normed = nn.utils.parametrizations.weight_norm
        self.read = normed(nn.Linear(input_size, hidden_size))
        self.back = normed(nn.Linear(hidden_size, hidden_size))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = torch.tanh(self.read(inputs) + self.back(state[0]))
        return hidden, (hidden,)


class LowerTriangular(nn.Module):
    """A mask that torch computes without inputs."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.read, self.back = (nn.Linear(n, hidden_size) for n in (input_size, hidden_size))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        units = state[0].shape[-1]
        weight = self.back.weight * torch.tril(torch.ones(units, units).to(state[0]))
        hidden = torch.tanh(self.read(inputs) + functional.linear(state[0], weight))
        return hidden, (hidden,)


class SideBySide(nn.Module):
    """Several steps on the same inputs, each with its own state, compiled in one build."""

    def __init__(self, modules: dict[str, nn.Module], parts: list[int]) -> None:
        super().__init__()
        self.steps, self.parts = nn.ModuleDict(modules), parts

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, after, first = [], [], 0
        for module, parts in zip(self.steps.values(), self.parts, strict=True):
            output, new = module(inputs, state[first : first + parts])
            outputs.append(output)
            after += new
            first += parts
        return torch.cat(outputs, dim=-1), tuple(after)


def _one(p: int) -> Shapes:
    return ((p,),)


def _with(function: Callable[[Recurrent, Tensor, Tensor], Tensor], **modules: object) -> Case:
    def make(m: int, p: int) -> nn.Module:
        return Recurrent(m, p, function, **{n: f(p) for n, f in modules.items()})  # type: ignore[operator]

    return Case(make, _one)


def _interleave(cell: Recurrent, z: Tensor, h: Tensor) -> Tensor:
    return torch.stack((torch.tanh(z), 0.5 * h), dim=-1).flatten(1)[:, 1::2] + z[:, :1]


def _rearrange(cell: Recurrent, z: Tensor, h: Tensor) -> Tensor:
    places = [(2 * place) % h.shape[-1] for place in range(h.shape[-1])]  # some twice, some never
    mirrored = torch.roll(h, 1, -1) - 0.5 * z.flip(-1)
    return torch.tanh(mirrored + z[:, places] * h.index_select(-1, torch.tensor(places)))


def _einsum(cell: Recurrent, z: Tensor, h: Tensor) -> Tensor:
    weight = cell.mix.weight
    outer = torch.einsum("bi,bj->bij", z, h)
    read = torch.einsum("ij,bkj->bki", weight, outer) + torch.einsum("bik,kj->bji", outer, weight)
    return torch.tanh(torch.einsum("bi,ij->bj", h, weight) + torch.einsum("bij->bi", read))


def _slice_weights(cell: Recurrent, z: Tensor, h: Tensor) -> Tensor:
    weight, half = cell.mix.weight, h.shape[-1] // 2
    parts = h[:, :half] @ weight[:half] + h[:, half:] @ weight[half:]
    return torch.tanh(z + parts - h[:, -1:] * weight[-1] + weight[:, 0] * h[:, 1:-1].sum(-1, True))


_OPERATORS = {
    "sliced weights": _with(_slice_weights, mix=lambda p: nn.Linear(p, p, bias=False)),
    "rearranged": _with(_rearrange),
    "running sums": _with(lambda c, z, h: torch.cumsum(torch.softmax(z, -1), -1) * torch.tanh(h)),
    "einsum": _with(_einsum, mix=lambda p: nn.Linear(p, p, bias=False)),
    "root mean square": _with(lambda c, z, h: torch.tanh(c.norm(z)), norm=nn.RMSNorm),
    "softmax": _with(lambda c, z, h: torch.softmax(z, -1) + torch.log_softmax(h + z, -1)),
    "extremes": _with(lambda c, z, h: torch.tanh(z) - z.amax(-1, True) * 0.1 + z.amin(-1, True)),
    "detached": _with(lambda c, z, h: torch.tanh(z + h.detach())),
    "interleaved": _with(_interleave),
    "flags": _with(
        lambda c, z, h: torch.where((z > 0) & (h < 1) | ~(z < h), z.tanh(), 0.5 * h) * (z != 0)
    ),
    "padded": _with(lambda c, z, h: torch.tanh(z + functional.pad(h, (1, 2))[:, : z.shape[1]])),
}
_STATES_AND_PARAMETERS = {
    "slots": Case(SlotMemory, lambda p: ((4, p),)),
    "fast weights": Case(FastWeights, lambda p: ((p,), (p, p))),
    "tied": Case(Tied, _one),
    "frozen": Case(Frozen, _one),
    "leaky": Case(Leaky, _one),
    "shifting": Case(Shifting, lambda p: ((p,),) * 3),
    "weight normalisation": Case(NormedWeights, _one),
    "lower triangular": Case(LowerTriangular, _one),
    "LSTMCell": Case(lambda m, p: Stock(nn.LSTMCell(m, p)), lambda p: ((p,), (p,))),
    "GRUCell": Case(lambda m, p: Stock(nn.GRUCell(m, p)), _one),
}


def _side_by_side(cases: dict[str, Case]) -> Case:
    def make(m: int, p: int) -> nn.Module:
        modules = {name: case.make(m, p) for name, case in cases.items()}
        return SideBySide(modules, [len(case.shapes(p)) for case in cases.values()])

    return Case(make, lambda p: tuple(shape for c in cases.values() for shape in c.shapes(p)))


CASES = {
    "operators": _side_by_side(_OPERATORS),
    "states and parameters": _side_by_side(_STATES_AND_PARAMETERS),
    "layer normalisation": _with(lambda c, z, h: torch.tanh(c.norm(z)), norm=nn.LayerNorm),
    "spread": _with(lambda c, z, h: (z - z.mean(-1, keepdim=True)) / (1 + z.std(-1, keepdim=True))),
    "bilinear": _with(
        lambda c, z, h: torch.tanh(c.form(z, h)), form=lambda p: nn.Bilinear(p, p, p)
    ),
    "number": _with(lambda c, z, h: torch.tanh(z) * torch.tensor(0.5)),
}

_positive = torch.Tensor.abs
FUNCTIONS: dict[str, Function] = {
    **{
        name: getattr(functional, name)
        for name in (
            *("celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu"),
            *("logsigmoid", "mish", "relu", "relu6", "selu", "silu", "softplus", "softsign"),
            "tanhshrink",
        )
    },
    **{
        name: getattr(torch, name)
        for name in (
            *("abs", "atan", "cos", "cosh", "erf", "exp", "exp2", "expm1", "floor", "sigmoid"),
            *("sign", "sin", "sinh", "square", "tanh"),
        )
    },
    "gelu by tanh": lambda z: functional.gelu(z, approximate="tanh"),
    "glu": lambda z: functional.glu(torch.cat((z, z * z), -1)),
    "threshold": lambda z: functional.threshold(z, 0.1, 20.0),
    "log": lambda z: torch.log(_positive(z) + 0.1),
    "log2": lambda z: torch.log2(_positive(z) + 0.1),
    "log1p": lambda z: torch.log1p(_positive(z)),
    "sqrt": lambda z: torch.sqrt(_positive(z) + 0.1),
    "rsqrt": lambda z: torch.rsqrt(_positive(z) + 0.1),
    "reciprocal": lambda z: torch.reciprocal(_positive(z) + 0.5),
    "tan": lambda z: torch.tan(torch.tanh(z)),
    "asin": lambda z: torch.asin(0.9 * torch.tanh(z)),
    "acos": lambda z: torch.acos(0.9 * torch.tanh(z)),
    "third power": lambda z: z**3,
    "fourth power": lambda z: z**4,
    "fifth power": lambda z: z**5,
    "power of -2": lambda z: (_positive(z) + 0.5) ** -2,
    "power of 1.5": lambda z: (_positive(z) + 0.1) ** 1.5,
    "power of 0.3": lambda z: (_positive(z) + 0.1) ** 0.3,
    "power of two": lambda z: 2**z,
    "fmod": lambda z: torch.fmod(z, 0.7),
    "clamp": lambda z: z.clamp(-0.3, 0.4),
    "clamp below": lambda z: z.clamp(min=0.1),
    "clamp above": lambda z: z.clamp(max=0.1),
    "clamp by tensors": lambda z: torch.clamp(z, -z * z, z * z),
    "maximum": lambda z: torch.maximum(z, -0.5 * z),
    "minimum": lambda z: torch.minimum(z, z * z),
    "where": lambda z: torch.where(z > 0, z, z.exp()),
    "masked fill": lambda z: z.masked_fill(z < 0, 0.5),
    "lerp": lambda z: torch.lerp(z, z * z, 0.3),
    "addcmul": lambda z: torch.addcmul(z, z, z, value=0.5),
    "addcdiv": lambda z: torch.addcdiv(z, z, _positive(z) + 1, value=0.5),
    "subtract with a factor": lambda z: torch.sub(3 - z, z * z, alpha=0.3),
    "divide by a number": lambda z: z / 7 + 7 / (_positive(z) + 1),
    "log of a sum of exponentials": lambda z: torch.logaddexp(z, -z),
    "flag to float": lambda z: z * (z > 0).float() + z * (z < 0.1).to(z.dtype),
    "float to flag": lambda z: z * z.relu().bool(),
    "count of flags": lambda z: z * (z > 0).sum(-1, keepdim=True),
}
