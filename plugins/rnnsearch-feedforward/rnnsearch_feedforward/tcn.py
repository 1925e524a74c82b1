"""The temporal convolutional network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad
from typing_extensions import override

from rnnsearch import Choice, IntRange, SequenceModel, SequenceShape, Value
from rnnsearch_feedforward.readout import read

_LEVELS_OF_UNKNOWN_LENGTH = 6


class TCN(SequenceModel):
    """Residual blocks of causal convolutions whose dilation doubles from block to block.

        block l of 0, 1, ...:  z = relu(F_2 * relu(F_1 * x)),   o = relu(z + x)
        y_t = C o_t + c

    with `*` a convolution over `x_t, x_{t-d}, ..., x_{t-(k-1) d}` for the dilation `d = 2^l`, with
    a bias. An output sees `1 + 2 (k-1) (2^L - 1)` steps with `L` blocks; steps before the first are
    zeros. In block 0 the `x` that is added goes through an affine map to the width of the block.

    Source: Bai, Kolter and Koltun, "An empirical evaluation of generic convolutional and recurrent
    networks for sequence modeling", arXiv:1803.01271. Reconstructed from descriptions of the paper,
    without its text. Its net for sequential MNIST, of 25 channels, 8 blocks and filters of 7, has
    66,910 parameters here; about 70 thousand are published. Departures:

    * No dropout.
    * Block 0 has its affine map even if the numbers of inputs and channels are equal, so that
      wider nets always have more parameters.

    Shapes:
        inputs: `(time, batch, input_size)`
        output: `(batch, output_size)`, or `(time, batch, output_size)` for `every_step`

    Args:
        shape: the task's sequences.
        hidden_size: channels.
        kernel_size: taps of a filter, `k`.
        levels: blocks, `L`; 0 takes the fewest that see the whole sequence, or 6 if sequences
            differ in length.
        extra_channels: channels beyond `hidden_size` between the two convolutions of the last
            block.
        weight_norm: learn the length and the direction of every filter separately, as in the
            source.
    """

    structure = {
        "kernel_size": IntRange(2, 8, default=7),
        "levels": IntRange(0, 10, default=0, searched=False),
        "extra_channels": IntRange(0, 1 << 20, default=0, searched=False),
        "weight_norm": Choice((True, False), default=True, searched=False),
    }
    fine_size = "extra_channels"

    def __init__(
        self,
        shape: SequenceShape,
        hidden_size: int,
        kernel_size: int = 7,
        levels: int = 0,
        extra_channels: int = 0,
        weight_norm: bool = True,
    ) -> None:
        super().__init__(shape, hidden_size)
        inner = _inner_sizes(shape, hidden_size, kernel_size, levels, extra_channels)
        inputs = [shape.input_size] + [hidden_size] * (len(inner) - 1)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(
                    (inputs[level], inner[level], hidden_size),
                    kernel_size,
                    1 << level,
                    weight_norm=weight_norm,
                    widened=level == 0,
                )
                for level in range(len(inner))
            )
        )
        self.output_map = nn.Linear(hidden_size, shape.output_size)

    @classmethod
    @override
    def parameter_count(
        cls,
        shape: SequenceShape,
        hidden_size: int,
        kernel_size: Value = 7,
        levels: Value = 0,
        extra_channels: Value = 0,
        weight_norm: Value = True,
        **structure: Value,
    ) -> int:
        """Two convolutions per block, the affine map around the first, and the output layer."""
        taps, per_filter = int(kernel_size), 2 if weight_norm else 1
        inner = _inner_sizes(shape, hidden_size, taps, int(levels), int(extra_channels))
        count = (shape.input_size + 1) * hidden_size + (hidden_size + 1) * shape.output_size
        inputs = shape.input_size
        for width in inner:
            count += (inputs * taps + per_filter) * width
            count += (width * taps + per_filter) * hidden_size
            inputs = hidden_size
        return count

    @override
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        # Convolutions need `(batch, channels, time)`.
        features = self.blocks(inputs.permute(1, 2, 0)).permute(2, 0, 1)
        output: Tensor = self.output_map(read(self.shape, features, lengths))
        return output


class ResidualBlock(nn.Module):
    """Two causal convolutions with rectifiers, and a skip connection.

    Shapes:
        inputs: `(batch, inputs, time)`
        output: `(batch, outputs, time)`

    Args:
        channels: inputs, channels between the convolutions, and outputs.
        kernel_size: taps of a filter.
        dilation: steps from one tap to the next.
        weight_norm: see `CausalConvolution`.
        widened: whether the skip connection is an affine map; if not, inputs must equal outputs.
    """

    def __init__(
        self,
        channels: tuple[int, int, int],
        kernel_size: int,
        dilation: int,
        *,
        weight_norm: bool,
        widened: bool,
    ) -> None:
        super().__init__()
        inputs, inner, outputs = channels
        self.first = CausalConvolution(inputs, inner, kernel_size, dilation, weight_norm)
        self.second = CausalConvolution(inner, outputs, kernel_size, dilation, weight_norm)
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if widened else nn.Identity()

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        found = torch.relu(self.second(torch.relu(self.first(inputs))))
        return torch.relu(found + self.shortcut(inputs))


class CausalConvolution(nn.Module):
    """A dilated convolution over time that sees no later step.

    Shapes:
        inputs: `(batch, inputs, time)`
        output: `(batch, outputs, time)`

    Args:
        inputs: channels read.
        outputs: channels written, each by a filter.
        kernel_size: taps of a filter.
        dilation: steps from one tap to the next.
        weight_norm: store each filter as a length and a direction (Salimans and Kingma, "Weight
            normalization", NIPS 2016).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int, dilation: int, weight_norm: bool
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, outputs, kernel_size, dilation=dilation)
        self.lengths = None
        if weight_norm:
            self.lengths = nn.Parameter(self._norms().detach().clone())

    def _norms(self) -> Tensor:
        return self.convolution.weight.square().sum((1, 2), keepdim=True).sqrt()

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        weight, (dilation,) = self.convolution.weight, self.convolution.dilation
        if self.lengths is not None:
            weight = weight * (self.lengths / self._norms())
        # Taps that lie before the first step at every output would only see zeros.
        taps = min(weight.shape[-1], 1 + (inputs.shape[-1] - 1) // dilation)
        padded = pad(inputs, ((taps - 1) * dilation, 0))
        bias = self.convolution.bias
        return conv1d(padded, weight[..., -taps:], bias, dilation=dilation)


def _inner_sizes(
    shape: SequenceShape, hidden_size: int, kernel_size: int, levels: int, extra_channels: int
) -> list[int]:
    """Channels between the two convolutions of each block."""
    if not levels and shape.length is None:
        levels = _LEVELS_OF_UNKNOWN_LENGTH
    elif not levels:
        levels = 1
        while 1 + 2 * (kernel_size - 1) * ((1 << levels) - 1) < (shape.length or 0):
            levels += 1
    return [hidden_size] * (levels - 1) + [hidden_size + extra_channels]
