"""The contract of a model that takes a whole sequence at once and is no step cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, TypeAlias

from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.plugin.capabilities import Capabilities
from rnnsearch.spec.parameters import Parameters, Value
from rnnsearch.spec.shape import SequenceShape

# Inputs, targets and lengths of some samples.
Batch: TypeAlias = tuple[Tensor, Tensor, Tensor | None]


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
    @override
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
