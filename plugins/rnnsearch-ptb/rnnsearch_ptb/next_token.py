"""Common base of the two tasks: windows over one long text, and a tied embedding."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from rnnsearch import (
    Choice,
    Dataset,
    DataSource,
    Examples,
    IntRange,
    Parameters,
    SequenceShape,
    StudyFileError,
    Task,
    Value,
    cross_entropy,
)
from rnnsearch_ptb.corpus import PTB, SPLITS, Split, find_corpus

LEFT_OUT = -100  # the target of a step that is not scored


def options_of(unit: str, window: int, scored: int) -> Parameters:
    """The options that both tasks have.

    Args:
        unit: name of a token, in the plural.
        window: default number of steps of a window.
        scored: default number of scored steps of a window, at its end.
    """
    return {
        "window": IntRange(1, 10_000, default=window, searched=False),
        "scored": IntRange(1, 10_000, default=scored, searched=False),
        "embedding": Choice(("tied", "separate"), default="tied", searched=False),
        f"train_{unit}": IntRange(0, 10**7, default=0, searched=False),
        f"evaluation_{unit}": IntRange(0, 10**7, default=0, searched=False),
    }


class NextTokenTask(Task):
    """Predict every next token of one long text, read in windows.

    Windows begin `scored` tokens apart and have `window` steps, so the first steps of each, its
    history, overlap with the window before; only the last `scored` steps count. The state is
    carried from window to window, detached from the gradient, for every model, in training and in
    evaluation, and is reset at the start of each epoch and split.

    Training has only whole windows, and leaves out the rest of the text. The last window of the
    validation and test text is padded with steps that do not count.

    Shapes:
        inputs: `(samples, window, 1)` int16, the index of a token
        targets: `(samples, window)` int16, the index of the next; -100 where it does not count

    Attributes:
        unit: name of a token, in the plural.
        vocabulary: number of different tokens.
    """

    unit: ClassVar[str]
    vocabulary: ClassVar[int]
    needs_causal: ClassVar[bool] = True
    datasets: ClassVar[tuple[Dataset, ...]] = (PTB,)
    direction: ClassVar[Literal["maximize", "minimize"]] = "minimize"

    loss = cross_entropy
    score = cross_entropy

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        self._window, self._scored = int(self.chosen["window"]), int(self.chosen["scored"])
        if self._scored > self._window:
            msg = f"expected at most the window of {self._window} steps, got {self._scored}"
            raise StudyFileError(msg, key="scored")
        for part in ("train", "evaluation"):
            key = f"{part}_{self.unit}"
            if 0 < int(self.chosen[key]) <= self._window:
                msg = (
                    f"expected more than a window of {self._window} {self.unit}, or 0 for all, "
                    f"got {self.chosen[key]}"
                )
                raise StudyFileError(msg, key=key)

    @property
    @abstractmethod
    def lengths(self) -> Mapping[Split, int]:
        """Tokens in the whole text of each split."""

    @abstractmethod
    def read(self, folder: Path, split: Split) -> np.ndarray:
        """Indices of the tokens of a whole split, int16 `(tokens,)`."""

    @property
    @override
    def shape(self) -> SequenceShape:
        """One token per step, the next one at every step, state carried from window to window."""
        return SequenceShape(
            1,
            self.vocabulary,
            self._window,
            "every_step",
            vocabulary=self.vocabulary,
            embedding=str(self.chosen["embedding"]),
            stride=self._scored,
        )

    @override
    def find(self) -> DataSource:
        """Locate and verify the text.

        Raises:
            MissingDataError: it is missing; says where to put the text.
            DataError: it is corrupt.
        """
        found = find_corpus()
        sizes: dict[str, int] = {split: self._windows(split) for split in SPLITS}
        return DataSource(
            PTB.name, found.origin, str(found.folder), PTB.sha256, sizes, self._caveat()
        )

    @override
    def load(self, source: DataSource, split: Split) -> Examples:
        """Read one split."""
        tokens = self.read(Path(source.location), split)[: self._tokens(split)]
        windows, last = self._windows(split), self._window
        # Padded to a last whole window; training needs no padding.
        filled = (windows - 1) * self._scored + last + 1
        tokens = np.pad(tokens, (0, max(0, filled - len(tokens))), constant_values=LEFT_OUT)
        start = np.arange(windows)[:, None] * self._scored
        inputs = np.maximum(tokens[start + np.arange(last)], 0)
        targets = tokens[start + np.arange(1, last + 1)]
        targets[:, : last - self._scored] = LEFT_OUT
        return Examples(inputs[:, :, None], targets)

    def _tokens(self, split: Split) -> int:
        """Tokens of a split that are read."""
        part = "train" if split == "train" else "evaluation"
        return min(int(self.chosen[f"{part}_{self.unit}"]) or 10**9, self.lengths[split])

    def _windows(self, split: Split) -> int:
        """Windows in a split."""
        # The last token is only predicted, and the first window's history is never scored.
        scored = self._tokens(split) - 1 - (self._window - self._scored)
        return scored // self._scored if split == "train" else -(-scored // self._scored)

    def _caveat(self) -> str:
        short = [
            f"{self._tokens(split):,} of {self.lengths[split]:,} {split} {self.unit}"
            for split in SPLITS
            if self._tokens(split) < self.lengths[split]
        ]
        if not short:
            return ""
        return f"shortened: the first {', '.join(short)}; not comparable with published results"
