"""Batches: a split of a data set resident on a device, given out by index."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rnnsearch.engine.program import Data
from rnnsearch.plugin.data_contract import Contract, check, plain
from rnnsearch.plugin.losses import NOT_ASKED, Measure, asked, cross_entropy, is_mean_over_targets
from rnnsearch.plugin.task import Examples


def in_streams(samples: int, streams: int) -> Tensor:
    """Order of consecutive windows that reads several parts of one sequence side by side.

    The windows are divided into as many parts as there are `streams`, each consecutive, the first
    ones longer by a window where it does not come out even. Split into batches of `streams`, the
    order gives each batch the next window of every part, in the same rows; the last batch may have
    fewer rows, the first ones.
    """
    shortest, longer = divmod(samples, streams)
    number = torch.arange(samples)
    step, stream = number // streams, number % streams
    return stream * shortest + stream.clamp(max=longer) + step


class Batches:
    """A split resident on a device, given out in batches.

    A batch is `(inputs, targets, lengths)` with inputs `(time, batch, input_size)` in float, cut to
    its longest sequence (exact: what follows a sequence's end is never read).

    Args:
        examples: the split.
        device: where it is to lie.

    Raises:
        DataError: its arrays are not of numbers.
    """

    def __init__(self, examples: Examples, device: torch.device) -> None:
        # Ray hands out read-only arrays; torch wants to own what it is given.
        def resident(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array)).to(device)

        examples = plain(examples)
        self.device = device
        self.inputs = resident(examples.inputs)
        self.targets = resident(examples.targets)
        lengths = examples.lengths
        self.lengths = None if lengths is None else resident(lengths).long()
        if self.targets.is_floating_point():
            self.targets = self.targets.to(torch.get_default_dtype())
        else:
            self.targets = self.targets.long()
        self._outputs_per_step = 0  # or unknown
        self._met: set[Contract] = set()
        self._weights: dict[Hashable, Tensor | None] = {}
        self._compiled: dict[tuple[int, str], Data] = {}

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def steps(self) -> int:
        """Steps of the longest sequence."""
        return int(self.inputs.shape[1])

    def meet(self, contract: Contract) -> None:
        """Hold the split against a contract, and clear what follows the end of its sequences.

        Call this before training or measuring on it; it is done once per contract.

        Raises:
            DataError: it breaks a rule; see `data_contract.check`.
        """
        if contract in self._met:
            return
        lengths = self.lengths
        check(
            Examples(
                self.inputs.cpu().numpy(),
                self.targets.cpu().numpy(),
                None if lengths is None else lengths.cpu().numpy(),
            ),
            contract,
        )
        if lengths is not None:
            after = torch.arange(self.steps, device=self.device) >= lengths[:, None]
            self.inputs[after] = 0
            if contract.readout == "every_step":
                self.targets[after] = math.nan if self.targets.is_floating_point() else NOT_ASKED
        if contract.readout == "every_step":
            self._outputs_per_step = contract.outputs or 0
        self._met.add(contract)
        self.__dict__.pop("counts", None)
        self._weights.clear()
        self._compiled.clear()

    @cached_property
    def counts(self) -> Tensor:
        """How many targets of each sample count, `(samples,)`."""
        return asked(self.targets).reshape(len(self), -1).sum(dim=1).double().cpu()

    def weights(self, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
        """What each sample weighs in the mean of a loss or a score over batches, `(samples,)`.

        Those of the library are means over the targets that count, and so a sample weighs as many
        as it has. None is for all alike.
        """
        if measure not in self._weights:
            self._weights[measure] = self._weigh(measure)
        return self._weights[measure]

    def _weigh(self, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
        counts = self.counts
        if bool((counts == counts[0]).all()):
            return None
        if isinstance(measure, Measure):
            return counts
        if not self._outputs_per_step:
            return None
        some = self.targets[[int(counts.argmin()), int(counts.argmax())]].cpu()
        over_targets = is_mean_over_targets(measure, some, self._outputs_per_step)
        return counts if over_targets else None

    def total(self, measure: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The weight of all samples."""
        weights = self.weights(measure)
        return len(self) if weights is None else float(weights.sum())

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gather one batch."""
        inputs, lengths = self.inputs[index], None
        if self.lengths is not None:
            lengths = self.lengths[index]
            inputs = inputs[:, : int(lengths.max())]
        return inputs.transpose(0, 1).to(torch.get_default_dtype()), self.targets[index], lengths

    def compiled(self, outputs: int, loss: str) -> Data:
        """The same memory as compiled programs read it.

        Args:
            outputs: outputs of the model per sample and step.
            loss: the compiled loss.

        Raises:
            Unsupported: its types are not among those that programs read.
        """
        key = (outputs, loss)
        if key not in self._compiled:
            # Losses and scores of programs are all of the library.
            self._compiled[key] = Data(
                self.inputs, self.targets, self.lengths, outputs, loss, self.weights(cross_entropy)
            )
        return self._compiled[key]


def weight(weights: Tensor | None, index: Tensor) -> float:
    """What a batch weighs in a mean over batches; see `Batches.weights`."""
    return len(index) if weights is None else float(weights[index].sum())
