"""An affine map of nothing: the gates that have lost all but their biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override


class LearnedConstant(nn.Module):
    """The bias of an affine map, whatever comes in.

    Starts as the bias of an `nn.Linear` of as many inputs.

    Args:
        inputs: width of what comes in.
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
