"""Common base of the time series: standardised, scored by normalised error after a washout."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from rnnsearch import Examples, GeneratedTask, Split, StudyFileError, Value, mean_squared_error


class SeriesTask(GeneratedTask):
    """A series to predict at every step.

    Targets are standardised with the mean and variance of the training targets, so that the mean
    squared error is the normalised one (NMSE, whose root is the NRMSE) and a constant prediction
    has 1. The first `washout` steps do not count: a net that starts from zero cannot know what came
    before.

    A subclass gives `series` and `scaled`, and has the options `length` and `washout`.

    Raises:
        StudyFileError: the washout is not shorter than the sequence.
    """

    needs_causal: ClassVar[bool] = True
    metric: ClassVar[str] = "normalised_mean_squared_error"
    direction: ClassVar[Literal["maximize", "minimize"]] = "minimize"
    no_skill: ClassVar[float] = 1.0

    loss = mean_squared_error
    score = mean_squared_error

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        washout, length = self.number("washout"), self.number("length")
        if washout >= length:
            msg = f"expected less than the length, {length}, got {washout}"
            raise StudyFileError(msg, key="washout")

    @abstractmethod
    def series(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Draw unscaled inputs and targets, float64 `(samples, length)` each."""

    @abstractmethod
    def scaled(self, inputs: np.ndarray, mean: float, deviation: float) -> np.ndarray:
        """Standardise inputs; mean and deviation are those of the training targets."""

    @override
    def generate(self, split: Split) -> Examples:
        """Draw series and standardise them."""
        inputs, targets = self.series(split)
        known = targets if split == "train" else self.series("train")[1]
        mean, deviation = _moments(known[:, self.number("washout") :])
        targets = (targets - mean) / deviation
        targets[:, : self.number("washout")] = np.nan
        scaled = self.scaled(inputs, mean, deviation)
        return Examples(
            scaled.astype(np.float32)[:, :, None], targets.astype(np.float32)[:, :, None]
        )


def _moments(values: np.ndarray) -> tuple[float, float]:
    # fsum is exact, so the digests do not depend on the order in which NumPy adds.
    mean = math.fsum(values.ravel()) / values.size
    centred = values - mean
    return mean, math.sqrt(math.fsum((centred * centred).ravel()) / values.size)
