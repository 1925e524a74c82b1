"""Where things go that would cover each other: rows move sideways, names find room nearby."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Boxes:
    """Rectangles on the canvas, in pixels.

    Attributes:
        edges: `(boxes, 4)`: left, bottom, right, top.
    """

    edges: np.ndarray

    @classmethod
    def around(cls, centres: np.ndarray, half_width: float, half_height: float) -> Boxes:
        """Boxes of one size around centres, `(boxes, 2)`."""
        half = np.array([half_width, half_height])
        return cls(np.concatenate([centres - half, centres + half], axis=1))

    @classmethod
    def together(cls, parts: Sequence[Boxes]) -> Boxes:
        """All boxes of the parts."""
        return cls(np.concatenate([part.edges for part in parts]))

    def overlap(self, others: Boxes) -> np.ndarray:
        """Areas shared with each of other boxes, `(boxes, others)`, in square pixels."""
        mine, theirs = self.edges[:, None], others.edges[None]
        upper = np.minimum(mine[..., 2:], theirs[..., 2:])
        sides = upper - np.maximum(mine[..., :2], theirs[..., :2])
        areas: np.ndarray = np.prod(np.maximum(sides, 0.0), axis=-1)
        return areas


def overlapping(intervals: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Group intervals that overlap, directly or through others; indices in the order given."""
    groups: list[list[int]] = []
    reach = -math.inf
    for index in sorted(range(len(intervals)), key=lambda i: intervals[i]):
        low, high = intervals[index]
        if low < reach:
            groups[-1].append(index)
        else:
            groups.append([index])
        reach = max(reach, high)
    return [sorted(group) for group in groups]


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions apart by as little as possible (least squares), keeping their order.

    Args:
        wanted: where each would be, in any order; equal ones keep the order they are given in.
        gap: smallest distance between two; less where they would not all fit.
        low: nothing is moved below this, save what is already there.
        high: nothing is moved above this, save what is already there.
    """
    low, high = min([low, *wanted]), max([high, *wanted])
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    # Without the gaps, neighbours that are too close are out of order: pool them to their mean.
    pools: list[tuple[float, int]] = []
    for number, index in enumerate(order):
        mean, size = wanted[index] - number * gap, 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean = (mean * size + before * count) / (size + count)
            size += count
        pools.append((mean, size))
    last = high - (len(wanted) - 1) * gap
    flat = [min(max(mean, low), last) for mean, size in pools for _ in range(size)]
    result = list(wanted)
    for number, index in enumerate(order):
        result[index] = flat[number] + number * gap
    return result


def place_name(
    anchor: np.ndarray,
    extent: tuple[float, float],
    size: tuple[float, float],
    frame: Boxes,
    taken: Boxes,
    pixel: float,
) -> tuple[Boxes, bool]:
    """Find a box for a name, near its point or at an end of what is drawn of it.

    Args:
        anchor: `(1, 2)`, the point, in pixels.
        extent: bottom and top of what is drawn of the row, in pixels.
        size: width and height of the name, in pixels.
        frame: the panel, which the name had better not leave.
        taken: what the name had better not cover.
        pixel: pixels per typographic point.

    Returns:
        the box that covers least and is nearest, and whether it takes a line to tell whose it is.
    """
    half = np.array(size) / 2
    distances = [9.0, 14, 20, 28, 38, 50, 64, 80, 100, 125]
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    away = np.tile(distances, len(angles))
    toward = np.repeat(np.stack([np.cos(angles), np.sin(angles)], axis=-1), len(distances), axis=0)
    around = anchor + toward * (away[:, None] * pixel + half)
    gap = 4 * pixel + half[1]
    ends = np.array([[anchor[0, 0], extent[1] + gap], [anchor[0, 0], extent[0] - gap]])
    centres = np.concatenate([ends, around])
    linked = np.concatenate([[False, False], away > 12])
    # A name at an end of its interval is as clear as one a few points from the mean.
    effort = np.concatenate([[16.0, 17.0], away + 3 * (toward[:, 0] < 0)])
    boxes = Boxes.around(centres, *half)
    covered = boxes.overlap(taken).sum(axis=1)
    outside = 4 * half.prod() - boxes.overlap(frame)[:, 0]
    # Where the line to the name passes through other things, seen at a few points along it.
    along = np.linspace(0.1, 1.0, 12)[:, None, None]
    steps = Boxes.around((anchor + along * (centres - anchor)).reshape(-1, 2), 0.5, 0.5)
    own = Boxes.around(anchor, 1, 1).overlap(taken)[0] > 0
    crossed = (steps.overlap(taken)[:, ~own] > 0).reshape(len(along), len(centres), -1)
    crossings = crossed.any(axis=0).sum(axis=1) * linked
    cost = covered + 5 * outside + (effort + 20 * crossings) * pixel**2
    best = int(np.argmin(cost))
    return Boxes(boxes.edges[best : best + 1]), bool(linked[best])
