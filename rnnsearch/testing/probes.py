"""What the conformance suites share: variants of a class, small inputs, comparing modules."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnsearch.model import Architecture
from rnnsearch.parameters import Choice, IntRange, Parameter, Parameters, Value, defaults

LARGEST_COUNT = 20_000
"""Variants with more parameters than this at a small width are left out: they would be slow."""


@dataclass(frozen=True)
class Variant:
    """One setting of everything that an architecture declares."""

    structure: Mapping[str, Value]
    hyperparameters: Mapping[str, Value]

    @property
    def options(self) -> dict[str, Value]:
        """Keyword arguments of the constructor."""
        return {**self.structure, **self.hyperparameters}

    def __str__(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.options.items()) or "no options"


def extremes(parameter: Parameter) -> tuple[Value, ...]:
    """Every option of a choice; the ends of a range, and the second value of an integer one."""
    if isinstance(parameter, Choice):
        return parameter.options
    if isinstance(parameter, IntRange):
        return (parameter.low, min(parameter.low + 1, parameter.high), parameter.high)
    return (parameter.low, parameter.high)


def settings(parameters: Parameters) -> list[dict[str, Value]]:
    """The defaults, then each parameter in turn moved to each of its extremes."""
    standard = defaults(parameters)
    moved = [
        {**standard, name: value}
        for name, parameter in parameters.items()
        for value in extremes(parameter)
    ]
    return [standard, *(setting for setting in moved if setting != standard)]


def structures(
    architecture: Architecture, count: Callable[..., int]
) -> Iterator[Mapping[str, Value]]:
    """The settings of `structure` that stay small; `count` is `parameter_count` at one width."""
    standard, *moved = settings(architecture.structure)
    yield standard
    yield from (setting for setting in moved if count(**setting) <= LARGEST_COUNT)


def variants(architecture: Architecture, count: Callable[..., int]) -> list[Variant]:
    """Each setting of `structure`, then each of `hyperparameters`, the other at its defaults."""
    standard, *others = settings(architecture.hyperparameters)
    return [
        *(Variant(structure, standard) for structure in structures(architecture, count)),
        *(Variant(defaults(architecture.structure), other) for other in others),
    ]


def seeded(seed: int, make: Callable[[], nn.Module]) -> Any:
    """Build a module from a seed, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal noise from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def trained_scalars(module: nn.Module) -> int:
    """Scalars that an optimizer would change."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def frozen_scalars(module: nn.Module) -> int:
    """Scalars that are saved with a module but not trained."""
    saved = module.state_dict()
    buffers = [b for name, b in module.named_buffers() if name in saved and b.is_floating_point()]
    kept = [p for p in module.parameters() if not p.requires_grad]
    return sum(tensor.numel() for tensor in kept + buffers)


def first_difference(before: Any, after: Any, path: str = "module") -> str | None:
    """Name the first place where two object trees differ, or return None."""
    return _first_difference(before, after, path, set())


def _first_difference(before: Any, after: Any, path: str, seen: set[int]) -> str | None:
    if id(after) in seen or isinstance(after, weakref.ref):
        return None
    if type(before) is not type(after):
        return path
    if isinstance(after, Tensor):
        same = before.shape == after.shape and torch.equal(before, after)
        return None if same else path
    if isinstance(after, np.ndarray):
        return None if np.array_equal(before, after) else path
    seen.add(id(after))
    if isinstance(after, Mapping):
        pairs = [(f"{path}[{k!r}]", before.get(k), after.get(k)) for k in {**before, **after}]
    elif isinstance(after, list | tuple):
        if len(before) != len(after):
            return path
        pairs = [(f"{path}[{i}]", b, a) for i, (b, a) in enumerate(zip(before, after, strict=True))]
    elif (hasattr(after, "__dict__") and not callable(after)) or isinstance(after, nn.Module):
        old, new = vars(before), vars(after)
        pairs = [(f"{path}.{k}", old.get(k), new.get(k)) for k in {**old, **new}]
    else:
        return None if before == after else path
    for where, old, new in pairs:
        difference = _first_difference(old, new, where, seen)
        if difference:
            return difference
    return None


def what_changes(module: nn.Module, act: Callable[[], object]) -> str | None:
    """Name the first attribute, parameter or buffer of a module that an action changes."""
    before = copy.deepcopy(module)
    act()
    return first_difference(before, module)
