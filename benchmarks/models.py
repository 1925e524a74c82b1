"""The models that are measured: a cell with a head, and an `nn.LSTM` of as many parameters."""

from __future__ import annotations

from torch import Tensor, nn

from rnnsearch import RecurrentCell, load_registry
from rnnsearch.budget.model import RecurrentModel
from rnnsearch.plugin.builtin.linear import LinearHead
from rnnsearch.plugin.head import Head
from rnnsearch.plugin.layers import Stacked, Unrolled
from rnnsearch_heads.prelu import PReLUHead

CLASSES = 10


def classifier(cell: RecurrentCell, prelu_head: int = 0) -> RecurrentModel:
    """One layer of a cell with a head on its last output.

    Args:
        cell: the cell.
        prelu_head: hidden units of SM-RNN's head; 0 for a linear head.
    """
    features = cell.output_size(cell.input_size, cell.hidden_size)
    head: Head = LinearHead(features, CLASSES)
    if prelu_head:
        head = PReLUHead(features, CLASSES, prelu_head)
    return RecurrentModel(Stacked([Unrolled(cell)]), head, "last_step")


def registered(name: str, input_size: int, hidden_size: int, **options: object) -> RecurrentCell:
    """A cell of a plugin."""
    architecture = load_registry().architecture(name)
    assert issubclass(architecture, RecurrentCell)
    return architecture(input_size, hidden_size, **options)


def sm_rnn(marks: int = 15, width: int = 20) -> RecurrentModel:
    """SM-RNN on 28 features with its head, by default in its published size."""
    return classifier(registered("sm_rnn", 28, marks, mlp_size=width), prelu_head=10)


class LSTMClassifier(nn.Module):
    """`nn.LSTM` with a linear head on its last output."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size)
        self.head = nn.Linear(hidden_size, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.head(self.lstm(inputs)[0][-1])
        return output


def lstm_of_equal_size(input_size: int, parameters: int) -> LSTMClassifier:
    """The `nn.LSTM` whose number of parameters comes nearest."""

    def excess(hidden: int) -> int:
        return abs(4 * hidden * (input_size + hidden + 2) + CLASSES * (hidden + 1) - parameters)

    return LSTMClassifier(input_size, min(range(1, 2000), key=excess))


def parameters_of(model: nn.Module) -> int:
    """Trained scalars."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
