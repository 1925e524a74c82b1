"""What the conformance suites share: variants of a class, small inputs, comparing modules."""

from __future__ import annotations

import copy
import multiprocessing
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, wraps
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as hypothesis_settings
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.plugin.architecture import Architecture
from rnnsearch.spec.parameters import (
    Choice,
    IntRange,
    OutputSize,
    Parameter,
    Parameters,
    Value,
    defaults,
)


@dataclass(frozen=True)
class Sizes:
    """The sizes of one run of a check."""

    inputs: int
    hidden: int
    batch: int
    steps: int


_SIZES = strategies.builds(
    Sizes,
    inputs=strategies.integers(1, 6),
    hidden=strategies.integers(1, 7),
    batch=strategies.integers(1, 4),
    steps=strategies.integers(3, 6),
)
EXAMPLES = int(os.environ.get("RNNSEARCH_CHECK_EXAMPLES", "3"))
"""Sizes that each check is run at."""


def over_sizes(check: Callable[..., None]) -> Any:
    """Run a check at generated sizes, the same ones every time."""
    settled = hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[
            # Fixtures of these suites hold classes, which no example changes.
            HealthCheck.function_scoped_fixture,
            # One check serves many subclasses of its suite.
            HealthCheck.differing_executors,
            HealthCheck.too_slow,
        ],
    )
    return settled(given(sizes=_SIZES)(check))


class KnownFailures:
    """Lets a suite's subject declare what it is known to fail: it must, and says why.

    Attributes:
        subject: name of the fixture that gives the class under test.
    """

    subject: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _expect_known_failures(self, request: pytest.FixtureRequest) -> None:
        known = request.getfixturevalue(self.subject).known_failures
        check = getattr(request.node, "originalname", request.node.name)
        if check in known:
            request.applymarker(pytest.mark.xfail(reason=known[check], strict=True))


@cache
def _another_process() -> ProcessPoolExecutor:
    """One process for a whole session: importing torch takes seconds."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def elsewhere(act: Callable[[bytes], Any], sent: bytes) -> Any:
    """Run a function in another process, which imports what it needs."""
    return _another_process().submit(act, sent).result()


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

    @override
    def __str__(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.options.items()) or "no options"


def extremes(parameter: Parameter | OutputSize) -> tuple[Value, ...]:
    """Every option of a choice; the ends of a range, and the second value of an integer one."""
    if isinstance(parameter, OutputSize):
        return (1, parameter.default + 3)
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
    if isinstance(after, bool | int | float | complex | str | bytes | None):
        return None if before == after else path  # one object may stand in many places
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


def dead_overrides(subject: type, contract: type, use: Callable[[], object]) -> dict[str, str]:
    """Public methods that look like one of a contract, are none, and are never called.

    Args:
        subject: a class that keeps the contract.
        contract: the class that it is derived from.
        use: calls all that the library calls.

    Returns:
        For each of them, the method of the contract that may be meant.
    """
    known = [name for name, value in vars(contract).items() if is_method(value, name)]
    return {
        name: close[0]
        for name in uncalled_methods(subject, contract, use)
        if (close := get_close_matches(name, known, n=1))
    }


def uncalled_methods(subject: type, contract: type, use: Callable[[], object]) -> list[str]:
    """Public methods of a class that its contract does not know and that are never called."""
    known, found = {*dir(contract)}, dict[str, type]()
    for owner in subject.__mro__[: subject.__mro__.index(contract)]:
        for name, value in vars(owner).items():
            if name not in known and is_method(value, name):
                found.setdefault(name, owner)
    called: set[str] = set()

    def heard(name: str, value: Any) -> Any:
        if isinstance(value, property):
            return property(heard(name, value.fget))
        if isinstance(value, classmethod | staticmethod):
            return type(value)(heard(name, value.__func__))

        @wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            called.add(name)
            return value(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name, owner in found.items():
            patch.setattr(owner, name, heard(name, vars(owner)[name]))
        use()
    return [name for name in found if name not in called]


def is_method(value: object, name: str) -> bool:
    """Whether what a class has under a name is a public method or property."""
    is_one = isinstance(value, FunctionType | classmethod | staticmethod | property)
    return is_one and not name.startswith("_")


def what_changes(module: nn.Module, act: Callable[[], object]) -> str | None:
    """Name the first attribute, parameter or buffer of a module that an action changes."""
    before = copy.deepcopy(module)
    act()
    return first_difference(before, module)
