"""The contract of a model that takes a whole sequence at once and is no step cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from torch import Tensor, nn

from rnnsearch.capabilities import Capabilities
from rnnsearch.parameters import Parameters, Value

# Inputs, targets and lengths of some samples.
Batch: TypeAlias = tuple[Tensor, Tensor, Tensor | None]


@dataclass(frozen=True)
class SequenceShape:
    """The shape of a task's sequences.

    Attributes:
        input_size: features per time step; 1 for tokens, the number of the token.
        output_size: outputs (classes, or regression targets).
        length: time steps, or None where sequences differ in length.
        readout: `last_step`, `masked_step` (the last valid step of each sequence) or `every_step`.
        vocabulary: tokens, numbered from 0, where each step is one of them, or 0 where steps are
            vectors. An embedding, as wide as the output of the last layer, makes vectors of them.
        embedding: for tokens: `tied`, the embedding is the output weight too, whatever head is
            asked for; or `separate`, it stands beside the head. Else an empty string.
        stride: steps from the start of a window to that of the next, where samples are windows of
            one long sequence, in its order; or 0 where they have nothing to do with each other.
            Windows may overlap. Training and evaluation go through them in order, and each begins
            with the state that the one before had after `stride` steps.

    Raises:
        ValueError: these do not go together.
    """

    input_size: int
    output_size: int
    length: int | None
    readout: str
    vocabulary: int = 0
    embedding: str = ""
    stride: int = 0

    def __post_init__(self) -> None:
        if self.embedding not in (("tied", "separate") if self.vocabulary else ("",)):
            allowed = "`tied` or `separate` for tokens" if self.vocabulary else "none for vectors"
            msg = f"embedding: expected {allowed}, got `{self.embedding}`"
            raise ValueError(msg)
        if self.vocabulary and self.input_size != 1:
            msg = f"input_size: expected 1, the number of a token, got {self.input_size}"
            raise ValueError(msg)
        if self.embedding == "tied" and self.output_size != self.vocabulary:
            msg = (
                f"output_size: expected {self.vocabulary}, one for each token of a tied embedding, "
                f"got {self.output_size}"
            )
            raise ValueError(msg)
        windows = self.length is not None and self.readout == "every_step"
        if self.stride and not (windows and 0 < self.stride <= (self.length or 0)):
            msg = (
                f"stride: expected windows of one length, at least the stride, that are read at "
                f"every step; got a stride of {self.stride}, the length {self.length} and the "
                f"readout `{self.readout}`"
            )
            raise ValueError(msg)


class SequenceModel(nn.Module, ABC):
    """A model of whole sequences, such as a feed-forward net on the flattened sequence.

    The counterpart of `RecurrentCell` for what has no step: it brings its own head, and stacking,
    directions and initial states do not apply to it.

    Shapes:
        inputs: `(time, batch, input_size)`
        lengths: `(batch,)` integers, or None where every sequence fills the time axis
        output: `(batch, output_size)`, or `(time, batch, output_size)` for `every_step`

    Args:
        shape: the task's sequences.
        hidden_size: units; the size that the budget solver turns.

    Attributes:
        structure: declared choices that change the parameter count.
        hyperparameters: declared choices that do not.
        capabilities: what data it takes and how it is trained.
        fine_size: name of an integer in `structure` that the budget solver may set to close the
            gap that whole steps of `hidden_size` leave, or None.
        known_failures: checks of the conformance suite that this model is known to fail, by name,
            each with its reason.
    """

    structure: ClassVar[Parameters] = {}
    hyperparameters: ClassVar[Parameters] = {}
    capabilities: ClassVar[Capabilities] = Capabilities()
    fine_size: ClassVar[str | None] = None
    known_failures: ClassVar[Mapping[str, str]] = {}

    def __init__(self, shape: SequenceShape, hidden_size: int) -> None:
        super().__init__()
        self.shape = shape
        self.hidden_size = hidden_size

    @classmethod
    def width_multiple(cls, **structure: Value) -> int:
        """What `hidden_size` has to be a multiple of, such as the number of heads that share it.

        Nobody asks for any other width; see `RecurrentCell.width_multiple`.
        """
        return 1

    @classmethod
    def refusal(cls, shape: SequenceShape) -> str | None:
        """Say why this model cannot take such sequences, or return None."""
        return None

    @classmethod
    @abstractmethod
    def parameter_count(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        """Trainable scalars that the constructor builds, each counted once."""

    @classmethod
    def redundant_biases(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        """Bias scalars beyond one per affine map."""
        return 0

    @classmethod
    def frozen_count(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        """Scalars that are kept but not trained; shown apart."""
        return 0

    @abstractmethod
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map whole sequences to outputs."""

    def fit(self, batches: Iterable[Batch]) -> None:
        """Solve for the trained weights in closed form.

        Only for a model whose `capabilities.trained_by` begins with `closed_form`.

        Args:
            batches: inputs `(time, batch, input_size)`, targets as the task gives them, and
                lengths `(batch,)` or None; each sample once, in a fixed order.
        """
        raise NotImplementedError
