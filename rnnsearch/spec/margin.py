"""The margin of a comparison: differences up to it are of no interest to who asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True)
class Margin:
    """A difference that is of no interest.

    Attributes:
        amount: in the unit of the metric; if `is_share`, as a share of the metric's range or, where
            it has none, of a typical value.
        is_share: whether it is relative.
    """

    amount: float
    is_share: bool

    def in_unit(self, limits: tuple[float, float], typical: float) -> float:
        """The margin in the unit of the metric.

        Args:
            limits: smallest and largest value that the metric can take.
            typical: a value of it, such as the best row's median.
        """
        if not self.is_share:
            return self.amount
        extent = limits[1] - limits[0]
        return self.amount * (extent if math.isfinite(extent) else abs(typical))

    @override
    def __str__(self) -> str:
        return f"{100 * self.amount:g}%" if self.is_share else f"{self.amount:g}"


DEFAULT_MARGIN = Margin(0.005, True)
