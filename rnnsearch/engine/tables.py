"""Tables: sizes and constants that the compiled code reads at run time.

No size stands in the source, so one binary serves a cell at every width, length and batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rnnsearch.engine.expressions import literal


@dataclass
class Tables:
    """Numbers that the source refers to by their place: `n[3]` (sizes) and `c[1]` (constants).

    A size gets a place of its own at every use: two that are equal at one width need not be at
    another, and the source must not depend on it.
    """

    sizes: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)

    def size(self, value: int) -> str:
        """C++ of a size or a stride."""
        self.sizes.append(int(value))
        return f"n[{len(self.sizes) - 1}]"

    def number(self, value: float) -> str:
        """C++ of a constant of the equations."""
        text = literal(value)
        if text is not None:
            return text
        self.numbers.append(value)
        return f"constant(c[{len(self.numbers) - 1}])"

    def index(self, strides: Sequence[int], offset: int = 0) -> str:
        """C++ of an index into a buffer, in loops over `i0`, `i1`, ..."""
        terms = [self.size(offset)] if offset else []
        for axis, stride in enumerate(strides):
            if stride == 1:
                terms.append(f"i{axis}")
            elif stride:
                terms.append(f"i{axis} * {self.size(stride)}")
        return " + ".join(terms) or "0"

    def loops(self, axes: Sequence[int], first: int = 0) -> list[str]:
        """C++ heads of nested loops over `axes`; an axis of 1 alone needs none."""
        if list(axes) == [1]:
            return []
        return [
            f"for (long i{i} = 0; i{i} < {self.size(n)}; i{i}++)"
            for i, n in enumerate(axes, start=first)
        ]
