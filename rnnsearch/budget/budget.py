"""The budget: finds the widths at which a model has a given number of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from rnnsearch.budget.model import (
    count_parameters,
    default_head_hidden_size,
    idle_wrapper,
    width_multiple,
)
from rnnsearch.errors import BudgetError
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.spec.model import ModelSpec

_LARGEST_WIDTH = 1 << 20
_WIDTHS_TRIED = 64


@dataclass(frozen=True)
class Budget:
    """A parameter budget, an equality within a tolerance.

    Attributes:
        parameters: how many.
        tolerance: largest relative residual.
        counting: `trainable` (every scalar that training changes, as torch counts) or `one_bias`
            (one bias per affine map, as papers count).
    """

    parameters: int
    tolerance: float = 0.02
    counting: Literal["trainable", "one_bias"] = "trainable"


@dataclass(frozen=True)
class BudgetSolution:
    """A model at the budget.

    Attributes:
        spec: the model, every width filled in.
        parameters: its count, by the budget's rule.
        residual: `parameters / budget - 1`.
        closed_by: the second size that closed the gap between two whole widths, or an empty
            string where the width alone meets the tolerance.
    """

    spec: ModelSpec
    parameters: int
    residual: float
    closed_by: str = ""


def count(architecture: Architecture, spec: ModelSpec, counting: str) -> int:
    """Parameters of a model by a counting rule."""
    trainable, redundant, _ = count_parameters(architecture, spec)
    return trainable - redundant if counting == "one_bias" else trainable


def solve(
    architecture: Architecture, spec: ModelSpec, budget: Budget, *, may_add_head: bool = True
) -> BudgetSolution:
    """Find the width whose model comes nearest to the budget.

    Where whole widths are too coarse for the tolerance, a second size closes the gap: the width of
    the last layer (several layers), the hidden width of the head, or the size that a
    `SequenceModel` names. A linear head grows a hidden layer for this if `may_add_head`. Widths are
    multiples of what the architecture declares, and no last layer gets a width at which a wrapper
    would change nothing.

    Nothing is built: counts are formulas, and the search bisects.

    Args:
        architecture: the class.
        spec: the model wanted; its `hidden_size` is ignored. A `head_hidden_size` of 0 is free.
        budget: the budget.
        may_add_head: whether a linear head may be replaced by `mlp`.

    Raises:
        BudgetError: nothing lies within the tolerance; says what would.
    """

    def size(candidate: ModelSpec) -> int:
        return count(architecture, candidate, budget.counting)

    def at_width(width: int) -> ModelSpec:
        candidate = replace(spec, hidden_size=width)
        if not spec.head_hidden_size and spec.head:
            default = default_head_hidden_size(spec.head, width)
            candidate = replace(candidate, head_hidden_size=default)
        return candidate

    def solution(candidate: ModelSpec, closed_by: str) -> BudgetSolution:
        parameters = size(candidate)
        residual = parameters / budget.parameters - 1
        return BudgetSolution(candidate, parameters, residual, closed_by)

    multiple = width_multiple(architecture, spec)
    below = _largest(lambda units: size(at_width(multiple * units)), budget.parameters, 1)
    candidates = [units for units in (below, below + 1) if units >= 1]
    plain = [solution(at_width(multiple * units), "") for units in candidates]
    best = min(plain, key=lambda s: abs(s.residual))
    if abs(best.residual) <= budget.tolerance:
        return best
    for knob, smallest, apply in _knobs(architecture, spec, at_width, may_add_head, multiple):
        # Nearest width first: what is closed by the second size should be as little as possible.
        for units in range(below + 1, max(0, below // 2, below - _WIDTHS_TRIED), -1):
            width = multiple * units
            start = smallest(width)
            largest = _largest(_count_at(size, apply, width), budget.parameters, start)
            for second in (largest, largest + 1):
                if second < start:
                    continue
                closed = solution(apply(width, second), knob)
                if abs(closed.residual) <= budget.tolerance and not (
                    knob == "last_hidden_size" and _puts_to_sleep(architecture, closed.spec)
                ):
                    return closed
    raise _refused(spec.architecture, budget, plain)


def _puts_to_sleep(architecture: Architecture, spec: ModelSpec) -> bool:
    """Whether a last layer of its own width leaves a wrapper nothing to do that it had to do."""
    if issubclass(architecture, SequenceModel) or not idle_wrapper(architecture, spec):
        return False
    return not idle_wrapper(architecture, replace(spec, last_hidden_size=0))


# Name of a second size, its smallest value at a width, and how to set it at a width.
_Knob = tuple[str, Callable[[int], int], Callable[[int, int], ModelSpec]]


def _knobs(
    architecture: Architecture,
    spec: ModelSpec,
    at_width: Callable[[int], ModelSpec],
    may_add_head: bool,
    multiple: int,
) -> list[_Knob]:
    """Second sizes, in order of preference."""
    if issubclass(architecture, SequenceModel):
        fine = architecture.fine_size
        if fine is None or spec.options.get(fine):
            return []
        return [(fine, _half, lambda w, s: replace(at_width(w), options={**spec.options, fine: s}))]
    knobs: list[_Knob] = []
    if spec.num_layers > 1 and not spec.last_hidden_size:
        knobs.append(
            (
                "last_hidden_size",
                lambda w: _half(w // multiple),
                lambda w, s: replace(at_width(w), last_hidden_size=multiple * s),
            )
        )
    if spec.head_hidden_size == 0:
        asked = load_registry().head(spec.head)
        if asked.hidden_ratio is not None:
            head = spec.head
        elif may_add_head and asked.grows_into and not spec.head_options:
            head = asked.grows_into
        else:
            return knobs
        knobs.append(
            (
                "head_hidden_size",
                # A hidden layer narrower than the outputs would strangle what it is to read.
                lambda w: max(spec.shape.output_size, _half(w)),
                lambda w, s: replace(at_width(w), head=head, head_hidden_size=s),
            )
        )
    return knobs


def _count_at(
    size: Callable[[ModelSpec], int], apply: Callable[[int, int], ModelSpec], width: int
) -> Callable[[int], int]:
    return lambda second: size(apply(width, second))


def _half(width: int) -> int:
    return max(1, width // 2)


def _largest(size: Callable[[int], int], limit: int, start: int) -> int:
    """Largest integer from `start` with `size` at most `limit`; `start - 1` if there is none."""
    if size(start) > limit:
        return start - 1
    low, high = start, start * 2
    while size(high) <= limit:
        low, high = high, high * 2
        if high > _LARGEST_WIDTH:
            return low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= limit else (low, middle)
    return low


def _refused(name: str, budget: Budget, plain: list[BudgetSolution]) -> BudgetError:
    fits = ", ".join(f"{s.parameters} (hidden_size {s.spec.hidden_size})" for s in plain)
    smallest = len(plain) == 1  # one unit is too much already
    nearest = tuple(s.parameters for s in plain)
    needed = min(abs(s.residual) for s in plain)
    advice = f"a budget of {' or '.join(map(str, nearest))}"
    if not smallest:
        advice += f", or a tolerance of {percent_of(needed)}"
    msg = (
        f"architecture `{name}` cannot meet {budget.parameters} parameters within "
        f"{100 * budget.tolerance:g}%: the {'smallest' if smallest else 'nearest'} "
        f"model{'s have' if len(plain) > 1 else ' has'} {fits}"
    )
    return BudgetError(
        msg,
        architecture=name,
        budget=budget.parameters,
        tolerance=budget.tolerance,
        nearest=nearest,
        advice=advice,
    )


def percent_of(fraction: float) -> str:
    """A tolerance that is no smaller than a fraction, such as `5.9%`."""
    return f"{100 * fraction + 0.05:.1f}%"
