"""The protocol: variants take turns in blocks of consecutive steps, as real training runs do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch

from benchmarks.table import Spread

# Takes that many consecutive steps.
Block: TypeAlias = Callable[[int], object]

ROUNDS = 15
STEPS = 20  # of a block; fewer where a step is slow
_FEWEST_STEPS = 3
_LONGEST_BLOCK_S = 1.0


@dataclass(frozen=True)
class Timings:
    """Times of one step, by variant, one value a round.

    Attributes:
        milliseconds: the times.
    """

    milliseconds: Mapping[str, list[float]]

    def of(self, variant: str, times: float = 1.0) -> Spread:
        """Time of a variant, so many times over."""
        return Spread.of([times * value for value in self.milliseconds[variant]])

    def ratio(self, variant: str, baseline: str, times: float = 1.0) -> Spread:
        """Time of a variant by that of a baseline in the same round; below 1 is faster."""
        pairs = zip(self.milliseconds[variant], self.milliseconds[baseline], strict=True)
        return Spread.of([times * value / base for value, base in pairs])


def interleave(
    variants: Mapping[str, Block],
    rounds: int = ROUNDS,
    steps: int = STEPS,
    *,
    clock: Callable[[], float] | None = None,
) -> Timings:
    """Time variants in turn.

    Each round runs a block of every variant. What came before a block has left its data in the
    caches, what comes inside it has not: so does a training run.

    Args:
        variants: blocks by name.
        rounds: blocks of each variant.
        steps: steps of a block at most.
        clock: seconds; CPU time of the process if torch has one thread, else wall time.
    """
    clock = clock or (time.process_time if torch.get_num_threads() == 1 else time.perf_counter)
    lengths = {}
    for name, block in variants.items():
        block(1)  # what is allocated and built on first use
        began = clock()
        block(1)
        affordable = int(_LONGEST_BLOCK_S / max(clock() - began, 1e-9))
        lengths[name] = min(steps, max(_FEWEST_STEPS, affordable))
        block(lengths[name])
    milliseconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, block in variants.items():
            began = clock()
            block(lengths[name])
            milliseconds[name].append(1000 * (clock() - began) / lengths[name])
    return Timings(milliseconds)
