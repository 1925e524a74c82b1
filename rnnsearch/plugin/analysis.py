"""The contract of an analysis: what can be seen in a trained model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from rnnsearch.plugin.layers import Unrolled
from rnnsearch.spec.parameters import Parameters, Value, chosen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rnnsearch.plugin.task import Examples, Task
    from rnnsearch.spec.trial import TrialSpec


@dataclass(frozen=True)
class TrainedModel:
    """A confirmed model with the data to look at it.

    Attributes:
        spec: the trial that trained it.
        task: its task.
        model: the model, in evaluation mode, on the CPU.
        examples: samples of the validation split, never of the test split.
    """

    spec: TrialSpec
    task: Task
    model: nn.Module
    examples: Examples

    @property
    def label(self) -> str:
        """Name of its row in the comparison."""
        return self.spec.label

    @property
    def layers(self) -> list[Unrolled]:
        """The layers that step through time, first to last; none for a `SequenceModel`."""
        return [m for m in self.model.modules() if isinstance(m, Unrolled)]

    def inputs(self, first: int = 0, last: int = 1) -> tuple[Tensor, Tensor | None]:
        """Inputs `(time, batch, input_size)` of samples `first` to `last`, and their lengths."""
        some = torch.as_tensor(self.examples.inputs[first:last]).float().transpose(0, 1)
        lengths = self.examples.lengths
        return some, None if lengths is None else torch.as_tensor(lengths[first:last]).long()

    def features(self, first: int = 0, last: int = 1) -> tuple[Tensor, Tensor | None]:
        """As `inputs`, but what the first layer is given: of tokens, their embedding."""
        some, lengths = self.inputs(first, last)
        embedded = getattr(self.model, "embedded", None)  # a `SequenceModel` has none
        return embedded(some) if embedded else some, lengths


@dataclass(frozen=True)
class Finding:
    """One thing that an analysis found.

    Attributes:
        name: short, in words that can be a file name: `memory`, `time_constants`.
        caption: what is to be seen, in a sentence or two that stand alone.
        figure: a picture, if there is one; the caller writes and closes it.
        numbers: what was measured, by name.
    """

    name: str
    caption: str
    figure: Figure | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


class Analysis(ABC):
    """Looks at one trained model, and finds pictures and numbers.

    Args:
        options: values for the declared `options`; the others take their default.

    Attributes:
        options: declared choices.
    """

    options: ClassVar[Parameters] = {}

    def __init__(self, **options: Value) -> None:
        self.chosen = chosen(self.options, options)

    def refusal(self, trained: TrainedModel) -> str | None:
        """Say why this analysis does not apply to a model, or return None."""
        return None

    @abstractmethod
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        """Look at a model that was not refused."""
