"""Batches: a split of a data set resident on a device, given out by index."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rnnsearch.engine.program import Data
from rnnsearch.task import Examples


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
    """

    def __init__(self, examples: Examples, device: torch.device) -> None:
        # Ray hands out read-only arrays; torch wants to own what it is given.
        def resident(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array)).to(device)

        self.device = device
        self.inputs = resident(examples.inputs)
        self.targets = resident(examples.targets)
        lengths = examples.lengths
        self.lengths = None if lengths is None else resident(lengths).long()
        if not self.targets.is_floating_point():
            self.targets = self.targets.long()
        self._compiled: dict[tuple[int, str], Data] = {}

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def steps(self) -> int:
        """Steps of the longest sequence."""
        return int(self.inputs.shape[1])

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
            self._compiled[key] = Data(self.inputs, self.targets, self.lengths, outputs, loss)
        return self._compiled[key]
