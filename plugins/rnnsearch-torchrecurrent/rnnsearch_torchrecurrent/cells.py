"""The cells of torchrecurrent as step cells of rnnsearch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torchrecurrent
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import RecurrentCell, State, Value


@dataclass(frozen=True)
class Size:
    """Number of parameters of a cell with p units and m inputs.

    `inputs m p + recurrent p^2 + vectors p + scalars`, of which `redundant p` are redundant.

    Attributes:
        inputs: matrices that act on the inputs.
        recurrent: matrices that act on p units.
        vectors: biases, and weights that act unit by unit.
        scalars: weights shared by the whole cell.
        redundant: biases that are only added to another bias.
    """

    inputs: int
    recurrent: int
    vectors: int
    redundant: int
    scalars: int = 0


class TorchrecurrentCell(RecurrentCell):
    """A cell of torchrecurrent 0.2.5 with default options.

    Its equations are in the docstring of the class of the same name in torchrecurrent. If that
    class departs from its paper, the docstring here says how.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor for each of `state_parts`, `(batch, hidden_size)` or `(batch, input_size)`
        output: `(batch, hidden_size)`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.

    Attributes:
        upstream: the class of torchrecurrent.
        size: number of its parameters.
        state_parts: width of each part of the state: `hidden` or `inputs`.
        separate_output: whether it returns an output in addition to its state; otherwise the output
            is the first part of the state.
        memory_part: the part of the state that is its memory.
    """

    upstream: ClassVar[type[nn.Module]]
    size: ClassVar[Size]
    state_parts: ClassVar[tuple[str, ...]] = ("hidden",)
    separate_output: ClassVar[bool] = False
    memory_part: ClassVar[int] = -1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.cell = self._build(input_size)

    def _build(self, input_size: int) -> nn.Module:
        # Its constructors use the CPU unless told otherwise, also inside `with torch.device(...)`.
        device = torch.get_default_device()
        cell: nn.Module = self.upstream(input_size, self.hidden_size, device=device)
        return cell

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        size = cls.size
        per_unit = size.inputs * input_size + size.recurrent * hidden_size + size.vectors
        return hidden_size * per_unit + size.scalars

    @classmethod
    @override
    def redundant_biases(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return cls.size.redundant * hidden_size

    @classmethod
    @override
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return sum(cls._widths(input_size, hidden_size))

    @classmethod
    def _widths(cls, input_size: int, hidden_size: int) -> list[int]:
        return [hidden_size if part == "hidden" else input_size for part in cls.state_parts]

    @override
    def initial_state(self, batch_size: int) -> State:
        widths = self._widths(self.input_size, self.hidden_size)
        return tuple(self.zeros(batch_size, width) for width in widths)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        after = self.cell(inputs, state if len(state) > 1 else state[0])
        if self.separate_output:
            output, after = after
        else:
            output = after if isinstance(after, Tensor) else after[0]
        return output, (after,) if isinstance(after, Tensor) else after

    @override
    def memory_state(self, state: State) -> Tensor:
        return state[self.memory_part].flatten(1)


_TWO_STATES = ("hidden", "hidden")


class AntisymmetricRNNCell(TorchrecurrentCell):
    """AntisymmetricRNN: Chang et al., ICLR 2019, arXiv:1902.09689.

    By default, the step is 1, there is no damping, and recurrent weights start with variance 1 for
    any width, so states of wide cells initially grow fast. In the paper, step and damping are
    hyperparameters. All p^2 weights of the recurrent matrix are trained, although only the p
    (p - 1) / 2 differences of `W - W^T` matter: a budget counts twice the effective weights.
    """

    upstream = torchrecurrent.AntisymmetricRNNCell
    size = Size(inputs=1, recurrent=1, vectors=2, redundant=1)


class GatedAntisymmetricRNNCell(TorchrecurrentCell):
    """AntisymmetricRNN with a gate: Chang et al., ICLR 2019, arXiv:1902.09689.

    The defaults are those of `AntisymmetricRNNCell`.
    """

    upstream = torchrecurrent.GatedAntisymmetricRNNCell
    size = Size(inputs=2, recurrent=1, vectors=3, redundant=1)


class ATRCell(TorchrecurrentCell):
    """Addition-subtraction twin-gated network: Zhang et al., EMNLP 2018, arXiv:1810.12546."""

    upstream = torchrecurrent.ATRCell
    size = Size(inputs=1, recurrent=1, vectors=2, redundant=0)


class BRCell(TorchrecurrentCell):
    """Bistable recurrent cell: Vecoven, Ernst and Drion, PLOS ONE 16, 2021."""

    upstream = torchrecurrent.BRCell
    size = Size(inputs=3, recurrent=0, vectors=7, redundant=2)


class NBRCell(TorchrecurrentCell):
    """Neuromodulated bistable recurrent cell: Vecoven, Ernst and Drion, PLOS ONE 16, 2021."""

    upstream = torchrecurrent.NBRCell
    size = Size(inputs=3, recurrent=2, vectors=5, redundant=2)


class CFNCell(TorchrecurrentCell):
    """Chaos-free network: Laurent and von Brecht, ICLR 2017, arXiv:1612.06212."""

    upstream = torchrecurrent.CFNCell
    size = Size(inputs=3, recurrent=2, vectors=5, redundant=2)


class coRNNCell(TorchrecurrentCell):
    """Coupled oscillatory network: Rusch and Mishra, ICLR 2021, arXiv:2010.00951."""

    upstream = torchrecurrent.coRNNCell
    size = Size(inputs=1, recurrent=2, vectors=3, redundant=2)
    state_parts = _TWO_STATES


class FastRNNCell(TorchrecurrentCell):
    """FastRNN: Kusupati et al., NeurIPS 2018, arXiv:1901.02358.

    It starts the other way round: with 0.95 of the candidate and 0.05 of the previous state,
    whereas the paper has a small share of the candidate.
    """

    upstream = torchrecurrent.FastRNNCell
    size = Size(inputs=1, recurrent=1, vectors=2, redundant=1, scalars=2)


class FastGRNNCell(TorchrecurrentCell):
    """FastGRNN: Kusupati et al., NeurIPS 2018, arXiv:1901.02358.

    Its gate is a tanh, whereas the paper has a sigmoid.
    """

    upstream = torchrecurrent.FastGRNNCell
    size = Size(inputs=1, recurrent=1, vectors=4, redundant=2, scalars=2)


class IndRNNCell(TorchrecurrentCell):
    """Independently recurrent network: Li et al., CVPR 2018, arXiv:1803.04831.

    With tanh, whereas the paper has a rectifier.
    """

    upstream = torchrecurrent.IndRNNCell
    size = Size(inputs=1, recurrent=0, vectors=3, redundant=1)


class IntersectionRNNCell(TorchrecurrentCell):
    """Intersection network: Collins, Sohl-Dickstein and Sussillo, ICLR 2017, arXiv:1611.09913.

    Its output mixes in its inputs, so they must be as wide as its units. An affine map in front
    gives inputs of any width that width.
    """

    upstream = torchrecurrent.IntersectionRNNCell
    size = Size(inputs=1, recurrent=8, vectors=9, redundant=4)
    separate_output = True

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.input_projection = nn.Linear(input_size, hidden_size)

    @override
    def _build(self, input_size: int) -> nn.Module:
        return super()._build(self.hidden_size)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(self.input_projection(inputs), state)


class JANETCell(TorchrecurrentCell):
    """JANET: van der Westhuizen and Lasenby, arXiv:1804.04849.

    The offset of its input gate is trained, whereas the paper keeps it at 1. Both parts of its
    state are the same tensor after the first step.
    """

    upstream = torchrecurrent.JANETCell
    size = Size(inputs=2, recurrent=2, vectors=4, redundant=2, scalars=1)
    state_parts = _TWO_STATES


class LEMCell(TorchrecurrentCell):
    """Long expressive memory: Rusch et al., ICLR 2022, arXiv:2110.04744.

    The hidden state reads the memory of the previous step, whereas the paper has the new one.
    """

    upstream = torchrecurrent.LEMCell
    size = Size(inputs=4, recurrent=4, vectors=8, redundant=4)
    state_parts = _TWO_STATES


class LightRUCell(TorchrecurrentCell):
    """Light recurrent unit: Electronics 13, 3204, 2024, doi:10.3390/electronics13163204."""

    upstream = torchrecurrent.LightRUCell
    size = Size(inputs=2, recurrent=1, vectors=3, redundant=1)


class LiGRUCell(TorchrecurrentCell):
    """Light GRU: Ravanelli et al., 2018, arXiv:1803.10225.

    Without the batch normalisation of the paper.
    """

    upstream = torchrecurrent.LiGRUCell
    size = Size(inputs=2, recurrent=2, vectors=4, redundant=2)


class MCLSTMCell(TorchrecurrentCell):
    """Memory-controller LSTM: the NIPS 2017 workshop paper that torchrecurrent links to."""

    upstream = torchrecurrent.MCLSTMCell
    size = Size(inputs=5, recurrent=5, vectors=10, redundant=5)
    state_parts = _TWO_STATES
    separate_output = True


class MGUCell(TorchrecurrentCell):
    """Minimal gated unit: Zhou et al., 2016, arXiv:1603.09420."""

    upstream = torchrecurrent.MGUCell
    size = Size(inputs=2, recurrent=2, vectors=4, redundant=2)


class MinimalRNNCell(TorchrecurrentCell):
    """MinimalRNN: Chen, arXiv:1711.06788."""

    upstream = torchrecurrent.MinimalRNNCell
    size = Size(inputs=1, recurrent=2, vectors=2, redundant=0)


class MiRU1Cell(TorchrecurrentCell):
    """Minion recurrent unit 1: Neurocomputing, 2026, doi:10.1016/j.neucom.2026.132847."""

    upstream = torchrecurrent.MiRU1Cell
    size = Size(inputs=2, recurrent=2, vectors=4, redundant=2)


class MiRU2Cell(TorchrecurrentCell):
    """Minion recurrent unit 2: Neurocomputing, 2026, doi:10.1016/j.neucom.2026.132847."""

    upstream = torchrecurrent.MiRU2Cell
    size = Size(inputs=1, recurrent=1, vectors=2, redundant=1)


class MultiplicativeLSTMCell(TorchrecurrentCell):
    """Multiplicative LSTM: Krause et al., 2016, arXiv:1609.07959.

    With a bias in each factor of the multiplicative state, whereas the paper has none.
    """

    upstream = torchrecurrent.MultiplicativeLSTMCell
    size = Size(inputs=5, recurrent=5, vectors=10, redundant=4)
    state_parts = _TWO_STATES


class MUT1Cell(TorchrecurrentCell):
    """MUT1: Jozefowicz, Zaremba and Sutskever, ICML 2015.

    Its candidate reads an affine map of the inputs, whereas the paper has the inputs themselves.
    """

    upstream = torchrecurrent.MUT1Cell
    size = Size(inputs=3, recurrent=2, vectors=5, redundant=1)


class MUT2Cell(TorchrecurrentCell):
    """MUT2: Jozefowicz, Zaremba and Sutskever, ICML 2015.

    Its reset gate reads an affine map of the inputs, whereas the paper has the inputs themselves.
    This makes it a GRU that resets the state before the product with it.
    """

    upstream = torchrecurrent.MUT2Cell
    size = Size(inputs=3, recurrent=3, vectors=6, redundant=3)


class MUT3Cell(TorchrecurrentCell):
    """MUT3: Jozefowicz, Zaremba and Sutskever, ICML 2015."""

    upstream = torchrecurrent.MUT3Cell
    size = Size(inputs=3, recurrent=3, vectors=6, redundant=3)


class NASCell(TorchrecurrentCell):
    """The cell found by architecture search: Zoph and Le, ICLR 2017, arXiv:1611.01578.

    One of its eight first nodes adds its contributions from the inputs and the state; in the
    paper's cell this node multiplies them.
    """

    upstream = torchrecurrent.NASCell
    size = Size(inputs=8, recurrent=8, vectors=16, redundant=8)
    state_parts = _TWO_STATES


class OriginalLSTMCell(TorchrecurrentCell):
    """LSTM without a forget gate: Hochreiter and Schmidhuber, Neural Computation 9, 1997."""

    upstream = torchrecurrent.OriginalLSTMCell
    size = Size(inputs=3, recurrent=3, vectors=6, redundant=3)
    state_parts = _TWO_STATES


class PeepholeLSTMCell(TorchrecurrentCell):
    """LSTM with peepholes: Gers, Schraudolph and Schmidhuber, JMLR 3, 2002."""

    upstream = torchrecurrent.PeepholeLSTMCell
    size = Size(inputs=4, recurrent=4, vectors=11, redundant=4)
    state_parts = _TWO_STATES


class RANCell(TorchrecurrentCell):
    """Recurrent additive network: Lee, Levy and Zettlemoyer, arXiv:1705.07393."""

    upstream = torchrecurrent.RANCell
    size = Size(inputs=3, recurrent=2, vectors=4, redundant=2)
    state_parts = _TWO_STATES


class ResLSTMCell(TorchrecurrentCell):
    """Residual LSTM: Kim, El-Khamy and Lee, 2017, arXiv:1701.03360."""

    upstream = torchrecurrent.ResLSTMCell
    size = Size(inputs=5, recurrent=5, vectors=11, redundant=4)
    state_parts = _TWO_STATES


class SCRNCell(TorchrecurrentCell):
    """Structurally constrained network: Mikolov et al., 2014, arXiv:1412.7753.

    It passes its output to the next step, whereas the paper passes the hidden layer below it, and
    the leak of the context units is trained.
    """

    upstream = torchrecurrent.SCRNCell
    size = Size(inputs=2, recurrent=4, vectors=6, redundant=3, scalars=1)
    state_parts = _TWO_STATES


class SGRNCell(TorchrecurrentCell):
    """Simple gated recurrent network: doi:10.1049/gtd2.12056."""

    upstream = torchrecurrent.SGRNCell
    size = Size(inputs=1, recurrent=1, vectors=2, redundant=0)


class SGUCell(TorchrecurrentCell):
    """Simple gated unit: Gao and Glowacka, ACML 2016, arXiv:1604.02910."""

    upstream = torchrecurrent.SGUCell
    size = Size(inputs=2, recurrent=2, vectors=4, redundant=1)


class DSGUCell(TorchrecurrentCell):
    """Deep simple gated unit: Gao and Glowacka, ACML 2016, arXiv:1604.02910."""

    upstream = torchrecurrent.DSGUCell
    size = Size(inputs=2, recurrent=3, vectors=4, redundant=1)


class STARCell(TorchrecurrentCell):
    """Stackable recurrent cell: Turkoglu et al., 2019, arXiv:1911.11033."""

    upstream = torchrecurrent.STARCell
    size = Size(inputs=2, recurrent=1, vectors=3, redundant=1)


class tauGRUCell(TorchrecurrentCell):
    """GRU with delayed feedback: Erichson, Lim and Mahoney, arXiv:2212.00228.

    Feeds back the state of one step earlier, the default delay of `torchrecurrent.tauGRU`, and
    keeps it in its own state.
    """

    upstream = torchrecurrent.tauGRUCell
    size = Size(inputs=4, recurrent=4, vectors=8, redundant=4)
    state_parts = _TWO_STATES
    memory_part = 0

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, delayed = state
        new = self.cell(inputs, hidden, delayed)
        return new, (new, hidden)


class TRNNCell(TorchrecurrentCell):
    """Strongly typed network: Balduzzi and Ghifary, ICML 2016, arXiv:1602.02218."""

    upstream = torchrecurrent.TRNNCell
    size = Size(inputs=2, recurrent=0, vectors=2, redundant=0)


class TGRUCell(TorchrecurrentCell):
    """Strongly typed GRU: Balduzzi and Ghifary, ICML 2016, arXiv:1602.02218.

    Its state holds the inputs of the previous step.
    """

    upstream = torchrecurrent.TGRUCell
    size = Size(inputs=6, recurrent=0, vectors=6, redundant=3)
    state_parts = ("hidden", "inputs")
    memory_part = 0


class TLSTMCell(TorchrecurrentCell):
    """Strongly typed LSTM: Balduzzi and Ghifary, ICML 2016, arXiv:1602.02218.

    Its state holds the inputs of the previous step.
    """

    upstream = torchrecurrent.TLSTMCell
    size = Size(inputs=6, recurrent=0, vectors=6, redundant=3)
    state_parts = ("hidden", "inputs")
    separate_output = True
    memory_part = 0


class UGRNNCell(TorchrecurrentCell):
    """Update-gate network: Collins, Sohl-Dickstein and Sussillo, ICLR 2017, arXiv:1611.09913."""

    upstream = torchrecurrent.UGRNNCell
    size = Size(inputs=2, recurrent=2, vectors=4, redundant=2)


class UnICORNNCell(TorchrecurrentCell):
    """UnICORNN, a network of undamped oscillators: Rusch and Mishra, ICML 2021, arXiv:2103.05487.

    A second bias is kept at zero and not trained.
    """

    upstream = torchrecurrent.UnICORNNCell
    size = Size(inputs=1, recurrent=0, vectors=3, redundant=0)
    state_parts = _TWO_STATES

    @classmethod
    @override
    def frozen_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size


class WMCLSTMCell(TorchrecurrentCell):
    """LSTM with working-memory connections: Landi et al., 2021, arXiv:2109.00020."""

    upstream = torchrecurrent.WMCLSTMCell
    size = Size(inputs=4, recurrent=7, vectors=11, redundant=4)
    state_parts = _TWO_STATES
