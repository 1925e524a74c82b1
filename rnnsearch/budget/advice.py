"""What would let a row meet its budget, where it cannot; each remedy was tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rnnsearch.budget.budget import percent_of
from rnnsearch.budget.space import OPTION, SearchSpace, samples
from rnnsearch.errors import BudgetError, CapabilityError
from rnnsearch.spec.parameters import Choice, FloatRange, IntRange, Parameter, Value

_FEW, _MOST_TRIED, _LARGEST_TOLERANCE = 9, 150, 0.5


def what_would_fit(space: SearchSpace, error: BudgetError) -> str:
    """What would let a row meet the budget; each remedy was tried.

    Args:
        space: the row.
        error: why one of its structures cannot.
    """
    if not space.changing or space.hidden_size is not None:
        return error.advice
    remedies = []
    if narrowed := narrower(space):
        remedies.append(f"`{_as_yaml(narrowed)}` for this row")
    loose = replace(space, budget=replace(space.budget, tolerance=math.inf))
    found = [loose.solve(values) for values in space.structures()]
    largest = max(s.parameters for s in found)
    for factor in (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0):
        budget = round(factor * largest)
        if _all_fit(replace(space, budget=replace(space.budget, parameters=budget))):
            remedies.append(f"a budget of {budget}")
            break
    needed = max(abs(s.residual) for s in found)
    if needed < _LARGEST_TOLERANCE:
        remedies.append(f"a tolerance of {percent_of(needed)}")
    return ", or ".join(remedies)


def narrower(space: SearchSpace) -> dict[str, Value | Parameter] | None:
    """Narrower settings of what changes the count, all of which meet the budget, or None.

    A box in the space of structures, grown as long as it fits from one that fits.
    """
    axes = {name: _few(samples(space.free[name])) for name in space.changing}
    known: dict[tuple[int, ...], bool] = {}

    def fits(at: tuple[int, ...]) -> bool:
        if at not in known:
            if len(known) >= _MOST_TRIED:
                return False
            values = {n: axis[i] for (n, axis), i in zip(axes.items(), at, strict=True)}
            known[at] = _all_fit(space, [{**space.default_values(), **values}])
        return known[at]

    every = list(itertools.product(*(range(len(axis)) for axis in axes.values())))
    tried = every[:: math.ceil(len(every) / 50)]
    seeds = [at for at in tried if fits(at)]
    lengths = [len(axis) for axis in axes.values()]
    spans = [not isinstance(space.free[name], Choice) for name in axes]
    boxes = [_grown(at, lengths, spans, fits) for at in seeds[:: math.ceil(len(seeds) / 3) or 1]]
    for box in sorted(boxes, key=lambda b: math.prod(map(len, b)), reverse=True):
        # What fits at some values of a range need not fit between them: then less of it.
        lines = [[s if i == k else s[:1] for i, s in enumerate(box)] for k in range(len(box))]
        for chosen in (box, *lines, [side[:1] for side in box]):
            narrowed = {
                name: setting
                for (name, axis), side in zip(axes.items(), chosen, strict=True)
                if len(side) < len(axis)
                for setting in [_setting_of(space.free[name], [axis[i] for i in sorted(side)])]
            }
            if _all_fit(_with_settings(space, narrowed)):
                return narrowed
    return None


def _grown(
    seed: tuple[int, ...],
    lengths: list[int],
    spans: list[bool],
    fits: Callable[[tuple[int, ...]], bool],
) -> list[list[int]]:
    """The indices along each axis, the seed's first, of a box all of which fits.

    Args:
        seed: where it begins.
        lengths: of the axes.
        spans: whether the indices of an axis have to follow each other.
        fits: whether a point fits.
    """
    box = [[i] for i in seed]
    grows = True
    while grows:
        grows = False
        for axis, side in enumerate(box):
            near = (min(side) - 1, max(side) + 1) if spans[axis] else range(lengths[axis])
            for i in set(near) - set(side):
                layer = [*box[:axis], [i], *box[axis + 1 :]]
                if 0 <= i < lengths[axis] and all(map(fits, itertools.product(*layer))):
                    side.append(i)
                    grows = True
    return box


def _all_fit(space: SearchSpace, structures: Iterable[Mapping[str, Value]] | None = None) -> bool:
    try:
        for values in space.structures() if structures is None else structures:
            space.solve(values)
    except (BudgetError, CapabilityError):
        return False
    return True


def _with_settings(space: SearchSpace, settings: Mapping[str, Value | Parameter]) -> SearchSpace:
    free = {n: p for n, p in space.free.items() if n not in settings}
    free |= {n: s for n, s in settings.items() if isinstance(s, Parameter)}
    fixed = {n: s for n, s in settings.items() if not isinstance(s, Parameter)}
    return replace(space, free=free, fixed={**space.fixed, **fixed})


def _setting_of(parameter: Parameter, values: list[Value]) -> Value | Parameter:
    """A setting for some of the values of another."""
    if isinstance(parameter, Choice):
        return values[0] if len(values) == 1 else Choice(tuple(values), default=values[0])
    ends = (parameter.low, parameter.high)
    low, high = (
        float(f"{v:.3g}") if isinstance(v, float) and v not in ends else v
        for v in (values[0], values[-1])
    )
    if low == high:
        return low
    return replace(parameter, low=low, high=high, default=low)  # type: ignore[arg-type]


def _as_yaml(settings: Mapping[str, Value | Parameter]) -> str:
    def shown(setting: Value | Parameter) -> str:
        if isinstance(setting, Choice):
            return f"[{', '.join(map(shown, setting.options))}]"
        if isinstance(setting, IntRange | FloatRange):
            log = ", log: true" if setting.log else ""
            return f"{{low: {setting.low:g}, high: {setting.high:g}{log}}}"
        return str(setting).lower() if isinstance(setting, bool) else str(setting)

    options = [
        f"{n.removeprefix(OPTION)}: {shown(s)}" for n, s in settings.items() if n.startswith(OPTION)
    ]
    others = [f"{n}: {shown(s)}" for n, s in settings.items() if not n.startswith(OPTION)]
    return ", ".join([*others, *([f"options: {{{', '.join(options)}}}"] if options else [])])


def _few(samples: list[Value]) -> list[Value]:
    """Some of the values of a range, both ends among them."""
    step = math.ceil((len(samples) - 1) / (_FEW - 1)) or 1
    return [*samples[:-1:step], samples[-1]]
