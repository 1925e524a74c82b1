"""The unitary evolution recurrent neural network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from rnnsearch import RecurrentCell, State, Value

_WIDEST_MATRIX = 512
_SMALLEST_MODULUS = 1e-4


class UnitaryCell(RecurrentCell):
    """Recurrent cell of complex units whose recurrent matrix is unitary by construction.

        h_t = modrelu(W h_{t-1} + V x_t)
        W = D_3 R_2 F^-1 D_2 Pi R_1 F D_1
        modrelu(z) = relu(|z| + b) z / |z|

    with diagonal matrices `D = diag(exp(i w))`, reflections `R = I - 2 v v* / |v|^2`, the unitary
    discrete Fourier transform `F`, a fixed permutation `Pi`, and `b` real. `w`, `v`, `V` and `b`
    are trained; `W` has 7 real numbers per unit. At `b = 0`, its initial value, the cell is linear
    and keeps the norm of a state and of a gradient.

    Source: Arjovsky, Shah and Bengio, "Unitary evolution recurrent neural networks", ICML 2016,
    arXiv:1511.06464; equations and initial values of all parameters are those of the authors'
    published manuscript. Departures:

    * `h_0` has a norm of 1, the average norm in the paper, but is the same constant in all
      components: a learned initial state is added from outside. With `h_0 = 0` the phase of `z`
      would be undefined wherever a sequence begins with zeros.
    * `|z|` is `sqrt(z z* + 1e-8)`, for a gradient that stays finite.
    * The permutation is drawn once for each width, and is the same for every seed. `Pi R_1 F` is
      computed as `R_1' (Pi F)`, with the vector of `R_1'` permuted; as it is trained, it is
      equivalent to `v`.
    * Arithmetic is on real parts and imaginary parts. Up to a width of 512 the transforms are
      constant real matrices, which can be compiled; for larger widths they are fast Fourier
      transforms, which run only in torch.
    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor `(batch, 2 hidden_size)`, the real parts of `h`, then the imaginary parts
        output: the new state

    Args:
        input_size: features per time step, at least 1.
        hidden_size: complex units.
    """

    permutation: Tensor
    transform: Tensor
    inverse: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.input_map = nn.Linear(input_size, 2 * hidden_size, bias=False)
        nn.init.xavier_uniform_(self.input_map.weight)
        self.phases = nn.Parameter(torch.empty(3, hidden_size).uniform_(-math.pi, math.pi))
        self.reflections = nn.Parameter(torch.empty(2, 2 * hidden_size).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        # Constants that depend only on the width: rebuilt by the constructor, not saved.
        permutation, device = _permutation(hidden_size), self.phases.device
        self.fast = hidden_size > _WIDEST_MATRIX
        if self.fast:
            self.register_buffer("permutation", permutation.to(device), persistent=False)
            return
        fourier = _fourier_matrix(hidden_size)
        rows = torch.cat((permutation, permutation + hidden_size))
        self.register_buffer("transform", fourier[rows].to(device), persistent=False)
        self.register_buffer("inverse", fourier.T.contiguous().to(device), persistent=False)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Three phases and two complex reflections per unit, complex input weights, and a bias."""
        return hidden_size * (7 + 2 * input_size + 1)

    @classmethod
    @override
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 2 * hidden_size

    @classmethod
    @override
    def output_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 2 * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, 2 * self.hidden_size) + (2 * self.hidden_size) ** -0.5,)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        hidden = self.rectified(self.evolved(hidden) + self.input_map(inputs))
        return hidden, (hidden,)

    def evolved(self, hidden: Tensor) -> Tensor:
        """`W` times vectors `(batch, 2 hidden_size)`."""
        hidden = self._permuted_transform(_turned(hidden, self.phases[0]))
        hidden = _turned(_reflected(hidden, self.reflections[0]), self.phases[1])
        hidden = _reflected(self._inverse_transform(hidden), self.reflections[1])
        return _turned(hidden, self.phases[2])

    def rectified(self, z: Tensor) -> Tensor:
        """`modrelu` of vectors `(batch, 2 hidden_size)`."""
        real, imaginary = z.chunk(2, dim=-1)
        modulus = torch.sqrt(real * real + imaginary * imaginary + _SMALLEST_MODULUS**2)
        scale = torch.relu(modulus + self.bias) / modulus
        return torch.cat((scale * real, scale * imaginary), dim=-1)

    def _permuted_transform(self, hidden: Tensor) -> Tensor:
        if not self.fast:
            return linear(hidden, self.transform)
        return _parts(torch.fft.fft(_joined(hidden), norm="ortho")[:, self.permutation])

    def _inverse_transform(self, hidden: Tensor) -> Tensor:
        if not self.fast:
            return linear(hidden, self.inverse)
        return _parts(torch.fft.ifft(_joined(hidden), norm="ortho"))


def _turned(z: Tensor, phases: Tensor) -> Tensor:
    """Multiply each component by `exp(i phase)`."""
    real, imaginary = z.chunk(2, dim=-1)
    cosine, sine = torch.cos(phases), torch.sin(phases)
    return torch.cat((cosine * real - sine * imaginary, sine * real + cosine * imaginary), dim=-1)


def _reflected(z: Tensor, vector: Tensor) -> Tensor:
    """Subtract twice the part of `z` along `vector`, both complex."""
    real, imaginary = z.chunk(2, dim=-1)
    a, b = vector.chunk(2, dim=-1)
    scale = 2 / (vector * vector).sum()
    along_real = scale * (a * real + b * imaginary).sum(-1, keepdim=True)
    along_imaginary = scale * (a * imaginary - b * real).sum(-1, keepdim=True)
    return torch.cat(
        (
            real - a * along_real + b * along_imaginary,
            imaginary - b * along_real - a * along_imaginary,
        ),
        dim=-1,
    )


def _joined(z: Tensor) -> Tensor:
    return torch.complex(*z.chunk(2, dim=-1))


def _parts(z: Tensor) -> Tensor:
    return torch.cat((z.real, z.imag), dim=-1)


def _permutation(width: int) -> Tensor:
    return torch.randperm(width, generator=torch.Generator().manual_seed(0), device="cpu")


def _fourier_matrix(width: int) -> Tensor:
    """The unitary discrete Fourier transform of real parts followed by imaginary parts."""
    index = torch.arange(width, device="cpu")
    # Reduced as integers, so that wide transforms lose no precision.
    angle = (2 * math.pi / width) * torch.outer(index, index).remainder(width).double()
    cosine, sine = torch.cos(angle), torch.sin(angle)
    matrix = torch.cat((torch.cat((cosine, sine), 1), torch.cat((-sine, cosine), 1)))
    return (matrix / math.sqrt(width)).to(torch.get_default_dtype())
