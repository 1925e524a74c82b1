"""A constant in place of an affine map: gates that have lost everything but their biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override


class LearnedConstant(nn.Module):
    """The bias of an affine map, independent of the input.

    Starts like the bias of an `nn.Linear` with the same number of inputs.

    Args:
        inputs: width of the input.
        outputs: width of the constant.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        """Return the constant."""
        return self.bias
