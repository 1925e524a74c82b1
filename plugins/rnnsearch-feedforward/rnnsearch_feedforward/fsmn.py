"""The feed-forward sequential memory network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad
from typing_extensions import override

from rnnsearch import Capabilities, Choice, IntRange, SequenceModel, SequenceShape, Value
from rnnsearch_feedforward.readout import read

_STRUCTURE: Mapping[str, IntRange | Choice] = {
    "memory_blocks": IntRange(1, 4, default=1),
    "look_back": IntRange(1, 200, default=20),
    "memory": Choice(("vectorised", "scalar"), default="vectorised", searched=False),
    "last_size": IntRange(0, 1 << 20, default=0, searched=False),
}


class FSMN(SequenceModel):
    """Feed-forward net whose layers also see a weighted sum of their own earlier values.

        h_t = relu(W_0 x_t + b_0)
        m_t = sum over i from 0 to N of a_i * h_{t-i}                        (a memory block)
        h_t <- relu(W h_t + V m_t + b),   for each memory block, with its own a, W, V, b
        y_t = C h_t + c

    with `a_i` a number (`memory="scalar"`) or a vector that multiplies elementwise
    (`"vectorised"`), and `h` zero before the first step. An output sees `1 + B N` steps with `B`
    memory blocks.

    Source: Zhang, Liu, Jiang, Wei, Dai and Hu, "Feedforward sequential memory networks: a new
    structure to learn long-term dependency", arXiv:1512.08301, the unidirectional net.
    Reconstructed from a survey of memory models, without the paper's text; therefore the initial
    values are those of `nn.Conv1d` and `nn.Linear`, and all layers but the last have one width.

    Shapes:
        inputs: `(time, batch, input_size)`
        output: `(batch, output_size)`, or `(time, batch, output_size)` for `every_step`

    Args:
        shape: the task's sequences.
        hidden_size: units of each layer.
        memory_blocks: number of memory blocks; there is one more hidden layer.
        look_back: earlier steps that a memory block sees, `N`.
        memory: `vectorised` or `scalar`.
        last_size: units of the last hidden layer; 0 takes `hidden_size`.
    """

    structure = _STRUCTURE
    fine_size = "last_size"

    def __init__(
        self,
        shape: SequenceShape,
        hidden_size: int,
        memory_blocks: int = 1,
        look_back: int = 20,
        memory: str = "vectorised",
        last_size: int = 0,
    ) -> None:
        super().__init__(shape, hidden_size)
        self._build(memory_blocks, look_back, 0, memory, last_size)

    def _build(
        self, memory_blocks: int, look_back: int, look_ahead: int, memory: str, last_size: int
    ) -> None:
        width, last = self.hidden_size, last_size or self.hidden_size
        self.first_map = nn.Linear(self.shape.input_size, width)
        self.memories = nn.ModuleList(
            MemoryBlock(width if memory == "vectorised" else 1, look_back, look_ahead)
            for _ in range(memory_blocks)
        )
        widths = [width] * (memory_blocks - 1) + [last]
        self.maps = nn.ModuleList(nn.Linear(2 * width, outputs) for outputs in widths)
        self.output_map = nn.Linear(last, self.shape.output_size)

    @classmethod
    @override
    def parameter_count(
        cls,
        shape: SequenceShape,
        hidden_size: int,
        memory_blocks: Value = 1,
        look_back: Value = 20,
        memory: Value = "vectorised",
        last_size: Value = 0,
        **structure: Value,
    ) -> int:
        """The layers, each but the first with two maps, and the weights of the memory blocks."""
        taps = int(look_back) + 1
        return _count(shape, hidden_size, int(memory_blocks), taps, memory, int(last_size))

    @override
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        hidden = torch.relu(self.first_map(inputs))
        for memory, layer in zip(self.memories, self.maps, strict=True):
            remembered = memory(self._without_padding(hidden, lengths))
            hidden = torch.relu(layer(torch.cat((hidden, remembered), dim=-1)))
        output: Tensor = self.output_map(read(self.shape, hidden, lengths))
        return output

    def _without_padding(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """Values that memory blocks may see. Looking back, no valid step sees padding."""
        return hidden


class BidirectionalFSMN(FSMN):
    """FSMN whose memory blocks also look ahead.

        m_t = sum over i from 0 to N of a_i * h_{t-i} + sum over j from 1 to M of c_j * h_{t+j}

    replaces the memory block of `FSMN`, with `h` zero after the last step. Everything else is the
    same. It is not causal, so tasks that predict the next step refuse it.

    Source: as for `FSMN`, the bidirectional net.

    Shapes:
        inputs: `(time, batch, input_size)`
        output: `(batch, output_size)`, or `(time, batch, output_size)` for `every_step`

    Args:
        shape: the task's sequences.
        hidden_size: units of each layer.
        memory_blocks: number of memory blocks; there is one more hidden layer.
        look_back: earlier steps that a memory block sees, `N`.
        memory: `vectorised` or `scalar`.
        last_size: units of the last hidden layer; 0 takes `hidden_size`.
        look_ahead: later steps that a memory block sees, `M`.
    """

    structure = {**_STRUCTURE, "look_ahead": IntRange(1, 200, default=20)}
    capabilities = Capabilities(causal=False)

    def __init__(
        self,
        shape: SequenceShape,
        hidden_size: int,
        memory_blocks: int = 1,
        look_back: int = 20,
        memory: str = "vectorised",
        last_size: int = 0,
        look_ahead: int = 20,
    ) -> None:
        SequenceModel.__init__(self, shape, hidden_size)
        self._build(memory_blocks, look_back, look_ahead, memory, last_size)

    @classmethod
    @override
    def parameter_count(
        cls,
        shape: SequenceShape,
        hidden_size: int,
        memory_blocks: Value = 1,
        look_back: Value = 20,
        memory: Value = "vectorised",
        last_size: Value = 0,
        look_ahead: Value = 20,
        **structure: Value,
    ) -> int:
        """The count of `FSMN` plus the weights of later steps."""
        taps = int(look_back) + 1 + int(look_ahead)
        return _count(shape, hidden_size, int(memory_blocks), taps, memory, int(last_size))

    @override
    def _without_padding(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return hidden
        steps = torch.arange(len(hidden), device=hidden.device)
        valid = steps.unsqueeze(1) < lengths
        return torch.where(valid.unsqueeze(-1), hidden, 0.0)


class MemoryBlock(nn.Module):
    """Weighted sum of the values of a layer at steps around each step.

    Shapes:
        hidden: `(time, batch, features)`
        output: `(time, batch, features)`

    Args:
        weights: weights per step: one per feature, or 1 shared by all features.
        look_back: earlier steps.
        look_ahead: later steps.
    """

    def __init__(self, weights: int, look_back: int, look_ahead: int) -> None:
        super().__init__()
        self.look_back, self.look_ahead = look_back, look_ahead
        taps = look_back + 1 + look_ahead
        # From the earliest to the latest step.
        self.weight = nn.Parameter(torch.empty(weights, taps).uniform_(-1, 1) * taps**-0.5)

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        features = hidden.shape[-1]
        # Taps beyond the ends of the sequence would only see zeros.
        back, ahead = (min(n, len(hidden) - 1) for n in (self.look_back, self.look_ahead))
        weight = self.weight[:, self.look_back - back : self.look_back + 1 + ahead]
        padded = pad(hidden.permute(1, 2, 0), (back, ahead))
        kernel = weight.expand(features, -1).unsqueeze(1)
        return conv1d(padded, kernel, groups=features).permute(2, 0, 1)


def _count(
    shape: SequenceShape, width: int, memory_blocks: int, taps: int, memory: Value, last_size: int
) -> int:
    last, layer = last_size or width, 2 * width + 1
    memories = memory_blocks * taps * (width if memory == "vectorised" else 1)
    layers = (shape.input_size + 1) * width + layer * (width * (memory_blocks - 1) + last)
    return layers + memories + (last + 1) * shape.output_size
