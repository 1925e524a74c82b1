"""Common base of the languages whose next symbols are predicted: encoding, loss and metric."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor
from typing_extensions import override

from rnnsearch import Examples, SequenceShape, Split, binary_cross_entropy, split_of
from rnnsearch_languages.generated import MOST_DRAWS, StringTask, none_found

START, END = "^", "$"


def legal_strings(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of strings in which at every step exactly the legal symbols have a positive logit.

    Shapes:
        outputs: `(time, batch, symbols)` logits
        targets: `(batch, time, symbols)` 1 for legal, 0 for illegal, NaN after the end

    Args:
        outputs: outputs of a model; their time axis may end before that of the targets.
        targets: the legal symbols.
    """
    outputs = outputs.transpose(0, 1)[:, : targets.shape[1]]
    targets = targets[:, : outputs.shape[1]]
    # No indexing by a mask: neither vmap nor CUDA graphs support shapes that depend on values.
    right = ((outputs > 0) == (targets > 0.5)) | targets.isnan()
    return right.flatten(1).all(dim=1).to(outputs.dtype).mean()


class NextSymbolTask(StringTask):
    """Predict, at every step of a string, all symbols that may come next.

    Each symbol has its own logit; the loss is the mean binary cross-entropy over symbols and steps.
    The metric is the share of strings that are right from beginning to end: at every step, the
    legal symbols, and no others, have a positive logit. Constant outputs cannot achieve this: the
    legal symbols change within each string, and no string is in two splits.

    A subclass gives its alphabets, `strings`, `legal` and `steps`.

    Attributes:
        start: first symbol that is read.
        end: symbol to predict after the last.
    """

    start: ClassVar[str] = START
    end: ClassVar[str] = END
    needs_causal: ClassVar[bool] = True
    metric: ClassVar[str] = "legal_strings"
    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    no_skill: ClassVar[float] = 0.0

    loss = binary_cross_entropy

    @override
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Share of strings with all legal symbols predicted."""
        return legal_strings(outputs, targets)

    @property
    @abstractmethod
    @override
    def symbols(self) -> str:  # type: ignore[override]
        """The symbols that are read, in the order of their inputs."""

    @property
    @abstractmethod
    def predicted(self) -> str:
        """The symbols that are predicted, in the order of their outputs."""

    @abstractmethod
    def strings(self, split: Split) -> list[str]:
        """The strings of a split, without start and end; the same every time."""

    @abstractmethod
    def legal(self, string: str) -> list[str]:
        """The symbols that may follow each prefix of a string, from the empty one to the whole."""

    @abstractmethod
    def steps(self, split: Split) -> int:
        """Steps of the longest string that a split can have.

        Train and validation have the same number, so that they can be joined.
        """

    @property
    @override
    def shape(self) -> SequenceShape:
        """One symbol per step; at every step, all symbols that may follow."""
        return SequenceShape(len(self.symbols), len(self.predicted), None, "every_step")

    @override
    def generate(self, split: Split) -> Examples:
        """Encode the strings of a split."""
        strings = self.strings(split)
        steps = self.steps(split)
        lengths = np.array([len(string) + 1 for string in strings], np.int64)
        filled = np.arange(steps) < lengths[:, None]
        inputs = np.zeros((len(strings), steps, len(self.symbols)), np.uint8)
        symbols = "".join(self.start + string for string in strings)
        one_hot = np.eye(len(self.symbols), dtype=np.uint8)
        inputs[filled] = one_hot[[self.symbols.index(symbol) for symbol in symbols]]
        targets = np.full((len(strings), steps, len(self.predicted)), np.nan, np.float32)
        legal = [symbols for string in strings for symbols in self.legal(string)]
        rows = {symbols: [one in symbols for one in self.predicted] for symbols in set(legal)}
        targets[filled] = [rows[symbols] for symbols in legal]
        return Examples(inputs, targets, lengths)


def draw_apart(draw: Callable[[], str], count: int, split: Split) -> list[str]:
    """Draw strings, keeping only those that `split_of` assigns to a split.

    Args:
        draw: draws one string.
        count: number of strings.
        split: the split.

    Raises:
        DataError: there are too few different strings.
    """
    found: list[str] = []
    vain = 0
    while len(found) < count:
        string = draw()
        if split_of(string.encode()) == split:
            found.append(string)
            vain = 0
        elif (vain := vain + 1) == MOST_DRAWS:
            raise none_found(split)
    return found
