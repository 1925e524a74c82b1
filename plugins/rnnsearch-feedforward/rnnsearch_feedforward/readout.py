"""The steps of a feature sequence that a task reads."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnsearch import SequenceShape


def read(shape: SequenceShape, features: Tensor, lengths: Tensor | None) -> Tensor:
    """Pick the steps that the output layer sees.

    Shapes:
        features: `(time, batch, features)`
        lengths: `(batch,)`, or None if every sequence fills the time axis
        output: `(batch, features)`, or `(time, batch, features)` for `every_step`
    """
    if shape.readout == "every_step":
        return features
    if lengths is None:
        return features[-1]
    return features[lengths - 1, torch.arange(features.shape[1], device=features.device)]
