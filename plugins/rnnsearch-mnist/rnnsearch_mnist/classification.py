"""Common base of the three tasks: ten digit classes, cross-entropy and accuracy."""

from __future__ import annotations

from typing import ClassVar, Literal

from rnnsearch import Task, accuracy, cross_entropy

CLASSES = 10


class DigitTask(Task):
    """Classify the digit that a sequence shows.

    Shapes:
        outputs: `(batch, 10)` logits
        targets: `(batch,)` integers 0 to 9
    """

    metric: ClassVar[str] = "accuracy"
    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"

    loss = cross_entropy
    score = accuracy
