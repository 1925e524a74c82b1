"""The residual connection around a recurrent layer."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from rnnsearch import CellWrapper, State, Value


class Residual(CellWrapper):
    """Adds a layer's inputs to its outputs if both have the same width.

        y_t = cell(x_t, s_{t-1}) + x_t

    The state of the cell inside does not pass through the sum. A layer whose output is not as wide
    as its input (usually the first of a stack) is left unchanged: a projection would add parameters
    that are not part of the cell.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, eq. 1;
    between recurrent layers: Wu et al., "Google's neural machine translation system",
    arXiv:1609.08144, section 3.1, eq. 6.

    Shapes:
        inputs: `(batch, input_size)`
        state: that of the cell inside
        output: as wide as the output of the cell inside
    """

    @classmethod
    @override
    def idle(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **options: Value
    ) -> str | None:
        if input_size == hidden_size:
            return None
        return f"inputs ({input_size} wide) and outputs ({hidden_size} wide) are not equally wide"

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, state = self.cell(inputs, state)
        features = inputs[:, : self.input_size]  # followed by random numbers, if any
        if output.shape[-1] == self.input_size:
            output = output + features
        return output, state
