"""The contract of a wrapper: a step around another cell's step."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from rnnsearch.plugin.cell import RecurrentCell, State
from rnnsearch.spec.parameters import Value


class CellWrapper(RecurrentCell):
    """A step made of another cell's step, such as one with a connection that skips it.

    Subclass it, give `forward`, and register the class in the `rnnsearch_wrappers` hook. A study
    names it in `model: wrappers`, or for one architecture; each layer of the stack is wrapped. A
    wrapper is a step cell itself, so engines, stacking and directions treat it as one, and it
    makes the same promises as `RecurrentCell`.

    The counting class methods say what the wrapper *adds* to the cell inside; there `hidden_size`
    is the output width of that cell.

    A wrapper that needs chance adds its own numbers to `noise_size` and finds them in the last
    columns of its inputs, behind those of the cell inside; the cell is given the other columns.

    Args:
        cell: the cell inside.
        output_size: width of its output.
        layer: which layer of the stack this is, from 0.

    Attributes:
        width: the width of the output of the cell inside.
    """

    def __init__(self, cell: RecurrentCell, output_size: int, layer: int = 0) -> None:
        super().__init__(cell.input_size, cell.hidden_size)
        self.cell = cell
        self.width = output_size
        self.layer = layer
        self.noise_size = cell.noise_size
        self.held_noise = cell.held_noise

    @classmethod
    @override
    def parameter_count(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **structure: Value
    ) -> int:
        """Trainable scalars that the wrapper adds."""
        return 0

    @classmethod
    @override
    def state_size(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **structure: Value
    ) -> int:
        """Scalars of state per sample that the wrapper adds."""
        return 0

    @classmethod
    @override
    def output_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Width of the output, from that of the cell inside."""
        return hidden_size

    @classmethod
    def idle(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **options: Value
    ) -> str | None:
        """Say why the wrapper changes nothing in a layer, or return None.

        A study in which it changes nothing in any layer of a model is refused with these words: a
        row that is called wrapped and is not would mislead.
        """
        return None

    @property
    def innermost(self) -> RecurrentCell:
        """The cell inside all wrappers; its state stands behind the state of them all."""
        return self.cell.innermost if isinstance(self.cell, CellWrapper) else self.cell

    @override
    def initial_state(self, batch_size: int) -> State:
        """The state of the cell inside; a wrapper with state of its own puts it first."""
        return self.cell.initial_state(batch_size)

    @override
    def memory_state(self, state: State) -> Tensor:
        """That of the cell inside, whose state stands last."""
        inside = len(self.cell.initial_state(1))
        return self.cell.memory_state(state[-inside:])
