"""What a search of any length would have found: the best validation score against trials spent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import TrialRecord


@dataclass(frozen=True)
class EffortCurve:
    """A row's search as an effort curve.

    Attributes:
        label: what the study calls the row.
        best: the expected best validation score after 1, 2, ... trials.
    """

    label: str
    best: tuple[float, ...]


def expected_best(scores: Sequence[float], direction: Direction) -> tuple[float, ...]:
    """The mean over all orders of trials of the best score after 1, 2, ... of them.

    Of `n` scores drawn without putting any back, `sum_i v_(i) C(i - 1, k - 1) / C(n, k)` for the
    maximum of `k`, where `v_(i)` are the scores in ascending order. Source: Dodge et al., "Show
    your work: Improved reporting of experimental results", EMNLP 2019; without replacement, and so
    unbiased, as in Tang et al., "Showing your work doesn't always work", ACL 2020.

    Args:
        scores: of the trials, in any order.
        direction: whether a larger score is better.
    """
    sign = 1 if direction == "maximize" else -1
    ordered, n = sorted(sign * score for score in scores), len(scores)
    return tuple(
        sign
        * math.fsum(
            value * (math.comb(i, k - 1) / math.comb(n, k)) for i, value in enumerate(ordered)
        )
        for k in range(1, n + 1)
    )


def effort_curves(records: Iterable[TrialRecord], direction: Direction) -> tuple[EffortCurve, ...]:
    """The curves of all rows that were searched with two trials or more.

    A trial that was pruned counts with its last score; one that failed counts as no trial.

    Args:
        records: all trials of a study.
        direction: whether a larger score is better.
    """
    scores: dict[str, list[float]] = {}
    for record in records:
        if record.phase != "search" or record.state not in ("COMPLETE", "PRUNED"):
            continue
        if record.epochs and math.isfinite(score := record.epochs[-1].validation_metric):
            scores.setdefault(record.label, []).append(score)
    return tuple(
        EffortCurve(label, expected_best(found, direction))
        for label, found in scores.items()
        if len(found) > 1
    )
