"""The contract of a step cell: what a recurrent architecture has to provide, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar, TypeAlias

from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.plugin.capabilities import Capabilities
from rnnsearch.spec.parameters import Parameters, Value

State: TypeAlias = tuple[Tensor, ...]


class RecurrentCell(nn.Module, ABC):
    """One time step of a recurrent network: a pure function `(inputs, state) -> (output, state)`.

    Subclass it, give the equations in `forward`, the count in `parameter_count`, and register the
    class in the `rnnsearch_architectures` hook. Unrolling over time, stacking, running in both
    directions, a learned initial state and the head are added from outside.

    What a cell promises (`rnnsearch.testing.CellConformance` checks it):

    * the state is a tuple of tensors, each with the batch as its first axis; nothing is remembered
      on the module between steps, not even a counter;
    * samples of a batch do not see each other, and a step does not see later inputs;
    * no branch depends on the value of a tensor (use `torch.where`), and nothing is drawn at random
      inside the step;
    * `parameter_count` equals what the constructor builds and grows strictly with `hidden_size`.

    A cell that needs chance (zoneout, recurrent dropout, noise) asks for it: with `noise_size` set
    to k, the last k columns of its inputs are drawn outside, uniform between 0 and 1 (both left
    out) while the module is training: fresh at every step, or, for the columns in `held_noise`,
    once per sequence. In evaluation nothing is drawn: the columns are one half, and the cell uses
    its expectation where `self.training` is false. The draws follow from the trial's seed, the
    epoch and the sample (see `rnnsearch.plugin.noise`), so all engines see the same ones.

    The state may be complex; parameters, buffers and outputs are real. A complex weight is kept as
    a pair of reals `(..., 2)`, as in `torch.complex(w[..., 0], w[..., 1])`. Counts are of reals: a
    complex number is two. Only a step of real numbers becomes machine code; others run in torch.

    Shapes:
        inputs: `(batch, input_size)`, or `(batch, input_size + noise_size)`
        state: a tuple of tensors `(batch, ...)`
        output: `(batch, output_size)`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units; the size that the budget solver turns.

    Attributes:
        structure: declared choices that change the parameter count; keyword arguments of the
            constructor and of the counting class methods.
        hyperparameters: declared choices that do not change the count; keyword arguments of the
            constructor only.
        capabilities: what data it takes and how it is trained.
        head: the head put on the cell where the study names none: `linear`, `mlp`, `prelu`, or
            `identity` for a cell whose outputs are the model's (see `rnnsearch.OutputSize`).
        readout: `None` to read as the task says (last step, masked step, every step), or
            `all_steps` to give the head the outputs of all steps at once (fixed lengths only).
        noise_size: random numbers that a step wants for each sample.
        held_noise: which of them, from 0, are drawn once for each sequence.
        known_failures: checks of the conformance suite that this cell is known to fail, by name,
            each with its reason. They are shown, and must fail: one that passes is an error.
    """

    structure: ClassVar[Parameters] = {}
    hyperparameters: ClassVar[Parameters] = {}
    capabilities: ClassVar[Capabilities] = Capabilities()
    head: ClassVar[str] = "linear"
    readout: ClassVar[str | None] = None
    noise_size: int = 0
    held_noise: Collection[int] = ()
    known_failures: ClassVar[Mapping[str, str]] = {}

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size

    @classmethod
    @abstractmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Trainable scalars that the constructor builds, each counted once."""

    @classmethod
    def redundant_biases(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Bias scalars beyond one per affine map, such as the second bias vector of `nn.LSTM`.

        The papers count one bias per affine map: `parameter_count` minus this.
        """
        return 0

    @classmethod
    def frozen_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Scalars that are kept but not trained (a reservoir's weights); shown apart."""
        return 0

    @classmethod
    def state_size(cls, input_size: int, hidden_size: int, **options: Value) -> int:
        """Scalars of state per sample, a complex number being two.

        Unlike the other counts it is told all options: also those that change no parameter may
        change the state, as the length of a buffer does.
        """
        return hidden_size

    @classmethod
    def output_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Width of the output, that is of the input of a next layer or a head."""
        return hidden_size

    @classmethod
    def width_multiple(cls, **structure: Value) -> int:
        """What `hidden_size` has to be a multiple of, such as the number of heads that share it.

        Nobody asks for any other width: neither the budget solver nor the conformance suite, and
        a study that fixes one is refused.
        """
        return 1

    @classmethod
    def refusal(cls, input_size: int, **structure: Value) -> str | None:
        """Say why this cell cannot take this many inputs, or return None."""
        return None

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """State before the first step, on the parameters' device and dtype.

        `self.zeros(batch_size, n)` makes one tensor of it.
        """

    @abstractmethod
    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: `(batch, input_size)` and the state to `(batch, output_size)` and the next."""

    def memory_state(self, state: State) -> Tensor:
        """What a picture of this cell's memory shows: `(batch, units)` of its state.

        The last part of the state (of complex numbers their absolute values), unless a cell says
        otherwise.
        """
        last = state[-1].flatten(1)
        return last.abs() if last.is_complex() else last

    def as_torch(self) -> nn.RNNBase | None:
        """The `torch.nn` layer that computes the same function with the same parameters, if any.

        A single-layer, sequence-first `nn.LSTM`, `nn.GRU` or `nn.RNN` that this cell holds. The
        library then runs whole sequences through it instead of stepping; the conformance suite
        checks that both agree.
        """
        return None

    def zeros(self, batch_size: int, *sizes: int) -> Tensor:
        """Zeros of shape `(batch_size, *sizes)` on the parameters' device and dtype."""
        return next(self.parameters()).new_zeros(batch_size, *sizes)
